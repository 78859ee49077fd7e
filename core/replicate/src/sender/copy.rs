//! Bounded sessions: up to what the source had at the start, and then the end.

use mainstem_link::{Code, Mode};

use super::Sender;
use crate::CopyProgress;

impl Sender {
    /// How far a bounded session is.
    pub fn copy_progress(&self) -> CopyProgress {
        let mut progress = CopyProgress::default();
        for partition in self.partitions.values() {
            let Some(stop) = partition.stop else { continue };
            let start = partition.view.as_ref().map_or(0, |view| view.log_start.min(stop));
            let done = partition.acked.clamp(start, stop) - start;
            progress.total += u64::try_from(stop - start).unwrap_or(0);
            progress.done += u64::try_from(done).unwrap_or(0);
        }
        progress
    }

    pub(super) fn finish_if_done(&mut self) {
        let done = self.mode == Mode::Copy
            && self.acked_seq >= self.finish_seq
            && !self.catalog_dirty
            && self.actions.is_empty()
            && self.partitions.iter().all(|(key, p)| {
                p.stop.is_none() || self.stopped.contains_key(&key.0) || p.is_finished()
            });
        if !done {
            return;
        }
        let faults = self.faults();
        let message = match faults.first() {
            None => "all that the source had at the start is at the replica".to_owned(),
            Some(fault) => {
                format!("{} topics or partitions stopped: {}", faults.len(), fault.message)
            }
        };
        self.stop(Code::Finished, &message);
    }
}
