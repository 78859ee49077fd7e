//! Idempotent producers: each sends one batch at a time, and again until it is answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_record::{BatchBuilder, BatchHeader, Compression};
use mainstem_types::{OriginTopicId, PartitionNo};

/// Where a batch is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) site: usize,
    pub(crate) no: PartitionNo,
    pub(crate) origin: OriginTopicId,
    pub(crate) index: u32,
}

/// A batch that is not yet acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub(crate) target: Target,
    pub(crate) batch: Bytes,
    pub(crate) sequence: i32,
    pub(crate) count: i32,
    /// It lies in the engine's queue; otherwise it is to be sent (again).
    pub(crate) is_queued: bool,
}

/// What a producer was promised.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) origin: OriginTopicId,
    pub(crate) index: u32,
    pub(crate) base_offset: i64,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) count: i32,
}

impl Acknowledged {
    pub(crate) const fn id(&self) -> ProducerBatch {
        (self.producer, self.epoch, self.sequence)
    }
}

/// A batch by its producer, the producer's epoch and its first sequence.
pub(crate) type ProducerBatch = (i64, i16, i32);

pub(crate) fn batch_id(header: &BatchHeader) -> ProducerBatch {
    (header.producer_id, header.producer_epoch, header.base_sequence)
}

/// One producer.
pub(crate) struct Producer {
    pub(crate) id: i64,
    sequences: BTreeMap<(OriginTopicId, u32), i32>,
    pub(crate) outstanding: Option<Outstanding>,
    made: u64,
}

impl Producer {
    pub(crate) fn new(id: i64) -> Self {
        Self { id, sequences: BTreeMap::new(), outstanding: None, made: 0 }
    }

    /// Makes the next batch for a partition; its records have one of so many keys, or none.
    pub(crate) fn make(
        &mut self,
        target: Target,
        count: i32,
        size: usize,
        packed: bool,
        keys: u64,
    ) {
        let sequence = self.sequences.get(&(target.origin, target.index)).copied().unwrap_or(0);
        let mut builder = BatchBuilder::new().producer(self.id, 0, sequence);
        if packed {
            builder = builder.compression(Compression::Lz4);
        }
        for at in 0..count {
            self.made += 1;
            let value = format!("{} {} {}", self.id, self.made, "x".repeat(size));
            let key = (self.made * 7).checked_rem(keys).map(|key| format!("k{key}"));
            let key = key.as_deref().map(str::as_bytes);
            builder.push(1_700_000_000_000 + i64::from(at), key, Some(value.as_bytes()));
        }
        let batch = builder.build().freeze();
        self.outstanding = Some(Outstanding { target, batch, sequence, count, is_queued: false });
    }

    /// The batch was stored: what was promised.
    pub(crate) fn acknowledge(&mut self, base_offset: i64) -> Option<Acknowledged> {
        let sent = self.outstanding.take()?;
        let key = (sent.target.origin, sent.target.index);
        self.sequences.insert(key, sent.sequence + sent.count);
        Some(Acknowledged {
            origin: sent.target.origin,
            index: sent.target.index,
            base_offset,
            producer: self.id,
            epoch: 0,
            sequence: sent.sequence,
            count: sent.count,
        })
    }

    /// What it sent before is unknown where it goes on.
    pub(crate) fn begin_anew(&mut self) {
        self.id += 10_000;
        self.sequences.clear();
        self.outstanding = None;
    }

    /// The topic is gone: nobody waits for the batch any more.
    pub(crate) fn give_up(&mut self) {
        self.outstanding = None;
    }
}
