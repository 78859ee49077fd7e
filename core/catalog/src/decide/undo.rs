//! What a removed set-up left at its destination, until that has taken it back.

use mainstem_types::{Error, JobId};

use super::Draw;
use crate::{Catalog, Event, Place, Replica, SetupStep, Stream, Undo};

/// Destinations that may be waited for; beyond, the one that was waited for longest is given up.
const UNDOS_MAX: usize = 1024;

impl Catalog {
    /// The replica goes. If its set-up is under way, what that made at the destination is to be
    /// taken back, however long the destination is away.
    pub(super) fn removal(&self, stream: &Stream, replica: &Replica, draw: &Draw) -> Vec<Event> {
        let mut events = stream.without_replica(replica);
        if let Some(undo) = undo_of(stream, replica, draw) {
            if self.undos.len() >= UNDOS_MAX
                && let Some(oldest) = self.undos.values().min_by_key(|undo| undo.since_ms)
            {
                events.push(Event::UndoEnded { job: oldest.job });
            }
            events.push(Event::UndoBegun { undo });
        }
        events
    }

    /// What the set-ups of a stream made goes with it.
    pub(super) fn decide_delete_stream(&self, stream: &Stream, draw: &Draw) -> Vec<Event> {
        let undos = stream.replicas.iter().filter_map(|replica| undo_of(stream, replica, draw));
        let room = UNDOS_MAX.saturating_sub(self.undos.len());
        let deleted = Event::StreamDeleted { stream: stream.id };
        let begun = undos.take(room).map(|undo| Event::UndoBegun { undo });
        [deleted].into_iter().chain(begun).collect()
    }

    pub(super) fn decide_end_undo(&self, job: JobId) -> Vec<Event> {
        self.undos.get(&job).map(|undo| Event::UndoEnded { job: undo.job }).into_iter().collect()
    }

    /// A second removal says that the destination need not be waited for any longer.
    pub(super) fn give_up(&self, stream: &Stream, place: &Place) -> Result<Vec<Event>, Error> {
        let ours = |undo: &&Undo| undo.stream == stream.id && undo.place == *place;
        let ended: Vec<Event> =
            self.undos.values().filter(ours).map(|u| Event::UndoEnded { job: u.job }).collect();
        if ended.is_empty() {
            return stream.expect_replica(place).map(|_| Vec::new());
        }
        Ok(ended)
    }
}

/// A job without a grant made nothing at its destination; one that has failed took it back.
fn undo_of(stream: &Stream, replica: &Replica, draw: &Draw) -> Option<Undo> {
    let setup = replica.setup.as_ref()?;
    if matches!(setup.step, SetupStep::Replicating | SetupStep::Unexpected) {
        return None;
    }
    Some(Undo {
        job: setup.job,
        grant: setup.grant?,
        place: replica.place.clone(),
        replica_id: replica.replica_id?,
        stream: stream.id,
        since_ms: draw.now_ms,
    })
}
