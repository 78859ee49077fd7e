//! Topics deleted, grown and trimmed.

use mainstem_catalog::{Command, TopicPatch};
use mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX;
use mainstem_types::{Error, KafkaTopicId};
use mainstem_wire::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult, DeletableTopicResult, DeleteRecordsPartition,
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    KafkaError,
};

use crate::answer::code;
use crate::context::Context;
use crate::names::Found;

/// From this version on topics may go by their ids.
const TOPIC_IDS_FROM: i16 = 6;

type Told = (i16, String);

fn told(error: &Error) -> Told {
    (code(error), error.to_string())
}

fn unknown(topic: &str) -> Told {
    (KafkaError::UnknownTopicOrPartition.code(), format!("there is no topic {topic} here"))
}

pub(crate) async fn delete(
    ctx: &Context,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<DeleteTopicState> = if version < TOPIC_IDS_FROM {
        let names = request.topic_names.into_iter();
        names.map(|name| DeleteTopicState { name: Some(name), ..Default::default() }).collect()
    } else {
        request.topics
    };
    let mut responses = Vec::new();
    for topic in asked {
        responses.push(delete_one(ctx, topic).await);
    }
    DeleteTopicsResponse { responses, ..Default::default() }
}

async fn delete_one(ctx: &Context, asked: DeleteTopicState) -> DeletableTopicResult {
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let (found, missing) = match &asked.name {
        Some(name) => (names.resolve(name).found(), unknown(name)),
        None => {
            let sentence = format!("there is no topic with id {}", asked.topic_id);
            (names.by_id(asked.topic_id), (KafkaError::UnknownTopicId.code(), sentence))
        }
    };
    let Some(found) = found else {
        let (error_code, sentence) = missing;
        let DeleteTopicState { name, topic_id } = asked;
        return DeletableTopicResult { name, topic_id, error_code, error_message: Some(sentence) };
    };
    let name = asked.name.unwrap_or_else(|| names.listed(&found));
    let topic_id: KafkaTopicId = found.id_under(&name, &names);
    let command = Command::DeleteTopic { stream: found.stream.id, topic: found.topic.origin };
    let (error_code, error_message) = match ctx.node.engine.change(command).await {
        Ok(_) => (0, None),
        Err(error) => (code(&error), Some(error.to_string())),
    };
    DeletableTopicResult { name: Some(name), topic_id, error_code, error_message }
}

pub(crate) async fn create_partitions(
    ctx: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::new();
    for topic in request.topics {
        let (error_code, error_message) = match grow(ctx, &topic, request.validate_only).await {
            Ok(()) => (0, None),
            Err((error_code, sentence)) => (error_code, Some(sentence)),
        };
        results.push(CreatePartitionsTopicResult { name: topic.name, error_code, error_message });
    }
    CreatePartitionsResponse { results, ..Default::default() }
}

async fn grow(
    ctx: &Context,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Told> {
    let catalog = ctx.node.catalog();
    let found = ctx.names(&catalog).resolve(&topic.name).found();
    let found = found.ok_or_else(|| unknown(&topic.name))?;
    let now = found.topic.partition_count();
    let count = u32::try_from(topic.count).ok();
    let count = count.filter(|count| (now + 1..=PARTITIONS_PER_TOPIC_MAX).contains(count));
    let count = count.ok_or_else(|| {
        let sentence = format!(
            "{} has {now} partitions; the new number is above that and at most \
             {PARTITIONS_PER_TOPIC_MAX}",
            topic.name
        );
        (KafkaError::InvalidPartitions.code(), sentence)
    })?;
    let command = Command::EditTopic {
        stream: found.stream.id,
        topic: found.topic.origin,
        patch: TopicPatch { partitions: Some(count), ..Default::default() },
    };
    if validate_only {
        let random = || ctx.node.env.random.next_u128();
        let now_ms = ctx.node.env.clock.wall_ms();
        return catalog.decide(&command, &random, now_ms).map(drop).map_err(|e| told(&e));
    }
    ctx.node.engine.change(command).await.map(drop).map_err(|error| told(&error))
}

pub(crate) async fn delete_records(
    ctx: &Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::new();
    for topic in request.topics {
        let catalog = ctx.node.catalog();
        let found = ctx.names(&catalog).resolve(&topic.name).found();
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let trimmed = trim(ctx, found.as_ref(), &asked).await;
            let (low_watermark, error_code) = match trimmed {
                Ok(low_watermark) => (low_watermark, 0),
                Err(error_code) => (-1, error_code),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code,
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

async fn trim(
    ctx: &Context,
    found: Option<&Found>,
    asked: &DeleteRecordsPartition,
) -> Result<i64, i16> {
    let unknown = || KafkaError::UnknownTopicOrPartition.code();
    let found = found.ok_or_else(unknown)?;
    let no = found.partition(asked.partition_index).ok_or_else(unknown)?;
    let partition = ctx.node.engine.partition(no).ok_or_else(unknown)?;
    // A replica's start moves by its own retention and by its owner's trims.
    found.stream.check_local_write(&found.topic).map_err(|error| code(&error))?;
    let high_watermark = partition.high_watermark();
    let log_start = if asked.offset == -1 { high_watermark } else { asked.offset };
    if !(0..=high_watermark).contains(&log_start) {
        return Err(KafkaError::OffsetOutOfRange.code());
    }
    ctx.node.engine.trim(no, log_start).await.map_err(|error| code(&error))
}
