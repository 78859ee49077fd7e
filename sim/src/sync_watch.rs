//! What was seen of synchronous replicas, outside of the code that keeps them.

use std::collections::BTreeMap;

use mainstem_types::OriginTopicId;

use crate::producer::Acknowledged;

/// What was seen of synchronous replicas, outside of the code that keeps them.
#[derive(Default)]
pub(crate) struct SyncWatch {
    /// The highest watermark that readers at its owner ever had of a partition.
    pub(crate) ever: BTreeMap<(OriginTopicId, u32), i64>,
    /// What they have now; it falls in a crash only.
    pub(crate) now: BTreeMap<(usize, OriginTopicId, u32), i64>,
    /// What any site has shown of a topic whose source it had been cut off from for good.
    pub(crate) orphaned: BTreeMap<(OriginTopicId, u32), i64>,
    /// What was acknowledged while a replica, at that site, was in force.
    pub(crate) promised: Vec<(usize, Acknowledged)>,
}

impl SyncWatch {
    pub(crate) fn handle_crash(&mut self, is_hit: impl Fn(usize) -> bool) {
        self.now.retain(|(site, _, _), _| !is_hit(*site));
    }
}
