//! Damage that readers meet, on its way to the sequencer.
//!
//! A reader cannot take a partition out of service: it may have met a bit that fell over between
//! the disk and it, and only the sequencer writes to the log. So it reports; the sequencer reads
//! again, and remembers what is still not what was written. A disk that fails to read is an error
//! for that reader alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstem_log::{Frame, FrameKind, LogError};
use mainstem_types::{Error, PartitionNo};
use parking_lot::Mutex;

use crate::sequencer::Sequencer;

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

    fn take(&self) -> BTreeMap<PartitionNo, i64> {
        if !self.any.swap(false, Ordering::AcqRel) {
            return BTreeMap::new();
        }
        std::mem::take(&mut self.first_offsets.lock())
    }
}

impl Sequencer {
    /// I8: takes partitions out of service, durably, whose data is not what was written; the rest
    /// serve on. Says whether there were any.
    pub(crate) fn look_at_damage(&mut self) -> bool {
        let mut found = false;
        for (no, offset) in self.shared.damage.take() {
            found |= self.confirm_damage(no, offset);
        }
        found
    }

    fn confirm_damage(&mut self, no: PartitionNo, offset: i64) -> bool {
        let Some(partition) = self.state.partitions.get_mut(&no) else { return false };
        // What was trimmed meanwhile hurts nobody any more.
        if partition.quarantined.is_some() || offset < partition.log_start {
            return false;
        }
        let why = match self.log.reader().read(no, offset, partition.end, 1) {
            Err(LogError::Corrupt { why, .. }) => why,
            Ok(_) | Err(_) => {
                tracing::warn!(partition = no.0, offset, "a read failed, and not again");
                return false;
            }
        };
        tracing::error!(
            partition = no.0,
            offset,
            why,
            "stored data is damaged; the partition is out of service"
        );
        partition.quarantine(offset, &why);
        let mut frame = Frame::at(FrameKind::Quarantine, no, offset);
        frame.payload = why.into_bytes().into();
        self.group.frames.push(frame);
        // Those who wait for data look again and are told.
        self.group.partitions.insert(no);
        true
    }
}
