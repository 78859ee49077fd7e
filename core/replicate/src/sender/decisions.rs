//! Commits that the replica hears of before any of their markers.

use mainstem_link::{Frame, MarkerItem, TransactionDecision, TransactionDecisions};
use mainstem_types::OriginTopicId;
use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;

use super::{Phase, Sender, SenderAction};

/// Markers that wait for their topics to be told. Of those whose topics never are, the oldest go.
const WAITING_MARKERS_MAX: usize = 64 * 1024;
/// Markers in one frame: far below what a header may hold.
const FRAME_MARKERS_MAX: usize = 8 * 1024;

impl Sender {
    /// Commits that were decided at the source. They are told before batches that are given from
    /// here on, so each has to come before the batches of its markers do.
    pub fn handle_decisions(&mut self, decisions: impl IntoIterator<Item = TransactionDecision>) {
        self.decisions.extend(decisions);
        self.decisions_dirty = true;
        self.send_decisions();
    }

    /// Topics are gone, and nobody waits for markers in them.
    pub(super) fn forget_decisions(&mut self, is_gone: impl Fn(OriginTopicId) -> bool) {
        for decision in &mut self.decisions {
            decision.markers.retain(|marker| !is_gone(marker.origin));
        }
        self.decisions.retain(|decision| !decision.markers.is_empty());
    }

    /// Each marker is told once: when its topic is told, and where the replica has our history. What
    /// it had of another one says nothing of which markers it has.
    pub(super) fn send_decisions(&mut self) {
        if self.phase != Phase::Open || !std::mem::take(&mut self.decisions_dirty) {
            return;
        }
        let (mut due, mut waiting) = (Vec::new(), Vec::new());
        for mut decision in std::mem::take(&mut self.decisions) {
            let (partitions, topics) = (&self.partitions, &self.topics);
            let begun = |marker: &MarkerItem| {
                let known = partitions.get(&(marker.origin, marker.partition));
                known.filter(|partition| partition.next.is_some())
            };
            decision
                .markers
                .retain(|marker| begun(marker).is_none_or(|p| p.acked <= marker.offset));
            let is_due = |marker: &MarkerItem| {
                topics.is_told(marker.origin, marker.partition) && begun(marker).is_some()
            };
            let (told, untold) = decision.markers.drain(..).partition(is_due);
            for (markers, list) in [(told, &mut due), (untold, &mut waiting)] {
                let part = TransactionDecision { markers, ..decision.clone() };
                list.extend((!part.markers.is_empty()).then_some(part));
            }
        }
        self.decisions = newest(waiting);
        let frames = frames_of(due).into_iter();
        self.actions.extend(frames.map(|frame| SenderAction::Send(Frame::from(frame))));
    }
}

/// The newest decisions, with so many markers as may wait.
fn newest(mut waiting: Vec<TransactionDecision>) -> Vec<TransactionDecision> {
    let mut markers = 0;
    let kept = waiting.iter().rev().take_while(|decision| {
        markers += decision.markers.len();
        markers <= WAITING_MARKERS_MAX
    });
    let surplus = waiting.len() - kept.count();
    waiting.drain(..surplus);
    waiting
}

/// Lists have a limit: one decision with many markers is told in parts.
fn frames_of(decisions: Vec<TransactionDecision>) -> Vec<TransactionDecisions> {
    let mut frames: Vec<TransactionDecisions> = Vec::new();
    let mut markers = FRAME_MARKERS_MAX;
    for decision in decisions {
        for part in decision.markers.chunks(LINK_CHUNK_ITEMS_MAX) {
            let is_full = |frame: &TransactionDecisions| {
                frame.decisions.len() == LINK_CHUNK_ITEMS_MAX
                    || markers + part.len() > FRAME_MARKERS_MAX
            };
            if frames.last().is_none_or(is_full) {
                frames.push(TransactionDecisions::default());
                markers = 0;
            }
            markers += part.len();
            let part = TransactionDecision { markers: part.to_vec(), ..decision.clone() };
            let frame = frames.last_mut().expect("one was pushed");
            frame.decisions.push(part);
        }
    }
    frames
}
