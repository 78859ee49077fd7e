//! Reading, from any thread.

use bytes::Bytes;
use mainstem_types::PartitionNo;

use crate::LogError;

/// One batch as it is stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Its first offset.
    pub base_offset: i64,
    /// The first offset after it.
    pub next_offset: i64,
    /// When it arrived at its owner.
    pub arrival_ms: i64,
    /// The leader epoch that it was appended under.
    pub leader_epoch: i32,
    /// The bytes, shared and not copied where they come from memory.
    pub bytes: Bytes,
}

/// What the index knows of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchInfo {
    /// Its first offset.
    pub base_offset: i64,
    /// The first offset after it.
    pub next_offset: i64,
    /// When it arrived at its owner.
    pub arrival_ms: i64,
    /// The largest timestamp of its records.
    pub max_timestamp_ms: i64,
    /// How many records it holds.
    pub record_count: u32,
    /// The leader epoch that it was appended under.
    pub leader_epoch: i32,
    /// Its length in bytes.
    pub bytes: u32,
}

/// The size of a range of offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of batches.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
}

/// What the log keeps of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBounds {
    /// The first offset kept.
    pub start: i64,
    /// The next offset to be written.
    pub end: i64,
    /// True when corruption took it out of service.
    pub is_quarantined: bool,
}

/// Reads a log. Cheap to clone; used from any thread while the writer writes.
#[derive(Clone)]
pub struct LogReader {}

impl LogReader {
    /// What is kept of a partition; `None` if the log does not know it.
    pub fn bounds(&self, _partition: PartitionNo) -> Option<PartitionBounds> {
        None
    }

    /// Whole batches, beginning with the one that contains `from` (or the first after it, across
    /// gaps), of which none ends beyond `up_to`; about `bytes_max` of them, and the first
    /// whatever its size. May read the disk.
    pub fn read(
        &self,
        _partition: PartitionNo,
        _from: i64,
        _up_to: i64,
        _bytes_max: usize,
    ) -> Result<Vec<StoredBatch>, LogError> {
        Err(LogError::Closed)
    }

    /// As [`Self::read`], but only from memory: `None` when the disk would have to be read (or
    /// the partition is out of service; `read` says why).
    pub fn read_tail(
        &self,
        _partition: PartitionNo,
        _from: i64,
        _up_to: i64,
        _bytes_max: usize,
    ) -> Option<Vec<StoredBatch>> {
        None
    }

    /// The first batch below `up_to` with a record stamped `timestamp_ms` or later.
    pub fn batch_at_or_after_time(
        &self,
        _partition: PartitionNo,
        _timestamp_ms: i64,
        _up_to: i64,
    ) -> Result<Option<BatchInfo>, LogError> {
        Err(LogError::Closed)
    }

    /// The batch below `up_to` with the largest timestamp; the first of equals.
    pub fn batch_of_max_timestamp(
        &self,
        _partition: PartitionNo,
        _up_to: i64,
    ) -> Result<Option<BatchInfo>, LogError> {
        Err(LogError::Closed)
    }

    /// The base offset of the first batch that arrived at `arrival_ms` or later; the end if all
    /// came before. What expiry by age moves the log start to.
    pub fn first_arriving_at_or_after(
        &self,
        _partition: PartitionNo,
        _arrival_ms: i64,
    ) -> Result<i64, LogError> {
        Err(LogError::Closed)
    }

    /// The largest start that keeps at least `bytes` bytes of batches, or all there are. What
    /// expiry by size moves the log start to.
    pub fn start_for_retained_bytes(
        &self,
        _partition: PartitionNo,
        _bytes: u64,
    ) -> Result<i64, LogError> {
        Err(LogError::Closed)
    }

    /// Bytes and records of the batches that begin in `from..to`.
    pub fn bytes_between(
        &self,
        _partition: PartitionNo,
        _from: i64,
        _to: i64,
    ) -> Result<Extent, LogError> {
        Err(LogError::Closed)
    }
}
