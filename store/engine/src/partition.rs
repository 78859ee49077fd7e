//! One partition as readers see it: only what is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use mainstem_log::{BatchInfo, LogReader, StoredBatch};
use mainstem_transaction::{AbortedRange, Account, aborted_between};
use mainstem_types::{Error, Lineage, OriginTopicId, PartitionNo, StreamId};
use parking_lot::RwLock;

use crate::damage::DamageReports;
use crate::marks::Marks;
use crate::subscription::{Subscription, Watchers};

/// A handle for reading one partition from any thread. What it shows only ever was durable.
pub struct Partition {
    /// Its number in the log.
    pub no: PartitionNo,
    /// The stream that holds it here.
    pub stream: StreamId,
    /// Its topic.
    pub topic: OriginTopicId,
    /// Its index within the topic.
    pub index: u32,
    log_start: AtomicI64,
    durable_end: AtomicI64,
    /// [`NOT_HELD`], or what consumers see at most.
    watermark: AtomicI64,
    lineage: RwLock<Arc<Lineage>>,
    marks: RwLock<Arc<Marks>>,
    /// [`NOT_HELD`], or the first offset of a transaction of which consumers have not seen the end.
    unstable: AtomicI64,
    aborted: RwLock<Arc<Vec<AbortedRange>>>,
    /// Which aborted transactions below this there were is not known any more.
    aborted_from: AtomicI64,
    cuts: AtomicU64,
    removed: Removed,
    watchers: Watchers,
    log: LogReader,
    damage: Arc<DamageReports>,
}

/// A watermark beyond every end.
const NOT_HELD: i64 = i64::MAX;

/// What compaction took since the start.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Removed {
    pub(crate) fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// What lies between an offset and the durable end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Bytes of batches.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// When the oldest of them arrived at the owner; 0 if there are none.
    pub oldest_arrival_ms: i64,
    /// And the newest.
    pub newest_arrival_ms: i64,
}

impl Partition {
    pub(crate) fn new(
        home: (PartitionNo, StreamId, OriginTopicId, u32),
        frontiers: (i64, i64, Option<i64>),
        lineage: Arc<Lineage>,
        log: LogReader,
        damage: Arc<DamageReports>,
    ) -> Self {
        let (no, stream, topic, index) = home;
        let (log_start, durable_end, held) = frontiers;
        Self {
            no,
            stream,
            topic,
            index,
            log_start: AtomicI64::new(log_start),
            durable_end: AtomicI64::new(durable_end),
            watermark: AtomicI64::new(held.unwrap_or(NOT_HELD)),
            lineage: RwLock::new(lineage),
            marks: RwLock::default(),
            unstable: AtomicI64::new(NOT_HELD),
            aborted: RwLock::default(),
            aborted_from: AtomicI64::new(0),
            cuts: AtomicU64::new(0),
            removed: Removed::default(),
            watchers: Watchers::default(),
            log,
            damage,
        }
    }

    /// The first offset that can be read.
    pub fn log_start(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// The next offset after everything durable. Senders read up to here.
    pub fn durable_end(&self) -> i64 {
        self.durable_end.load(Ordering::Acquire)
    }

    /// The next offset after everything that consumers may read: all that is durable, as long as
    /// no synchronous replica holds it back.
    pub fn high_watermark(&self) -> i64 {
        let end = self.durable_end();
        end.min(self.watermark.load(Ordering::Acquire)).max(self.log_start())
    }

    /// The next offset after everything that consumers of what is committed may read: below it
    /// every transaction has ended, as far as the high watermark shows.
    pub fn last_stable_offset(&self) -> i64 {
        self.last_stable_below(self.high_watermark())
    }

    /// The same, of a high watermark that was read before. In this order only: where a transaction
    /// begins is told before the end that has its records, so whoever saw the end sees that too.
    pub fn last_stable_below(&self, high_watermark: i64) -> i64 {
        let unstable = self.unstable.load(Ordering::Acquire);
        high_watermark.min(unstable).max(self.log_start())
    }

    /// Transactions with records in `from..to` that were aborted, in the order of their ends. Of
    /// offsets below the last stable one these are all.
    pub fn aborted_between(&self, from: i64, to: i64) -> Vec<AbortedRange> {
        aborted_between(&self.aborted.read(), from, to)
    }

    /// Where consumers of what is committed may begin: the first offset that can be read, unless
    /// more transactions were aborted since then than are remembered.
    pub fn committed_start(&self) -> i64 {
        self.log_start().max(self.aborted_from.load(Ordering::Acquire))
    }

    /// What holds the high watermark back from the durable end, if anything does.
    pub fn held_watermark(&self) -> Option<i64> {
        Some(self.watermark.load(Ordering::Acquire)).filter(|held| *held != NOT_HELD)
    }

    /// Up to where compaction may look: what readers do not see yet may still be cut, and supersedes
    /// nothing.
    pub fn compactable_end(&self) -> i64 {
        self.high_watermark()
    }

    /// Records and bytes that compaction here has taken since the start.
    pub fn removed_by_compaction(&self) -> (u64, u64) {
        self.removed.get()
    }

    /// Where the owner deleted records, the gaps that were declared, and how far it is compacted.
    pub fn marks(&self) -> Arc<Marks> {
        self.marks.read().clone()
    }

    /// Where it ends, or will again once what comes anew is here ([`Marks::anew_to`]): readers who
    /// stand below it wait.
    pub fn awaited_end(&self) -> i64 {
        self.marks().anew_to.max(self.durable_end())
    }

    /// Who wrote which stretch.
    pub fn lineage(&self) -> Arc<Lineage> {
        self.lineage.read().clone()
    }

    /// The leader epoch that is written now.
    pub fn leader_epoch(&self) -> i32 {
        self.lineage.read().leader_epoch()
    }

    /// Whole durable batches, beginning with the one that holds `from`; about `bytes_max`, and the
    /// first whatever its size. `None` if the disk would have to be read.
    pub fn read_tail(&self, from: i64, bytes_max: usize) -> Option<Vec<StoredBatch>> {
        self.log.read_tail(self.no, from, self.durable_end(), bytes_max)
    }

    /// As [`Self::read_tail`], from disk where need be: call it where blocking is allowed.
    ///
    /// # Errors
    /// `OffsetOutOfRange` outside of what is kept, `Corrupt` for damage, `Storage` for the disk.
    pub fn read(&self, from: i64, bytes_max: usize) -> Result<Vec<StoredBatch>, Error> {
        self.check_range(from)?;
        let read = self.log.read(self.no, from, self.durable_end(), bytes_max);
        read.map_err(|error| self.damage.note(error))
    }

    /// Whether `from` lies within what is kept, its end included.
    pub fn check_range(&self, from: i64) -> Result<(), Error> {
        let (start, end) = (self.log_start(), self.durable_end());
        if (start..=end).contains(&from) {
            return Ok(());
        }
        Err(Error::new(
            mainstem_types::ErrorKind::OffsetOutOfRange,
            format!("offset {from} is not kept; the partition holds {start} to {end}"),
        ))
    }

    /// The first durable batch with a record stamped `timestamp_ms` or later.
    pub fn batch_at_or_after_time(&self, timestamp_ms: i64) -> Result<Option<BatchInfo>, Error> {
        let found = self.log.batch_at_or_after_time(self.no, timestamp_ms, self.high_watermark());
        found.map_err(|error| self.damage.note(error))
    }

    /// The durable batch with the largest timestamp.
    pub fn batch_of_max_timestamp(&self) -> Result<Option<BatchInfo>, Error> {
        let found = self.log.batch_of_max_timestamp(self.no, self.high_watermark());
        found.map_err(|error| self.damage.note(error))
    }

    /// Bytes and records that are kept.
    pub fn size(&self) -> Result<(u64, u64), Error> {
        let extent = self.log.bytes_between(self.no, self.log_start(), self.durable_end())?;
        Ok((extent.bytes, extent.records))
    }

    /// What lies from `offset` to the durable end. No batch is read for it, and nothing at all for
    /// who is up to date; a long backlog may cost a look at one segment's index on disk.
    pub fn pending_from(&self, offset: i64) -> Result<Pending, Error> {
        let end = self.durable_end();
        let from = offset.max(self.log_start());
        if from >= end {
            return Ok(Pending::default());
        }
        let backlog = self.log.backlog(self.no, from, end);
        let backlog = backlog.map_err(|error| self.damage.note(error))?;
        Ok(Pending {
            bytes: backlog.bytes,
            records: backlog.records,
            oldest_arrival_ms: backlog.first_arrival_ms,
            newest_arrival_ms: backlog.last_arrival_ms,
        })
    }

    /// Shows readers new marks; before the frontiers, of which watchers are told.
    pub(crate) fn publish_marks(&self, marks: &Arc<Marks>) {
        if !Arc::ptr_eq(marks, &self.marks.read()) {
            *self.marks.write() = Arc::clone(marks);
        }
    }

    /// Shows readers which transactions have ended and how; before the frontiers. Nobody ends what
    /// was open when it was set aside, so it counts as aborted.
    pub(crate) fn publish_transactions(&self, account: &Account, is_left_open: bool) {
        let unstable = if is_left_open { None } else { account.first_unstable() };
        if is_left_open {
            let open = account.open().map(|(producer_id, open)| AbortedRange {
                producer_id,
                first_offset: open.first_offset,
                marker: i64::MAX,
            });
            *self.aborted.write() =
                Arc::new(account.aborted().iter().copied().chain(open).collect());
        } else if !Arc::ptr_eq(account.aborted(), &self.aborted.read()) {
            *self.aborted.write() = Arc::clone(account.aborted());
        }
        self.aborted_from.store(account.known_from(), Ordering::Release);
        self.unstable.store(unstable.unwrap_or(NOT_HELD), Ordering::Release);
    }

    pub(crate) fn note_removed(&self, records: u64, bytes: u64) {
        self.removed.add(records, bytes);
    }

    /// How often it was cut back. Ask before reading what is to be written anew.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    pub(crate) fn publish_cuts(&self, cuts: u64) {
        self.cuts.store(cuts, Ordering::Release);
    }

    /// What the log holds of it, for those who look after it here.
    pub(crate) const fn log(&self) -> &LogReader {
        &self.log
    }

    /// An error of the log as others are told of it.
    pub(crate) fn note_damage(&self, error: mainstem_log::LogError) -> Error {
        self.damage.note(error)
    }

    /// Shows readers new frontiers; both only ever after the sync that made them true.
    pub(crate) fn publish(
        &self,
        log_start: i64,
        durable_end: i64,
        held: Option<i64>,
        lineage: Option<&Arc<Lineage>>,
    ) {
        assert!(log_start <= durable_end, "a partition starts before its end");
        if let Some(lineage) = lineage
            && !Arc::ptr_eq(lineage, &self.lineage.read())
        {
            *self.lineage.write() = Arc::clone(lineage);
        }
        // Before the end, lest anyone see the one without the other.
        self.watermark.store(held.unwrap_or(NOT_HELD), Ordering::Release);
        self.durable_end.store(durable_end, Ordering::Release);
        self.log_start.store(log_start, Ordering::Release);
        self.watchers.tell(|watcher| watcher.mark_partition(self.no));
    }
}

impl Subscription {
    /// Watches a partition's durable end and log start from now on, until this is dropped.
    pub fn add(self: &Arc<Self>, partition: &Partition) {
        partition.watchers.add(self);
    }
}
