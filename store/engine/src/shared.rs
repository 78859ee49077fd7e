//! What the sequencer shows to readers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mainstem_catalog::Catalog;
use mainstem_log::LogStats;
use mainstem_types::{PartitionNo, StreamId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::cursors::Cursors;
use crate::damage::DamageReports;
use crate::health::Health;
use crate::partition::{Partition, Removed};
use crate::pending_cursors::PendingCursors;
use crate::queue::Queue;
use crate::subscription::CursorWatchers;
use crate::to_tell::ToTell;

pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) catalog: watch::Sender<Catalog>,
    /// How often partitions were cut since the start, durably.
    pub(crate) cuts: watch::Sender<u64>,
    pub(crate) partitions: RwLock<HashMap<PartitionNo, Arc<Partition>>>,
    pub(crate) cursors: RwLock<Cursors>,
    pub(crate) cursor_watchers: CursorWatchers,
    pub(crate) log_stats: Mutex<LogStats>,
    pub(crate) health: Mutex<Health>,
    /// Synchronous replicas without which writes are refused now.
    pub(crate) missing: Mutex<BTreeSet<(StreamId, u32)>>,
    pub(crate) damage: Arc<DamageReports>,
    /// Commits that replicas are to hear of before their markers.
    pub(crate) to_tell: RwLock<ToTell>,
    /// Cursors that open transactions are to move.
    pub(crate) pending_cursors: RwLock<PendingCursors>,
    /// What log compaction took since the start.
    pub(crate) removed: Removed,
}
