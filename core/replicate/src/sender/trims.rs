//! What the owner deleted by DeleteRecords, told to the replica.

use mainstem_link::{End, Trims};
use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;

use super::{Key, Sender, SenderAction};

impl Sender {
    /// Looks whether a partition has a trim to tell. One is told as soon as all below it is
    /// acknowledged, so it needs no new data, is never above the replica's end, and is told again
    /// in the next session if this one ends too early.
    pub(super) fn note_trim(&mut self, key: Key) {
        if self.partitions.get(&key).is_some_and(|partition| partition.due_trim().is_some()) {
            self.trims_due.insert(key);
        }
    }

    pub(super) fn send_trims(&mut self) {
        if self.trims_due.is_empty() {
            return;
        }
        let mut starts = Vec::new();
        for key in std::mem::take(&mut self.trims_due) {
            if !self.topics.is_told(key.0, key.1) || self.stopped.contains_key(&key.0) {
                // It is looked at again when its topic is told.
                continue;
            }
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            if let Some(offset) = partition.due_trim() {
                partition.trim_told = offset;
                starts.push(End { origin: key.0, partition: key.1, offset });
            }
        }
        for starts in starts.chunks(LINK_CHUNK_ITEMS_MAX) {
            let trims = Trims { starts: starts.to_vec() };
            self.actions.push_back(SenderAction::Send(trims.into()));
        }
    }
}
