//! The bytes of a partition's producers in a partition checkpoint. See docs/FORMAT.md.

use std::collections::VecDeque;

use mainstem_types::Error;
use mainstem_types::limits::PRODUCER_BATCHES_KEPT;
use minicbor::{Decode, Encode};

use crate::producers::{KeptBatch, Producer};
use crate::{Producers, Sequence};

#[derive(Encode, Decode)]
#[cbor(map)]
struct Snapshot {
    #[n(0)]
    producers: Vec<ProducerRow>,
    #[n(1)]
    bereft: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ProducerRow {
    #[n(0)]
    id: i64,
    #[n(1)]
    epoch: i16,
    #[n(2)]
    last_ms: i64,
    #[n(3)]
    batches: Vec<BatchRow>,
    #[n(4)]
    inherited: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct BatchRow {
    #[n(0)]
    first: i32,
    #[n(1)]
    sequences: u32,
    #[n(2)]
    base_offset: i64,
    #[n(3)]
    next_offset: i64,
    #[n(4)]
    append_ms: i64,
}

impl Producers {
    /// The snapshot: CBOR, producers by rising id.
    pub fn encode(&self) -> Vec<u8> {
        let producers = self.iter().map(|(id, producer)| ProducerRow::of(id, producer)).collect();
        let bereft = self.is_bereft().then_some(true);
        minicbor::to_vec(Snapshot { producers, bereft }).expect("writing to memory does not fail")
    }

    /// The producers of a snapshot. Unknown fields are skipped; wrong bytes are
    /// [`Corrupt`](mainstem_types::ErrorKind::Corrupt).
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let snapshot: Snapshot = minicbor::decode(bytes)
            .map_err(|error| Error::corrupt(format!("a snapshot of producers: {error}")))?;
        let mut producers = Self::new();
        producers.set_bereft(snapshot.bereft.unwrap_or(false));
        for row in snapshot.producers {
            let (id, producer) = row.check()?;
            producers.insert(id, producer);
        }
        Ok(producers)
    }
}

impl ProducerRow {
    fn of(id: i64, producer: &Producer) -> Self {
        let batches = producer.batches.iter().map(|batch| BatchRow {
            first: batch.first.get(),
            sequences: batch.sequences,
            base_offset: batch.base_offset,
            next_offset: batch.next_offset,
            append_ms: batch.append_ms,
        });
        Self {
            id,
            epoch: producer.epoch,
            last_ms: producer.last_ms,
            batches: batches.collect(),
            inherited: producer.inherited.then_some(true),
        }
    }

    fn check(self) -> Result<(i64, Producer), Error> {
        if self.id < 0 || self.batches.len() > PRODUCER_BATCHES_KEPT {
            return Err(Error::corrupt(format!(
                "a snapshot of producers: producer {} with {} batches",
                self.id,
                self.batches.len()
            )));
        }
        let batches: Result<VecDeque<_>, Error> =
            self.batches.iter().map(|batch| batch.check(self.id)).collect();
        let producer = Producer {
            epoch: self.epoch,
            last_ms: self.last_ms,
            inherited: self.inherited.unwrap_or(false),
            batches: batches?,
        };
        Ok((self.id, producer))
    }
}

impl BatchRow {
    fn check(&self, producer: i64) -> Result<KeptBatch, Error> {
        let first = Sequence::new(self.first).ok_or_else(|| {
            Error::corrupt(format!(
                "a snapshot of producers: {producer} has sequence {}",
                self.first
            ))
        })?;
        Ok(KeptBatch {
            first,
            sequences: self.sequences,
            base_offset: self.base_offset,
            next_offset: self.next_offset,
            append_ms: self.append_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchProducer;

    fn sample() -> Producers {
        let mut producers = Producers::new();
        let batch = BatchProducer {
            producer_id: 77,
            producer_epoch: 3,
            base_sequence: 0,
            sequences: 10,
            control: false,
        };
        producers.record(&batch, 100, 110, 1_700_000_000_000);
        producers.record(
            &BatchProducer { base_sequence: 10, ..batch },
            110,
            120,
            1_700_000_000_001,
        );
        producers.record(&BatchProducer { producer_id: 5, ..batch }, 120, 130, 1_700_000_000_002);
        producers
    }

    const GOLDEN: &str = "\
        a10082a400050103021b0000018bcfe568020381a50000010a021878031882041b0000018bcfe56802a4\
        00184d0103021b0000018bcfe568010382a50000010a02186403186e041b0000018bcfe56800a5000a01\
        0a02186e031878041b0000018bcfe56801";

    #[test]
    fn the_snapshot_is_these_bytes() {
        let hex: String = sample().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn a_cut_snapshot_is_refused_and_an_unknown_field_is_skipped() {
        let bytes = sample().encode();
        assert_eq!(Producers::decode(&bytes).unwrap(), sample());
        for end in 0..bytes.len() {
            assert!(Producers::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        // A map of two: what we know, and field 9 with a text.
        let mut newer = bytes.clone();
        assert_eq!(newer[0], 0xa1, "a map of one");
        newer[0] = 0xa2;
        newer.extend([0x09, 0x63, b'n', b'e', b'w']);
        assert_eq!(Producers::decode(&newer).unwrap(), sample());
    }

    #[test]
    fn a_negative_sequence_or_id_is_corrupt() {
        let row = |id, first| Snapshot {
            producers: vec![ProducerRow {
                id,
                epoch: 0,
                last_ms: 0,
                batches: vec![BatchRow {
                    first,
                    sequences: 1,
                    base_offset: 0,
                    next_offset: 1,
                    append_ms: 0,
                }],
                inherited: None,
            }],
            bereft: None,
        };
        let decode = |row| Producers::decode(&minicbor::to_vec(row).unwrap());
        assert!(decode(row(1, 0)).is_ok());
        assert!(decode(row(1, -1)).is_err());
        assert!(decode(row(-1, 0)).is_err());
    }
}
