//! Damage that readers meet, on its way to the sequencer.
//!
//! A reader cannot take a partition out of service: it may have met a bit that fell over between
//! the disk and it, and only the sequencer writes to the log. So it reports; the sequencer reads
//! again, and remembers what is still not what was written. A disk that fails to read is an error
//! for that reader alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstem_log::LogError;
use mainstem_types::{Error, PartitionNo};
use parking_lot::Mutex;

/// What was reported and not yet looked at; one entry for each partition.
#[derive(Default)]
pub(crate) struct DamageReports {
    first_offsets: Mutex<BTreeMap<PartitionNo, i64>>,
    any: AtomicBool,
}

impl DamageReports {
    /// Passes an error on as what a caller is told, taking note if it says that data is damaged.
    pub(crate) fn note(&self, error: LogError) -> Error {
        if let LogError::Corrupt { partition, offset, .. } = &error {
            self.first_offsets.lock().entry(*partition).or_insert(*offset);
            self.any.store(true, Ordering::Release);
        }
        error.into()
    }

    /// Whether there is anything to look at.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// How many partitions it is about.
    pub(crate) fn count(&self) -> usize {
        self.first_offsets.lock().len()
    }

    /// Hands over what was reported since the last call.
    pub(crate) fn take(&self) -> BTreeMap<PartitionNo, i64> {
        if !self.any.swap(false, Ordering::AcqRel) {
            return BTreeMap::new();
        }
        std::mem::take(&mut self.first_offsets.lock())
    }
}
