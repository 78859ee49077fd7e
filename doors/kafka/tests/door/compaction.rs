//! Compacted topics as Kafka clients set them up, write and read them.

use mainstem_engine::{CleanerSettings, Cleaning};
use mainstem_env::Env;
use mainstem_record::BatchBuilder;
use mainstem_wire::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig, CreatableTopic,
    CreatableTopicConfig, CreateTopicsRequest, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementallyAlterableConfig, KafkaError,
};

use crate::admin::config;
use crate::node::{Client, TestNode, ask, batch, values};
use crate::offsets::find;

const TOPIC: &str = "activity.clicks";
const POLICY: &str = "cleanup.policy";

async fn compacted() -> (TestNode, Client) {
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

#[tokio::test]
async fn settings_of_topics_are_changed_whole_or_by_steps() {
    let (_node, mut client) = compacted().await;
    let step = |name: &str, config_operation, value: Option<&str>| IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsResource {
            resource_type: 2,
            resource_name: TOPIC.to_owned(),
            configs: vec![IncrementallyAlterableConfig {
                name: name.to_owned(),
                config_operation,
                value: value.map(str::to_owned),
            }],
        }],
        validate_only: false,
    };
    for (request, error, policy) in [
        (step(POLICY, 2, Some("delete")), 0, "compact,delete"),
        (step(POLICY, 3, Some("compact")), 0, "delete"),
        (step(POLICY, 0, Some("burn")), KafkaError::InvalidConfig.code(), "delete"),
        (step("retention.ms", 2, Some("1")), KafkaError::InvalidConfig.code(), "delete"),
        (step("no.such", 0, Some("1")), KafkaError::InvalidConfig.code(), "delete"),
        (step(POLICY, 0, Some("compact")), 0, "compact"),
        (step("retention.ms", 0, Some("5000")), 0, "compact"),
    ] {
        let mut validated = request.clone();
        validated.validate_only = true;
        for request in [validated, request] {
            let answer = ask!(client, IncrementalAlterConfigs, request, 1).responses.remove(0);
            assert_eq!(answer.error_code, error, "{answer:?}");
        }
        assert_eq!(config(&mut client, TOPIC, POLICY).await, policy);
    }
    assert_eq!(config(&mut client, TOPIC, "retention.ms").await, "5000");
    let whole = |resource_type, configs| AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type,
            resource_name: TOPIC.to_owned(),
            configs,
        }],
        validate_only: false,
    };
    let value = Some("100".to_owned());
    let lag = AlterableConfig { name: "min.compaction.lag.ms".to_owned(), value };
    let answer = ask!(client, AlterConfigs, whole(2, vec![lag]), 2).responses.remove(0);
    assert_eq!(answer.error_code, 0);
    for (name, value) in
        [(POLICY, "delete"), ("retention.ms", "604800000"), ("min.compaction.lag.ms", "100")]
    {
        assert_eq!(config(&mut client, TOPIC, name).await, value, "what is not named goes back");
    }
    let broker = ask!(client, AlterConfigs, whole(4, Vec::new()), 2).responses.remove(0);
    assert_eq!(broker.error_code, KafkaError::InvalidRequest.code());
}
