//! The commits that links tell of.

use std::collections::VecDeque;

use mainstem_types::limits::TOLD_MARKERS_MAX;

use crate::op::LinkDecision;

/// The newest commits that replicas are to hear of, each with a number. Bounded in markers: a link
/// that is further behind promotes without the older ones.
#[derive(Debug, Default)]
pub(crate) struct ToTell {
    decisions: VecDeque<LinkDecision>,
    /// The number of the first of them.
    first: u64,
    markers: usize,
}

impl ToTell {
    pub(crate) fn extend(&mut self, decisions: Vec<LinkDecision>) {
        for decision in decisions {
            self.markers += decision.markers.len();
            self.decisions.push_back(decision);
        }
        while self.markers > TOLD_MARKERS_MAX
            && let Some(oldest) = self.decisions.pop_front()
        {
            self.markers -= oldest.markers.len();
            self.first += 1;
        }
    }

    /// Those from a number on, and the number of the next.
    pub(crate) fn since(&self, from: u64) -> (Vec<LinkDecision>, u64) {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let decisions = self.decisions.iter().skip(skip).cloned().collect();
        (decisions, self.first + self.decisions.len() as u64)
    }
}
