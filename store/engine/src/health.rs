//! What is wrong with a node's storage, if anything: for alarms and status.

use mainstem_types::PartitionNo;

/// The state of a node's storage, a second old or less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Bytes free on the disk; `None` if it does not say, or was not asked yet.
    pub free_bytes: Option<u64>,
    /// Below this many, appends are refused.
    pub free_bytes_min: u64,
    /// Appends are refused for want of room.
    pub is_full: bool,
    /// Partitions that are out of service because stored data is damaged, and why (I8).
    pub damaged: Vec<(PartitionNo, String)>,
    /// How long syncs have taken since the start.
    pub syncs: SyncTimes,
}

/// Upper bounds of the classes that syncs are counted in, in milliseconds; the clock has no finer.
pub const SYNC_MS_BOUNDS: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, 1_000];

/// How many syncs took how long; each is the end of one group of appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// Syncs within each bound and above the one before; the last class has no bound.
    pub counts: [u64; SYNC_MS_BOUNDS.len() + 1],
    /// All of them, added up.
    pub sum_ms: u64,
}

impl SyncTimes {
    pub(crate) fn note(&mut self, ms: u64) {
        self.counts[SYNC_MS_BOUNDS.partition_point(|bound| *bound < ms)] += 1;
        self.sum_ms += ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_counted_in_the_class_of_their_bound() {
        let mut syncs = SyncTimes::default();
        for ms in [0, 1, 2, 3, 1_000, 1_001] {
            syncs.note(ms);
        }
        assert_eq!(syncs.counts, [2, 1, 1, 0, 0, 0, 0, 1, 1]);
        assert_eq!(syncs.sum_ms, 2_007);
    }
}
