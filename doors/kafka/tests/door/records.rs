//! Produce and fetch.

use std::time::Duration;

use mainstem_catalog::{Command, StreamPatch};
use mainstem_record::{BatchBuilder, Compression};
use mainstem_types::{PartitionNo, TimestampType};
use mainstem_wire::{ApiKey, FetchTopic, InitProducerIdRequest, KafkaError, Response};

use crate::node::{TestNode, ask, batch, fetch, produce, values};

const TOPIC: &str = "activity.clicks";

async fn with_topic() -> TestNode {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 2).await;
    node
}

#[tokio::test]
async fn what_is_produced_is_fetched() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    let first = client.produce(TOPIC, batch(&["a", "b"])).await;
    assert_eq!((first.error_code, first.base_offset, first.log_start_offset), (0, 0, 0));
    assert_eq!(client.produce(TOPIC, batch(&["c"])).await.base_offset, 2);
    let data = client.fetch(TOPIC, 0).await;
    assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (3, 3, 0));
    let expected = [(0, "a"), (1, "b"), (2, "c")].map(|(at, value)| (at, value.to_owned()));
    assert_eq!(values(&data), expected);
    // From the middle of a batch: the whole batch comes, as the protocol has it.
    assert_eq!(values(&client.fetch(TOPIC, 1).await).len(), 3);
    assert_eq!(client.fetch(TOPIC, 3).await.error_code, 0);
    assert_eq!(client.fetch(TOPIC, 4).await.error_code, KafkaError::OffsetOutOfRange.code());
}

#[tokio::test]
async fn what_is_no_longer_in_memory_is_read_from_disk() {
    let node = TestNode::start_cold().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    for n in 0..50 {
        client.produce(TOPIC, batch(&[&n.to_string()])).await;
    }
    let partition = node.engine.partition(PartitionNo(1)).expect("the first partition");
    assert!(partition.read_tail(0, 1).is_none(), "nothing is kept in memory");
    for from in [0, 25, 49] {
        let read = values(&client.fetch(TOPIC, from).await);
        let expected = (from..50).map(|at| (at, at.to_string()));
        assert_eq!(read, expected.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn every_version_of_produce_and_fetch_works() {
    let node = with_topic().await;
    let id = node.engine.catalog().resolve(TOPIC).map(|(stream, _)| {
        stream.topic(&"clicks".parse().expect("a name")).expect("created").kafka_id
    });
    let mut client = node.connect().await;
    for version in 3..=12 {
        let response = ask!(client, Produce, produce(TOPIC, 0, batch(&["x"]), -1), version);
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(version) - 3));
    }
    for version in 4..=17 {
        let mut request = fetch(TOPIC, 0, 0, 0);
        request.topics = vec![FetchTopic {
            topic_id: id.expect("the topic exists"),
            ..request.topics[0].clone()
        }];
        let response = ask!(client, Fetch, request, version);
        assert_eq!(values(&response.responses[0].partitions[0]).len(), 10, "version {version}");
    }
    for version in 0..3 {
        let response = ask!(client, Produce, produce(TOPIC, 0, batch(&["x"]), -1), version);
        let error = response.responses[0].partition_responses[0].error_code;
        assert_eq!(error, KafkaError::UnsupportedVersion.code());
    }
}

#[tokio::test]
async fn a_waiting_fetch_wakes_when_data_comes() {
    let node = with_topic().await;
    let mut reader = node.connect().await;
    let mut writer = node.connect().await;
    // The wait is far longer than the test may take: only the wake-up can end it.
    reader.send(fetch(TOPIC, 0, 120_000, 1), 11).await;
    writer.produce(TOPIC, batch(&["now"])).await;
    let answered = tokio::time::timeout(Duration::from_secs(20), reader.receive(ApiKey::Fetch, 11));
    let Ok((_, Response::Fetch(response))) = answered.await else {
        panic!("the fetch slept on");
    };
    assert_eq!(values(&response.responses[0].partitions[0]), [(0, "now".to_owned())]);
}

#[tokio::test]
async fn a_fetch_waits_for_enough_bytes_and_then_for_its_time() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    client.produce(TOPIC, batch(&["little"])).await;
    let response = ask!(client, Fetch, fetch(TOPIC, 0, 200, 1 << 20), 11);
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 1);
}

#[tokio::test]
async fn at_least_one_batch_comes_whatever_the_limits() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    let large = "x".repeat(5_000);
    client.produce(TOPIC, batch(&[&large])).await;
    client.produce(TOPIC, batch(&[&large])).await;
    let mut request = fetch(TOPIC, 0, 0, 1);
    request.max_bytes = 10;
    request.topics[0].partitions[0].partition_max_bytes = 10;
    let response = ask!(client, Fetch, request, 11);
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 1);
}

#[tokio::test]
async fn leaders_epochs_are_compared() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    client.produce(TOPIC, batch(&["a"])).await;
    let metadata = client.metadata(&[TOPIC], false).await;
    let epoch = metadata.topics[0].partitions[0].leader_epoch;
    assert!(epoch >= 0);
    for (theirs, error) in [
        (epoch, KafkaError::None),
        (epoch + 1, KafkaError::UnknownLeaderEpoch),
        (-1, KafkaError::None),
    ] {
        let mut request = fetch(TOPIC, 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = theirs;
        let response = ask!(client, Fetch, request, 11);
        assert_eq!(response.responses[0].partitions[0].error_code, error.code());
    }
}

#[tokio::test]
async fn what_cannot_be_appended_is_refused_with_a_reason() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    let mut damaged = batch(&["a"]).to_vec();
    *damaged.last_mut().expect("not empty") ^= 1;
    let zstd = {
        let mut builder = BatchBuilder::new().compression(Compression::Zstd);
        builder.push(0, None, Some(b"z"));
        builder.build().freeze()
    };
    let two = [batch(&["a"]), batch(&["b"])].concat();
    for (topic, index, bytes, version, error) in [
        ("activity.nothing", 0, batch(&["a"]), 9, KafkaError::UnknownTopicOrPartition),
        (TOPIC, 2, batch(&["a"]), 9, KafkaError::UnknownTopicOrPartition),
        (TOPIC, 0, damaged.into(), 9, KafkaError::CorruptMessage),
        (TOPIC, 0, two.into(), 9, KafkaError::InvalidRecord),
        (TOPIC, 0, zstd.clone(), 6, KafkaError::UnsupportedCompressionType),
        (TOPIC, 0, bytes::Bytes::new(), 9, KafkaError::CorruptMessage),
    ] {
        let response = ask!(client, Produce, produce(topic, index, bytes, -1), version);
        let refused = &response.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, error.code(), "{refused:?}");
        assert!(version < 8 || refused.error_message.as_ref().is_some_and(|m| m.len() > 10));
    }
    // zstd is stored, and refused to readers that do not know it.
    assert_eq!(client.produce(TOPIC, zstd).await.error_code, 0);
    let response = ask!(client, Fetch, fetch(TOPIC, 0, 0, 0), 9);
    let error = response.responses[0].partitions[0].error_code;
    assert_eq!(error, KafkaError::UnsupportedCompressionType.code());
    assert_eq!(values(&client.fetch(TOPIC, 0).await).len(), 1);
}

#[tokio::test]
async fn acks_0_is_silent_and_closes_on_error() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    client.send(produce(TOPIC, 0, batch(&["a"]), 0), 9).await;
    // The next answer is that of the next request.
    let data = client.fetch(TOPIC, 0).await;
    assert_eq!(data.error_code, 0);
    client.send(produce("activity.nothing", 0, batch(&["a"]), 0), 9).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn acks_1_is_answered_and_read_once_it_is_durable() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    let response = ask!(client, Produce, produce(TOPIC, 0, batch(&["a"]), 1), 9);
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 0);
    let response = ask!(client, Fetch, fetch(TOPIC, 0, 60_000, 1), 11);
    assert_eq!(values(&response.responses[0].partitions[0]), [(0, "a".to_owned())]);
}

#[tokio::test]
async fn idempotent_producers_are_deduplicated() {
    let node = with_topic().await;
    let mut client = node.connect().await;
    let id = ask!(client, InitProducerId, InitProducerIdRequest::default(), 4);
    assert_eq!((id.error_code, id.producer_epoch), (0, 0));
    let other = ask!(client, InitProducerId, InitProducerIdRequest::default(), 0);
    assert_ne!(id.producer_id, other.producer_id);
    let numbered = |sequence| {
        let mut builder = BatchBuilder::new().producer(id.producer_id, 0, sequence);
        builder.push(0, None, Some(b"once"));
        builder.build().freeze()
    };
    assert_eq!(client.produce(TOPIC, numbered(0)).await.base_offset, 0);
    assert_eq!(client.produce(TOPIC, numbered(1)).await.base_offset, 1);
    let again = client.produce(TOPIC, numbered(0)).await;
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    let gap = client.produce(TOPIC, numbered(7)).await;
    assert_eq!(gap.error_code, KafkaError::OutOfOrderSequenceNumber.code());
    assert_eq!(gap.log_start_offset, 0, "the Java client retries for ever without it");
    assert_eq!(client.fetch(TOPIC, 0).await.high_watermark, 2);
}

#[tokio::test]
async fn log_append_time_is_the_servers() {
    let node = TestNode::start().await;
    node.change(Command::EditStream {
        path: "/activity".parse().expect("a path"),
        patch: StreamPatch {
            default_timestamp_type: Some(TimestampType::LogAppendTime),
            ..Default::default()
        },
    })
    .await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    let appended = client.produce(TOPIC, batch(&["a"])).await;
    assert!(appended.log_append_time_ms > 1_600_000_000_000, "{appended:?}");
    let bytes = client.fetch(TOPIC, 0).await.records.into_bytes();
    mainstem_record::check_crc(&bytes).expect("the checksum was made anew");
    let header = mainstem_record::BatchHeader::decode(&bytes).expect("a batch");
    assert_eq!(header.max_timestamp, appended.log_append_time_ms);
}
