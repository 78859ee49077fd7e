//! Transactions over links: what is open, committed or aborted at the source is so at the replica,
//! and a promotion leaves nothing open.

use mainstem_catalog::Command;
use mainstem_engine::TransactionalProducer;
use mainstem_record::BatchBuilder;
use mainstem_types::{ErrorKind, StreamId};

use crate::cluster::{Cluster, Group, until};
use crate::source::{chain, pause};

type Node = (Cluster, StreamId);

/// A transaction with a record in both partitions, not ended.
async fn open(node: &Node, id: &str) -> TransactionalProducer {
    let (cluster, stream) = node;
    let id = id.parse().unwrap();
    let (producer_id, epoch) = cluster.engine.begin_producer(&id, None, 60_000).await.unwrap();
    let producer = TransactionalProducer { id, producer_id, epoch };
    let partitions = (0..2).map(|index| cluster.partition(*stream, "t", index)).collect();
    cluster.engine.add_to_transaction(producer.clone(), partitions).await.unwrap();
    for index in 0..2 {
        let mut builder = BatchBuilder::new().producer(producer_id, epoch, 0).transactional();
        builder.push(1, None, Some(producer.id.as_str().as_bytes()));
        cluster.append(*stream, "t", index, builder.build().freeze()).await.unwrap();
    }
    producer
}

async fn end(node: &Node, producer: &TransactionalProducer, commit: bool) {
    node.0.engine.end_transaction(producer.clone(), commit).await.unwrap();
}

/// (last stable offset, high watermark, offsets where aborted transactions begin) by partition.
fn shown(node: &Node) -> Vec<(i64, i64, Vec<i64>)> {
    let of = |index| {
        let no = node.0.partition(node.1, "t", index);
        let partition = node.0.engine.partition(no).unwrap();
        let aborted = partition.aborted_between(0, i64::MAX).into_iter();
        let aborted = aborted.map(|range| range.first_offset).collect();
        (partition.last_stable_offset(), partition.high_watermark(), aborted)
    };
    (0..2).map(of).collect()
}

async fn pair() -> (Group, Vec<Node>) {
    let group = Group::new();
    let nodes = chain(&group, &["sanfrancisco", "newyork"]).await;
    nodes[0].0.create_topic(nodes[0].1, "t", 2).await;
    (group, nodes)
}

async fn in_step(nodes: &[Node]) {
    until("both show the same", || {
        nodes[0].0.content(nodes[0].1) == nodes[1].0.content(nodes[1].1)
            && shown(&nodes[0]) == shown(&nodes[1])
    })
    .await;
}

async fn stop(nodes: Vec<Node>) {
    for (cluster, _) in nodes {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_10_a_replica_shows_the_same_last_stable_offset_and_aborted_ranges() {
    let (group, mut nodes) = pair().await;
    let aborted = open(&nodes[0], "aborted").await;
    let committed = open(&nodes[0], "committed").await;
    in_step(&nodes).await;
    assert_eq!(shown(&nodes[1]), vec![(0, 2, vec![]); 2]);
    end(&nodes[0], &committed, true).await;
    in_step(&nodes).await;
    assert_eq!(shown(&nodes[1]), vec![(0, 3, vec![]); 2], "the other one is open still");
    end(&nodes[0], &aborted, false).await;
    open(&nodes[0], "left open").await;
    in_step(&nodes).await;
    assert_eq!(shown(&nodes[1]), vec![(4, 5, vec![0]); 2]);
    let (told, _) = nodes[1].0.engine.commits_to_tell(0);
    assert_eq!(told.len(), 1, "the commit was told before its markers");
    assert_eq!((told[0].producer_id, told[0].markers.len()), (committed.producer_id, 2));
    let (replica, stream) = nodes.remove(1);
    nodes.push((replica.restart(&group).await, stream));
    in_step(&nodes).await;
    assert_eq!(shown(&nodes[1]), vec![(4, 5, vec![0]); 2], "after a restart");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_11_after_a_promotion_neither_side_has_a_transaction_open() {
    let (_group, nodes) = pair().await;
    let lost = open(&nodes[0], "open at both").await;
    in_step(&nodes).await;
    pause(&nodes[0], &nodes[1], true).await;
    let place = nodes[1].0.place("/s");
    until("the session ends", || !nodes[0].0.report(nodes[0].1, &place).connected).await;
    // The old master commits what the replica does not hear of any more.
    end(&nodes[0], &lost, true).await;
    let unheard = open(&nodes[0], "unheard of").await;
    let fail_over = Command::FailOver { stream: nodes[1].1, upstream: None };
    nodes[1].0.engine.change(fail_over).await.unwrap();
    assert_eq!(shown(&nodes[1]), vec![(2, 2, vec![0]); 2], "aborted under the new term");
    nodes[0].0.add_upstream(nodes[0].1, nodes[1].0.place("/s")).await;
    nodes[1].0.add_replica(nodes[1].1, nodes[0].0.place("/s"), false).await;
    until("the old master follows", || shown(&nodes[0]) == shown(&nodes[1])).await;
    let commit = nodes[0].0.engine.end_transaction(unheard, true).await;
    assert_eq!(commit.unwrap_err().kind(), ErrorKind::ProducerFenced);
    let again = nodes[0].0.engine.end_transaction(lost, true).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::ProducerFenced, "its marker was undone");
    let heir = open(&nodes[1], "open at both").await;
    end(&nodes[1], &heir, true).await;
    until("what the new owner commits arrives", || {
        shown(&nodes[0]) == vec![(4, 4, vec![0]); 2] && shown(&nodes[1]) == shown(&nodes[0])
    })
    .await;
    stop(nodes).await;
}
