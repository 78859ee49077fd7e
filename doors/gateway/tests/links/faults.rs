//! Faults of other replication systems, between whole clusters; docs/FAULTS.md lists all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstem_catalog::{Command, StreamPatch};
use mainstem_engine::{CursorCommit, TransactionalProducer};
use mainstem_group::CursorKey;
use mainstem_record::{BatchBuilder, Compression};
use mainstem_types::{OriginTopicId, StreamId, TimestampType};

use crate::cluster::{Cluster, Group, until};
use crate::source::{chain, partition, pause};

fn topic(node: &(Cluster, StreamId)) -> Option<OriginTopicId> {
    let catalog = node.0.catalog();
    Some(catalog.stream(node.1)?.topic(&"t".parse().unwrap())?.origin)
}

fn cursor_key(node: &(Cluster, StreamId)) -> CursorKey {
    let (group, topic) = ("g".parse().unwrap(), topic(node).unwrap());
    CursorKey { stream: node.1, group, topic, partition: 0 }
}

async fn commit(node: &(Cluster, StreamId), offset: i64) {
    let key = cursor_key(node);
    let commit = CursorCommit { key, offset, leader_epoch: 0, metadata: String::new() };
    node.0.engine.commit_cursors(vec![commit]).await.unwrap();
}

/// Where a consumer of the group goes on at that cluster.
fn position(node: &(Cluster, StreamId)) -> Option<i64> {
    let partition = partition(node, "t")?;
    let catalog = node.0.catalog();
    let topic = catalog.stream(node.1)?.topic(&"t".parse().unwrap())?.clone();
    let cursor = node.0.engine.cursor(&cursor_key(node))?;
    let (term, end) = (topic.owner.term.id, partition.durable_end());
    Some(cursor.effective(term, end, partition.leader_epoch())?.offset)
}

async fn produce(node: &(Cluster, StreamId), count: usize) {
    for n in 0..count {
        node.0.produce(node.1, "t", 0, &format!("{n}")).await.unwrap();
    }
}

async fn stop(nodes: Vec<(Cluster, StreamId)>) {
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_18_what_a_group_commits_at_the_replica_is_not_overwritten() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    produce(&nodes[0], 10).await;
    commit(&nodes[0], 4).await;
    until("the cursor is there", || position(&nodes[1]) == Some(4)).await;
    commit(&nodes[1], 8).await;
    commit(&nodes[0], 5).await;
    let replicated = || {
        let cursor = nodes[1].0.engine.cursor(&cursor_key(&nodes[1])).unwrap();
        cursor.replicated.unwrap().offset
    };
    until("the source's is known", || replicated() == 5).await;
    assert_eq!(position(&nodes[1]), Some(8), "and the group at work goes on at its own");
    assert_eq!(position(&nodes[0]), Some(5), "which does not flow back");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_19_a_cursor_above_the_end_is_clamped_and_rises_with_the_data() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    produce(&nodes[0], 5).await;
    commit(&nodes[0], 9).await;
    until("it is clamped", || position(&nodes[1]) == Some(5)).await;
    produce(&nodes[0], 2).await;
    until("it rises", || position(&nodes[1]) == Some(7)).await;
    produce(&nodes[0], 5).await;
    until("to where it was committed", || position(&nodes[1]) == Some(9)).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_cursor_goes_at_the_end_of_a_chain_too() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork", "chicago"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    produce(&nodes[0], 5).await;
    commit(&nodes[0], 3).await;
    until("it is everywhere", || nodes.iter().all(|node| position(node) == Some(3))).await;
    let key = cursor_key(&nodes[0]);
    nodes[0].0.engine.delete_cursors(vec![key]).await.unwrap();
    until("and gone everywhere", || nodes.iter().all(|node| position(node).is_none())).await;
    commit(&nodes[0], 2).await;
    until("and comes again", || nodes.iter().all(|node| position(node) == Some(2))).await;

    // Also while no link stands, and with nothing that is committed later.
    pause(&nodes[0], &nodes[1], true).await;
    let (source, replica) = (&nodes[0], nodes[1].0.place("/s"));
    until("it rests", || !source.0.report(source.1, &replica).connected).await;
    let key = cursor_key(&nodes[0]);
    nodes[0].0.engine.delete_cursors(vec![key]).await.unwrap();
    pause(&nodes[0], &nodes[1], false).await;
    until("gone everywhere", || nodes.iter().all(|node| position(node).is_none())).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_21_a_replicas_own_permissions_and_ttl_are_left_alone() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let edit = |perm: &str, ttl| Command::EditStream {
        path: "/s".parse().unwrap(),
        patch: StreamPatch {
            produceperm: Some(perm.to_owned()),
            ttl_seconds: Some(ttl),
            ..StreamPatch::default()
        },
    };
    nodes[1].0.engine.change(edit("u:there", 77)).await.unwrap();
    nodes[0].0.engine.change(edit("u:here", 88)).await.unwrap();
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    produce(&nodes[0], 1).await;
    until("a topic made after it arrives", || partition(&nodes[1], "t").is_some()).await;
    let catalog = nodes[1].0.catalog();
    let settings = &catalog.stream(nodes[1].1).unwrap().settings;
    assert_eq!((settings.produceperm.as_str(), settings.ttl_seconds), ("u:there", 77));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_12_a_transaction_that_stays_open_holds_up_neither_data_nor_status() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    let engine = &nodes[0].0.engine;
    let id = "t".parse().unwrap();
    let (producer_id, epoch) = engine.begin_producer(&id, None, 60_000).await.unwrap();
    let producer = TransactionalProducer { id, producer_id, epoch };
    let no = nodes[0].0.partition(nodes[0].1, "t", 0);
    engine.add_to_transaction(producer, vec![no]).await.unwrap();
    let mut open = BatchBuilder::new().producer(producer_id, epoch, 0).transactional();
    open.push(1, None, Some(b"never decided"));
    nodes[0].0.append(nodes[0].1, "t", 0, open.build().freeze()).await.unwrap();
    produce(&nodes[0], 5).await;
    until("what follows it arrives", || {
        nodes[0].0.content(nodes[0].1) == nodes[1].0.content(nodes[1].1)
    })
    .await;
    until("and status says so", || {
        let report = nodes[0].0.report(nodes[0].1, &nodes[1].0.place("/s"));
        report.is_uptodate && report.puts_pending == 0
    })
    .await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_every_kind_of_batch_arrives_as_it_was_also_one_that_is_almost_all_the_credit() {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    let (source, from) = &nodes[0];
    source.create_topic(*from, "t", 3).await;
    let stamped = Command::CreateTopic {
        stream: *from,
        name: "stamped".parse().unwrap(),
        partitions: Some(1),
        timestamp_type: Some(TimestampType::LogAppendTime),
        config: Default::default(),
    };
    source.engine.change(stamped).await.unwrap();
    // What no codec makes small: a multiplicative walk over the bytes.
    let large: Vec<u8> =
        (0u32..10_000_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for codec in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        for topic in ["t", "stamped"] {
            let mut builder = BatchBuilder::new().compression(codec);
            for n in 0..20 {
                builder.push(1_000 + n, Some(b"key"), Some(format!("{codec:?} {n}").as_bytes()));
            }
            source.append(*from, topic, 0, builder.build().freeze()).await.unwrap();
        }
    }
    for index in 0..3 {
        let mut builder = BatchBuilder::new();
        builder.push(1, None, Some(&large));
        source.append(*from, "t", index, builder.build().freeze()).await.unwrap();
    }
    let mut marker = BatchBuilder::new().producer(78, 0, -1).transactional().control();
    marker.push(1, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]));
    source.append(*from, "t", 1, marker.build().freeze()).await.unwrap();
    until("all of it arrives", || source.content(*from) == nodes[1].0.content(nodes[1].1)).await;
    let kept = nodes[1].0.content(nodes[1].1);
    assert_eq!(kept[&("t".to_owned(), 0)].len(), 6);
    assert_eq!(kept[&("t".to_owned(), 1)].len(), 2, "the marker too");
    let report = source.report(*from, &nodes[1].0.place("/s"));
    assert!(report.faults.is_empty() && report.sessions == 1, "{report:?}");
    stop(nodes).await;
}

/// Under a producer that never rests, each half is taken away, and nothing comes after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_23_a_half_taken_away_stops_the_flow_at_once_whichever_it_is() {
    let group = Group::new();
    let nodes = Arc::new(chain(&group, &["sanfrancisco", "newyork"]).await);
    nodes[0].0.create_topic(nodes[0].1, "t", 1).await;
    let over = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn({
        let (nodes, over) = (nodes.clone(), over.clone());
        async move {
            while !over.load(Ordering::Relaxed) {
                produce(&nodes[0], 1).await;
            }
        }
    });
    let end = |node: usize| partition(&nodes[node], "t").map_or(0, |p| p.durable_end());
    let flows = async |from: i64| until("it flows", || end(1) > from + 20).await;
    flows(0).await;
    let upstream = nodes[0].0.place("/s");
    let remove = Command::RemoveUpstream { stream: nodes[1].1, upstream: upstream.clone() };
    nodes[1].0.engine.change(remove).await.unwrap();
    let stopped_at = end(1);
    let ahead = end(0);
    until("the source goes on", || end(0) > ahead + 20).await;
    assert_eq!(end(1), stopped_at, "I6 at the replica");
    nodes[1].0.add_upstream(nodes[1].1, upstream).await;
    flows(stopped_at).await;

    let replica = nodes[1].0.place("/s");
    let remove = Command::RemoveReplica { stream: nodes[0].1, replica: replica.clone() };
    nodes[0].0.engine.change(remove).await.unwrap();
    until("its session ends", || {
        let source = nodes[0].0.place("/s");
        let report = nodes[1].0.links().upstream(nodes[1].1, &source.cluster, &source.path);
        report.is_some_and(|report| !report.connected)
    })
    .await;
    let ahead = end(0);
    until("what was under way has come", || end(0) > ahead + 20).await;
    let (stopped_at, ahead) = (end(1), end(0));
    until("the source goes on", || end(0) > ahead + 20).await;
    assert_eq!(end(1), stopped_at, "I6 at the source");
    over.store(true, Ordering::Relaxed);
    producer.await.unwrap();
    stop(Arc::try_unwrap(nodes).ok().unwrap()).await;
}
