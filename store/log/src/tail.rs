//! The newest batches, in memory: one arriving batch serves all who read near the end.

use std::collections::{HashMap, VecDeque};

use mainstem_types::PartitionNo;

use crate::StoredBatch;

/// Batches in order of arrival, bounded in bytes; the oldest goes first, whoever's it is.
///
/// Within a partition it holds an unbroken run up to the end, but for gaps.
pub(crate) struct TailCache {
    partitions: HashMap<PartitionNo, VecDeque<StoredBatch>>,
    /// Whose batch is the next oldest.
    order: VecDeque<PartitionNo>,
    bytes: usize,
    bytes_max: usize,
}

/// What a cached batch costs beyond its bytes.
const OVERHEAD_BYTES: usize = 128;

fn cost(batch: &StoredBatch) -> usize {
    batch.bytes.len() + OVERHEAD_BYTES
}

impl TailCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { partitions: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the newest batch of a partition and lets the oldest of all go.
    pub(crate) fn push(&mut self, partition: PartitionNo, batch: StoredBatch) {
        self.bytes += cost(&batch);
        self.partitions.entry(partition).or_default().push_back(batch);
        self.order.push_back(partition);
        while self.bytes > self.bytes_max {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        let partition = self.order.pop_front().expect("bytes are held only by batches in order");
        let batches = self.partitions.get_mut(&partition).expect("order names cached partitions");
        let oldest = batches.pop_front().expect("order has one name for each batch");
        self.bytes -= cost(&oldest);
        if batches.is_empty() {
            self.partitions.remove(&partition);
        }
    }

    /// Forgets batches that end beyond `to`.
    pub(crate) fn truncate(&mut self, partition: PartitionNo, to: i64) {
        let Some(batches) = self.partitions.get_mut(&partition) else { return };
        let mut dropped = 0;
        while let Some(batch) = batches.pop_back_if(|batch| batch.next_offset > to) {
            self.bytes -= cost(&batch);
            dropped += 1;
        }
        if batches.is_empty() {
            self.partitions.remove(&partition);
        }
        self.forget_newest(partition, dropped);
    }

    /// Forgets batches that begin below `to`, of which some were rewritten.
    pub(crate) fn forget_below(&mut self, partition: PartitionNo, to: i64) {
        let Some(batches) = self.partitions.get_mut(&partition) else { return };
        let mut dropped = 0;
        while let Some(batch) = batches.pop_front_if(|batch| batch.base_offset < to) {
            self.bytes -= cost(&batch);
            dropped += 1;
        }
        if batches.is_empty() {
            self.partitions.remove(&partition);
        }
        if dropped == 0 {
            return;
        }
        self.order.retain(|name| {
            let is_gone = *name == partition && dropped > 0;
            dropped -= usize::from(is_gone);
            !is_gone
        });
    }

    /// Forgets a partition.
    pub(crate) fn remove(&mut self, partition: PartitionNo) {
        self.truncate(partition, i64::MIN);
    }

    /// Takes the last `count` names of a partition out of the order. Rare: a scan is cheap enough.
    fn forget_newest(&mut self, partition: PartitionNo, mut count: usize) {
        if count == 0 {
            return;
        }
        let mut kept = VecDeque::with_capacity(self.order.len());
        for name in self.order.drain(..).rev() {
            if name == partition && count > 0 {
                count -= 1;
            } else {
                kept.push_front(name);
            }
        }
        self.order = kept;
    }

    /// Batches from the one that contains `from`; `None` if it may have been let go of already.
    pub(crate) fn read(
        &self,
        partition: PartitionNo,
        from: i64,
        up_to: i64,
        bytes_max: usize,
    ) -> Option<Vec<StoredBatch>> {
        let batches = self.partitions.get(&partition)?;
        let first = batches.partition_point(|batch| batch.next_offset <= from);
        if first == 0 && batches.front()?.base_offset > from {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for batch in batches.iter().skip(first) {
            bytes += batch.bytes.len();
            if batch.next_offset > up_to || !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(batch.clone());
        }
        Some(found)
    }
}
