//! Cursors that open transactions are to move, as readers see them: until the end is known, who
//! asks for a stable position has to ask again.

use std::collections::HashMap;

use mainstem_group::CursorKey;
use mainstem_transaction::{Coordinator, PendingCursor, Transaction};

/// By producer and by cursor.
#[derive(Debug, Default)]
pub(crate) struct PendingCursors {
    by_producer: HashMap<i64, Vec<CursorKey>>,
    /// How many transactions are to move it.
    counts: HashMap<CursorKey, usize>,
}

impl PendingCursors {
    /// Those of a coordinator.
    pub(crate) fn of(coordinator: &Coordinator) -> Self {
        let mut all = Self::default();
        coordinator.open().for_each(|ours| all.set(ours.producer_id, Some(ours)));
        all
    }

    /// What a producer's transaction is to move now.
    pub(crate) fn set(&mut self, producer_id: i64, transaction: Option<&Transaction>) {
        for key in self.by_producer.remove(&producer_id).unwrap_or_default() {
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
        let open = transaction.filter(|ours| ours.is_open() && !ours.cursors.is_empty());
        let Some(ours) = open else { return };
        let keys: Vec<CursorKey> = ours.cursors.iter().map(key_of).collect();
        keys.iter().for_each(|key| *self.counts.entry(key.clone()).or_default() += 1);
        self.by_producer.insert(producer_id, keys);
    }

    /// Whether an open transaction is to move it.
    pub(crate) fn contains(&self, key: &CursorKey) -> bool {
        self.counts.contains_key(key)
    }
}

/// Whose cursor it is.
pub(crate) fn key_of(cursor: &PendingCursor) -> CursorKey {
    CursorKey {
        stream: cursor.stream,
        group: cursor.group.clone(),
        topic: cursor.topic,
        partition: cursor.partition,
    }
}
