//! Comparing by digests: the first difference is found whatever it is, and never a false one.

use std::cell::Cell;

use bytes::Bytes;
use mainstem_link::{Code, DigestAnswer};
use mainstem_replicate::{
    Difference, DigestRoom, Finding, KeptLog, Narrowing, SourceBatch, Verdict, answer_range,
};
use mainstem_types::{Error, OriginTopicId};
use proptest::prelude::*;

const STRIDE: u32 = 16;

/// A log in memory.
#[derive(Clone, Debug)]
struct Log {
    batches: Vec<SourceBatch>,
    start: Cell<i64>,
    end: i64,
    /// Nothing from here on can be read.
    damaged: Option<i64>,
    per_read: usize,
}

impl Log {
    /// Batches of these many offsets each, one after the other from 0 on.
    fn of(counts: &[i64]) -> Self {
        let mut log =
            Self { batches: Vec::new(), start: Cell::new(0), end: 0, damaged: None, per_read: 3 };
        for (n, count) in counts.iter().enumerate() {
            let mut bytes = vec![0; 20];
            bytes[..8].copy_from_slice(&log.end.to_be_bytes());
            bytes[16] = u8::try_from(n % 251).unwrap();
            // How many offsets a batch has stands in its bytes.
            bytes[17] = u8::try_from(*count).unwrap();
            let next_offset = log.end + count;
            log.batches.push(SourceBatch {
                base_offset: log.end,
                next_offset,
                arrival_ms: 1_000 + log.end,
                bytes: Bytes::from(bytes),
            });
            log.end = next_offset;
        }
        log
    }

    fn patch(&mut self, at: usize, byte: usize) {
        let mut bytes = self.batches[at].bytes.to_vec();
        bytes[byte] ^= 0x55;
        self.batches[at].bytes = Bytes::from(bytes);
    }

    /// Forgets everything from a batch on.
    fn cut(&mut self, at: usize) {
        if at < self.batches.len() {
            self.end = self.batches[at].base_offset;
            self.batches.truncate(at);
        }
    }

    fn kept(&self, from: i64, to: i64) -> Vec<SourceBatch> {
        let is_kept = |b: &&SourceBatch| b.next_offset > from && b.base_offset < to;
        self.batches.iter().filter(is_kept).cloned().collect()
    }
}

impl KeptLog for Log {
    fn log_start(&self) -> i64 {
        self.start.get()
    }

    fn end(&self) -> i64 {
        self.end
    }

    fn read(&self, from: i64) -> Result<Vec<SourceBatch>, Error> {
        if from < self.start.get() {
            return Err(Error::new(mainstem_types::ErrorKind::OffsetOutOfRange, "gone"));
        }
        let up_to = self.damaged.unwrap_or(i64::MAX);
        let found: Vec<SourceBatch> =
            self.kept(from, up_to).into_iter().take(self.per_read).collect();
        match self.damaged {
            Some(_) if found.is_empty() => Err(Error::corrupt("a checksum is wrong")),
            _ => Ok(found),
        }
    }
}

fn room() -> DigestRoom {
    DigestRoom::new(200, 5, 60)
}

/// Asks both until it is told; `meanwhile` happens between two questions.
fn compare(ours: &Log, theirs: &Log, mut meanwhile: impl FnMut(&Log, &Log)) -> Verdict {
    let mut narrowing = Narrowing::new((OriginTopicId(1), 0), ours.log_start(), ours.end(), true);
    for _ in 0..10_000 {
        let Some(range) = narrowing.question() else { break };
        let told = answer_range(theirs, &range, STRIDE, &mut room());
        meanwhile(ours, theirs);
        let own = answer_range(ours, &range, STRIDE, &mut room());
        assert!(narrowing.handle(&own, &told), "no progress at {range:?}: {own:?} {told:?}");
    }
    narrowing.verdict().expect("it comes to an end")
}

/// What a look at all the bytes says: the first batch that differs.
fn truth(ours: &Log, theirs: &Log) -> Finding {
    let (from, to) = (ours.log_start().max(theirs.log_start()), ours.end().min(theirs.end()));
    if from >= to {
        return beyond(ours, theirs);
    }
    let (a, b) = (ours.kept(from, to), theirs.kept(from, to));
    for at in 0..a.len().max(b.len()) {
        let (offset, how) = match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) if a.base_offset == b.base_offset => {
                let bare = |batch: &SourceBatch| {
                    let mut bytes = batch.bytes.to_vec();
                    bytes[12..16].fill(0);
                    (batch.next_offset, bytes)
                };
                let same = bare(a) == bare(b);
                (a.base_offset, if same { Difference::Epoch } else { Difference::Bytes })
            }
            (Some(a), b) if b.is_none_or(|b| a.base_offset < b.base_offset) => {
                (a.base_offset, Difference::Missing)
            }
            (_, b) => (b.unwrap().base_offset, Difference::Extra),
        };
        return Finding::Different { offset, how };
    }
    beyond(ours, theirs)
}

/// What the ends say, where both hold the same or have nothing in common.
fn beyond(ours: &Log, theirs: &Log) -> Finding {
    if theirs.end() > ours.end() {
        return Finding::Different { offset: ours.end(), how: Difference::Extra };
    }
    Finding::Identical
}

#[derive(Clone, Debug)]
enum Change {
    Byte(usize, usize),
    Epoch(usize),
    Lose(usize),
    Merge(usize),
    Trim(i64),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0usize..60, prop_oneof![0usize..12, 18usize..20]).prop_map(|(at, b)| Change::Byte(at, b)),
        (0usize..60).prop_map(Change::Epoch),
        (0usize..60).prop_map(Change::Lose),
        (0usize..60).prop_map(Change::Merge),
        (0i64..200).prop_map(Change::Trim),
        (0usize..60).prop_map(Change::Cut),
    ]
}

fn apply(log: &mut Log, change: &Change) {
    let has = |at: usize| at < log.batches.len();
    match *change {
        Change::Byte(at, byte) if has(at) => log.patch(at, byte),
        Change::Epoch(at) if has(at) => log.patch(at, 15),
        Change::Lose(at) if has(at) => drop(log.batches.remove(at)),
        Change::Merge(at) if has(at + 1) => {
            let next = log.batches.remove(at + 1);
            let batch = &mut log.batches[at];
            batch.next_offset = next.next_offset;
            let mut bytes = batch.bytes.to_vec();
            bytes[17] = u8::try_from(batch.next_offset - batch.base_offset).unwrap();
            batch.bytes = Bytes::from(bytes);
        }
        Change::Trim(start) => log.start.set(start.min(log.end)),
        Change::Cut(at) => log.cut(at),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn i2_the_first_difference_is_found_and_never_a_false_one(
        counts in proptest::collection::vec(1i64..9, 0..60),
        same in proptest::collection::vec(change(), 0..4),
        ours in proptest::collection::vec(change(), 0..3),
        theirs in proptest::collection::vec(change(), 0..3),
        reads in (1usize..6, 1usize..6),
    ) {
        let mut log = Log::of(&counts);
        same.iter().for_each(|change| apply(&mut log, change));
        let (mut a, mut b) = (log.clone(), log);
        (a.per_read, b.per_read) = reads;
        ours.iter().for_each(|change| apply(&mut a, change));
        theirs.iter().for_each(|change| apply(&mut b, change));
        a.start.set(a.log_start().min(a.end));
        b.start.set(b.log_start().min(b.end));
        let verdict = compare(&a, &b, |_, _| {});
        let (from, to) = (a.log_start().max(b.log_start()), a.end().min(b.end()));
        if from > to {
            prop_assert!(matches!(verdict.finding, Finding::Unknown(_)), "{:?}", verdict);
            return Ok(());
        }
        prop_assert_eq!(&verdict.finding, &truth(&a, &b), "{:?}", verdict);
        prop_assert_eq!(verdict.from, from);
        match verdict.finding {
            Finding::Different { offset, .. } => prop_assert_eq!(verdict.to, offset.max(from)),
            _ => prop_assert_eq!(verdict.to, to),
        }
        prop_assert_eq!(verdict.lag, u64::try_from(a.end() - to).unwrap());
    }

    #[test]
    fn retention_on_either_side_meanwhile_makes_no_difference(
        counts in proptest::collection::vec(1i64..9, 1..60),
        epoch in proptest::option::of(0usize..60),
        starts in proptest::collection::vec((any::<bool>(), 0i64..300), 0..8),
    ) {
        let a = Log::of(&counts);
        let mut b = a.clone();
        epoch.iter().for_each(|at| apply(&mut b, &Change::Epoch(*at)));
        let mut starts = starts.into_iter();
        let verdict = compare(&a, &b, |a, b| {
            if let Some((ours, start)) = starts.next() {
                let log = if ours { a } else { b };
                log.start.set(log.log_start().max(start.min(log.end)));
            }
        });
        // What was found before it expired was true as well.
        let found = |at: &usize| {
            let batch = a.batches.get(*at)?;
            let how = Difference::Epoch;
            Some(Finding::Different { offset: batch.base_offset, how })
        };
        let different = epoch.as_ref().and_then(found);
        let is_true = verdict.finding == Finding::Identical && truth(&a, &b) == Finding::Identical
            || Some(&verdict.finding) == different.as_ref();
        prop_assert!(is_true, "{:?}, {:?}", verdict, different);
    }
}

#[test]
fn logs_with_nothing_in_common_do_not_differ() {
    let mut a = Log::of(&[1; 14]);
    let mut b = a.clone();
    apply(&mut a, &Change::Merge(12));
    apply(&mut b, &Change::Cut(13));
    apply(&mut b, &Change::Trim(13));
    let verdict = compare(&a, &b, |_, _| {});
    assert_eq!(verdict.finding, Finding::Identical);
    assert_eq!((verdict.from, verdict.to, verdict.lag), (13, 13, 1));
}

#[test]
fn damage_is_told_with_its_offset_and_what_is_below_is_compared() {
    let a = Log::of(&[4; 20]);
    let mut b = a.clone();
    b.damaged = Some(48);
    let verdict = compare(&a, &b, |_, _| {});
    let Finding::Unknown(reason) = &verdict.finding else { panic!("{verdict:?}") };
    assert_eq!((verdict.from, verdict.to), (0, 48));
    assert!(reason.contains("from 48 on at the replica: ErrCorrupt"), "{reason}");
    b.patch(3, 19);
    let finding = compare(&a, &b, |_, _| {}).finding;
    assert_eq!(finding, Finding::Different { offset: 12, how: Difference::Bytes });
}

#[test]
fn a_log_that_is_cut_back_meanwhile_and_a_partition_that_is_not_there_are_told() {
    let log = Log::of(&[4; 20]);
    let mut narrowing = Narrowing::new((OriginTopicId(1), 0), 0, log.end(), true);
    let ask = |narrowing: &Narrowing, log: &Log| {
        answer_range(log, &narrowing.question().unwrap(), STRIDE, &mut room())
    };
    let answer = ask(&narrowing, &log);
    assert!(narrowing.handle(&answer, &answer.clone()));
    assert!(narrowing.verdict().is_none() && narrowing.progress().0 > 0);
    let mut short = log.clone();
    short.cut(10);
    let (ours, theirs) = (ask(&narrowing, &log), ask(&narrowing, &short));
    assert!(narrowing.handle(&ours, &theirs));
    assert!(matches!(narrowing.verdict().unwrap().finding, Finding::Unknown(_)));

    let mut narrowing = Narrowing::new((OriginTopicId(1), 0), 0, log.end(), true);
    let none = DigestAnswer { code: Some(Code::NoTopic), ..DigestAnswer::default() };
    assert!(narrowing.handle(&ask(&narrowing, &log), &none));
    assert!(matches!(narrowing.verdict().unwrap().finding, Finding::Unknown(_)));
}
