//! What changes at the source beside records: trims, retention, topics, configs.

use std::collections::BTreeMap;

use mainstem_catalog::{Command, ReplicaPatch, TopicPatch};
use mainstem_engine::{Gap, Partition};
use mainstem_types::StreamId;

use crate::cluster::{Cluster, Group, until};

/// A source and replicas behind it, one after the other, by clusters and streams.
pub(crate) async fn chain(group: &Group, names: &[&str]) -> Vec<(Cluster, StreamId)> {
    let mut nodes: Vec<(Cluster, StreamId)> = Vec::new();
    for name in names {
        let cluster = group.cluster(name).await;
        let stream = cluster.create_stream("/s").await;
        if let Some((source, from)) = nodes.last() {
            cluster.add_upstream(stream, source.place("/s")).await;
            source.add_replica(*from, cluster.place("/s"), false).await;
        }
        nodes.push((cluster, stream));
    }
    nodes
}

pub(crate) fn partition(
    node: &(Cluster, StreamId),
    topic: &str,
) -> Option<std::sync::Arc<Partition>> {
    let catalog = node.0.catalog();
    let topic = catalog.stream(node.1)?.topic(&topic.parse().unwrap())?.clone();
    node.0.engine.partition(topic.partition(0)?)
}

fn start_and_end(node: &(Cluster, StreamId)) -> (i64, i64) {
    partition(node, "t").map_or((-1, -1), |p| (p.log_start(), p.durable_end()))
}

async fn trim(node: &(Cluster, StreamId), to: i64) {
    let no = partition(node, "t").unwrap().no;
    assert_eq!(node.0.engine.trim(no, to).await.unwrap(), to);
}

pub(crate) async fn pause(
    source: &(Cluster, StreamId),
    replica: &(Cluster, StreamId),
    paused: bool,
) {
    let (stream, replica) = (source.1, replica.0.place("/s"));
    let command = match paused {
        true => Command::PauseReplica { stream, replica },
        false => Command::ResumeReplica { stream, replica },
    };
    source.0.engine.change(command).await.unwrap();
}

async fn configure(node: &(Cluster, StreamId), key: &str, value: Option<&str>) {
    let catalog = node.0.catalog();
    let topic = catalog.stream(node.1).unwrap().topic(&"t".parse().unwrap()).unwrap().origin;
    let config = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
    let patch = TopicPatch { config, ..TopicPatch::default() };
    node.0.engine.change(Command::EditTopic { stream: node.1, topic, patch }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_06_trims_pass_through_a_chain_with_no_new_data_and_over_restarts() {
    let group = Group::new();
    let mut nodes = chain(&group, &["sanfrancisco", "newyork", "chicago"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    for n in 0..10 {
        nodes[0].0.produce(nodes[0].1, "t", 0, &format!("{n}")).await.unwrap();
    }
    until("all is there", || nodes.iter().all(|node| start_and_end(node) == (0, 10))).await;
    trim(&nodes[0], 4).await;
    until("live", || nodes.iter().all(|node| start_and_end(node) == (4, 10))).await;

    pause(&nodes[0], &nodes[1], true).await;
    until("it rests", || !nodes[0].0.report(nodes[0].1, &nodes[1].0.place("/s")).connected).await;
    trim(&nodes[0], 7).await;
    // Whatever was remembered in memory is gone.
    let (source, from) = nodes.remove(0);
    nodes.insert(0, (source.restart(&group).await, from));
    assert_eq!(start_and_end(&nodes[1]), (4, 10));
    pause(&nodes[0], &nodes[1], false).await;
    until("after a restart", || nodes.iter().all(|node| start_and_end(node) == (7, 10))).await;
    trim(&nodes[0], 10).await;
    until("all of it", || nodes.iter().all(|node| start_and_end(node) == (10, 10))).await;
    nodes[0].0.produce(nodes[0].1, "t", 0, "new").await.unwrap();
    until("and on", || nodes.iter().all(|node| start_and_end(node) == (10, 11))).await;
    assert!(nodes.iter().all(|node| partition(node, "t").unwrap().marks().gaps.is_empty()));
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_retention_that_overtakes_a_paused_link_leaves_a_gap_that_both_sides_show() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let (source, from) = &nodes[0];
    source.create_topic(*from, "t", 1).await;
    for n in 0..5 {
        source.produce(*from, "t", 0, &format!("{n}")).await.unwrap();
    }
    until("all is there", || start_and_end(&nodes[1]) == (0, 5)).await;
    pause(&nodes[0], &nodes[1], true).await;
    for n in 5..20 {
        source.produce(*from, "t", 0, &format!("{n}")).await.unwrap();
    }
    configure(&nodes[0], "retention.bytes", Some("1")).await;
    until("retention has taken the rest", || start_and_end(&nodes[0]) == (19, 20)).await;
    configure(&nodes[0], "retention.bytes", None).await;
    pause(&nodes[0], &nodes[1], false).await;
    until("the newest arrives", || start_and_end(&nodes[1]) == (0, 20)).await;

    let replica = partition(&nodes[1], "t").unwrap();
    let marks = replica.marks();
    let [Gap { from: 5, to: 19, at_ms }] = marks.gaps[..] else { panic!("{marks:?}") };
    assert!(at_ms > 1_700_000_000_000, "and when");
    // A consumer within the gap goes on after it.
    let read = replica.read(7, 1 << 20).unwrap();
    assert_eq!(read.iter().map(|batch| batch.base_offset).collect::<Vec<_>>(), [19]);
    let report = source.report(*from, &nodes[1].0.place("/s"));
    let shown: Vec<_> = report
        .gaps
        .iter()
        .map(|gap| (gap.topic.as_str(), gap.partition, gap.from, gap.to))
        .collect();
    assert_eq!(shown, [("t", 0, 5, 19)]);
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_20_a_config_that_the_replica_does_not_know_is_carried_and_kept() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork", "chicago"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    configure(&nodes[0], "of.a.later.version", Some("on")).await;
    nodes[0].0.produce(nodes[0].1, "t", 0, "x").await.unwrap();
    let config = |node: &(Cluster, StreamId)| {
        let catalog = node.0.catalog();
        let topic = catalog.stream(node.1)?.topic(&"t".parse().unwrap())?.clone();
        topic.config.get("of.a.later.version").cloned()
    };
    until("it is everywhere", || nodes.iter().all(|n| config(n).as_deref() == Some("on"))).await;
    until("and the data", || nodes.iter().all(|node| start_and_end(node) == (0, 1))).await;
    configure(&nodes[0], "of.a.later.version", None).await;
    until("its end too", || nodes.iter().all(|node| config(node).is_none())).await;
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_14_a_topic_and_its_records_of_the_same_second_all_arrive() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let (source, from) = &nodes[0];
    for n in 0..20 {
        let name = format!("t{n}");
        source.create_topic(*from, &name, 1).await;
        source.produce(*from, &name, 0, "first").await.unwrap();
        source.produce(*from, &name, 0, "second").await.unwrap();
    }
    until("nothing of the beginning is lost", || {
        source.content(*from) == nodes[1].0.content(nodes[1].1)
    })
    .await;
    let first = partition(&nodes[1], "t0").unwrap();
    assert_eq!((first.log_start(), first.durable_end()), (0, 2));
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_13_a_topic_made_anew_while_the_link_is_down_is_another_topic() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let (source, from) = &nodes[0];
    let origin = |node: &(Cluster, StreamId)| {
        let catalog = node.0.catalog();
        Some(catalog.stream(node.1)?.topic(&"t".parse().unwrap())?.origin)
    };
    source.create_topic(*from, "t", 2).await;
    for n in 0..8 {
        source.produce(*from, "t", 0, &format!("old {n}")).await.unwrap();
    }
    until("the old one is there", || start_and_end(&nodes[1]) == (0, 8)).await;
    pause(&nodes[0], &nodes[1], true).await;
    // Twice, and the last with as many records as the replica holds of the first.
    for round in 0..2 {
        let topic = origin(&nodes[0]).unwrap();
        source.engine.change(Command::DeleteTopic { stream: *from, topic }).await.unwrap();
        source.create_topic(*from, "t", 1).await;
        for n in 0..8 {
            source.produce(*from, "t", 0, &format!("new {round} {n}")).await.unwrap();
        }
    }
    pause(&nodes[0], &nodes[1], false).await;
    until("the new one replaced it", || {
        source.content(*from) == nodes[1].0.content(nodes[1].1)
            && origin(&nodes[0]) == origin(&nodes[1])
    })
    .await;
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_another_ones_place_is_followed_without_a_new_agreement() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let ((source, from), (replica, _)) = (&nodes[0], &nodes[1]);
    source.create_topic(*from, "t", 1).await;
    source.produce(*from, "t", 0, "before").await.unwrap();
    until("the first has it", || start_and_end(&nodes[1]) == (0, 1)).await;
    let moved = replica.create_stream("/moved").await;
    let edit = || {
        let place = Some(replica.place("/moved"));
        let patch = ReplicaPatch { place, ..ReplicaPatch::default() };
        Command::EditReplica { stream: *from, replica: replica.place("/s"), patch }
    };
    source.engine.change(edit()).await.unwrap();
    until("I6: it waits for the other half", || {
        let report = source.report(*from, &replica.place("/moved"));
        report.error.is_some_and(|error| error.code == "ErrNoUpstream")
    })
    .await;
    replica.add_upstream(moved, source.place("/s")).await;
    until("and flows there", || source.content(*from) == replica.content(moved)).await;
    until("its uuid is pinned", || {
        let catalog = source.catalog();
        let listed = catalog.stream(*from).unwrap().replica(&replica.place("/moved")).cloned();
        listed.unwrap().replica_id == Some(moved)
    })
    .await;
    source.produce(*from, "t", 0, "after").await.unwrap();
    until("all of it", || source.content(*from) == replica.content(moved)).await;
    assert_eq!(start_and_end(&nodes[1]), (0, 1), "and the old one no more");
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_list_of_gateways_disturbs_no_session_and_is_used_by_the_next() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let ((source, from), (replica, _)) = (&nodes[0], &nodes[1]);
    let place = replica.place("/s");
    source.create_topic(*from, "t", 1).await;
    source.produce(*from, "t", 0, "1").await.unwrap();
    until("all is there", || start_and_end(&nodes[1]) == (0, 1)).await;
    let sessions = source.report(*from, &place).sessions;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let live = replica.gateway.address().to_string();
    let list = vec![dead.to_string(), live.clone()];
    let set = Command::SetGateways { cluster: place.cluster.clone(), gateways: list };
    source.engine.change(set).await.unwrap();
    source.produce(*from, "t", 0, "2").await.unwrap();
    until("it goes on", || start_and_end(&nodes[1]) == (0, 2)).await;
    assert_eq!(source.report(*from, &place).sessions, sessions, "in the same session");
    pause(&nodes[0], &nodes[1], true).await;
    pause(&nodes[0], &nodes[1], false).await;
    source.produce(*from, "t", 0, "3").await.unwrap();
    until("a dead one is passed over", || start_and_end(&nodes[1]) == (0, 3)).await;
    assert_eq!(source.report(*from, &place).gateway, Some(live));
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}
