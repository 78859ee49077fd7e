//! Settings of topics, changed.

use mainstem_catalog::{Command, StreamPatch};
use mainstem_types::TimestampType;
use mainstem_types::limits::METADATA_LENGTH_MAX;
use mainstem_wire::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementallyAlterableConfig, KafkaError,
};

use crate::admin::config;
use crate::compaction::{POLICY, TOPIC, compacted};
use crate::node::ask;

fn alter(configs: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let configs = configs.iter().map(|(name, operation, value)| IncrementallyAlterableConfig {
        name: (*name).to_owned(),
        config_operation: *operation,
        value: value.map(str::to_owned),
    });
    IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsResource {
            resource_type: 2,
            resource_name: TOPIC.to_owned(),
            configs: configs.collect(),
        }],
        validate_only: false,
    }
}

fn replace(configs: &[(&str, Option<&str>)]) -> AlterConfigsRequest {
    let configs = configs.iter().map(|(name, value)| AlterableConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    });
    AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: TOPIC.to_owned(),
            configs: configs.collect(),
        }],
        validate_only: false,
    }
}

#[tokio::test]
async fn settings_that_are_named_twice_or_not_known_or_too_long_are_refused() {
    const LIST: &str = "leader.replication.throttled.replicas";
    let (_node, mut client) = compacted().await;
    let long = "1,".repeat(METADATA_LENGTH_MAX / 2 + 1);
    let (twice, config) = (KafkaError::InvalidRequest.code(), KafkaError::InvalidConfig.code());
    for (configs, error) in [
        (vec![("retention.ms", 0, Some("1")), ("retention.ms", 0, Some("2"))], twice),
        (vec![(LIST, 2, Some("1")), (LIST, 2, Some("2"))], twice),
        (vec![("retention.ms", 0, Some("1")), ("retention.ms", 1, None)], twice),
        (vec![(LIST, 2, Some(&long))], config),
        (vec![("no.such", 1, None)], config),
        (vec![("no.such", 1, Some("1"))], config),
        (vec![(LIST, 2, Some("1")), ("retention.ms", 0, Some("1"))], 0),
        (vec![("retention.ms", 1, None)], 0),
    ] {
        let answer = ask!(client, IncrementalAlterConfigs, alter(&configs), 1).responses.remove(0);
        assert_eq!(answer.error_code, error, "{answer:?}");
    }
    for (configs, error) in [
        (vec![("retention.ms", Some("1")), ("retention.ms", Some("1"))], twice),
        (vec![("retention.ms", Some("1")), ("retention.ms", None)], twice),
        (vec![(LIST, Some(&long[..]))], config),
        (vec![("no.such", None)], config),
        (vec![("retention.ms", None)], 0),
    ] {
        let answer = ask!(client, AlterConfigs, replace(&configs), 2).responses.remove(0);
        assert_eq!(answer.error_code, error, "{answer:?}");
    }
}

#[tokio::test]
async fn the_timestamp_type_goes_back_to_what_the_stream_says() {
    const NAME: &str = "message.timestamp.type";
    let (node, mut client) = compacted().await;
    for (ours, streams) in
        [("LogAppendTime", TimestampType::CreateTime), ("CreateTime", TimestampType::LogAppendTime)]
    {
        let patch = StreamPatch { default_timestamp_type: Some(streams), ..StreamPatch::default() };
        let path = "/activity".parse().expect("a path");
        node.change(Command::EditStream { path, patch }).await;
        let theirs = if ours == "CreateTime" { "LogAppendTime" } else { "CreateTime" };
        for by_steps in [true, false] {
            let set = ask!(client, IncrementalAlterConfigs, alter(&[(NAME, 0, Some(ours))]), 1);
            assert_eq!(set.responses[0].error_code, 0);
            assert_eq!(config(&mut client, TOPIC, NAME).await, ours);
            let other = alter(&[("retention.ms", 0, Some("1000"))]);
            let kept = ask!(client, IncrementalAlterConfigs, other, 1);
            assert_eq!(kept.responses[0].error_code, 0);
            assert_eq!(config(&mut client, TOPIC, NAME).await, ours, "it was not named");
            let told = if by_steps {
                let delete = alter(&[(NAME, 1, None)]);
                ask!(client, IncrementalAlterConfigs, delete, 1).responses.remove(0)
            } else {
                let without = replace(&[("retention.ms", Some("1000"))]);
                ask!(client, AlterConfigs, without, 2).responses.remove(0)
            };
            assert_eq!(told.error_code, 0, "{told:?}");
            assert_eq!(config(&mut client, TOPIC, NAME).await, theirs, "by steps: {by_steps}");
        }
    }
}

#[tokio::test]
async fn settings_of_topics_are_changed_whole_or_by_steps() {
    let (_node, mut client) = compacted().await;
    for (request, error, policy) in [
        (alter(&[(POLICY, 2, Some("delete"))]), 0, "compact,delete"),
        (alter(&[(POLICY, 3, Some("compact"))]), 0, "delete"),
        (alter(&[(POLICY, 0, Some("burn"))]), KafkaError::InvalidConfig.code(), "delete"),
        (alter(&[("retention.ms", 2, Some("1"))]), KafkaError::InvalidConfig.code(), "delete"),
        (alter(&[("no.such", 0, Some("1"))]), KafkaError::InvalidConfig.code(), "delete"),
        (alter(&[(POLICY, 0, Some("compact"))]), 0, "compact"),
        (alter(&[("retention.ms", 0, Some("5000"))]), 0, "compact"),
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
    let lag = replace(&[("min.compaction.lag.ms", Some("100"))]);
    let answer = ask!(client, AlterConfigs, lag, 2).responses.remove(0);
    assert_eq!(answer.error_code, 0);
    for (name, value) in
        [(POLICY, "delete"), ("retention.ms", "604800000"), ("min.compaction.lag.ms", "100")]
    {
        assert_eq!(config(&mut client, TOPIC, name).await, value, "what is not named goes back");
    }
    let mut broker = replace(&[]);
    broker.resources[0].resource_type = 4;
    let broker = ask!(client, AlterConfigs, broker, 2).responses.remove(0);
    assert_eq!(broker.error_code, KafkaError::InvalidRequest.code());
}
