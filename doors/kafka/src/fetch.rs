//! Fetch: record batches out, at once when there are some, else when there are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstem_engine::{Partition, StoredBatch};
use mainstem_record::{BatchHeader, Compression};
use mainstem_types::limits::FETCH_BYTES_MAX;
use mainstem_types::{Error, KafkaTopicId};
use mainstem_wire::{
    DivergingEpoch, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    KafkaError, LeaderIdAndEpoch, PartitionData, RecordSet,
};
use tokio::time::timeout_at;

use crate::answer::code;
use crate::blocking::blocking;
use crate::context::Context;
use crate::fetch_room::{FetchRoom, Room};
use crate::isolation::{READ_COMMITTED, to_skip, up_to_unmarked};

/// Before this version clients are not told of zstd.
const ZSTD_FROM: i16 = 10;
/// From this version on topics go by their ids.
const TOPIC_IDS_FROM: i16 = 13;
/// The longest that a client may have a request wait: beyond it, connections would look idle.
const WAIT_MS_MAX: i32 = 300_000;

/// One partition of a request.
#[derive(Clone)]
struct Place {
    index: i32,
    offset: i64,
    bytes_max: usize,
    /// Where to read, or why not.
    partition: Result<Arc<Partition>, KafkaError>,
    diverging: Option<DivergingEpoch>,
}

/// Places of one topic, as it was named.
#[derive(Clone)]
struct TopicPlaces {
    name: String,
    id: KafkaTopicId,
    places: Vec<Place>,
}

#[derive(Clone)]
struct Plan {
    topics: Vec<TopicPlaces>,
    bytes_max: usize,
    bytes_min: usize,
    zstd_allowed: bool,
    /// Whether only what is committed is read.
    committed: bool,
}

/// What one look at all places gave.
struct Round {
    room: Room,
    responses: Vec<FetchableTopicResponse>,
    bytes: usize,
    /// Something that the client should hear of without waiting.
    urgent: bool,
}

pub(crate) async fn handle(ctx: &Context, version: i16, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 {
        // No sessions are given out: every request names its places.
        let error_code = KafkaError::FetchSessionIdNotFound.code();
        return FetchResponse { error_code, ..Default::default() };
    }
    let wait_ms = request.max_wait_ms.clamp(0, WAIT_MS_MAX);
    let wait = Duration::from_millis(u64::try_from(wait_ms).expect("clamped above"));
    let deadline = tokio::time::Instant::now() + wait;
    let plan = plan(ctx, version, request);
    let mut round = look(&ctx.node.fetch_room, &plan).await;
    if !round.is_enough(&plan) && !wait.is_zero() {
        // Whatever moves after this is noticed; what moved before is seen by the next look.
        let subscription = ctx.node.engine.subscribe();
        for place in plan.topics.iter().flat_map(|topic| &topic.places) {
            if let Ok(partition) = &place.partition {
                subscription.add(partition);
            }
        }
        round = look(&ctx.node.fetch_room, &plan).await;
        while !round.is_enough(&plan) && timeout_at(deadline, subscription.changed()).await.is_ok()
        {
            round = look(&ctx.node.fetch_room, &plan).await;
        }
    }
    FetchResponse { responses: round.responses, ..Default::default() }
}

fn plan(ctx: &Context, version: i16, request: FetchRequest) -> Plan {
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let by_id = version >= TOPIC_IDS_FROM;
    let topics = request.topics.into_iter().map(|topic| {
        let found =
            if by_id { names.by_id(topic.topic_id) } else { names.resolve(&topic.topic).found() };
        let places = topic.partitions.into_iter().map(|asked| {
            let unknown = match found {
                None if by_id => KafkaError::UnknownTopicId,
                None | Some(_) => KafkaError::UnknownTopicOrPartition,
            };
            let no = found.as_ref().and_then(|found| found.partition(asked.partition));
            let partition = no.and_then(|no| ctx.node.engine.partition(no)).ok_or(unknown);
            place(&asked, partition)
        });
        TopicPlaces { places: places.collect(), name: topic.topic, id: topic.topic_id }
    });
    let topics = topics.collect();
    let bytes = |asked: i32| usize::try_from(asked).unwrap_or(0);
    Plan {
        topics,
        bytes_max: bytes(request.max_bytes).min(FETCH_BYTES_MAX),
        bytes_min: bytes(request.min_bytes),
        zstd_allowed: version >= ZSTD_FROM,
        committed: request.isolation_level == READ_COMMITTED,
    }
}

fn place(asked: &FetchPartition, partition: Result<Arc<Partition>, KafkaError>) -> Place {
    let partition = partition.and_then(|partition| {
        check_epoch(&partition, asked.current_leader_epoch).map(|()| partition)
    });
    let diverging = match &partition {
        Ok(partition) => diverging(partition, asked.last_fetched_epoch, asked.fetch_offset),
        Err(_) => None,
    };
    Place {
        index: asked.partition,
        offset: asked.fetch_offset,
        bytes_max: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
        partition,
        diverging,
    }
}

/// Whether the client and we speak of the same leader.
pub(crate) fn check_epoch(partition: &Partition, clients: i32) -> Result<(), KafkaError> {
    match partition.leader_epoch() {
        _ if clients < 0 => Ok(()),
        ours if clients < ours => Err(KafkaError::FencedLeaderEpoch),
        ours if clients > ours => Err(KafkaError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Where a reader that last read in `epoch` must go back to, if its records are not ours.
fn diverging(partition: &Partition, epoch: i32, offset: i64) -> Option<DivergingEpoch> {
    if epoch < 0 {
        return None;
    }
    let end = partition.durable_end();
    if offset > end && offset <= partition.awaited_end() {
        return None;
    }
    let ours = partition.lineage().end_of_epoch(epoch, end);
    match ours {
        Some((ours, end)) if ours == epoch && end >= offset => None,
        Some((ours, end)) => Some(DivergingEpoch { epoch: ours, end_offset: end }),
        None => Some(DivergingEpoch { epoch: -1, end_offset: partition.log_start() }),
    }
}

impl Round {
    fn is_enough(&self, plan: &Plan) -> bool {
        self.urgent || self.bytes >= plan.bytes_min || plan.topics.is_empty()
    }
}

/// Reads from memory here, or from disk where blocking is allowed.
async fn look(left: &FetchRoom, plan: &Plan) -> Round {
    let room = left.take(plan.bytes_max);
    let round = match look_with(plan, room, |partition, from, max| {
        partition.read_tail(from, max).map(Ok)
    }) {
        Ok(round) => round,
        Err(room) => {
            let plan = plan.clone();
            blocking(move || {
                look_with(&plan, room, |partition, from, max| Some(partition.read(from, max)))
                    .unwrap_or_else(|_| unreachable!("a read from disk always has an answer"))
            })
            .await
        }
    };
    round.room.shrink(round.bytes);
    round
}

/// Gives the room back when a read has no answer.
fn look_with(
    plan: &Plan,
    room: Room,
    read: impl Fn(&Partition, i64, usize) -> Option<Result<Vec<StoredBatch>, Error>>,
) -> Result<Round, Room> {
    let mut round = Round { room, responses: Vec::new(), bytes: 0, urgent: false };
    for topic in &plan.topics {
        let mut partitions = Vec::with_capacity(topic.places.len());
        for place in &topic.places {
            match look_at(plan, place, &mut round, &read) {
                Some(data) => partitions.push(data),
                None => return Err(round.room),
            }
        }
        round.responses.push(FetchableTopicResponse {
            topic: topic.name.clone(),
            topic_id: topic.id,
            partitions,
        });
    }
    Ok(round)
}

fn look_at(
    plan: &Plan,
    place: &Place,
    round: &mut Round,
    read: &impl Fn(&Partition, i64, usize) -> Option<Result<Vec<StoredBatch>, Error>>,
) -> Option<PartitionData> {
    let mut data = PartitionData {
        partition_index: place.index,
        high_watermark: -1,
        // A list, though an empty one: some clients take null for an old broker.
        aborted_transactions: Some(Vec::new()),
        ..Default::default()
    };
    let partition = match &place.partition {
        Ok(partition) => partition,
        Err(error) => {
            data.error_code = error.code();
            round.urgent = true;
            return Some(data);
        }
    };
    let end = partition.durable_end();
    let high_watermark = partition.high_watermark();
    data.high_watermark = high_watermark;
    data.last_stable_offset = partition.last_stable_below(high_watermark);
    data.log_start_offset =
        if plan.committed { partition.committed_start() } else { partition.log_start() };
    let limit = if plan.committed { data.last_stable_offset } else { high_watermark };
    data.current_leader = LeaderIdAndEpoch::default();
    if let Some(diverging) = &place.diverging {
        data.diverging_epoch = diverging.clone();
        round.urgent = true;
        return Some(data);
    }
    if place.offset > end && place.offset <= partition.awaited_end() {
        // Out of range, it would begin elsewhere.
        data.error_code = KafkaError::OffsetNotAvailable.code();
        return Some(data);
    }
    if place.offset < data.log_start_offset || place.offset > end {
        data.error_code = KafkaError::OffsetOutOfRange.code();
        round.urgent = true;
        return Some(data);
    }
    if place.offset >= limit {
        return Some(data);
    }
    let room = round.room.bytes.saturating_sub(round.bytes).min(place.bytes_max);
    if room == 0 && round.bytes > 0 {
        return Some(data);
    }
    match read(partition, place.offset, room)? {
        Ok(batches) => {
            let to = batches.last().map_or(place.offset, |last| last.next_offset.min(limit));
            let aborted = match plan.committed {
                true => partition.aborted_between(place.offset, to),
                false => Vec::new(),
            };
            let batches = up_to_unmarked(batches, &aborted);
            let first = batches.first().map_or(place.offset, |batch| batch.base_offset);
            let end = take(plan, batches, limit, room, round, &mut data);
            if let Some(end) = end.filter(|_| plan.committed) {
                data.aborted_transactions = Some(to_skip(&aborted, first, end));
            }
        }
        Err(error) => {
            tracing::warn!(partition = %partition.no, %error, "a fetch failed");
            data.error_code = code(&error);
            round.urgent = true;
        }
    }
    Some(data)
}

/// Puts as many batches into the answer as there is room for; the very first in any case, lest a
/// reader with little room never gets past a large batch. Gives the offset after the last one.
fn take(
    plan: &Plan,
    batches: Vec<StoredBatch>,
    limit: i64,
    room: usize,
    round: &mut Round,
    data: &mut PartitionData,
) -> Option<i64> {
    let mut records = RecordSet::default();
    let mut end = None;
    for batch in batches.into_iter().take_while(|batch| batch.next_offset <= limit) {
        let fits = records.len() + batch.bytes.len() <= room;
        let first_of_all = round.bytes == 0 && records.is_empty();
        if !fits && !first_of_all {
            break;
        }
        if !plan.zstd_allowed && is_zstd(&batch.bytes) {
            if records.is_empty() {
                data.error_code = KafkaError::UnsupportedCompressionType.code();
                round.urgent = true;
            }
            break;
        }
        end = Some(batch.next_offset);
        records.push(round.room.hold(batch.bytes));
    }
    round.bytes += records.len();
    data.records = records;
    end
}

fn is_zstd(batch: &Bytes) -> bool {
    BatchHeader::decode(batch)
        .is_ok_and(|header| header.attributes.compression() == Ok(Compression::Zstd))
}
