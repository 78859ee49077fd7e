//! What the sequencer remembers of its recurring duties.

use crate::view::ViewChange;

/// When each duty was last done.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    pub(crate) expired_at_ms: u64,
    pub(crate) viewed_at_ms: u64,
    pub(crate) disk_is_full: bool,
    /// A change that the view's writer had no time for yet.
    pub(crate) pending_view: Option<ViewChange>,
}
