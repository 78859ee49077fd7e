//! Producers against a model that remembers everything, and the cases that the model is too plain
//! for.

use std::collections::BTreeMap;

use mainstem_transaction::{BatchProducer, Producers, Verdict};
use mainstem_types::ErrorKind;
use proptest::prelude::*;

const BATCH: BatchProducer = BatchProducer {
    producer_id: 1,
    producer_epoch: 0,
    base_sequence: 0,
    sequences: 10,
    control: false,
};

fn at(base_sequence: i32) -> BatchProducer {
    BatchProducer { base_sequence, ..BATCH }
}

fn kind(producers: &Producers, batch: &BatchProducer) -> ErrorKind {
    producers.check(batch).expect_err("must be refused").kind()
}

/// A partition as one would write it without limits: every batch ever, by producer.
#[derive(Default)]
struct Model {
    batches: BTreeMap<i64, Vec<(BatchProducer, i64)>>,
    end: i64,
}

impl Model {
    fn check(&self, batch: &BatchProducer) -> Result<Option<i64>, ErrorKind> {
        let Some(past) = self.batches.get(&batch.producer_id) else {
            return Ok(None);
        };
        let epoch =
            past.iter().map(|(kept, _)| kept.producer_epoch).max().expect("a producer has batches");
        if batch.producer_epoch < epoch {
            return Err(ErrorKind::InvalidProducerEpoch);
        }
        let of_epoch = past.iter().filter(|(kept, _)| kept.producer_epoch == batch.producer_epoch);
        let of_epoch: Vec<_> = of_epoch.collect();
        let last_five = &of_epoch[of_epoch.len().saturating_sub(5)..];
        if let Some((_, base)) = last_five.iter().find(|(kept, _)| kept == batch) {
            return Ok(Some(*base));
        }
        let next = of_epoch.last().map_or(0, |(last, _)| {
            (i64::from(last.base_sequence) + i64::from(last.sequences)) % (1 << 31)
        });
        if i64::from(batch.base_sequence) == next {
            Ok(None)
        } else {
            Err(ErrorKind::OutOfOrderSequence)
        }
    }

    fn record(&mut self, batch: BatchProducer) -> i64 {
        let base = self.end;
        self.batches.entry(batch.producer_id).or_default().push((batch, base));
        self.end += i64::from(batch.sequences);
        base
    }

    /// The sequence that continues this producer's newest epoch.
    fn next(&self, producer_id: i64, producer_epoch: i16) -> i32 {
        let past = self.batches.get(&producer_id);
        past.and_then(|past| past.last())
            .filter(|(last, _)| last.producer_epoch == producer_epoch)
            .map_or(0, |(last, _)| {
                let next = (i64::from(last.base_sequence) + i64::from(last.sequences)) % (1 << 31);
                i32::try_from(next).expect("it wraps below")
            })
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The batch that comes next.
    Next { producer: i64, epoch: i16, sequences: u32 },
    /// One of the earlier batches again.
    Again { producer: i64, back: usize },
    /// Any sequence at all.
    Any { producer: i64, epoch: i16, base_sequence: i32, sequences: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    // Some batches are so large that sequences wrap within a few of them.
    let sequences = prop_oneof![1..20_u32, Just(i32::MAX as u32 / 2)];
    prop_oneof![
        4 => (0..3_i64, 0..3_i16, sequences.clone())
            .prop_map(|(producer, epoch, sequences)| Step::Next { producer, epoch, sequences }),
        2 => (0..3_i64, 0..8_usize).prop_map(|(producer, back)| Step::Again { producer, back }),
        1 => (0..3_i64, 0..3_i16, 0..40_i32, sequences).prop_map(
            |(producer, epoch, base_sequence, sequences)| Step::Any {
                producer, epoch, base_sequence, sequences
            }
        ),
    ]
}

proptest! {
    #[test]
    fn producers_decide_as_the_model_does(steps in prop::collection::vec(step(), 1..120)) {
        let (mut model, mut producers) = (Model::default(), Producers::new());
        for (now_ms, step) in steps.into_iter().enumerate() {
            let batch = match step {
                Step::Next { producer, epoch, sequences } => BatchProducer {
                    producer_id: producer,
                    producer_epoch: epoch,
                    base_sequence: model.next(producer, epoch),
                    sequences,
                    control: false,
                },
                Step::Again { producer, back } => {
                    let Some(past) = model.batches.get(&producer) else { continue };
                    past[past.len().saturating_sub(back + 1)].0
                }
                Step::Any { producer, epoch, base_sequence, sequences } => BatchProducer {
                    producer_id: producer,
                    producer_epoch: epoch,
                    base_sequence,
                    sequences,
                    control: false,
                },
            };
            match (model.check(&batch), producers.check(&batch)) {
                (Ok(None), Ok(Verdict::Append)) => {
                    let base = model.record(batch);
                    let next = base + i64::from(batch.sequences);
                    producers.record(&batch, base, next, now_ms as i64);
                }
                (Ok(Some(base)), Ok(Verdict::Duplicate { base_offset, next_offset, .. })) => {
                    prop_assert_eq!(base, base_offset);
                    prop_assert_eq!(base + i64::from(batch.sequences), next_offset);
                }
                (Err(kind), Err(error)) => prop_assert_eq!(kind, error.kind()),
                (model, ours) => prop_assert!(false, "{model:?} but {ours:?} for {batch:?}"),
            }
            prop_assert_eq!(Producers::decode(&producers.encode()).unwrap(), producers.clone());
        }
    }

    #[test]
    fn the_number_of_producers_is_bounded_and_the_quietest_go(
        ids in prop::collection::vec(0..50_i64, 1..200), limit in 1..10_usize,
    ) {
        let mut producers = Producers::with_limit(limit);
        for (now_ms, id) in ids.iter().enumerate() {
            let offset = now_ms as i64;
            producers.record(&BatchProducer { producer_id: *id, ..BATCH }, offset, offset + 1, offset);
        }
        let mut newest: Vec<i64> = Vec::new();
        for id in ids.iter().rev() {
            if newest.len() < limit && !newest.contains(id) {
                newest.push(*id);
            }
        }
        prop_assert_eq!(producers.len(), newest.len());
        for id in newest {
            let again = producers.check(&BatchProducer { producer_id: id, ..BATCH });
            prop_assert!(matches!(again, Ok(Verdict::Duplicate { .. })), "{id} was forgotten");
        }
    }
}

#[test]
fn producers_without_an_id_are_not_looked_at() {
    let mut producers = Producers::new();
    let batch = BatchProducer { producer_id: -1, producer_epoch: -1, base_sequence: -1, ..BATCH };
    assert_eq!(producers.check(&batch).unwrap(), Verdict::Append);
    producers.record(&batch, 0, 10, 0);
    assert!(producers.is_empty());
}

#[test]
fn a_duplicate_is_answered_as_the_first_time() {
    let mut producers = Producers::new();
    producers.record(&at(0), 40, 50, 1234);
    let again = Verdict::Duplicate { base_offset: 40, next_offset: 50, timestamp: 1234 };
    assert_eq!(producers.check(&at(0)).unwrap(), again);
    // The same start with another length is not the same batch.
    let longer = BatchProducer { sequences: 11, ..at(0) };
    assert_eq!(kind(&producers, &longer), ErrorKind::OutOfOrderSequence);
}

#[test]
fn control_batches_raise_the_epoch_and_take_no_sequence() {
    let mut producers = Producers::new();
    producers.record(&at(0), 0, 10, 0);
    let marker = BatchProducer { base_sequence: -1, sequences: 1, control: true, ..BATCH };
    producers.record(&marker, 10, 11, 1);
    assert_eq!(producers.check(&at(10)).unwrap(), Verdict::Append);
    producers.record(&BatchProducer { producer_epoch: 1, ..marker }, 11, 12, 2);
    assert_eq!(kind(&producers, &at(10)), ErrorKind::InvalidProducerEpoch);
    let raised = BatchProducer { producer_epoch: 1, ..at(0) };
    assert_eq!(producers.check(&raised).unwrap(), Verdict::Append);
}

#[test]
fn what_a_link_brings_is_taken_as_it_is() {
    let mut producers = Producers::new();
    producers.record(&at(500), 0, 10, 0);
    assert_eq!(producers.check(&at(510)).unwrap(), Verdict::Append);
    assert_eq!(kind(&producers, &at(520)), ErrorKind::OutOfOrderSequence);
}

#[test]
fn a_gap_against_inherited_state_asks_for_a_new_epoch() {
    let mut producers = Producers::new();
    producers.record(&at(0), 0, 10, 0);
    let stranger = BatchProducer { producer_id: 9, ..at(20) };
    assert_eq!(producers.check(&stranger).unwrap(), Verdict::Append);
    producers.inherit();
    assert_eq!(kind(&producers, &at(20)), ErrorKind::UnknownProducerId);
    assert_eq!(kind(&producers, &stranger), ErrorKind::UnknownProducerId);
    assert!(matches!(producers.check(&at(0)), Ok(Verdict::Duplicate { .. })));
    let mut producers = Producers::decode(&producers.encode()).unwrap();
    assert_eq!(kind(&producers, &at(20)), ErrorKind::UnknownProducerId);
    assert_eq!(kind(&producers, &stranger), ErrorKind::UnknownProducerId);
    let fresh = BatchProducer { producer_id: 9, ..at(0) };
    assert_eq!(producers.check(&fresh).unwrap(), Verdict::Append);
    producers.record(&at(10), 10, 20, 0);
    assert_eq!(kind(&producers, &at(30)), ErrorKind::OutOfOrderSequence);
}

#[test]
fn a_truncated_log_takes_its_producers_back() {
    let mut producers = Producers::new();
    for n in 0..3 {
        producers.record(&at(n * 10), i64::from(n) * 10, i64::from(n) * 10 + 10, i64::from(n));
    }
    let other = BatchProducer { producer_id: 2, ..BATCH };
    producers.record(&other, 30, 40, 9);
    producers.truncate(20);
    assert_eq!(producers.check(&at(20)).unwrap(), Verdict::Append);
    assert!(matches!(producers.check(&at(10)), Ok(Verdict::Duplicate { .. })));
    assert_eq!(producers.check(&other).unwrap(), Verdict::Append);
    assert_eq!(producers.len(), 1);
    producers.truncate(0);
    assert_eq!(kind(&producers, &at(20)), ErrorKind::UnknownProducerId);
    assert!(producers.is_empty());
}

#[test]
fn quiet_producers_expire() {
    let mut producers = Producers::new();
    producers.record(&at(0), 0, 10, 100);
    producers.record(&BatchProducer { producer_id: 2, ..BATCH }, 10, 20, 200);
    // A clock that jumped back makes nobody older.
    producers.record(&BatchProducer { producer_id: 2, ..at(10) }, 20, 30, 50);
    producers.expire(100);
    assert_eq!(producers.len(), 2);
    producers.expire(200);
    assert_eq!(producers.len(), 1);
    // It is believed when it comes back, as in Kafka.
    assert_eq!(producers.check(&at(10)).unwrap(), Verdict::Append);
}
