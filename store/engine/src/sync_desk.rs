//! What the sequencer keeps for streams with synchronous replicas.

use std::collections::{BTreeSet, HashMap};

use mainstem_log::{Frame, FrameKind};
use mainstem_replicate::Synchrony;
use mainstem_types::{PartitionNo, StreamId};

use crate::waiting::Waiting;

/// A HighWatermark frame that says so: readers see everything.
const NOT_HELD: i64 = -1;

/// What the sequencer keeps for streams with synchronous replicas.
#[derive(Default)]
pub(crate) struct SyncDesk {
    pub(crate) streams: HashMap<StreamId, Synchrony>,
    pub(crate) waiting: Waiting,
    /// Partitions whose watermark has moved since it was written down.
    pub(crate) unlogged: BTreeSet<PartitionNo>,
    pub(crate) looked_at_ms: u64,
    pub(crate) logged_at_ms: u64,
}

/// A partition's watermark, to be written down.
pub(crate) fn watermark_frame(no: PartitionNo, held: Option<i64>) -> Frame {
    Frame::at(FrameKind::HighWatermark, no, held.unwrap_or(NOT_HELD))
}

/// What a HighWatermark frame says.
pub(crate) fn held_by_frame(frame: &Frame) -> Option<i64> {
    (frame.base_offset != NOT_HELD).then_some(frame.base_offset)
}
