//! Transactions: what takes part, and how they end.

use mainstem_engine::TransactionalProducer;
use mainstem_group::MemberRef;
use mainstem_types::{Error, ErrorKind, GroupId, PartitionNo, TransactionalId};
use mainstem_wire::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, KafkaError, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use crate::answer::{Answer, code};
use crate::commit::{Position, cursor_commit};
use crate::context::Context;
use crate::join::group_code;

/// From these versions on clients know PRODUCER_FENCED; before, they are told that their epoch is
/// over, which means the same.
const FENCED_FROM_INIT: i16 = 4;
const FENCED_FROM: i16 = 2;

/// A transactional producer begins, and fences the one that had the id before. Gives its id and
/// epoch; `known` is what it had.
pub(crate) async fn begin(
    ctx: &Context,
    version: i16,
    request: &InitProducerIdRequest,
    id: &str,
    known: Option<(i64, i16)>,
) -> Result<(i64, i16), i16> {
    let id: TransactionalId = id.parse().map_err(|_| KafkaError::InvalidRequest.code())?;
    let begun = ctx.node.engine.begin_producer(&id, known, request.transaction_timeout_ms).await;
    begun.map_err(|error| {
        tracing::info!(transactional_id = %id, %error, "a producer could not begin");
        match error.kind() {
            // Nothing else can be wrong with this request.
            ErrorKind::Invalid => KafkaError::InvalidTransactionTimeout.code(),
            _ => coordinator_code(&error, version >= FENCED_FROM_INIT),
        }
    })
}

/// All partitions of a transaction are added, or none: then those that are at fault are told so,
/// and the others that nothing was attempted.
pub(crate) async fn add_partitions(
    ctx: &Context,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if version < 4 {
        let producer = (request.transactional_id, request.producer_id, request.producer_epoch);
        let results_by_topic = add_to_one(ctx, version, producer, &request.topics, false).await;
        return AddPartitionsToTxnResponse { results_by_topic, ..Default::default() };
    }
    let mut results_by_transaction = Vec::new();
    for one in request.transactions {
        let producer = (one.transactional_id.clone(), one.producer_id, one.producer_epoch);
        let topic_results = add_to_one(ctx, version, producer, &one.topics, one.verify_only).await;
        let transactional_id = one.transactional_id;
        results_by_transaction.push(AddPartitionsToTxnResult { transactional_id, topic_results });
    }
    AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
}

async fn add_to_one(
    ctx: &Context,
    version: i16,
    producer: (String, i64, i16),
    topics: &[AddPartitionsToTxnTopic],
    verify_only: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let checked: Vec<(&AddPartitionsToTxnTopic, Vec<Result<PartitionNo, i16>>)> = {
        let catalog = ctx.node.catalog();
        let names = ctx.names(&catalog);
        let one = |topic: &str, index: i32| {
            let found = names.partition(topic, index);
            let (found, no) = found.ok_or(KafkaError::UnknownTopicOrPartition.code())?;
            let written = found.stream.check_local_write(&found.topic);
            // On its way to another owner: all of it is tried again.
            let waits = |error: &Error| error.kind() == ErrorKind::HandingOver;
            match written {
                Err(error) if !waits(&error) => Err(code(&error)),
                _ => Ok(no),
            }
        };
        let all = topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| one(&topic.name, *index));
            (topic, partitions.collect())
        });
        all.collect()
    };
    let faults = checked.iter().flat_map(|(_, partitions)| partitions).any(Result::is_err);
    let whole = if faults {
        KafkaError::OperationNotAttempted.code()
    } else if verify_only {
        // What is produced is verified as it is appended; nobody else asks.
        KafkaError::InvalidRequest.code()
    } else {
        let partitions =
            checked.iter().flat_map(|(_, partitions)| partitions.iter().flatten()).copied();
        let partitions = partitions.collect();
        let added = match named(&producer.0, producer.1, producer.2) {
            Ok(producer) => ctx.node.engine.add_to_transaction(producer, partitions).await,
            Err(error) => Err(error),
        };
        told(added, version)
    };
    let topic = |(topic, partitions): (&AddPartitionsToTxnTopic, Vec<Result<PartitionNo, i16>>)| {
        let partitions = topic.partitions.iter().zip(partitions).map(|(index, checked)| {
            AddPartitionsToTxnPartitionResult {
                partition_index: *index,
                partition_error_code: checked.err().unwrap_or(whole),
            }
        });
        AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: partitions.collect(),
        }
    };
    checked.into_iter().map(topic).collect()
}

/// A group's offsets take part.
pub(crate) async fn add_offsets(
    ctx: &Context,
    version: i16,
    request: &AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let Ok(group) = request.group_id.parse::<GroupId>() else {
        let error_code = KafkaError::InvalidGroupId.code();
        return AddOffsetsToTxnResponse { error_code, ..Default::default() };
    };
    let producer = named(&request.transactional_id, request.producer_id, request.producer_epoch);
    let added = match producer {
        Ok(producer) => ctx.node.engine.add_group_to_transaction(producer, group).await,
        Err(error) => Err(error),
    };
    AddOffsetsToTxnResponse { error_code: told(added, version), ..Default::default() }
}

/// A transaction ends: that is in the engine's order when this returns, and the answer comes when
/// it is true, at synchronous replicas too.
pub(crate) async fn end(ctx: &Context, version: i16, request: EndTxnRequest) -> Answer {
    let producer = named(&request.transactional_id, request.producer_id, request.producer_epoch);
    let ending = match producer {
        Ok(producer) => ctx.node.engine.queue_end_transaction(producer, request.committed).await,
        Err(error) => Err(error),
    };
    Answer::later(async move {
        let ended = match ending {
            Ok(ending) => ending.await,
            Err(error) => Err(error),
        };
        if let Err(error) = &ended {
            tracing::info!(transactional_id = request.transactional_id, %error, "a transaction did not end");
        }
        EndTxnResponse { error_code: told(ended, version), ..Default::default() }
    })
}

/// Offsets that move by a transaction's commit. As in Kafka those of partitions that are not known
/// are refused one by one, and the others take part.
pub(crate) async fn commit_offsets(
    ctx: &Context,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let member = MemberRef {
        member_id: request.member_id.clone(),
        instance_id: request.group_instance_id.clone(),
        generation: request.generation_id,
    };
    let allowed = match request.group_id.parse::<GroupId>() {
        Ok(group) => {
            let checked =
                ctx.node.groups.with(|c, _| c.check_transactional_commit(&group, &member));
            checked.map(|()| group).map_err(|error| group_code(Err(error)))
        }
        Err(_) => Err(KafkaError::InvalidGroupId.code()),
    };
    let (mut commits, mut codes) = (Vec::new(), Vec::new());
    {
        let catalog = ctx.node.catalog();
        let names = ctx.names(&catalog);
        for topic in &request.topics {
            for partition in &topic.partitions {
                let position = Position {
                    partition_index: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_ref(),
                };
                let commit = allowed.as_ref().map_err(|code| *code).and_then(|group| {
                    cursor_commit(&names, group, &topic.name, &position).map_err(KafkaError::code)
                });
                codes.push(commit.as_ref().map_or_else(|code| *code, |_| 0));
                commits.extend(commit);
            }
        }
    }
    if !commits.is_empty() {
        let producer =
            named(&request.transactional_id, request.producer_id, request.producer_epoch);
        let kept = match producer {
            Ok(producer) => ctx.node.engine.commit_cursors_in_transaction(producer, commits).await,
            Err(error) => Err(error),
        };
        // No version of this api knows PRODUCER_FENCED.
        let code = kept.map_or_else(|error| coordinator_code(&error, false), |()| 0);
        codes.iter_mut().filter(|told| **told == 0).for_each(|told| *told = code);
    }
    let mut codes = codes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(codes.by_ref());
        let partitions = partitions.map(|(partition, error_code)| {
            let partition_index = partition.partition_index;
            TxnOffsetCommitResponsePartition { partition_index, error_code }
        });
        TxnOffsetCommitResponseTopic { partitions: partitions.collect(), name: topic.name }
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn named(id: &str, producer_id: i64, epoch: i16) -> Result<TransactionalProducer, Error> {
    let id: TransactionalId = id.parse()?;
    Ok(TransactionalProducer { id, producer_id, epoch })
}

fn told(result: Result<(), Error>, version: i16) -> i16 {
    result.map_or_else(|error| coordinator_code(&error, version >= FENCED_FROM), |()| 0)
}

/// The code for an error of the coordinator, which has no leader: what clients retry there has
/// another number.
fn coordinator_code(error: &Error, knows_fenced: bool) -> i16 {
    match error.kind() {
        ErrorKind::HandingOver
        | ErrorKind::Retry
        | ErrorKind::ReplicaLate
        | ErrorKind::ReplicaMissing => KafkaError::CoordinatorLoadInProgress.code(),
        ErrorKind::ProducerFenced if !knows_fenced => KafkaError::InvalidProducerEpoch.code(),
        _ => code(error),
    }
}
