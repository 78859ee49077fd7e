//! What a log tells of itself.

use mainstem_types::PartitionNo;

use crate::Position;

/// What [`CommitLog::retire`](crate::CommitLog::retire) freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segments taken out of the log.
    pub segments: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Grows by one with each opening.
    pub generation: u64,
    /// The end of what is written.
    pub written: Position,
    /// The end of what is durable.
    pub durable: Position,
    /// Segments in use.
    pub segments: u32,
    /// Their bytes on disk.
    pub segment_bytes: u64,
    /// Payload bytes of live batches in them.
    pub live_bytes: u64,
    /// Segments written ahead.
    pub reserve_segments: u32,
    /// Bytes of batches held in memory.
    pub tail_cache_bytes: u64,
    /// Bytes of footer columns held in memory.
    pub footer_cache_bytes: u64,
    /// Partitions known.
    pub partitions: u64,
    /// Sealed segments that cannot be freed, oldest first, and by whom, as of the last time that a
    /// segment was sealed or freed.
    pub pinned: Vec<SegmentPin>,
}

/// Why a segment is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentPin {
    /// The segment's number.
    pub segment: u32,
    /// Its bytes on disk.
    pub bytes: u64,
    /// How many partitions have live batches in it.
    pub partitions: u32,
    /// Those with the most live bytes in it, largest first; at most eight.
    pub largest: Vec<(PartitionNo, u64)>,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Counts this opening.
    pub generation: u64,
    /// The end of what is durable.
    pub durable: Position,
    /// Frames handed to the caller's replay.
    pub replayed_frames: u64,
    /// Bytes at the end that were never durable and were dropped.
    pub torn_bytes: u64,
    /// Partitions that are out of service, now or from earlier, and why. Number 0 says that
    /// node-wide frames were lost, if only ones that the caller's view has applied.
    pub quarantined: Vec<Quarantine>,
    /// What was found if node-wide frames after `applied` are lost, or may be: the caller's state
    /// is not what was acknowledged then, and later node-wide frames are not replayed. Every later
    /// opening says so again.
    pub node_wide_lost: Option<String>,
}

/// A partition that lost data that had been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The partition, or 0 for node-wide frames.
    pub partition: PartitionNo,
    /// The first offset that is not certain.
    pub offset: i64,
    /// What was found, and where.
    pub why: String,
}
