//! Produce: record batches in.

use std::sync::Arc;

use bytes::Bytes;
use mainstem_engine::{Ack, Append, Appended, Engine};
use mainstem_record::{Compression, RecordError, RecordErrorKind, check_produced};
use mainstem_types::limits::BATCH_BYTES_MAX;
use mainstem_types::{Error, ErrorKind, PartitionNo};
use mainstem_wire::{
    KafkaError, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};

use crate::answer::{Answer, Outcome, Refusal, code};
use crate::context::Context;
use crate::names::Names;

/// Older versions carry message formats that are not spoken here. They are advertised because some
/// clients look for version 0.
const VERSION_MIN: i16 = 3;
/// Before this version clients are not told of zstd.
const ZSTD_FROM: i16 = 7;

/// One partition's part of a request, in the request's order.
struct Part {
    topic: Arc<str>,
    index: i32,
    /// Where it went, or why it was refused before it reached the engine.
    sent: Result<PartitionNo, Refusal>,
}

/// What was found right so far and may go into the engine's order.
struct Candidate {
    /// The place of its part in the request.
    part: usize,
    append: Append,
    /// The topic is compacted, and takes records with a key only.
    needs_keys: bool,
}

/// Checks the batches and puts them into the engine's order; the answer comes when it is true.
pub(crate) async fn submit(
    ctx: &Context,
    version: i16,
    request: ProduceRequest,
    frame_bytes: usize,
) -> Answer {
    let ack = match request.acks {
        -1 => Some(Ack::Durable),
        1 => Some(Ack::Written),
        0 => Some(Ack::None),
        _ => None,
    };
    let silent = request.acks == 0;
    let whole = if version < VERSION_MIN {
        let sentence =
            "message formats 0 and 1 are not served; produce with a client of 2017 or later";
        Some((KafkaError::UnsupportedVersion, sentence.to_owned()))
    } else if ack.is_none() {
        let sentence = format!("acks={} is none of 0, 1 and all", request.acks);
        Some((KafkaError::InvalidRequiredAcks, sentence))
    } else {
        None
    };
    let (mut parts, candidates) = sort_out(ctx, version, request, whole.as_ref());
    let mut appends = with_keys(ctx, &mut parts, candidates).await;
    appends.iter_mut().for_each(|append| release_frame(append, frame_bytes));
    let ack = ack.unwrap_or(Ack::Durable);
    let appending =
        if appends.is_empty() { None } else { Some(ctx.node.engine.append(appends, ack).await) };
    let engine = ctx.node.engine.clone();
    Answer::Later(Box::pin(async move {
        let results = match appending {
            None => Vec::new(),
            Some(Ok(appending)) => match appending.await {
                Ok(results) => results,
                Err(error) => vec![Err(error); parts.len()],
            },
            Some(Err(error)) => vec![Err(error); parts.len()],
        };
        if silent { silence(&parts, &results) } else { respond(&engine, parts, results) }
    }))
}

/// A batch that is most of its frame keeps the frame's memory, and is stamped there. Any other is
/// copied: it may stay in memory for long, and would hold the whole frame with it.
fn release_frame(append: &mut Append, frame_bytes: usize) {
    if append.batch.len() < frame_bytes / 2 {
        append.batch = Bytes::copy_from_slice(&append.batch);
    }
}

fn sort_out(
    ctx: &Context,
    version: i16,
    request: ProduceRequest,
    whole: Option<&Refusal>,
) -> (Vec<Part>, Vec<Candidate>) {
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let mut parts = Vec::new();
    let mut candidates = Vec::new();
    for topic in request.topic_data {
        let name: Arc<str> = topic.name.into();
        for partition in topic.partition_data {
            let checked = match whole {
                Some(refusal) => Err(refusal.clone()),
                None => check(&names, version, &name, partition.index, partition.records),
            };
            let sent = checked.map(|(append, needs_keys)| {
                let (part, partition) = (parts.len(), append.partition);
                candidates.push(Candidate { part, append, needs_keys });
                partition
            });
            parts.push(Part { topic: name.clone(), index: partition.index, sent });
        }
    }
    (parts, candidates)
}

/// Those that may be appended, in the request's order; parts that lack keys are told so.
async fn with_keys(ctx: &Context, parts: &mut [Part], candidates: Vec<Candidate>) -> Vec<Append> {
    let mut appends = Vec::with_capacity(candidates.len());
    for Candidate { part, append, needs_keys } in candidates {
        let checked = if needs_keys { check_keys(ctx, &append.batch).await } else { Ok(()) };
        match checked {
            Ok(()) => appends.push(append),
            Err(refusal) => parts[part].sent = Err(refusal),
        }
    }
    appends
}

async fn check_keys(ctx: &Context, batch: &Bytes) -> Result<(), Refusal> {
    match ctx.node.key_checks.check(batch.clone()).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let sentence = "a compacted topic takes records with a key only".to_owned();
            Err((KafkaError::InvalidRecord, sentence))
        }
        Err(error) => Err(refused_batch(&error)),
    }
}

/// What to append, and whether its records need keys.
fn check(
    names: &Names<'_>,
    version: i16,
    topic: &str,
    index: i32,
    records: Option<Bytes>,
) -> Result<(Append, bool), Refusal> {
    let (found, partition) = names.partition(topic, index).ok_or_else(|| {
        (KafkaError::UnknownTopicOrPartition, format!("{topic} has no partition {index} here"))
    })?;
    found
        .stream
        .check_local_write(&found.topic)
        .map_err(|error| (write_error(&error), error.to_string()))?;
    let batch = records.unwrap_or_default();
    if batch.len() > BATCH_BYTES_MAX {
        let sentence = format!("a batch of {} bytes; the most is {BATCH_BYTES_MAX}", batch.len());
        return Err((KafkaError::MessageTooLarge, sentence));
    }
    let header = check_produced(&batch).map_err(|error| refused_batch(&error))?;
    if version < ZSTD_FROM && header.attributes.compression() == Ok(Compression::Zstd) {
        let sentence = format!("zstd needs Produce version {ZSTD_FROM} or later");
        return Err((KafkaError::UnsupportedCompressionType, sentence));
    }
    let needs_keys = found.stream.compaction_of(&found.topic).is_some();
    Ok((Append { partition, batch }, needs_keys))
}

fn write_error(error: &Error) -> KafkaError {
    match error.kind() {
        // Clients look again for who leads, and retry.
        ErrorKind::HandingOver => KafkaError::NotLeaderOrFollower,
        _ => KafkaError::PolicyViolation,
    }
}

fn refused_batch(error: &RecordError) -> Refusal {
    (record_error(error), format!("the batch was refused: {error}"))
}

fn record_error(error: &RecordError) -> KafkaError {
    if let RecordError::Magic(0 | 1) = error {
        return KafkaError::UnsupportedForMessageFormat;
    }
    match error.kind() {
        RecordErrorKind::Corrupt => KafkaError::CorruptMessage,
        RecordErrorKind::Invalid => KafkaError::InvalidRecord,
        RecordErrorKind::UnsupportedCompression => KafkaError::UnsupportedCompressionType,
        RecordErrorKind::TooLarge => KafkaError::MessageTooLarge,
    }
}

/// A client that asked for no answer learns of a fault by losing its connection.
fn silence(parts: &[Part], results: &[Result<Appended, Error>]) -> Outcome {
    let refused = parts.iter().find_map(|part| {
        let (error, sentence) = part.sent.as_ref().err()?;
        Some(format!("acks=0 to {}: {error}: {sentence}", part.topic))
    });
    let failed = || results.iter().find_map(|r| r.as_ref().err().map(|e| format!("acks=0: {e}")));
    match refused.or_else(failed) {
        Some(fault) => Outcome::Close(fault),
        None => Outcome::Silence,
    }
}

fn respond(engine: &Engine, parts: Vec<Part>, results: Vec<Result<Appended, Error>>) -> Outcome {
    let mut results = results.into_iter();
    let mut topics: Vec<TopicProduceResponse> = Vec::new();
    for part in parts {
        let response = match part.sent {
            Err((error, sentence)) => refused(part.index, error.code(), sentence),
            Ok(partition) => match results.next() {
                Some(Ok(appended)) => accepted(part.index, &appended),
                Some(Err(error)) => PartitionProduceResponse {
                    // By this the Java client tells records that have expired from lost ones.
                    log_start_offset: engine.partition(partition).map_or(-1, |p| p.log_start()),
                    ..refused(part.index, code(&error), error.to_string())
                },
                None => unreachable!("the engine answers every append"),
            },
        };
        match topics.last_mut() {
            Some(last) if *last.name == *part.topic => last.partition_responses.push(response),
            _ => topics.push(TopicProduceResponse {
                name: part.topic.to_string(),
                partition_responses: vec![response],
            }),
        }
    }
    Outcome::Respond(Box::new(ProduceResponse { responses: topics, ..Default::default() }.into()))
}

fn accepted(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: appended.base_offset,
        log_append_time_ms: appended.append_time_ms.unwrap_or(-1),
        log_start_offset: appended.log_start,
        ..Default::default()
    }
}

fn refused(index: i32, error_code: i16, sentence: String) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code,
        base_offset: -1,
        error_message: Some(sentence),
        ..Default::default()
    }
}
