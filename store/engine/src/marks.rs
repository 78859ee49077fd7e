//! What a partition remembers of offsets that hold nothing: where its owner deleted records, which
//! gaps the source declared (I8), and how far it was compacted.

use minicbor::{Decode, Encode};

/// Gaps that a partition remembers one by one; older ones go as newer come.
const GAPS_MAX: usize = 16;

/// Offsets that the source no longer kept when this copy came to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Gap {
    /// The first offset that is missing.
    #[n(0)]
    pub from: i64,
    /// The first that is not.
    #[n(1)]
    pub to: i64,
    /// When this copy learned of it; 0 if that was not noted.
    #[n(2)]
    pub at_ms: i64,
}

/// A partition's marks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Marks {
    /// Below it the topic's owner deleted the records (DeleteRecords). Never above the log start,
    /// which each copy's own retention moves too.
    #[n(0)]
    pub trimmed: i64,
    /// The newest gaps, in order of offset.
    #[n(1)]
    pub gaps: Vec<Gap>,
    /// Batches below may lack records, or be missing: compaction has begun on them here, or
    /// at the source before they came. Above the end only where what came with it was refused, or
    /// lost to a crash.
    #[cbor(n(2), default, skip_if = "is_zero")]
    pub compacted: i64,
    /// Compaction here has looked at every key below. Never above `compacted`.
    #[cbor(n(3), default, skip_if = "is_zero")]
    pub cleaned: i64,
    /// Up to here what it had comes anew, since compaction had taken what only those records
    /// superseded that the owner does not have. No matter once the end is there.
    #[cbor(n(4), default, skip_if = "is_zero")]
    pub anew_to: i64,
    /// The source of what is here has been compacted up to here, beyond the end: some of it may be
    /// lacking that only records superseded which are still to come.
    #[cbor(n(5), default, skip_if = "is_zero")]
    pub ahead: i64,
    /// The number of the owner's term that the source knew of then. Another reign that begins below
    /// does not bring those records.
    #[cbor(n(6), default, skip_if = "is_zero")]
    pub ahead_in: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the encoding wants it")]
const fn is_zero(offset: &i64) -> bool {
    *offset == 0
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The owner deleted what is below `to`, and so is no gap any more.
    pub(crate) fn trim(&mut self, to: i64) {
        self.trimmed = self.trimmed.max(to);
        self.gaps.retain(|gap| gap.to > to);
    }

    /// Takes note of a gap. Retention that goes on while gaps are declared makes one of several.
    pub(crate) fn note_gap(&mut self, gap: Gap) {
        match self.gaps.last_mut() {
            Some(last) if last.to == gap.from => (last.to, last.at_ms) = (gap.to, gap.at_ms),
            _ => self.gaps.push(gap),
        }
        if self.gaps.len() > GAPS_MAX {
            self.gaps.remove(0);
        }
    }

    /// Compaction begins below `compacted`, or has looked at every key below `cleaned`.
    pub(crate) fn note_compaction(&mut self, compacted: i64, cleaned: i64) {
        self.compacted = self.compacted.max(compacted);
        self.cleaned = self.cleaned.max(cleaned);
    }

    /// Takes note of how far the source is compacted, in the owner's term of that number.
    pub(crate) fn note_ahead(&mut self, ahead: i64, term: i64) {
        (self.ahead, self.ahead_in) = (ahead, term);
    }

    /// Whether a reign that begins at `start`, in the owner's term of that number, lacks records that
    /// others were compacted away for.
    pub(crate) fn lacks_for(&self, start: i64, term: u64) -> bool {
        self.ahead > start && u64::try_from(self.ahead_in).is_ok_and(|known| known < term)
    }

    /// Everything from `to` on is undone, and may be written anew by somebody else; up to `anew_to`
    /// the same comes again.
    pub(crate) fn truncate(&mut self, to: i64, anew_to: i64) {
        self.trimmed = self.trimmed.min(to);
        self.compacted = self.compacted.min(to);
        self.cleaned = self.cleaned.min(to);
        (self.ahead, self.ahead_in) = (0, 0);
        self.anew_to = if anew_to > to { anew_to } else { 0 };
        self.gaps.retain(|gap| gap.from < to);
        if let Some(last) = self.gaps.last_mut() {
            last.to = last.to.min(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: i64, to: i64) -> Gap {
        Gap { from, to, at_ms: to }
    }

    #[test]
    fn gaps_join_are_bounded_and_go_with_what_their_owner_deletes() {
        let mut marks = Marks::default();
        marks.note_gap(gap(0, 5));
        marks.note_gap(gap(5, 9));
        assert_eq!(marks.gaps, [Gap { from: 0, to: 9, at_ms: 9 }]);
        for n in 1..40 {
            marks.note_gap(gap(n * 100, n * 100 + 10));
        }
        assert_eq!((marks.gaps.len(), marks.gaps[0].from), (GAPS_MAX, 2_400));
        marks.trim(3_805);
        assert_eq!((marks.trimmed, marks.gaps.len()), (3_805, 2), "one lies only partly below");
        marks.truncate(3_805, 3_805);
        assert_eq!(marks.gaps, [Gap { from: 3_800, to: 3_805, at_ms: 3_810 }]);
        marks.truncate(7, 9);
        assert_eq!(marks, Marks { trimmed: 7, anew_to: 9, ..Marks::default() });
    }
}
