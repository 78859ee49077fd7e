//! Offsets by time and by leader epoch.

use std::sync::Arc;

use mainstem_engine::{BatchInfo, Partition};
use mainstem_record::{RecordError, offset_of_max_timestamp, offset_of_timestamp};
use mainstem_types::Error;
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;
use mainstem_wire::{
    EpochEndOffset, KafkaError, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use crate::answer::code;
use crate::blocking::blocking;
use crate::context::Context;
use crate::fetch::check_epoch;
use crate::isolation::READ_COMMITTED;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// Everything is local here.
const EARLIEST_LOCAL: i64 = -4;
/// Nothing is tiered.
const LATEST_TIERED: i64 = -5;
/// What is read at a time where a search has to go from batch to batch.
const SEARCH_BYTES: usize = 1024 * 1024;

type Found = Option<(i64, i64)>;

pub(crate) async fn handle(ctx: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let committed = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::new();
    let mut searches = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let no = names.partition(&topic.name, asked.partition_index).map(|(_, no)| no);
            let partition = no.and_then(|no| ctx.node.engine.partition(no));
            let (response, search) = answer(&asked, partition, committed);
            if let Some(partition) = search {
                searches.push((topics.len(), partitions.len(), partition, asked.timestamp));
            }
            partitions.push(response);
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    if !searches.is_empty() {
        let searching = blocking(move || {
            let found = searches.into_iter().map(|(topic, at, partition, timestamp)| {
                let found = search(&partition, timestamp, committed);
                // What is found beyond the end is not there yet for this reader.
                let end = end_of(&partition, committed);
                (topic, at, found.map(|found| found.filter(|(at, _)| *at < end)), partition)
            });
            found.collect::<Vec<_>>()
        });
        for (topic, at, found, partition) in searching.await {
            fill(&mut topics[topic].partitions[at], found, &partition);
        }
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

/// What is known without reading, and where to search for the rest.
fn answer(
    asked: &ListOffsetsPartition,
    partition: Option<Arc<Partition>>,
    committed: bool,
) -> (ListOffsetsPartitionResponse, Option<Arc<Partition>>) {
    let mut response = ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        ..Default::default()
    };
    let Some(partition) = partition else {
        response.error_code = KafkaError::UnknownTopicOrPartition.code();
        return (response, None);
    };
    if let Err(error) = check_epoch(&partition, asked.current_leader_epoch) {
        response.error_code = error.code();
        return (response, None);
    }
    match asked.timestamp {
        LATEST => {
            response.offset = end_of(&partition, committed);
            response.leader_epoch = partition.leader_epoch();
        }
        EARLIEST | EARLIEST_LOCAL => {
            response.offset = start_of(&partition, committed);
            response.leader_epoch = epoch_at(&partition, response.offset);
        }
        LATEST_TIERED => {}
        MAX_TIMESTAMP | 0.. => return (response, Some(partition)),
        _ => response.error_code = KafkaError::InvalidRequest.code(),
    }
    (response, None)
}

fn end_of(partition: &Partition, committed: bool) -> i64 {
    if committed { partition.last_stable_offset() } else { partition.high_watermark() }
}

fn start_of(partition: &Partition, committed: bool) -> i64 {
    if committed { partition.committed_start() } else { partition.log_start() }
}

fn fill(
    response: &mut ListOffsetsPartitionResponse,
    found: Result<Found, Error>,
    partition: &Partition,
) {
    match found {
        Ok(Some((offset, timestamp))) => {
            response.offset = offset;
            response.timestamp = timestamp;
            response.leader_epoch = epoch_at(partition, offset);
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(partition = %partition.no, %error, "a search by time failed");
            response.error_code = code(&error);
        }
    }
}

/// (offset, timestamp) of the record with the largest timestamp, or of the first that is not older
/// than `timestamp`, where this reader may begin to read or after that. May read the disk.
fn search(partition: &Partition, timestamp: i64, committed: bool) -> Result<Found, Error> {
    let start = start_of(partition, committed);
    let found =
        if timestamp >= 0 { first(partition, timestamp, start) } else { newest(partition, start) };
    // A start inside a batch leaves records that are there but not to be read.
    found.map(|found| found.map(|(offset, timestamp)| (offset.max(start), timestamp)))
}

fn first(partition: &Partition, timestamp: i64, start: i64) -> Result<Found, Error> {
    let Some(BatchInfo { base_offset, .. }) = partition.batch_at_or_after_time(timestamp)? else {
        return Ok(None);
    };
    // Nearly always in the first batch that is read; later where the one that was found lies below
    // the start.
    let (mut from, mut bytes_max) = (base_offset.max(start), 1);
    loop {
        let batches = partition.read(from, bytes_max)?;
        for batch in &batches {
            let inside = offset_of_timestamp(&batch.bytes, timestamp, DECOMPRESSED_BYTES_MAX);
            if let Some(found) = inside.map_err(|error| inside_error(&error))? {
                return Ok(Some(found));
            }
        }
        let Some(last) = batches.last() else { return Ok(None) };
        (from, bytes_max) = (last.next_offset, SEARCH_BYTES);
    }
}

/// None if it lies where this reader may not read.
fn newest(partition: &Partition, start: i64) -> Result<Found, Error> {
    let newest = partition.batch_of_max_timestamp()?.filter(|batch| batch.next_offset > start);
    let Some(BatchInfo { base_offset, .. }) = newest else {
        return Ok(None);
    };
    let batches = partition.read(base_offset.max(start), 1)?;
    let Some(batch) = batches.first() else {
        return Ok(None);
    };
    let inside = offset_of_max_timestamp(&batch.bytes, DECOMPRESSED_BYTES_MAX);
    inside.map_err(|error| inside_error(&error))
}

fn inside_error(error: &RecordError) -> Error {
    Error::corrupt(format!("a stored batch cannot be searched by time: {error}"))
}

/// The epoch in which an offset was written.
fn epoch_at(partition: &Partition, offset: i64) -> i32 {
    let lineage = partition.lineage();
    let wrote = lineage.entries().iter().rev().find(|entry| entry.start_offset <= offset);
    wrote.map_or(-1, |entry| entry.leader_epoch)
}

pub(crate) fn handle_epochs(
    ctx: &Context,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let no = names.partition(&topic.topic, asked.partition).map(|(_, no)| no);
            end_of_epoch(asked, no.and_then(|no| ctx.node.engine.partition(no)).as_deref())
        });
        OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions: partitions.collect() }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn end_of_epoch(asked: &OffsetForLeaderPartition, partition: Option<&Partition>) -> EpochEndOffset {
    let mut response = EpochEndOffset { partition: asked.partition, ..Default::default() };
    let checked = partition
        .ok_or(KafkaError::UnknownTopicOrPartition)
        .and_then(|found| check_epoch(found, asked.current_leader_epoch).map(|()| found));
    match checked {
        Err(error) => response.error_code = error.code(),
        Ok(found) if found.durable_end() < found.awaited_end() => {
            response.error_code = KafkaError::OffsetNotAvailable.code();
        }
        // An epoch that is yet to come has no end.
        Ok(found) if asked.leader_epoch <= found.leader_epoch() => {
            let end = found.lineage().end_of_epoch(asked.leader_epoch, found.durable_end());
            if let Some((epoch, end)) = end {
                response.leader_epoch = epoch;
                response.end_offset = end;
            }
        }
        Ok(_) => {}
    }
    response
}
