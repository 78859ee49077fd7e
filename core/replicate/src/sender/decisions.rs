//! Commits that the replica hears of before any of their markers.

use mainstem_link::{End, Frame, TransactionDecision, TransactionDecisions};
use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;

use super::{Phase, Sender, SenderAction};

/// Decisions that wait for their topics to be told. Of those whose topics never are, the oldest go.
const WAITING_MAX: usize = 16 * 1024;
/// Markers in one frame: far below what a header may hold.
const FRAME_MARKERS_MAX: usize = 8 * 1024;

impl Sender {
    /// Commits that were decided at the source. They are told before batches that are given from
    /// here on, so each has to come before the batches of its markers do.
    pub fn handle_decisions(&mut self, decisions: impl IntoIterator<Item = TransactionDecision>) {
        self.decisions.extend(decisions);
        self.send_decisions();
    }

    pub(super) fn send_decisions(&mut self) {
        if self.phase != Phase::Open || self.decisions.is_empty() {
            return;
        }
        let mut due = Vec::new();
        for mut decision in std::mem::take(&mut self.decisions) {
            let (partitions, topics) = (&self.partitions, &self.topics);
            decision.markers.retain(|marker| {
                let known = partitions.get(&(marker.origin, marker.partition));
                known.is_none_or(|partition| partition.acked <= marker.offset)
            });
            // Each marker is told once, as soon as its topic is; some topics never are.
            let is_told = |marker: &End| topics.is_told(marker.origin, marker.partition);
            let (told, untold) = decision.markers.into_iter().partition(is_told);
            for (markers, to) in [(told, &mut due), (untold, &mut self.decisions)] {
                if !Vec::is_empty(&markers) {
                    to.push(TransactionDecision { markers, ..decision });
                }
            }
        }
        let surplus = self.decisions.len().saturating_sub(WAITING_MAX);
        self.decisions.drain(..surplus);
        let frames = frames_of(due).into_iter();
        self.actions.extend(frames.map(|frame| SenderAction::Send(Frame::from(frame))));
    }
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
