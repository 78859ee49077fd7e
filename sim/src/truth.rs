//! What the owners' logs have durably held, remembered outside of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_catalog::Catalog;
use mainstem_engine::{Engine, Partition};
use mainstem_types::{LineageEntry, OriginTopicId, StreamId};

/// One batch as its owner kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrueBatch {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) arrival_ms: i64,
    pub(crate) bytes: Bytes,
}

/// One partition of its owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrueLog {
    pub(crate) batches: Vec<TrueBatch>,
    pub(crate) lineage: Vec<LineageEntry>,
    /// The owner keeps nothing below.
    pub(crate) start: i64,
    /// The owner deleted what is below.
    pub(crate) trimmed: i64,
    end: i64,
}

impl TrueLog {
    pub(crate) fn end(&self) -> i64 {
        self.end
    }
}

/// All owned partitions, by topic, whether or not the topic still stands.
#[derive(Default)]
pub(crate) struct Truth(pub(crate) BTreeMap<(OriginTopicId, u32), TrueLog>);

impl Truth {
    /// Notes what a stream's own topics durably hold. `Err` says what they have lost.
    pub(crate) fn note(
        &mut self,
        engine: &Engine,
        catalog: &Catalog,
        stream: StreamId,
    ) -> Result<(), String> {
        let Some(stream) = catalog.stream(stream) else { return Ok(()) };
        for topic in stream.topics.values().filter(|topic| topic.owner.stream == stream.id) {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let Some(partition) = engine.partition(*no) else { continue };
                let log = self.0.entry((topic.origin, index)).or_default();
                if partition.durable_end() < log.end() {
                    return Err(format!(
                        "partition {index} of {} ended at {}, now at {}",
                        topic.name,
                        log.end(),
                        partition.durable_end()
                    ));
                }
                let from = log.end();
                log.batches.extend(batches_from(&partition, from));
                log.end = partition.durable_end();
                log.start = partition.log_start();
                log.trimmed = partition.marks().trimmed;
                log.lineage = partition.lineage().entries().to_vec();
            }
        }
        Ok(())
    }
}

/// All durable batches from an offset on.
pub(crate) fn batches_from(partition: &Partition, from: i64) -> Vec<TrueBatch> {
    let (mut at, mut all) = (from.max(partition.log_start()), Vec::new());
    while at < partition.durable_end() {
        let read = partition.read(at, 1 << 20).expect("what is durable can be read");
        if read.is_empty() {
            // The rest is a gap.
            break;
        }
        for batch in read {
            at = batch.next_offset;
            all.push(TrueBatch {
                base: batch.base_offset,
                next: batch.next_offset,
                arrival_ms: batch.arrival_ms,
                bytes: batch.bytes,
            });
        }
    }
    all
}
