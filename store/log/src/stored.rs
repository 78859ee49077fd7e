//! What reading a log gives.

use bytes::Bytes;

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

/// A range of offsets up to a partition's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes of batches.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// When the first of them arrived at the owner; 0 if there are none.
    pub first_arrival_ms: i64,
    /// And the last.
    pub last_arrival_ms: i64,
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
