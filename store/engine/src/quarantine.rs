//! Taking partitions out of service whose stored data is damaged.

use mainstem_log::{Frame, FrameKind, LogError};
use mainstem_types::PartitionNo;

use crate::sequencer::Sequencer;

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
