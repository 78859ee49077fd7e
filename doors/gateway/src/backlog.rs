//! What a replica lacks, counted from what it has said that it holds (I9).

use mainstem_catalog::Stream;
use mainstem_engine::Engine;
use mainstem_replicate::{Account, Pending};
use mainstem_types::StreamId;

/// Everything durable at a source that its replica has not acknowledged, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes of batches.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Partitions whose end the replica has not reached, be it for a gap alone, or that it is not
    /// known to have.
    pub partitions: u64,
    /// Arrival time of the oldest record; 0 if there is none.
    pub oldest_ms: i64,
    /// And of the newest.
    pub newest_ms: i64,
    /// Offsets that retention has deleted here before the replica had them: gaps to come.
    pub expired: u64,
}

impl Backlog {
    /// Counts it now. The account must have been taken before the stream: then what this says
    /// was true of the moment at which the stream was taken, however fast both sides move.
    ///
    /// The index of the log answers, for a long backlog from disk: call it where blocking is
    /// allowed.
    pub fn count(
        engine: &Engine,
        stream: &Stream,
        replica_id: Option<StreamId>,
        account: &Account,
    ) -> Self {
        let mut sum = Self::default();
        let topics = stream.carried_topics().filter(|topic| Some(topic.owner.stream) != replica_id);
        for topic in topics {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let Some(partition) = engine.partition(*no) else { continue };
                let held = account.end(topic.origin, index);
                let (from, end) = (held.unwrap_or(0), partition.durable_end());
                if held.is_some_and(|held| held >= end) {
                    continue;
                }
                sum.partitions += 1;
                // What the owner has deleted is deleted at the replica too, and no gap; and what the
                // replica has never heard of begins with what is kept.
                let wanted = from.max(partition.marks().trimmed);
                let expired = u64::try_from(partition.log_start() - wanted).unwrap_or(0);
                sum.expired += if held.is_some() { expired } else { 0 };
                match partition.pending_from(from) {
                    Ok(pending) => sum.add(&pending),
                    // What cannot be read is not sent either: damage must not look like no lag.
                    Err(_) => sum.records += u64::try_from(end - from).unwrap_or(0),
                }
            }
        }
        sum
    }

    /// Whether the replica has all that the stream contains: every partition to its end, and
    /// every topic.
    pub fn is_none(&self, stream: &Stream, account: &Account) -> bool {
        self.partitions == 0 && account.is_heard() && account.applied_seq() >= stream.catalog_seq
    }

    /// As a heartbeat tells it.
    pub(crate) fn pending(&self, counted_ms: i64) -> Pending {
        Pending { bytes: self.bytes, records: self.records, since_ms: self.oldest_ms, counted_ms }
    }

    fn add(&mut self, pending: &mainstem_engine::Pending) {
        self.bytes += pending.bytes;
        self.records += pending.records;
        self.newest_ms = self.newest_ms.max(pending.newest_arrival_ms);
        let oldest = pending.oldest_arrival_ms;
        if oldest > 0 && (self.oldest_ms == 0 || oldest < self.oldest_ms) {
            self.oldest_ms = oldest;
        }
    }
}
