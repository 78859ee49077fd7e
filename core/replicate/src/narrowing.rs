//! Finds the first batch in which two logs differ, by questions about digests.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_link::{Code, DigestAnswer, DigestPart, DigestRange};
use mainstem_types::OriginTopicId;

use crate::record_digest::{Entry, unpacked};

/// How the first batch differs that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Other bytes, or another number of records.
    Bytes,
    /// The same bytes under another leader epoch.
    Epoch,
    /// The source keeps a batch where the replica keeps none.
    Missing,
    /// The replica keeps a batch where the source keeps none, or lies beyond its end.
    Extra,
}

impl Difference {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Epoch => "epoch",
            Self::Missing => "missing",
            Self::Extra => "extra",
        }
    }
}

/// What was found of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All that both keep is the same.
    Identical,
    /// Up to this batch all is the same.
    Different {
        /// Its first offset, or the lower one of the two.
        offset: i64,
        /// What is different.
        how: Difference,
    },
    /// It could not be told, for this reason; up to `to` all is the same.
    Unknown(String),
}

/// The end of a [`Narrowing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The first offset that both keep.
    pub from: i64,
    /// Up to here they are identical.
    pub to: i64,
    /// When the last record compared had arrived at its owner; 0 if nothing was.
    pub arrival_ms: i64,
    /// What the source has that the replica does not have yet, in offsets.
    pub lag: u64,
    /// What of it was compared record by record, since either side was compacted there.
    pub by_records: Option<ByRecords>,
    /// The outcome.
    pub finding: Finding,
}

/// Where records were compared by themselves, because either side's batches were compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByRecords {
    /// The first offset.
    pub from: i64,
    /// The next offset after it.
    pub to: i64,
    /// Records that both keep.
    pub records: u64,
}

/// One partition under comparison. Ask both sides its [`question`](Self::question), tell it the
/// answers, until there is a [`verdict`](Self::verdict).
#[derive(Clone, Debug)]
pub struct Narrowing {
    origin: OriginTopicId,
    partition: u32,
    /// The first offset that both keep, as far as is known.
    from: i64,
    /// Everything that both keep below is the same.
    at: i64,
    /// The source's end when it was last heard.
    end: i64,
    /// The end that both had at the first answer.
    common_end: Option<i64>,
    /// Batches are looked at up to here, because strides differed.
    batches_to: Option<i64>,
    /// Records are looked at up to here, because strides differed where either side was compacted.
    records_to: Option<i64>,
    by_records: Option<ByRecords>,
    /// Below these the sides' batches may be compacted.
    compacted: (i64, i64),
    /// The source owns the topic, so the replica is never ahead of it (I3).
    owned: bool,
    /// The replica was beyond the source's end at the first answer.
    is_ahead: bool,
    arrival_ms: i64,
    finding: Option<Finding>,
}

impl Narrowing {
    /// Compares a partition that keeps `log_start..end` at the source.
    pub const fn new(
        (origin, partition): (OriginTopicId, u32),
        log_start: i64,
        end: i64,
        owned: bool,
    ) -> Self {
        Self {
            origin,
            partition,
            from: log_start,
            at: log_start,
            end,
            common_end: None,
            batches_to: None,
            records_to: None,
            by_records: None,
            compacted: (0, 0),
            owned,
            is_ahead: false,
            arrival_ms: 0,
            finding: None,
        }
    }

    /// What both sides are to be asked next; `None` when there is a verdict.
    pub fn question(&self) -> Option<DigestRange> {
        if self.finding.is_some() {
            return None;
        }
        let end = self.common_end.unwrap_or(self.end).max(self.at);
        let range = DigestRange {
            origin: self.origin,
            partition: self.partition,
            from: self.at,
            to: self.records_to.or(self.batches_to).map_or(end, |to| to.min(end)),
            batches: self.batches_to.is_some(),
            records: self.records_to.is_some(),
        };
        Some(range)
    }

    /// The outcome, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        let finding = self.finding.clone()?;
        let common_end = self.common_end.unwrap_or(self.at);
        Some(Verdict {
            from: self.from,
            to: self.at,
            arrival_ms: self.arrival_ms,
            lag: u64::try_from(self.end.saturating_sub(common_end)).unwrap_or(0),
            by_records: self.by_records,
            finding,
        })
    }

    /// Offsets that were compared, and those that are to be in all.
    pub fn progress(&self) -> (u64, u64) {
        let end = self.common_end.unwrap_or(self.end).max(self.from);
        let span = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        (span(self.from, self.at.min(end)), span(self.from, end))
    }

    /// Ends it without a verdict on what is left.
    pub fn give_up(&mut self, reason: String) {
        self.finding.get_or_insert(Finding::Unknown(reason));
    }

    /// Both answers to the question, of which the source's was finished last, or its ends read
    /// anew after the replica's came. Says whether that was of any use: an answer that was full
    /// before it came to this range is not.
    pub fn handle(&mut self, ours: &DigestAnswer, theirs: &DigestAnswer) -> bool {
        let Some(asked) = self.question() else { return false };
        if theirs.code == Some(Code::NoTopic) {
            self.give_up("the replica does not hold this partition, or not yet".to_owned());
            return true;
        }
        self.end = ours.end;
        self.compacted = (ours.compacted.unwrap_or(0), theirs.compacted.unwrap_or(0));
        let end = ours.end.min(theirs.end);
        self.is_ahead |= self.common_end.is_none() && self.owned && theirs.end > ours.end;
        let common_end = *self.common_end.get_or_insert(end);
        if end < common_end {
            self.give_up(format!("the log was cut back to {end} meanwhile; verify again"));
            return true;
        }
        self.from = self.from.max(ours.log_start).max(theirs.log_start);
        if self.from > common_end {
            let (start, end) = (self.from, common_end);
            self.give_up(format!("one side begins at {start}, the other ends at {end} so far"));
            return true;
        }
        if self.at < self.from {
            // What was answered may lack what retention took meanwhile.
            (self.at, self.batches_to, self.records_to) = (self.from, None, None);
            self.conclude(common_end);
            return true;
        }
        let before = (self.at, self.batches_to, self.records_to, asked.to);
        match (asked.records, asked.batches) {
            (true, _) => self.compare_records(&asked, ours, theirs),
            (false, false) => self.compare_parts(&asked, common_end, ours, theirs),
            (false, true) => self.compare_batches(ours, theirs),
        }
        if self.finding.is_none() {
            self.note_damage(ours, theirs);
        }
        self.conclude(common_end);
        let to = self.question().map_or(0, |range| range.to);
        let after = (self.at, self.batches_to, self.records_to, to);
        self.finding.is_some() || before != after
    }

    fn compare_parts(
        &mut self,
        asked: &DigestRange,
        common_end: i64,
        ours: &DigestAnswer,
        theirs: &DigestAnswer,
    ) {
        match first_unequal(ours, theirs) {
            None => self.pass(ours.upto.min(theirs.upto), ours),
            Some((a, b)) => {
                self.at = self.at.max(lower(a, b));
                // Beyond the common end only one side speaks: ask again up to there.
                if asked.to == common_end {
                    let to = a.into_iter().chain(b).map(|part| part.to).max();
                    match to.and_then(|to| self.compacted_to(to)) {
                        Some(to) => self.records_to = Some(to),
                        None => self.batches_to = to,
                    }
                }
            }
        }
    }

    fn compare_batches(&mut self, ours: &DigestAnswer, theirs: &DigestAnswer) {
        let Some((a, b)) = first_unequal(ours, theirs) else {
            self.pass(ours.upto.min(theirs.upto), ours);
            if self.batches_to.is_some_and(|to| self.at >= to) {
                self.batches_to = None;
            }
            return;
        };
        let offset = lower(a, b);
        if let Some(to) = self.batches_to.and_then(|to| self.compacted_to_from(offset, to)) {
            // Compaction has come as far as this meanwhile.
            self.at = self.at.max(offset);
            (self.batches_to, self.records_to) = (None, Some(to));
            return;
        }
        let how = match (a, b) {
            (Some(a), Some(b)) if a.from == b.from && (a.to, &a.digest) == (b.to, &b.digest) => {
                Difference::Epoch
            }
            (Some(a), Some(b)) if a.from == b.from => Difference::Bytes,
            (Some(a), b) if b.is_none_or(|b| a.from < b.from) => Difference::Missing,
            _ => Difference::Extra,
        };
        self.at = self.at.max(offset);
        self.finding = Some(Finding::Different { offset, how });
    }

    /// Up to where records are to be looked at before `to`, if either side was compacted from here.
    fn compacted_to(&self, to: i64) -> Option<i64> {
        self.compacted_to_from(self.at, to)
    }

    fn compacted_to_from(&self, from: i64, to: i64) -> Option<i64> {
        let compacted = self.compacted.0.max(self.compacted.1).min(to);
        (compacted > from).then_some(compacted)
    }

    fn compare_records(&mut self, asked: &DigestRange, ours: &DigestAnswer, theirs: &DigestAnswer) {
        let upto = ours.upto.min(theirs.upto).min(asked.to);
        let (Some(a), Some(b)) = (by_offset(ours, upto), by_offset(theirs, upto)) else {
            let what = "a side is too old to compare what was compacted; upgrade it";
            return self.give_up(what.to_owned());
        };
        let offsets: BTreeSet<i64> = a.keys().chain(b.keys()).copied().collect();
        let mut records = 0;
        let mut found = None;
        for offset in offsets {
            // What one side lacks is explained where that side was compacted.
            found = match (a.get(&offset), b.get(&offset)) {
                (Some(our), Some(their)) if our != their => Some((offset, Difference::Bytes)),
                (Some(our), None) if our.is_whole || offset >= self.compacted.1 => {
                    Some((offset, Difference::Missing))
                }
                (None, Some(their)) if their.is_whole || offset >= self.compacted.0 => {
                    Some((offset, Difference::Extra))
                }
                _ => None,
            };
            if found.is_some() {
                break;
            }
            records += u64::from(a.contains_key(&offset) && b.contains_key(&offset));
        }
        let from = self.at;
        match found {
            Some((offset, how)) => {
                self.at = self.at.max(offset);
                self.finding = Some(Finding::Different { offset, how });
            }
            None => self.pass(upto, ours),
        }
        let known = self.by_records.get_or_insert(ByRecords { from, to: from, records: 0 });
        (known.to, known.records) = (known.to.max(self.at), known.records + records);
        if self.records_to.is_some_and(|to| self.at >= to) {
            self.records_to = None;
        }
    }

    fn pass(&mut self, upto: i64, ours: &DigestAnswer) {
        self.at = self.at.max(upto);
        if ours.arrival_ms != 0 {
            self.arrival_ms = ours.arrival_ms;
        }
    }

    /// What cannot be read is not compared, and nothing behind it is.
    fn note_damage(&mut self, ours: &DigestAnswer, theirs: &DigestAnswer) {
        for (side, answer) in [("source", ours), ("replica", theirs)] {
            if let Some(code) = answer.code
                && answer.upto <= self.at
            {
                let reason = answer.message.as_deref().unwrap_or("no reason given");
                self.give_up(format!("from {} on at the {side}: {code}: {reason}", self.at));
            }
        }
    }

    fn conclude(&mut self, common_end: i64) {
        if self.finding.is_some() || self.at < common_end {
            return;
        }
        self.finding = Some(if self.is_ahead {
            Finding::Different { offset: common_end, how: Difference::Extra }
        } else {
            Finding::Identical
        });
    }
}

/// The records that an answer tells below `upto`; `None` if it does not tell of records.
fn by_offset(answer: &DigestAnswer, upto: i64) -> Option<BTreeMap<i64, Entry>> {
    let parts = answer.parts.iter().map(unpacked).collect::<Option<Vec<_>>>()?;
    Some(parts.into_iter().flatten().filter(|(offset, _)| *offset < upto).collect())
}

type Pair<'a> = (Option<&'a DigestPart>, Option<&'a DigestPart>);

/// The first place where one side says something else than the other, below the offset up to
/// which both speak.
fn first_unequal<'a>(ours: &'a DigestAnswer, theirs: &'a DigestAnswer) -> Option<Pair<'a>> {
    let upto = ours.upto.min(theirs.upto);
    let count = ours.parts.len().max(theirs.parts.len());
    let pairs = (0..count).map(|at| (ours.parts.get(at), theirs.parts.get(at)));
    let unequal = pairs.into_iter().find(|(a, b)| a != b);
    unequal.filter(|(a, b)| lower(*a, *b) < upto)
}

fn lower(a: Option<&DigestPart>, b: Option<&DigestPart>) -> i64 {
    a.into_iter().chain(b).map(|part| part.from).min().unwrap_or(i64::MAX)
}
