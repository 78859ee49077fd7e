//! New topics.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_catalog::Command;
use mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX;
use mainstem_types::{ErrorKind, KafkaTopicId, TimestampType};
use mainstem_wire::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, KafkaError,
};

use crate::answer::{Refusal, code};
use crate::configs::{TIMESTAMP_TYPE, check_topic_config, check_topic_config_name, topic_configs};
use crate::context::Context;
use crate::names::{Found, Meaning};

/// Every partition is kept by one node; what makes it last elsewhere is a replica of its stream.
const REPLICATION_FACTOR: i16 = 1;

pub(crate) async fn handle(
    ctx: &Context,
    version: i16,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<String> = request
        .topics
        .iter()
        .filter(|topic| !seen.insert(topic.name.clone()))
        .map(|topic| topic.name.clone())
        .collect();
    let mut topics = Vec::new();
    for topic in request.topics {
        if twice.contains(&topic.name) {
            let sentence = "the request names this topic more than once".to_owned();
            topics.push(refused(topic.name, KafkaError::InvalidRequest.code(), sentence));
            continue;
        }
        topics.push(match create(ctx, &topic, request.validate_only).await {
            Ok(created) => describe(ctx, version, topic, created),
            Err((error_code, sentence)) => refused(topic.name, error_code, sentence),
        });
    }
    CreateTopicsResponse { topics, ..Default::default() }
}

async fn create(
    ctx: &Context,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Option<Found>, (i16, String)> {
    let command =
        command(ctx, topic).map_err(|(error, sentence): Refusal| (error.code(), sentence))?;
    let told = |error: mainstem_types::Error| {
        let error_code = match error.kind() {
            ErrorKind::Exists => KafkaError::TopicAlreadyExists.code(),
            _ => code(&error),
        };
        (error_code, error.to_string())
    };
    let catalog = ctx.node.catalog();
    if validate_only {
        let random = || ctx.node.env.random.next_u128();
        let now_ms = ctx.node.env.clock.wall_ms();
        return catalog.decide(&command, &random, now_ms).map(|_| None).map_err(told);
    }
    let catalog = ctx.node.engine.change(command).await.map_err(told)?;
    Ok(ctx.names(&catalog).resolve(&topic.name).found())
}

fn command(ctx: &Context, topic: &CreatableTopic) -> Result<Command, Refusal> {
    let catalog = ctx.node.catalog();
    let (stream, name) = match ctx.names(&catalog).resolve(&topic.name) {
        Meaning::Topic(_) => {
            let sentence = format!("topic {} already exists", topic.name);
            return Err((KafkaError::TopicAlreadyExists, sentence));
        }
        Meaning::Missing(stream, name) => (stream, name),
        Meaning::Nothing => {
            let sentence = format!(
                "{} begins with no stream's name; a topic is named <stream>.<topic>, and streams \
                 are created with `stream create`",
                topic.name
            );
            return Err((KafkaError::InvalidTopic, sentence));
        }
    };
    if topic.replication_factor == 0 || topic.replication_factor < -1 {
        let sentence = format!("a replication factor of {}", topic.replication_factor);
        return Err((KafkaError::InvalidReplicationFactor, sentence));
    }
    let mut config = BTreeMap::new();
    for entry in &topic.configs {
        let checked = match &entry.value {
            Some(value) => check_topic_config(&entry.name, value),
            None => check_topic_config_name(&entry.name),
        };
        checked.map_err(|sentence| (KafkaError::InvalidConfig, sentence))?;
        config.extend(entry.value.clone().map(|value| (entry.name.clone(), value)));
    }
    // The type is a property of the topic, not a mere setting.
    let timestamp_type: Option<TimestampType> =
        config.remove(TIMESTAMP_TYPE).and_then(|value| value.parse().ok());
    let partitions = partitions(topic)?;
    Ok(Command::CreateTopic { stream: stream.id, name, partitions, timestamp_type, config })
}

/// `None` for the stream's default. Where replicas lie is not for the client to say.
fn partitions(topic: &CreatableTopic) -> Result<Option<u32>, Refusal> {
    let asked = match topic.num_partitions {
        -1 if topic.assignments.is_empty() => return Ok(None),
        -1 => i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX),
        asked => asked,
    };
    match u32::try_from(asked) {
        Ok(count @ 1..=PARTITIONS_PER_TOPIC_MAX) => Ok(Some(count)),
        _ => {
            let sentence = format!("{asked} partitions; give 1 to {PARTITIONS_PER_TOPIC_MAX}");
            Err((KafkaError::InvalidPartitions, sentence))
        }
    }
}

fn describe(
    ctx: &Context,
    version: i16,
    topic: CreatableTopic,
    created: Option<Found>,
) -> CreatableTopicResult {
    let Some(found) = created else {
        return CreatableTopicResult { name: topic.name, configs: None, ..Default::default() };
    };
    let catalog = ctx.node.catalog();
    let topic_id: KafkaTopicId = found.id_under(&topic.name, &ctx.names(&catalog));
    let configs = topic_configs(&found).into_iter().filter(|_| version >= 5).map(|config| {
        CreatableTopicConfigs {
            name: config.name.to_owned(),
            value: Some(config.value),
            read_only: false,
            config_source: config.source,
            is_sensitive: false,
        }
    });
    CreatableTopicResult {
        name: topic.name,
        topic_id,
        num_partitions: i32::try_from(found.topic.partition_count()).unwrap_or(i32::MAX),
        replication_factor: REPLICATION_FACTOR,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn refused(name: String, error_code: i16, sentence: String) -> CreatableTopicResult {
    let error_message = Some(sentence);
    CreatableTopicResult { name, error_code, error_message, ..Default::default() }
}
