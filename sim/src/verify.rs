//! That a proof of equality says what a look at all the bytes says: about the replicas as they
//! are, and about copies of their logs into which a difference was put.

use bytes::Bytes;
use mainstem_env::Random;
use mainstem_replicate::{
    Difference, DigestRoom, Finding, KeptLog, Narrowing, SourceBatch, Verdict, answer_range,
};
use mainstem_types::{Error, OriginTopicId};

use crate::Plant;
use crate::compaction::{Compared, is_true};
use crate::truth::batches_from;
use crate::world::World;

/// Small, so that the few records of a seed fill many.
const STRIDE: u32 = 8;
/// Questions until a verdict; far more than any log here needs.
const QUESTIONS_MAX: usize = 1_000;

/// A log as it was at one moment.
#[derive(Clone, Debug)]
struct Frozen {
    start: i64,
    end: i64,
    batches: Vec<SourceBatch>,
    /// Batches below may be compacted.
    compacted: i64,
    /// A planted bug: the leader epoch is not looked at.
    epochless: bool,
}

impl KeptLog for Frozen {
    fn log_start(&self) -> i64 {
        self.start
    }

    fn end(&self) -> i64 {
        self.end
    }

    fn compacted(&self) -> i64 {
        self.compacted
    }

    fn read(&self, from: i64) -> Result<Vec<SourceBatch>, Error> {
        let is_next = |batch: &&SourceBatch| batch.next_offset > from;
        let mut found: Vec<SourceBatch> =
            self.batches.iter().filter(is_next).take(3).cloned().collect();
        if self.epochless {
            for batch in &mut found {
                batch.bytes = patched(&batch.bytes, 12..16, |_| 0);
            }
        }
        Ok(found)
    }
}

fn patched(bytes: &Bytes, range: std::ops::Range<usize>, new: impl Fn(u8) -> u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[range].iter_mut().for_each(|byte| *byte = new(*byte));
    bytes.into()
}

impl Frozen {
    fn compared(&self) -> Compared<'_> {
        let Self { start, end, compacted, .. } = *self;
        Compared { batches: &self.batches, start, end, compacted }
    }
}

impl World {
    /// Verifies every partition of every link: as both sides are, and with one difference.
    pub(crate) fn check_verdicts(&mut self) {
        for link in 0..self.links.len() {
            let (source, replica) = (self.links[link].source, self.links[link].replica);
            let Some(stream) = self.stream(source) else { continue };
            for topic in stream.topics.values() {
                for index in 0..topic.partition_count() {
                    let key = (topic.origin, index);
                    let owned = topic.owner.stream == stream.id;
                    let (ours, theirs) = (self.frozen(source, key), self.frozen(replica, key));
                    let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
                    self.check_verdict(&ours, &theirs, owned);
                    if let Some(other) = self.changed(&theirs) {
                        self.check_verdict(&ours, &other, owned);
                    }
                }
            }
        }
    }

    fn frozen(&self, site: usize, key: (OriginTopicId, u32)) -> Option<Frozen> {
        let partition = self.partition(site, key)?;
        let batch = |batch: crate::truth::TrueBatch| SourceBatch {
            base_offset: batch.base,
            next_offset: batch.next,
            arrival_ms: batch.arrival_ms,
            bytes: batch.bytes,
        };
        Some(Frozen {
            start: partition.log_start(),
            end: partition.durable_end(),
            batches: batches_from(&partition, 0).into_iter().map(batch).collect(),
            compacted: partition.marks().compacted,
            epochless: self.plant == Plant::DigestWithoutEpoch,
        })
    }

    /// The same log, but for one batch.
    fn changed(&self, log: &Frozen) -> Option<Frozen> {
        let mut other = log.clone();
        let at = usize::try_from(self.random.below(log.batches.len() as u64 + 1)).ok()?;
        let batch = other.batches.get_mut(at)?;
        match self.random.below(3) {
            0 => batch.bytes = patched(&batch.bytes, 12..16, |byte| byte ^ 1),
            1 => {
                let last = batch.bytes.len() - 1;
                batch.bytes = patched(&batch.bytes, last..last + 1, |byte| byte ^ 1);
            }
            _ => drop(other.batches.remove(at)),
        }
        Some(other)
    }

    fn check_verdict(&mut self, ours: &Frozen, theirs: &Frozen, owned: bool) {
        let wanted = truth(ours, theirs, owned);
        let verdict = verdict(ours, theirs, owned);
        let (from, to) = (ours.start.max(theirs.start), ours.end.min(theirs.end));
        let is_true = match (&verdict, from > to) {
            (Some(verdict), true) => matches!(verdict.finding, Finding::Unknown(_)),
            (Some(verdict), false) if self.compacts => {
                verdict.from == from && is_true(verdict, &ours.compared(), &theirs.compared())
            }
            (Some(verdict), false) => verdict.finding == wanted && verdict.from == from,
            (None, _) => false,
        };
        if !is_true {
            let message = format!("{from} to {to}: {wanted:?} is true, {verdict:?} was said");
            self.violate("verify tells the truth", message);
        }
    }
}

fn verdict(ours: &Frozen, theirs: &Frozen, owned: bool) -> Option<Verdict> {
    let mut narrowing = Narrowing::new((OriginTopicId(1), 0), ours.start, ours.end, owned);
    let room = || DigestRoom::new(2_000, 5, 600);
    for _ in 0..QUESTIONS_MAX {
        let Some(range) = narrowing.question() else { break };
        let told = answer_range(theirs, &range, STRIDE, &mut room());
        let own = answer_range(ours, &range, STRIDE, &mut room());
        if !narrowing.handle(&own, &told) {
            return None;
        }
    }
    narrowing.verdict()
}

/// What the bytes themselves say.
fn truth(ours: &Frozen, theirs: &Frozen, owned: bool) -> Finding {
    let (from, to) = (ours.start.max(theirs.start), ours.end.min(theirs.end));
    let kept = |log: &Frozen| -> Vec<SourceBatch> {
        let is_kept = |batch: &&SourceBatch| batch.next_offset > from && batch.base_offset < to;
        log.batches.iter().filter(is_kept).cloned().collect()
    };
    let (a, b) = (kept(ours), kept(theirs));
    let unequal = (0..a.len().max(b.len())).map(|at| (a.get(at), b.get(at))).find(|(a, b)| a != b);
    match unequal {
        Some((Some(a), Some(b))) if a.base_offset == b.base_offset => {
            let bare = |batch: &SourceBatch| patched(&batch.bytes, 12..16, |_| 0);
            let how = if bare(a) == bare(b) { Difference::Epoch } else { Difference::Bytes };
            Finding::Different { offset: a.base_offset, how }
        }
        Some((Some(a), b)) if b.is_none_or(|b| a.base_offset < b.base_offset) => {
            Finding::Different { offset: a.base_offset, how: Difference::Missing }
        }
        Some((_, Some(b))) => Finding::Different { offset: b.base_offset, how: Difference::Extra },
        _ if owned && theirs.end > ours.end => {
            Finding::Different { offset: ours.end, how: Difference::Extra }
        }
        _ => Finding::Identical,
    }
}
