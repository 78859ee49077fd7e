//! Room for a group, found before anything of it is decided.
//!
//! What is decided is ahead of the log until it is written, and cannot be taken back: offsets were
//! given, producers' sequences moved, the catalog changed. So the log is asked first, and what
//! does not fit is refused as it came.

use mainstem_log::LogError;
use mainstem_types::Error;
use mainstem_types::limits::{CURSOR_DELETIONS_AT_ONCE, GROUP_ID_LENGTH_MAX};

use crate::op::Op;
use crate::room::{Need, Room};
use crate::sequencer::Sequencer;

impl Sequencer {
    /// Reserves what these operations and the duties of this step may need.
    pub(crate) fn find_room(&mut self, ops: &[Op]) -> Result<Room, Error> {
        // Asked once: what falls due between here and there waits for the next step.
        let is_expiry_due = self.is_expiry_due();
        self.housekeeping.are_duties_due = is_expiry_due || self.shared.damage.any();
        self.housekeeping.are_cursors_due = is_expiry_due && self.are_cursors_due();
        let (appends, others): (Vec<&Op>, Vec<&Op>) = ops.iter().partition(|op| op.is_append());
        let catalog = &self.state.catalog;
        let others: Need = others.iter().map(|op| op.need(catalog)).sum();
        let small = others
            + self.need_of_duties(ops)
            + self.need_of_synchrony()
            + self.need_of_transactions(ops);
        let need = |op: &&Op| match op {
            Op::Rejoin { rejoin, .. } => self.rejoin_need(rejoin),
            op => op.need(catalog),
        };
        let all = small + appends.iter().map(need).sum();
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
        const CURSOR_KEY_BYTES: usize = GROUP_ID_LENGTH_MAX + 128;
        let staged = &self.group.frames;
        let staged_bytes = staged.iter().map(|frame| frame.payload.len()).sum::<usize>();
        let has_changes = ops.iter().any(|op| matches!(op, Op::Change { .. }));
        let are_due = self.housekeeping.are_duties_due;
        let damaged = if are_due { self.shared.damage.count() } else { 0 };
        let partitions = self.state.partitions.len();
        let touched = usize::from(has_changes) * partitions + usize::from(are_due) * partitions;
        let cursors =
            if self.housekeeping.are_cursors_due { 2 * CURSOR_DELETIONS_AT_ONCE } else { 0 };
        Need {
            payload_bytes: staged_bytes + damaged * DAMAGE_TEXT_BYTES + cursors * CURSOR_KEY_BYTES,
            frames: staged.len() + damaged + touched + cursors,
        }
    }
}
