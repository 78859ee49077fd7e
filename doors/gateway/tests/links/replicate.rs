//! What a link carries, and that it goes on after every break.

use mainstem_catalog::{Command, ReplicaPatch, TopicPatch};
use mainstem_engine::CursorCommit;
use mainstem_group::CursorKey;
use mainstem_types::{OriginTopicId, StreamId};

use crate::cluster::{Cluster, Group, until};

async fn pair(group: &Group) -> (Cluster, StreamId, Cluster, StreamId) {
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/activity").await;
    let to = replica.create_stream("/copy").await;
    source.add_replica(from, replica.place("/copy"), false).await;
    replica.add_upstream(to, source.place("/activity")).await;
    (source, from, replica, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_topics_and_batches_arrive_byte_for_byte_also_after_restarts() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    source.create_topic(from, "clicks", 3).await;
    for n in 0..30 {
        source.produce(from, "clicks", n % 3, &format!("click {n}")).await.unwrap();
    }
    until("the first records arrive", || source.content(from) == replica.content(to)).await;
    assert!(replica.produce(to, "clicks", 0, "intruder").await.is_err(), "I5");

    let replica = replica.restart(&group).await;
    source.create_topic(from, "born-later", 1).await;
    source.produce(from, "born-later", 0, "hello").await.unwrap();
    until("a new topic follows", || source.content(from) == replica.content(to)).await;

    let source = source.restart(&group).await;
    source.produce(from, "clicks", 1, "after the restart").await.unwrap();
    until("and all after", || source.content(from) == replica.content(to)).await;
    let report = source.report(from, &replica.place("/copy"));
    assert!(report.connected && report.error.is_none(), "{report:?}");
    until("status agrees", || {
        let report = source.report(from, &replica.place("/copy"));
        report.is_uptodate && report.puts_pending == 0
    })
    .await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_batches_that_were_packed_on_the_way_are_kept_as_they_were() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    source.create_topic(from, "t", 1).await;
    let place = replica.place("/copy");
    for word in ["lz4", "zlib", "zstd", "off"] {
        let patch = ReplicaPatch {
            network_compression: Some(word.parse().unwrap()),
            ..ReplicaPatch::default()
        };
        let edit = Command::EditReplica { stream: from, replica: place.clone(), patch };
        source.engine.change(edit).await.unwrap();
        for n in 0..20 {
            let record = format!("{word} {n} ").repeat(500);
            source.produce(from, "t", 0, &record).await.unwrap();
        }
        until(word, || source.content(from) == replica.content(to)).await;
    }
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growth_deletion_and_rebirth_follow_by_uuid() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "old").await.unwrap();
    until("the topic arrives", || source.content(from) == replica.content(to)).await;
    let origin = |cluster: &Cluster, stream| -> OriginTopicId {
        let catalog = cluster.catalog();
        catalog.stream(stream).unwrap().topic(&"t".parse().unwrap()).unwrap().origin
    };
    let first = origin(&source, from);
    let patch = TopicPatch { partitions: Some(4), ..TopicPatch::default() };
    source.engine.change(Command::EditTopic { stream: from, topic: first, patch }).await.unwrap();
    source.produce(from, "t", 3, "in the new partition").await.unwrap();
    until("it grows", || source.content(from) == replica.content(to)).await;

    source.engine.change(Command::DeleteTopic { stream: from, topic: first }).await.unwrap();
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "new").await.unwrap();
    until("it is made anew", || source.content(from) == replica.content(to)).await;
    assert_ne!(origin(&replica, to), first);
    until("the deletion is acknowledged", || {
        source.catalog().stream(from).unwrap().tombstones.is_empty()
    })
    .await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_follow_and_wait_for_their_data() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    source.create_topic(from, "t", 1).await;
    for n in 0..10 {
        source.produce(from, "t", 0, &format!("{n}")).await.unwrap();
    }
    let catalog = source.catalog();
    let topic = catalog.stream(from).unwrap().topics.values().next().unwrap().origin;
    let key = |stream| CursorKey { stream, group: "g".parse().unwrap(), topic, partition: 0 };
    let commit =
        CursorCommit { key: key(from), offset: 7, leader_epoch: 0, metadata: "mine".into() };
    source.engine.commit_cursors(vec![commit]).await.unwrap();
    until("the cursor arrives", || {
        let cursor = replica.engine.cursor(&key(to));
        cursor.and_then(|c| c.replicated).is_some_and(|c| c.offset == 7 && c.metadata == "mine")
    })
    .await;
    source.engine.delete_cursors(vec![key(from)]).await.unwrap();
    until("its deletion follows", || replica.engine.cursor(&key(to)).is_none()).await;

    // After a restart nothing is left that would tell how high versions were.
    let source = source.restart(&group).await;
    let commit = CursorCommit { key: key(from), offset: 4, leader_epoch: 0, metadata: "".into() };
    source.engine.commit_cursors(vec![commit]).await.unwrap();
    until("and it comes again", || {
        let cursor = replica.engine.cursor(&key(to));
        cursor.and_then(|c| c.replicated).is_some_and(|c| c.offset == 4)
    })
    .await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_in_the_same_cluster_goes_through_its_own_gateway() {
    let group = Group::new();
    let cluster = group.cluster("alone").await;
    let from = cluster.create_stream("/one").await;
    let to = cluster.create_stream("/two").await;
    cluster.add_replica(from, cluster.place("/two"), false).await;
    cluster.add_upstream(to, cluster.place("/one")).await;
    cluster.create_topic(from, "t", 2).await;
    cluster.produce(from, "t", 1, "x").await.unwrap();
    until("it arrives", || cluster.content(from) == cluster.content(to)).await;
    cluster.stop().await;
}
