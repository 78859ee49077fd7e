//! When a replica has everything, and may be offered the topics.

use mainstem_link::HandOver;
use mainstem_types::Term;

use super::{Phase, Sender, SenderAction};

/// A hand-over to the replica of this session, as the catalog has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoverView {
    /// The term in which the replica is to be the owner.
    pub term: Term,
    /// It is written down that the replica may have been offered the term.
    pub is_offered: bool,
    /// From this moment of the wall clock on, nothing is offered any more.
    pub deadline_ms: i64,
}

impl Sender {
    /// A hand-over is under way, or no longer. Before, the frontiers of all partitions and all
    /// cursors are to be told as they are since nothing is written any more.
    pub fn handle_handover(&mut self, handover: Option<HandoverView>) {
        self.handover = handover;
        if handover.is_none() {
            (self.is_drained_told, self.is_offer_sent) = (false, false);
            self.grow();
        }
    }

    /// Whether the replica knows of the offer by this session.
    pub fn is_offer_sent(&self) -> bool {
        self.is_offer_sent
    }

    /// Once all is acknowledged, the offer is first written down and then sent: who may have sent
    /// it does not write on before the replica is heard.
    pub(super) fn offer_if_drained(&mut self) {
        let Some(handover) = self.handover else { return };
        let due = !self.is_offer_sent && self.wall_ms < handover.deadline_ms;
        if !due || !self.is_drained() {
            return;
        }
        if handover.is_offered {
            self.is_offer_sent = true;
            self.actions.push_back(SenderAction::Send(HandOver { term: handover.term }.into()));
        } else if !self.is_drained_told {
            self.is_drained_told = true;
            self.actions.push_back(SenderAction::Drained);
        }
    }

    /// Everything that the source owns is durable at the replica, cursors were sent, and nothing
    /// has stopped.
    fn is_drained(&self) -> bool {
        let has_all = |((origin, partition), state): (&super::Key, &super::SendPartition)| {
            let ours = self.topics.owner(*origin) == Some(self.source);
            let end = state.view.as_ref().map_or(0, |view| view.durable_end);
            !ours
                || (self.topics.is_told(*origin, *partition)
                    && state.fault.is_none()
                    && state.has_to(end))
        };
        self.phase == Phase::Open
            && !self.catalog_dirty
            && self.stopped.is_empty()
            && self.acked_seq >= self.topics.seq()
            && self.cursors.is_empty()
            && self.partitions.iter().all(has_all)
    }
}
