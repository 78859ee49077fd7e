//! Compacted topics as Kafka clients set them up, write and read them.

use mainstem_catalog::{Command, Owner};
use mainstem_engine::{CleanerSettings, Cleaning, LinkName, Rejoin};
use mainstem_env::Env;
use mainstem_record::{BatchBuilder, Compression, HEADER_BYTES, patch_log_append_time};
use mainstem_types::{CatalogSeq, LineageEntry, StreamId, Term, TermId};
use mainstem_wire::{
    ApiKey, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, KafkaError, Response,
};

use crate::admin::elsewhere;
use crate::node::{Client, TestNode, ask, batch, fetch, produce, values};
use crate::offsets::{end_of_epoch, find};

pub(crate) const TOPIC: &str = "activity.clicks";
pub(crate) const POLICY: &str = "cleanup.policy";

pub(crate) async fn compacted() -> (TestNode, Client) {
    let node = TestNode::start().await;
    let mut client = node.connect().await;
    let value = Some("compact".to_owned());
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![CreatableTopicConfig { name: POLICY.to_owned(), value }],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    assert_eq!(ask!(client, CreateTopics, request, 7).topics[0].error_code, 0);
    (node, client)
}

fn keyed(key: &str, value: &str) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1_000, Some(key.as_bytes()), Some(value.as_bytes()));
    builder.build().freeze()
}

async fn compact(node: &TestNode) {
    let settings = CleanerSettings { interval_ms: 0, pass_interval_ms: 0, ..Default::default() };
    let mut cleaner = node.engine.cleaner(Env::system(), settings);
    let work = move || {
        loop {
            match cleaner.step() {
                Cleaning::Idle => return,
                Cleaning::Worked => {}
                Cleaning::Waiting => std::thread::sleep(std::time::Duration::from_millis(1)),
                Cleaning::Closed => panic!("the engine is open"),
            }
        }
    };
    tokio::task::spawn_blocking(work).await.expect("it ends");
}

#[tokio::test]
async fn the_newest_record_of_each_key_is_fetched_over_what_is_gone() {
    let (node, mut client) = compacted().await;
    let refused = client.produce(TOPIC, batch(&["no key"])).await;
    assert_eq!(refused.error_code, KafkaError::InvalidRecord.code());
    for n in 0..20 {
        let key = if n == 7 { "rare" } else { "often" };
        assert_eq!(client.produce(TOPIC, keyed(key, &n.to_string())).await.base_offset, n);
    }
    compact(&node).await;
    let left = [(7, "7"), (18, "18"), (19, "19")].map(|(at, value)| (at, value.to_owned()));
    assert_eq!(values(&client.fetch(TOPIC, 0).await), left, "the newest batch stays as it is");
    assert_eq!(values(&client.fetch(TOPIC, 9).await), left[1..], "from within a gap");
    let data = client.fetch(TOPIC, 20).await;
    assert_eq!((data.error_code, data.high_watermark, data.log_start_offset), (0, 20, 0));
    assert_eq!(find(&mut client, -1, 8).await.offset, 20);
    assert_eq!(find(&mut client, -2, 8).await.offset, 0);
    assert_eq!(find(&mut client, 500, 8).await.offset, 7);
    assert_eq!(client.produce(TOPIC, keyed("often", "more")).await.base_offset, 20);
}

/// A batch whose checksum is right, and whose records are `body` in zstd's name.
fn in_zstd(body: &[u8]) -> bytes::Bytes {
    const LENGTH_AT: usize = 8;
    let mut builder = BatchBuilder::new().compression(Compression::Zstd);
    builder.push(1_000, Some(b"key"), Some(b"value"));
    let mut batch = builder.build();
    batch.truncate(HEADER_BYTES);
    batch.extend_from_slice(body);
    let length = i32::try_from(batch.len() - LENGTH_AT - 4).expect("short");
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    // This makes the checksum anew.
    patch_log_append_time(&mut batch, 1_000);
    batch.freeze()
}

#[tokio::test]
async fn a_batch_that_cannot_be_unpacked_is_refused_for_what_it_is() {
    let (_node, mut client) = compacted().await;
    let refused = client.produce(TOPIC, in_zstd(b"no zstd at all")).await;
    assert_eq!(refused.error_code, KafkaError::CorruptMessage.code());
    let sentence = refused.error_message.expect("a sentence");
    assert!(sentence.contains("zstd") && !sentence.contains("key"), "{sentence}");
    // A client that is too old for zstd is told that, and nothing is unpacked for it.
    let old = ask!(client, Produce, produce(TOPIC, 0, in_zstd(b"no zstd at all"), -1), 6);
    let told = old.responses[0].partition_responses[0].error_code;
    assert_eq!(told, KafkaError::UnsupportedCompressionType.code());
    assert_eq!(client.produce(TOPIC, keyed("a", "fine")).await.base_offset, 0);
}

#[tokio::test]
async fn what_a_connection_produces_keeps_its_order_while_keys_are_looked_at() {
    let (node, mut client) = compacted().await;
    node.create_topic("/activity", "plain", 1).await;
    let mut long = BatchBuilder::new().compression(Compression::Zstd);
    let value = vec![0; 1 << 20];
    (0..8).for_each(|_| long.push(1_000, Some(b"key"), Some(&value)));
    let batches = [long.build().freeze(), keyed("key", "short"), batch(&["no key"])];
    for batch in &batches {
        let mut request = produce(TOPIC, 0, batch.clone(), -1);
        request.topic_data.extend(produce("activity.plain", 0, batch.clone(), -1).topic_data);
        client.send(request, 9).await;
    }
    let invalid = KafkaError::InvalidRecord.code();
    for expected in [[(0, 0), (0, 0)], [(0, 8), (0, 8)], [(invalid, -1), (0, 9)]] {
        let (_, Response::Produce(told)) = client.receive(ApiKey::Produce, 9).await else {
            panic!("the answer to another request");
        };
        let told = told.responses.iter().map(|topic| &topic.partition_responses[0]);
        let told: Vec<_> = told.map(|told| (told.error_code, told.base_offset)).collect();
        assert_eq!(told, expected);
    }
}

/// Old master of the topic, whose successor goes on after the first two of five records. Compaction
/// took the first two for superseded.
async fn rejoined() -> (TestNode, Client) {
    let (node, mut client) = compacted().await;
    for value in ["0", "1", "2", "3", "4"] {
        assert_eq!(client.produce(TOPIC, keyed("often", value)).await.error_code, 0);
    }
    compact(&node).await;
    let (stream, successor) = (node.stream("/activity"), StreamId::from_random(9));
    let upstream = elsewhere();
    node.change(Command::AddUpstream { stream, upstream, stream_id: Some(successor) }).await;
    let catalog = node.engine.catalog();
    let origin = catalog.stream(stream).unwrap().topics.values().next().unwrap().origin;
    let term = Term { number: 2, id: TermId(401) };
    let terms = vec![(origin, Owner { stream: successor, term })];
    node.change(Command::MeetTerms { stream, seen: term, terms }).await;
    let (source, source_id) = (elsewhere(), successor);
    let source_seq = CatalogSeq::default();
    let catalog = node.change(Command::OpenLink { stream, source, source_id, source_seq }).await;
    let link_epoch = catalog.stream(stream).unwrap().upstream_by_id(successor).unwrap().link_epoch;
    let link = LinkName { stream, upstream: successor, link_epoch };
    let partition = node.engine.partition(node.partition("/activity", "clicks", 0)).unwrap();
    let begun = LineageEntry {
        leader_epoch: 1,
        start_offset: 2,
        term_id: term.id,
        owner: successor,
        markers: 0,
    };
    let lineage = vec![partition.lineage().entries()[0], begun];
    let rejoin = Rejoin { link, topic: origin, partition: 0, lineage, source_end: 2 };
    assert_eq!(node.engine.rejoin(rejoin).await, Ok(0));
    (node, client)
}

#[tokio::test]
async fn readers_wait_for_what_is_copied_anew() {
    let (_node, mut client) = rejoined().await;
    assert_eq!(client.fetch(TOPIC, 0).await.error_code, 0, "the next that comes");
    for offset in [1, 2] {
        let told = client.fetch(TOPIC, offset).await;
        assert_eq!(
            told.error_code,
            KafkaError::OffsetNotAvailable.code(),
            "not to begin elsewhere"
        );
    }
    let beyond = client.fetch(TOPIC, 3).await;
    assert_eq!(beyond.error_code, KafkaError::OffsetOutOfRange.code(), "that was set aside");
    // Nor is a reader of the epoch before sent back.
    let mut request = fetch(TOPIC, 2, 0, 0);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let told = ask!(client, Fetch, request, 12).responses[0].partitions[0].clone();
    assert_eq!(told.error_code, KafkaError::OffsetNotAvailable.code());
    assert_eq!(told.diverging_epoch.end_offset, -1);
    assert_eq!(end_of_epoch(&mut client, 0).await.error_code, told.error_code);
}
