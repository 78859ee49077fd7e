//! Brokers and topics.

use mainstem_catalog::Command;
use mainstem_types::{ErrorKind, KafkaTopicId};
use mainstem_wire::{
    KafkaError, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use crate::context::Context;
use crate::distinct::distinct;
use crate::names::{Found, Meaning};

/// Brings into being what a request mentions, where that is allowed.
pub(crate) async fn create_mentioned(ctx: &Context, request: &MetadataRequest) {
    if request.allow_auto_topic_creation {
        let mentioned = request.topics.iter().flatten().filter_map(|topic| topic.name.as_deref());
        for name in mentioned {
            create_if_allowed(ctx, name).await;
        }
    }
}

pub(crate) fn handle(ctx: &Context, version: i16, request: MetadataRequest) -> MetadataResponse {
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    let asked = asked.map(|topics| distinct(topics, |topic| (topic.name.clone(), topic.topic_id)));
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let topics = match asked {
        None => {
            let all = names.all().into_iter();
            let all = all.map(|(name, found)| known(ctx, Some(name), found.topic.kafka_id, &found));
            all.collect()
        }
        Some(asked) => {
            let described = asked.into_iter().map(|topic| match topic {
                MetadataRequestTopic { name: Some(name), .. } => match names.resolve(&name) {
                    Meaning::Topic(found) => {
                        let id = found.id_under(&name, &names);
                        known(ctx, Some(name), id, &found)
                    }
                    Meaning::Missing(..) => unknown(KafkaError::UnknownTopicOrPartition, name),
                    Meaning::Nothing if is_legal(&name) => {
                        unknown(KafkaError::UnknownTopicOrPartition, name)
                    }
                    Meaning::Nothing => unknown(KafkaError::InvalidTopic, name),
                },
                MetadataRequestTopic { topic_id, name: None } => match names.by_id(topic_id) {
                    Some(found) => known(ctx, Some(names.listed(&found)), topic_id, &found),
                    None => MetadataResponseTopic {
                        error_code: KafkaError::UnknownTopicId.code(),
                        topic_id,
                        ..Default::default()
                    },
                },
            });
            described.collect()
        }
    };
    let node_id = ctx.node.node_id();
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id,
            host: ctx.listener.host.clone(),
            port: ctx.listener.port.into(),
            rack: None,
        }],
        cluster_id: Some(catalog.cluster().id.to_string()),
        controller_id: node_id,
        topics,
        ..Default::default()
    }
}

/// Whether a topic of that name could exist if there were a stream for it. The `:` and `/` of the
/// original's names are understood, so they are no fault either.
fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    !name.is_empty() && name.chars().all(legal)
}

/// A client's mention of a topic brings it into being if its stream's settings say so.
async fn create_if_allowed(ctx: &Context, name: &str) {
    let catalog = ctx.node.catalog();
    let Meaning::Missing(stream, topic) = ctx.names(&catalog).resolve(name) else {
        return;
    };
    if !stream.may_autocreate() {
        return;
    }
    let create = Command::CreateTopic {
        stream: stream.id,
        name: topic,
        partitions: None,
        timestamp_type: None,
        config: Default::default(),
    };
    match ctx.node.engine.change(create).await {
        Ok(_) => {}
        // Another client was faster.
        Err(error) if error.kind() == ErrorKind::Exists => {}
        Err(error) => tracing::warn!(topic = name, %error, "a topic could not be created"),
    }
}

fn known(
    ctx: &Context,
    name: Option<String>,
    topic_id: KafkaTopicId,
    found: &Found,
) -> MetadataResponseTopic {
    let node_id = ctx.node.node_id();
    let partitions = found.topic.partitions.iter().zip(0..).map(|(no, partition_index)| {
        let partition = ctx.node.engine.partition(*no);
        MetadataResponsePartition {
            error_code: if partition.is_some() { 0 } else { KafkaError::LeaderNotAvailable.code() },
            partition_index,
            leader_id: if partition.is_some() { node_id } else { -1 },
            leader_epoch: partition.map_or(-1, |partition| partition.leader_epoch()),
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            offline_replicas: Vec::new(),
        }
    });
    MetadataResponseTopic { name, topic_id, partitions: partitions.collect(), ..Default::default() }
}

fn unknown(error: KafkaError, name: String) -> MetadataResponseTopic {
    MetadataResponseTopic { error_code: error.code(), name: Some(name), ..Default::default() }
}
