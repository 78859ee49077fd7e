//! The producers of one partition: epochs, sequences, and the last batches of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstem_types::limits::{PRODUCER_BATCHES_KEPT, PRODUCERS_PER_PARTITION_MAX};
use mainstem_types::{Error, ErrorKind};

use crate::Sequence;

/// The producer fields of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    /// Negative for a producer that is not idempotent; nothing is checked or kept for it.
    pub producer_id: i64,
    /// The producer's epoch; the highest seen wins.
    pub producer_epoch: i16,
    /// The first record's sequence. Without meaning in a control batch.
    pub base_sequence: i32,
    /// How many sequence numbers the batch spans: its last offset delta + 1, which compaction
    /// leaves alone.
    pub sequences: u32,
    /// A transaction's marker: counts for the epoch, not for the sequence.
    pub control: bool,
}

/// What to do with a batch that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Append,
    /// It is here already; answer as the first time.
    Duplicate {
        /// Where its first record lies.
        base_offset: i64,
        /// The offset after its last record: durable beyond it means that the answer is true.
        next_offset: i64,
        /// When it was appended.
        timestamp: i64,
    },
}

/// What one partition knows of its producers. Bounded in producers and in batches of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// (last appended, id): who goes first when room is needed or time has passed.
    by_age: BTreeSet<(i64, i64)>,
    producers_max: usize,
    /// Batches that producers were told of may be missing here: a fail-over or a cut left them
    /// behind. A producer that is unknown then is not taken at its word.
    bereft: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) last_ms: i64,
    /// The owner's reign ended here and we took over what it had sent us: its producers may have
    /// been told of batches that we never got.
    pub(crate) inherited: bool,
    /// Oldest first, at most [`PRODUCER_BATCHES_KEPT`], all of `epoch`.
    pub(crate) batches: VecDeque<KeptBatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptBatch {
    pub(crate) first: Sequence,
    pub(crate) sequences: u32,
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) append_ms: i64,
}

impl Default for Producers {
    fn default() -> Self {
        Self::new()
    }
}

impl Producers {
    /// A partition that no producer has written to.
    pub fn new() -> Self {
        Self::with_limit(PRODUCERS_PER_PARTITION_MAX)
    }

    /// The same with room for fewer producers.
    pub fn with_limit(producers_max: usize) -> Self {
        assert!(producers_max > 0, "a partition remembers at least the producer it answers");
        Self { by_id: BTreeMap::new(), by_age: BTreeSet::new(), producers_max, bereft: false }
    }

    /// Whether a batch from a client is the next of its producer, one of its last again, or
    /// neither. Changes nothing.
    pub fn check(&self, batch: &BatchProducer) -> Result<Verdict, Error> {
        if batch.producer_id < 0 || batch.control {
            return Ok(Verdict::Append);
        }
        let first = Sequence::new(batch.base_sequence).ok_or_else(|| {
            Error::invalid("an idempotent producer's batch has no sequence number; set one")
        })?;
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            // As in Kafka, a producer that is in the middle of its work is believed: its state
            // has expired here, or the topic was made anew. Not every client survives a refusal.
            return if self.bereft && first != Sequence::FIRST {
                Err(unknown(batch))
            } else {
                Ok(Verdict::Append)
            };
        };
        if batch.producer_epoch < producer.epoch {
            return Err(Error::new(
                ErrorKind::InvalidProducerEpoch,
                format!(
                    "producer {} wrote in epoch {}, but epoch {} has taken its place",
                    batch.producer_id, batch.producer_epoch, producer.epoch
                ),
            ));
        }
        if batch.producer_epoch > producer.epoch {
            return if first == Sequence::FIRST {
                Ok(Verdict::Append)
            } else {
                Err(out_of_order(batch, Sequence::FIRST))
            };
        }
        producer.check_sequence(batch, first)
    }

    /// Takes note of a batch that was appended. Also for batches that the topic's owner sequenced
    /// and a link brought here: those are facts, so nothing is checked.
    pub fn record(
        &mut self,
        batch: &BatchProducer,
        base_offset: i64,
        next_offset: i64,
        now_ms: i64,
    ) {
        if batch.producer_id < 0 {
            return;
        }
        let producer = self.by_id.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            last_ms: now_ms,
            inherited: false,
            batches: VecDeque::new(),
        });
        self.by_age.remove(&(producer.last_ms, batch.producer_id));
        producer.last_ms = producer.last_ms.max(now_ms);
        self.by_age.insert((producer.last_ms, batch.producer_id));
        producer.record(batch, base_offset, next_offset, now_ms);
        self.make_room(batch.producer_id);
    }

    /// When the producer that has been silent for longest appended last; `None` if there is none.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.by_age.first().map(|(last_ms, _)| *last_ms)
    }

    /// Forgets producers that appended nothing since `before_ms`.
    pub fn expire(&mut self, before_ms: i64) {
        while let Some(&(last_ms, id)) = self.by_age.first() {
            if last_ms >= before_ms {
                break;
            }
            self.by_age.pop_first();
            self.by_id.remove(&id);
        }
    }

    /// Forgets batches that reach beyond `end_offset`, because the log was cut there. A producer
    /// that has none left is forgotten: its next batch starts a new epoch.
    pub fn truncate(&mut self, end_offset: i64) {
        let (by_age, bereft) = (&mut self.by_age, &mut self.bereft);
        self.by_id.retain(|id, producer| {
            let had = producer.batches.len();
            producer.batches.retain(|batch| batch.next_offset <= end_offset);
            let lost = producer.batches.len() < had;
            *bereft |= lost;
            let keep = !lost || !producer.batches.is_empty();
            if !keep {
                by_age.remove(&(producer.last_ms, *id));
            }
            keep
        });
    }

    /// Marks all as taken over from an owner whose last batches may be missing here. A gap in a
    /// producer's sequence, or one that is unknown in the middle of its work, is then answered with [`ErrorKind::UnknownProducerId`], upon which
    /// clients raise their epoch, instead of an error that ends them.
    pub fn inherit(&mut self) {
        self.bereft = true;
        self.by_id.values_mut().for_each(|producer| producer.inherited = true);
    }

    /// Whether the batch at this offset is among the last of its producer, by which a repetition of
    /// it is known.
    pub fn remembers(&self, producer_id: i64, base_offset: i64) -> bool {
        let producer = self.by_id.get(&producer_id);
        producer.is_some_and(|known| known.batches.iter().any(|b| b.base_offset == base_offset))
    }

    /// How many producers are remembered.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn is_bereft(&self) -> bool {
        self.bereft
    }

    pub(crate) fn set_bereft(&mut self, bereft: bool) {
        self.bereft = bereft;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    pub(crate) fn insert(&mut self, id: i64, producer: Producer) {
        self.by_age.insert((producer.last_ms, id));
        self.by_id.insert(id, producer);
        self.make_room(id);
    }

    fn make_room(&mut self, newest: i64) {
        while self.by_id.len() > self.producers_max {
            let oldest = self.by_age.iter().find(|(_, id)| *id != newest).copied();
            let (last_ms, id) = oldest.expect("the limit leaves room for more than the newest");
            self.by_age.remove(&(last_ms, id));
            self.by_id.remove(&id);
        }
    }
}

impl Producer {
    fn check_sequence(&self, batch: &BatchProducer, first: Sequence) -> Result<Verdict, Error> {
        let same = |kept: &&KeptBatch| kept.first == first && kept.sequences == batch.sequences;
        if let Some(kept) = self.batches.iter().find(same) {
            return Ok(Verdict::Duplicate {
                base_offset: kept.base_offset,
                next_offset: kept.next_offset,
                timestamp: kept.append_ms,
            });
        }
        let expected = self.next_sequence();
        if first == expected {
            return Ok(Verdict::Append);
        }
        Err(if self.inherited { unknown(batch) } else { out_of_order(batch, expected) })
    }

    fn next_sequence(&self) -> Sequence {
        self.batches.back().map_or(Sequence::FIRST, |last| last.first.advance(last.sequences))
    }

    fn record(&mut self, batch: &BatchProducer, base: i64, next: i64, now_ms: i64) {
        if batch.producer_epoch != self.epoch {
            self.epoch = batch.producer_epoch;
            self.batches.clear();
        }
        self.inherited = false;
        let Some(first) = Sequence::new(batch.base_sequence).filter(|_| !batch.control) else {
            return;
        };
        if self.batches.len() == PRODUCER_BATCHES_KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(KeptBatch {
            first,
            sequences: batch.sequences,
            base_offset: base,
            next_offset: next,
            append_ms: now_ms,
        });
    }
}

fn unknown(batch: &BatchProducer) -> Error {
    Error::new(
        ErrorKind::UnknownProducerId,
        format!(
            "nothing is known here of what producer {} wrote before sequence {}; start a new epoch",
            batch.producer_id, batch.base_sequence
        ),
    )
}

fn out_of_order(batch: &BatchProducer, expected: Sequence) -> Error {
    Error::new(
        ErrorKind::OutOfOrderSequence,
        format!(
            "producer {} sent sequence {}, but {} comes next",
            batch.producer_id,
            batch.base_sequence,
            expected.get()
        ),
    )
}
