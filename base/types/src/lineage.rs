//! Terms and lineages: who wrote which stretch of a partition.

use crate::{StreamId, TermId};

/// One reign over a stream's topics. The number orders terms; the id tells apart two that were
/// given the same number on two sides of a cut network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// Rises by one at each fail-over or hand-over.
    pub number: u64,
    /// Random; what two logs have in common is found by it, never by the number.
    pub id: TermId,
}

/// From `start_offset` on, records were written in `leader_epoch` by `owner` in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineageEntry {
    /// Kafka's leader epoch, the same at the source and at every replica.
    pub leader_epoch: i32,
    /// The first offset of the epoch.
    pub start_offset: i64,
    /// The term in which it was written.
    pub term_id: TermId,
    /// The stream that owned the topic.
    pub owner: StreamId,
    /// How many transactions of before it ended as it began: their markers stand first.
    pub markers: u32,
}

impl LineageEntry {
    /// The offset from which on all that its owner knew to be open from before has ended.
    pub fn settled_from(&self) -> i64 {
        self.start_offset.saturating_add(i64::from(self.markers))
    }
}

/// The entries of one partition, epochs and starts rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    entries: Vec<LineageEntry>,
}

impl Lineage {
    /// The epoch of an offset; -1 before the first.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let entry = self.entries.iter().rfind(|entry| entry.start_offset <= offset);
        entry.map_or(-1, |entry| entry.leader_epoch)
    }

    /// A lineage from its entries, or `None` if epochs or starts do not rise.
    pub fn from_entries(entries: Vec<LineageEntry>) -> Option<Self> {
        let rising = entries.windows(2).all(|pair| {
            pair[0].leader_epoch < pair[1].leader_epoch
                && pair[0].start_offset <= pair[1].start_offset
        });
        // The highest epoch would leave none for the next reign.
        let epochs = 0..i32::MAX;
        (rising && entries.iter().all(|e| epochs.contains(&e.leader_epoch) && e.start_offset >= 0))
            .then_some(Self { entries })
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[LineageEntry] {
        &self.entries
    }

    /// The newest entry.
    pub fn last(&self) -> Option<&LineageEntry> {
        self.entries.last()
    }

    /// The leader epoch that is written now; 0 before the first entry.
    pub fn leader_epoch(&self) -> i32 {
        self.last().map_or(0, |entry| entry.leader_epoch)
    }

    /// Adds an entry if it follows the newest one; says whether it did.
    pub fn push(&mut self, entry: LineageEntry) -> bool {
        let follows = self.last().is_none_or(|last| {
            last.leader_epoch < entry.leader_epoch && last.start_offset <= entry.start_offset
        });
        if follows {
            self.entries.push(entry);
        }
        follows
    }

    /// Forgets the entries that begin at `to` or later, because the log was cut there.
    pub fn truncate(&mut self, to: i64) {
        self.entries.retain(|entry| entry.start_offset < to);
    }

    /// Whether it begins as `other` does, all of it.
    pub fn continues(&self, other: &Self) -> bool {
        self.entries.starts_with(&other.entries)
    }

    /// Whether something was written in that term.
    pub fn knows(&self, term: TermId) -> bool {
        self.entries.iter().any(|entry| entry.term_id == term)
    }

    /// Where an epoch ends: (the largest epoch not above `epoch`, the start of the next one, or
    /// `end`). `None` if `epoch` is older than all that is known (KIP-101).
    pub fn end_of_epoch(&self, epoch: i32, end: i64) -> Option<(i32, i64)> {
        let at = self.entries.iter().rposition(|entry| entry.leader_epoch <= epoch)?;
        let next = self.entries.get(at + 1).map_or(end, |entry| entry.start_offset);
        Some((self.entries[at].leader_epoch, next))
    }

    /// The offset up to which two logs were written by the same terms, given both ends.
    pub fn common_end(&self, end: i64, other: &Self, other_end: i64) -> i64 {
        let mut common = 0;
        for (at, (ours, theirs)) in self.entries.iter().zip(&other.entries).enumerate() {
            if ours != theirs {
                break;
            }
            let our_end = self.entries.get(at + 1).map_or(end, |next| next.start_offset);
            let their_end = other.entries.get(at + 1).map_or(other_end, |next| next.start_offset);
            common = our_end.min(their_end);
            if our_end != their_end {
                break;
            }
        }
        common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(leader_epoch: i32, start_offset: i64, term: u128) -> LineageEntry {
        let (term_id, owner) = (TermId(term), StreamId(1));
        LineageEntry { leader_epoch, start_offset, term_id, owner, markers: 0 }
    }

    fn lineage(entries: &[LineageEntry]) -> Lineage {
        Lineage::from_entries(entries.to_vec()).unwrap()
    }

    #[test]
    fn what_two_logs_share_is_found_by_term_id() {
        let ours = lineage(&[entry(0, 0, 7), entry(1, 100, 8)]);
        let same = lineage(&[entry(0, 0, 7)]);
        let rival = lineage(&[entry(0, 0, 7), entry(1, 90, 9)]);
        assert_eq!(ours.common_end(150, &same, 80), 80);
        assert_eq!(ours.common_end(150, &same, 120), 100);
        assert_eq!(ours.common_end(150, &rival, 120), 90);
        assert_eq!(ours.common_end(150, &ours, 120), 120);
        assert_eq!(ours.common_end(150, &lineage(&[entry(0, 0, 1)]), 80), 0);
    }

    #[test]
    fn epochs_end_where_the_next_begins() {
        let lineage = lineage(&[entry(0, 0, 7), entry(3, 100, 8)]);
        assert_eq!(lineage.end_of_epoch(0, 150), Some((0, 100)));
        assert_eq!(lineage.end_of_epoch(2, 150), Some((0, 100)));
        assert_eq!(lineage.end_of_epoch(9, 150), Some((3, 150)));
        assert_eq!(lineage.end_of_epoch(-1, 150), None);
    }

    #[test]
    fn entries_must_rise() {
        assert!(Lineage::from_entries(vec![entry(1, 0, 7), entry(1, 5, 8)]).is_none());
        let mut lineage = lineage(&[entry(1, 10, 7)]);
        assert!(!lineage.push(entry(2, 9, 8)));
        assert!(lineage.push(entry(2, 10, 8)));
    }
}
