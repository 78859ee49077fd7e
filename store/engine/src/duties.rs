//! What the sequencer remembers of its recurring duties.

/// When each duty was last done.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    pub(crate) expired_at_ms: u64,
    pub(crate) viewed_at_ms: u64,
    pub(crate) disk_is_full: bool,
}
