//! Offsets by time and by epoch.

use mainstem_engine::{Ack, Append};
use mainstem_record::{BatchBuilder, Compression, end_marker};
use mainstem_types::limits::ABORTED_PER_PARTITION_MAX;
use mainstem_wire::{
    EpochEndOffset, FetchRequest, KafkaError, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsTopic, OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};

use crate::node::{Client, TestNode, ask, fetch};

const TOPIC: &str = "activity.clicks";

pub(crate) async fn find(
    client: &mut Client,
    timestamp: i64,
    version: i16,
) -> ListOffsetsPartitionResponse {
    find_for(client, 0, timestamp, version).await
}

async fn find_for(
    client: &mut Client,
    isolation_level: i8,
    timestamp: i64,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let request = ListOffsetsRequest {
        isolation_level,
        topics: vec![ListOffsetsTopic { name: TOPIC.to_owned(), partitions: vec![partition] }],
        ..Default::default()
    };
    let mut response = ask!(client, ListOffsets, request, version);
    response.topics.remove(0).partitions.remove(0)
}

/// Two batches: timestamps 100, 200, 300 and 400, 350.
async fn with_records() -> (TestNode, Client) {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    for times in [&[100, 200, 300][..], &[400, 350]] {
        let mut builder = BatchBuilder::new().compression(Compression::Lz4);
        times.iter().for_each(|time| builder.push(*time, None, Some(b"x")));
        assert_eq!(client.produce(TOPIC, builder.build().freeze()).await.error_code, 0);
    }
    (node, client)
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let (_node, mut client) = with_records().await;
    for (timestamp, expected) in [
        (-1, (5, -1)),
        (-2, (0, -1)),
        (-3, (3, 400)),
        (-4, (0, -1)),
        (0, (0, 100)),
        (150, (1, 200)),
        (200, (1, 200)),
        (301, (3, 400)),
        (401, (-1, -1)),
    ] {
        let found = find(&mut client, timestamp, 8).await;
        assert_eq!(found.error_code, 0);
        assert_eq!((found.offset, found.timestamp), expected, "time {timestamp}");
    }
    for version in 1..=9 {
        assert_eq!(find(&mut client, -1, version).await.offset, 5, "version {version}");
    }
}

#[tokio::test]
async fn fault_07_a_time_past_the_end_is_no_offset_in_any_version() {
    let (_node, mut client) = with_records().await;
    for version in 1..=9 {
        let found = find(&mut client, i64::MAX - 1, version).await;
        assert_eq!((found.error_code, found.offset, found.timestamp), (0, -1, -1), "{version}");
    }
}

#[tokio::test]
async fn an_empty_partition_has_offsets_too() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    assert_eq!(find(&mut client, -1, 5).await.offset, 0);
    assert_eq!(find(&mut client, -2, 5).await.offset, 0);
    assert_eq!(find(&mut client, 0, 5).await.offset, -1);
    assert_eq!(find(&mut client, -3, 7).await.offset, -1);
    assert_eq!(find(&mut client, -9, 7).await.error_code, KafkaError::InvalidRequest.code());
}

/// Pairs of one record and the marker that aborts it, as an import brings them.
async fn abort(node: &TestNode, pairs: i32) {
    const PRODUCER: i64 = 77;
    let partition = node.partition("/activity", "clicks", 0);
    let pair = |sequence: i32| {
        let at_ms = i64::from(sequence) + 1;
        let mut builder = BatchBuilder::new().producer(PRODUCER, 0, sequence).transactional();
        builder.push(at_ms, None, Some(b"x"));
        [builder.build().freeze(), end_marker(PRODUCER, 0, false, 0, at_ms)]
    };
    let batches: Vec<_> = (0..pairs).flat_map(pair).collect();
    for some in batches.chunks(1_000) {
        let appends = some.iter().map(|batch| Append { partition, batch: batch.clone() });
        let appending = node.engine.append_kept(appends.collect(), Ack::Durable).await;
        let answers = appending.expect("it is open").await.expect("it is open");
        assert!(answers.iter().all(Result::is_ok), "{:?}", answers[0]);
    }
}

#[tokio::test]
async fn a_time_before_what_readers_of_what_is_committed_may_read_is_an_offset_that_they_may() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let pairs = i32::try_from(ABORTED_PER_PARTITION_MAX).expect("few") + 1;
    abort(&node, pairs).await;
    let mut client = node.connect().await;
    let start = find_for(&mut client, 1, -2, 8).await.offset;
    assert!(start > 0, "there are more than are remembered");
    for early in [0, 1, start / 2] {
        let found = find_for(&mut client, 1, early, 8).await;
        assert_eq!((found.error_code, found.offset), (0, start), "time {early}");
        let fetched = FetchRequest { isolation_level: 1, ..fetch(TOPIC, found.offset, 0, 0) };
        let fetched = ask!(client, Fetch, fetched, 11);
        assert_eq!(fetched.responses[0].partitions[0].error_code, 0);
    }
    let last_ms = i64::from(pairs);
    let found = find_for(&mut client, 1, last_ms, 8).await;
    assert_eq!((found.offset, found.timestamp), (2 * last_ms - 2, last_ms));
    let all = find_for(&mut client, 0, 1, 8).await;
    assert_eq!((all.offset, all.timestamp), (0, 1), "others read from the beginning");
}

#[tokio::test]
async fn epochs_end_where_the_log_does() {
    let (_node, mut client) = with_records().await;
    let metadata = client.metadata(&[TOPIC], false).await;
    let epoch = metadata.topics[0].partitions[0].leader_epoch;
    for (asked, expected) in [(epoch, (epoch, 5)), (epoch + 1, (-1, -1))] {
        let found = end_of_epoch(&mut client, asked).await;
        assert_eq!((found.leader_epoch, found.end_offset), expected);
    }
}

/// Where an epoch of the topic's first partition ends.
pub(crate) async fn end_of_epoch(client: &mut Client, leader_epoch: i32) -> EpochEndOffset {
    let partition = OffsetForLeaderPartition { leader_epoch, ..Default::default() };
    let topic = OffsetForLeaderTopic { topic: TOPIC.to_owned(), partitions: vec![partition] };
    let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
    let response = ask!(client, OffsetForLeaderEpoch, request, 4);
    response.topics[0].partitions[0].clone()
}
