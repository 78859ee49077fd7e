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
        // Asked once: what falls due between here and there waits for the next step.
        self.housekeeping.are_duties_due = self.is_expiry_due() || self.shared.damage.any();
        let (appends, others): (Vec<&Op>, Vec<&Op>) = ops.iter().partition(|op| op.is_append());
        let catalog = &self.state.catalog;
        let others: Need = others.iter().map(|op| op.need(catalog)).sum();
        let small = others + self.need_of_duties(ops) + self.need_of_synchrony();
        let all = small + appends.iter().map(|op| op.need(catalog)).sum();
        if all.frames == 0 {
            return Ok(Room::All);
        }
        let room = if self.has_room(all)? {
            Room::All
        } else if small.frames == 0 || self.has_room(small)? {
            Room::NoAppends
        } else {
            Room::None
        };
        self.tell_of_room(room);
        Ok(room)
    }

    /// Once for each change, whoever asks how often meanwhile.
    fn tell_of_room(&mut self, room: Room) {
        if std::mem::replace(&mut self.housekeeping.room, room) == room {
            return;
        }
        match room {
            Room::All => tracing::info!("the disk has room again; everything is taken"),
            Room::NoAppends => tracing::error!("the disk is full; appends are refused"),
            Room::None => tracing::error!("the disk is full; nothing can be changed"),
        }
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
        const DAMAGE_TEXT_BYTES: usize = 256;
        let staged = &self.group.frames;
        let staged_bytes = staged.iter().map(|frame| frame.payload.len()).sum::<usize>();
        let has_changes = ops.iter().any(|op| matches!(op, Op::Change { .. }));
        let are_due = self.housekeeping.are_duties_due;
        let damaged = if are_due { self.shared.damage.count() } else { 0 };
        let partitions = self.state.partitions.len();
        let touched = usize::from(has_changes) * partitions + usize::from(are_due) * partitions;
        Need {
            payload_bytes: staged_bytes + damaged * DAMAGE_TEXT_BYTES,
            frames: staged.len() + damaged + touched,
        }
    }
}
