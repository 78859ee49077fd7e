//! Room for a group, found before anything of it is decided.
//!
//! What is decided is ahead of the log until it is written, and cannot be taken back: offsets were
//! given, producers' sequences moved, the catalog changed. So the log is asked first, and what
//! does not fit is refused as it came.

use mainstem_log::LogError;
use mainstem_types::Error;

use crate::op::Op;
use crate::room::{Need, Room};
use crate::sequencer::Sequencer;

impl Sequencer {
    /// Reserves what these operations and the duties of this step may need.
    pub(crate) fn find_room(&mut self, ops: &[Op]) -> Result<Room, Error> {
        let (appends, others): (Vec<&Op>, Vec<&Op>) = ops.iter().partition(|op| op.is_append());
        let catalog = &self.state.catalog;
        let others: Need = others.iter().map(|op| op.need(catalog)).sum();
        let small = others + self.need_of_duties(ops);
        let all = small + appends.iter().map(|op| op.need(catalog)).sum();
        if all.frames == 0 || self.has_room(all)? {
            return Ok(Room::All);
        }
        tracing::error!("the disk is full; appends are refused until there is room");
        if small.frames == 0 || self.has_room(small)? {
            return Ok(Room::NoAppends);
        }
        tracing::error!("the disk is full; nothing can be changed until there is room");
        Ok(Room::None)
    }

    fn has_room(&mut self, need: Need) -> Result<bool, Error> {
        match self.log.reserve(need.payload_bytes, need.frames) {
            Ok(()) => Ok(true),
            Err(LogError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What is staged from before, expiry, damage, and partitions that deletions end: each
    /// partition goes once.
    fn need_of_duties(&self, ops: &[Op]) -> Need {
        let staged = &self.group.frames;
        let may_touch_all = self.is_expiry_due()
            || self.shared.damage.any()
            || ops.iter().any(|op| matches!(op, Op::Change { .. }));
        let partitions = if may_touch_all { self.state.partitions.len() } else { 0 };
        const DAMAGE_TEXT_BYTES: usize = 256;
        let staged_bytes = staged.iter().map(|frame| frame.payload.len()).sum::<usize>();
        let damage_bytes =
            if self.shared.damage.any() { DAMAGE_TEXT_BYTES * partitions } else { 0 };
        Need { payload_bytes: staged_bytes + damage_bytes, frames: staged.len() + 2 * partitions }
    }
}
