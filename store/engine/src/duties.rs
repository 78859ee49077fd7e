//! What the sequencer remembers of its recurring duties.

use crate::health::SyncTimes;
use crate::room::Room;

/// When each duty was last done.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    pub(crate) expired_at_ms: u64,
    pub(crate) viewed_at_ms: u64,
    pub(crate) cursors_looked_at_ms: u64,
    /// When the disk was last asked.
    pub(crate) free_bytes: Option<u64>,
    pub(crate) disk_is_full: bool,
    pub(crate) syncs: SyncTimes,
    /// Whether the current step looks at damage and expiry, for which it has found room.
    pub(crate) are_duties_due: bool,
    /// Whether it also looks at cursors that were deleted.
    pub(crate) are_cursors_due: bool,
    /// What the last group found.
    pub(crate) room: Room,
}
