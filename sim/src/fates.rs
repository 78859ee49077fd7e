//! How transactions ended, told from the batches of one copy alone.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_engine::Partition;
use mainstem_record::{BatchHeader, ControlRecord, control_of};
use mainstem_types::{LineageEntry, OriginTopicId};

use crate::truth::{TrueBatch, batches_from};

type Key = (OriginTopicId, u32);

/// A commit that was acknowledged while the replica at a site was in force.
pub(crate) struct CommitPromise {
    pub(crate) at: usize,
    pub(crate) attempt: usize,
    /// Where its markers lie.
    pub(crate) markers: Vec<(Key, i64)>,
}

/// What the batches of one copy say.
#[derive(Default)]
pub(crate) struct Seen {
    end: i64,
    /// What began below may not have been seen.
    from: i64,
    lineage: Vec<LineageEntry>,
    pub(crate) open: BTreeMap<i64, Open>,
    /// Where the last batch ends.
    next: i64,
    /// (producer id, first offset) of what a gap has ended: nobody knows how.
    unknown: BTreeSet<(i64, i64)>,
    /// (producer id, first offset, marker) in the order of markers.
    aborted: Vec<(i64, i64, i64)>,
    pub(crate) fates: BTreeMap<usize, Fate>,
}

/// A transaction without a marker yet.
pub(crate) struct Open {
    first: i64,
    pub(crate) attempts: BTreeSet<usize>,
}

/// How a transaction ended in a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) is_commit: bool,
    pub(crate) marker: i64,
}

impl Seen {
    /// Notes what is new. Gives the offset from which on the copy was cut, if it was.
    pub(crate) fn follow(
        &mut self,
        copy: &Partition,
        of_batch: impl Fn(&BatchHeader) -> Option<usize>,
    ) -> Option<i64> {
        let (lineage, end) = (copy.lineage().entries().to_vec(), copy.durable_end());
        let same = self.lineage.iter().zip(&lineage).take_while(|(a, b)| a == b).count();
        let next_reign = lineage.get(same).map_or(i64::MAX, |entry| entry.start_offset);
        let is_cut = end < self.end || same < self.lineage.len() || next_reign < self.end;
        if is_cut {
            let from = copy.log_start();
            *self = Self { from, next: from, ..Self::default() };
        } else if copy.log_start() > self.end {
            self.note_hole(copy.log_start());
            self.from = copy.log_start();
        }
        for batch in batches_from(copy, self.end) {
            let header = BatchHeader::decode(&batch.bytes).expect("checked when it was taken");
            self.note_reigns(&lineage, batch.base);
            self.note_hole(batch.base);
            self.note(&batch, &header, of_batch(&header));
            self.next = batch.next;
        }
        self.note_hole(end);
        self.note_reigns(&lineage, end);
        (self.end, self.lineage) = (end, lineage);
        is_cut.then_some(end.min(next_reign))
    }

    /// What an owner has not ended as its reign began it never had, and nobody will ever say how that
    /// ended.
    fn note_reigns(&mut self, lineage: &[LineageEntry], end: i64) {
        let is_whole = |at: usize, reign: &LineageEntry| {
            lineage.get(at).is_none_or(|next| reign.settled_from() <= next.start_offset)
        };
        let others =
            (2..).zip(lineage.windows(2)).filter(|(_, pair)| pair[0].owner != pair[1].owner);
        let others = others.map(|(at, pair)| (at, pair[1]));
        let ended =
            others.filter(|(at, reign)| reign.settled_from() <= end && is_whole(*at, reign));
        for (_, reign) in ended {
            let lost = self.open.extract_if(.., |_, open| open.first < reign.start_offset);
            self.unknown.extend(lost.map(|(id, open)| (id, open.first)));
        }
    }

    /// Where a source did not keep what was to be sent, nobody may ever say how it ended.
    fn note_hole(&mut self, to: i64) {
        let from = self.next;
        if to > from {
            let open = std::mem::take(&mut self.open);
            self.unknown.extend(open.into_iter().map(|(id, open)| (id, open.first)));
        }
        self.next = to.max(from);
    }

    fn note(&mut self, batch: &TrueBatch, header: &BatchHeader, attempt: Option<usize>) {
        if !header.attributes.is_transactional() {
            return;
        }
        let id = header.producer_id;
        let Some(marker) = control_of(&batch.bytes).expect("checked when it was taken") else {
            let attempts = BTreeSet::new();
            let open = self.open.entry(id).or_insert(Open { first: batch.base, attempts });
            open.attempts.extend(attempt);
            return;
        };
        let Some(open) = self.open.remove(&id) else { return };
        let fate = Fate { is_commit: marker == ControlRecord::Commit, marker: batch.base };
        if !fate.is_commit {
            self.aborted.push((id, open.first, batch.base));
        }
        self.fates.extend(open.attempts.into_iter().map(|attempt| (attempt, fate)));
    }

    /// Readers of what is committed see nothing of what is open, and skip what was aborted.
    pub(crate) fn check_readers(&self, copy: &Partition, stable: i64) -> Result<(), String> {
        let start = copy.log_start();
        let first = self.open.values().map(|open| open.first).min();
        if let Some(first) = first.filter(|first| stable > (*first).max(start)) {
            return Err(format!("{stable} is taken for stable, and open is what began at {first}"));
        }
        let known = copy.aborted_between(start, i64::MAX);
        // What began where nothing was seen, or has lost a part in a hole, may have begun earlier.
        let is_seen = |id, first| first >= self.from && !self.unknown.contains(&(id, first));
        let made_up = known.iter().find(|range| {
            let (id, first) = (range.producer_id, range.first_offset);
            is_seen(id, first) && !self.aborted.contains(&(id, first, range.marker))
        });
        if let Some(made_up) = made_up {
            return Err(format!("{made_up:?} counts as aborted, and is not"));
        }
        let is_known = |(id, first, marker): &&(i64, i64, i64)| {
            known.iter().any(|range| {
                let begun = range.first_offset;
                (range.producer_id, range.marker) == (*id, *marker)
                    && (begun == *first || !is_seen(*id, begun))
            })
        };
        let standing = self.aborted.iter().filter(|(_, _, marker)| *marker >= start);
        match { standing }.find(|range| !is_known(range)) {
            Some(range) => Err(format!("{range:?} is aborted, and counts as {known:?}")),
            None => Ok(()),
        }
    }
}
