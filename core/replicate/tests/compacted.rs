//! Comparing where either side was compacted: what compaction took is no difference, and whatever
//! else is different is found.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_link::DigestAnswer;
use mainstem_record::{BatchBuilder, BatchHeader, Record, records, rewrite_batch};
use mainstem_replicate::{
    Difference, DigestRoom, Finding, KeptLog, Narrowing, SourceBatch, Verdict, answer_range,
};
use mainstem_types::{Error, OriginTopicId};
use proptest::collection::vec;
use proptest::prelude::*;

const STRIDE: u32 = 16;

#[derive(Clone, Debug)]
struct Log {
    start: i64,
    batches: Vec<SourceBatch>,
    end: i64,
    compacted: i64,
}

impl KeptLog for Log {
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
        Ok(self.batches.iter().filter(|b| b.next_offset > from).take(3).cloned().collect())
    }
}

fn records_of(batch: &Bytes) -> Vec<Record> {
    records(batch, 1 << 20).unwrap().map(Result::unwrap).collect()
}

impl Log {
    fn of(counts: &[u8]) -> Self {
        let mut log = Self { start: 0, batches: Vec::new(), end: 0, compacted: 0 };
        for count in counts {
            let mut builder = BatchBuilder::new().base_offset(log.end).leader_epoch(2);
            for at in 0..*count {
                builder.push(i64::from(at), Some(&[at]), Some(&log.end.to_be_bytes()));
            }
            let next_offset = log.end + i64::from(*count);
            let (base_offset, bytes) = (log.end, builder.build().freeze());
            log.batches.push(SourceBatch { base_offset, next_offset, arrival_ms: 5, bytes });
            log.end = next_offset;
        }
        log
    }

    /// Takes records below the first batch that begins at or above `upto`, where `takes` says so.
    fn compact(&mut self, upto: i64, takes: &[bool]) {
        let first = self.batches.iter().find(|batch| batch.base_offset >= upto);
        self.compacted = first.map_or(self.end, |batch| batch.base_offset);
        let upto = self.compacted;
        let goes = |offset: i64| takes[usize::try_from(offset).unwrap() % takes.len()];
        self.rewrite(|record| record.offset >= upto || !goes(record.offset));
    }

    fn rewrite(&mut self, stays: impl Fn(&Record) -> bool) {
        for batch in &mut self.batches {
            let header = BatchHeader::decode(&batch.bytes).unwrap();
            let all = records_of(&batch.bytes);
            let kept: Vec<Record> = all.iter().filter(|r| stays(r)).cloned().collect();
            if kept.len() < all.len() {
                batch.bytes = rewrite_batch(&header, &kept, None);
            }
        }
        self.batches.retain(|batch| !records_of(&batch.bytes).is_empty());
    }

    fn change(&mut self, offset: i64) {
        for batch in &mut self.batches {
            let header = BatchHeader::decode(&batch.bytes).unwrap();
            let mut all = records_of(&batch.bytes);
            if let Some(record) = all.iter_mut().find(|record| record.offset == offset) {
                record.value = Some(Bytes::from_static(b"other"));
                batch.bytes = rewrite_batch(&header, &all, None);
            }
        }
    }

    fn by_offset(&self) -> BTreeMap<i64, Record> {
        let all = self.batches.iter().flat_map(|batch| records_of(&batch.bytes));
        all.map(|record| (record.offset, record)).collect()
    }
}

fn verdict(ours: &Log, theirs: &Log) -> Verdict {
    let mut narrowing = Narrowing::new((OriginTopicId(1), 0), 0, ours.end, true);
    let room = || DigestRoom::new(900, 7, 500);
    for _ in 0..2_000 {
        let Some(range) = narrowing.question() else { break };
        let told = answer_range(theirs, &range, STRIDE, &mut room());
        let own = answer_range(ours, &range, STRIDE, &mut room());
        assert!(narrowing.handle(&own, &told), "each answer is of use: {narrowing:?}");
    }
    narrowing.verdict().expect("it comes to an end")
}

/// The first offset at which the two are really different.
fn truth(ours: &Log, theirs: &Log) -> Option<(i64, Difference)> {
    let (a, b) = (ours.by_offset(), theirs.by_offset());
    (0..ours.end).find_map(|offset| match (a.get(&offset), b.get(&offset)) {
        (Some(a), Some(b)) if a != b => Some((offset, Difference::Bytes)),
        (Some(_), None) if offset >= theirs.compacted => Some((offset, Difference::Missing)),
        (None, Some(_)) if offset >= ours.compacted => Some((offset, Difference::Extra)),
        _ => None,
    })
}

proptest! {
    #[test]
    fn i2_the_records_that_both_keep_decide(
        counts in vec(1..6u8, 1..30),
        upto in (0..80i64, 0..80i64),
        takes in (vec(any::<bool>(), 1..40), vec(any::<bool>(), 1..40)),
        changed in proptest::option::of(0..100i64),
        lost in proptest::option::of(0..100i64),
    ) {
        let (mut ours, mut theirs) = (Log::of(&counts), Log::of(&counts));
        ours.compact(upto.0, &takes.0);
        theirs.compact(upto.1, &takes.1);
        if let Some(offset) = changed {
            theirs.change(offset);
        }
        if let Some(offset) = lost {
            theirs.rewrite(|record| record.offset != offset);
        }
        let found = verdict(&ours, &theirs);
        match (truth(&ours, &theirs), &found.finding) {
            (None, Finding::Identical) => prop_assert_eq!(found.to, ours.end),
            (Some((offset, how)), Finding::Different { offset: told, how: word }) => {
                if offset < ours.compacted.max(theirs.compacted) {
                    prop_assert_eq!((*told, *word), (offset, how));
                } else {
                    // By batches there: that which holds it.
                    prop_assert!(*told <= offset && offset < told + 6, "{found:?} at {offset}");
                }
            }
            (wanted, _) => prop_assert!(false, "{wanted:?} is true, {found:?} was said"),
        }
    }
}

#[test]
fn damage_is_found_in_a_batch_that_begins_before_the_start() {
    let mut ours = Log::of(&[4, 4]);
    (ours.start, ours.compacted) = (2, 8);
    let mut theirs = ours.clone();
    let batch = &mut theirs.batches[0];
    let mut bytes = batch.bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    batch.bytes = bytes.into();
    let found = verdict(&ours, &theirs).finding;
    assert_eq!(found, Finding::Different { offset: 2, how: Difference::Bytes });
}

/// Compaction leaves alone what it cannot read, so it does not explain that the other side lacks it.
#[test]
fn no_compaction_explains_a_damaged_batch() {
    for is_ours in [true, false] {
        let mut ours = Log::of(&[4, 4]);
        ours.compacted = 8;
        let mut theirs = ours.clone();
        theirs.batches.remove(0);
        let bytes = &mut ours.batches[0].bytes;
        let mut damaged = bytes.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        *bytes = damaged.into();
        let (a, b) = if is_ours { (&ours, &theirs) } else { (&theirs, &ours) };
        let how = if is_ours { Difference::Missing } else { Difference::Extra };
        assert_eq!(verdict(a, b).finding, Finding::Different { offset: 0, how });
    }
}

#[test]
fn batches_longer_than_an_answer_are_told_piece_by_piece() {
    let mut ours = Log::of(&[1]);
    let mut builder = BatchBuilder::new().base_offset(1);
    for at in 0..5_000_i64 {
        builder.push(at, Some(&at.to_be_bytes()), None);
    }
    let bytes = builder.build().freeze();
    ours.batches.push(SourceBatch { base_offset: 1, next_offset: 5_001, arrival_ms: 5, bytes });
    ours.end = 5_001;
    let mut theirs = ours.clone();
    theirs.compact(5_001, &[true, false, false]);
    let found = verdict(&ours, &theirs);
    assert_eq!(found.finding, Finding::Identical);
    let by = found.by_records.unwrap();
    assert_eq!((by.from, by.to, by.records), (0, 5_001, theirs.by_offset().len() as u64));
    theirs.change(4_999);
    let wanted = Finding::Different { offset: 4_999, how: Difference::Bytes };
    assert_eq!(verdict(&ours, &theirs).finding, wanted);
}

#[test]
fn a_side_that_does_not_know_of_records_is_unknown_and_not_different() {
    let (mut ours, theirs) = (Log::of(&[3, 3]), Log::of(&[3, 3]));
    ours.compact(3, &[true, false]);
    let mut narrowing = Narrowing::new((OriginTopicId(1), 0), 0, ours.end, true);
    let mut room = DigestRoom::default();
    while let Some(range) = narrowing.question() {
        let own = answer_range(&ours, &range, STRIDE, &mut room);
        // One of an earlier version passes over what it does not know.
        let range = mainstem_link::DigestRange { records: false, ..range };
        let told = answer_range(&theirs, &range, STRIDE, &mut room);
        narrowing.handle(&own, &DigestAnswer { compacted: None, ..told });
    }
    let finding = narrowing.verdict().unwrap().finding;
    assert!(matches!(&finding, Finding::Unknown(why) if why.contains("upgrade")), "{finding:?}");
}
