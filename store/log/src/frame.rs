//! Frames: the units of the log.

use bytes::Bytes;
use mainstem_types::PartitionNo;

macro_rules! frame_kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a frame says. The numbers are on disk and never change; `docs/FORMAT.md` gives
        /// the meaning of each header field by kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FrameKind {
            $($(#[$doc])* $name = $number,)*
        }

        impl FrameKind {
            /// Every kind, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The kind with this number on disk.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

frame_kinds! {
    /// One record batch as it is served, at `base_offset..next_offset`.
    Batch = 1,
    /// Offsets `base_offset..next_offset` that hold nothing here: retention or compaction at the
    /// source took them. Reads skip it.
    Gap = 2,
    /// The partition now starts at `base_offset` (its log start).
    Trim = 3,
    /// Everything at or above `base_offset` is undone.
    TruncateTo = 4,
    /// The partition is no more; its number is never used again.
    PartitionDelete = 5,
    /// A leader epoch begins at `base_offset`; the payload is its lineage entry. Also the first
    /// frame of a partition, at the offset where it starts.
    EpochStart = 6,
    /// A change to the catalog (streams, topics, agreements, policies).
    CatalogEvent = 7,
    /// A consumer group's committed offset.
    Cursor = 8,
    /// A step of a transactional producer, its commits and aborts among them.
    Transaction = 9,
    /// A partition's start (`base_offset`), end (`next_offset`), lineage and producer state, so
    /// that nothing older is needed.
    PartitionCheckpoint = 10,
    /// The high watermark (`base_offset`) that holds after a restart.
    HighWatermark = 11,
    /// What a fail-over left behind was set aside: `base_offset..next_offset` and where to.
    SetAside = 12,
    /// The log found `base_offset` and what follows damaged. Written by the log itself.
    Quarantine = 13,
    /// A link epoch was raised.
    LinkEpoch = 14,
    /// The highest term that was seen for a stream.
    TermSeen = 15,
    /// A synchronous replica joined, left or was degraded.
    SyncState = 16,
    /// The window of offsets at risk while a synchronous replica was degraded.
    WindowAtRisk = 17,
    /// A deleted topic that replicas must still be told of.
    Tombstone = 18,
    /// Batches below `base_offset` may have been rewritten, here or at the source; every key below
    /// `next_offset` was looked at by compaction here.
    Compacted = 19,
    /// A block of producer ids was reserved.
    ProducerIds = 20,
    /// A tracked job (autosetup) advanced.
    JobStep = 21,
    /// A digest of a fixed stride of offsets.
    Digest = 22,
    /// What compaction left of the batches at `base_offset..next_offset`, in their place: one
    /// batch, or nothing if the payload is empty. It begins and ends where they did.
    Rewrite = 23,
}

/// One frame: header fields and a payload that the log does not look into.
///
/// Which fields mean something depends on the kind; the others are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame says.
    pub kind: FrameKind,
    /// Whose it is; 0 for the node as a whole.
    pub partition: PartitionNo,
    /// The first offset.
    pub base_offset: i64,
    /// The first offset after it.
    pub next_offset: i64,
    /// When the batch arrived at its owner; never decreases within a partition.
    pub arrival_ms: i64,
    /// The largest timestamp of its records.
    pub max_timestamp_ms: i64,
    /// How many records it holds.
    pub record_count: u32,
    /// The leader epoch that it was appended under.
    pub leader_epoch: i32,
    /// The bytes: a batch as it is served, or the kind's own encoding.
    pub payload: Bytes,
}

impl Frame {
    /// A frame of a kind for the node as a whole, with a payload only.
    pub fn node_wide(kind: FrameKind, payload: Bytes) -> Self {
        Self { payload, ..Self::at(kind, PartitionNo(0), 0) }
    }

    /// A frame of a kind that says one offset of one partition, such as a trim.
    pub fn at(kind: FrameKind, partition: PartitionNo, offset: i64) -> Self {
        Self {
            kind,
            partition,
            base_offset: offset,
            next_offset: offset,
            arrival_ms: 0,
            max_timestamp_ms: 0,
            record_count: 0,
            leader_epoch: 0,
            payload: Bytes::new(),
        }
    }
}
