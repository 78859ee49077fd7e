//! All cursors of a node.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_catalog::PartitionHome;
use mainstem_group::{Cursor, CursorColumn, CursorKey, CursorRecord, CursorValue};
use mainstem_types::{OriginTopicId, StreamId};

/// The cursors, in order of stream, group, topic and partition.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    by_stream: BTreeMap<StreamId, BTreeMap<CursorKey, Cursor>>,
    version: u64,
}

impl Cursors {
    pub(crate) fn get(&self, key: &CursorKey) -> Option<&Cursor> {
        self.by_stream.get(&key.stream)?.get(key)
    }

    /// The highest version of any cursor.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn of_stream(&self, stream: StreamId) -> Vec<(CursorKey, Cursor)> {
        let of_stream = self.by_stream.get(&stream).into_iter().flatten();
        of_stream.map(|(key, cursor)| (key.clone(), cursor.clone())).collect()
    }

    /// Some cursors of which nothing but their deletion is left, made before that time.
    pub(crate) fn deleted_before(&self, wall_ms: i64, count: usize) -> Vec<CursorKey> {
        let is_old = |value: &CursorValue| value.is_deletion() && value.commit_ms < wall_ms;
        let all = self.by_stream.values().flatten();
        let deleted = all.filter(|(_, cursor)| {
            [&cursor.local, &cursor.replicated].into_iter().flatten().all(is_old)
        });
        deleted.map(|(key, _)| key.clone()).take(count).collect()
    }

    pub(crate) fn insert(&mut self, key: CursorKey, cursor: Cursor) {
        for value in [&cursor.local, &cursor.replicated].into_iter().flatten() {
            self.version = self.version.max(value.version);
        }
        self.by_stream.entry(key.stream).or_default().insert(key, cursor);
    }

    /// Does what a record says. A replicated value never replaces a newer one of the same term.
    pub(crate) fn apply(&mut self, record: CursorRecord) {
        if let Some(value) = &record.value {
            self.version = self.version.max(value.version);
        }
        let of_stream = self.by_stream.entry(record.key.stream).or_default();
        let cursor = of_stream.entry(record.key.clone()).or_default();
        match (record.column, record.value) {
            (CursorColumn::Local, value) => cursor.local = value,
            (CursorColumn::Replicated, Some(value)) => {
                let known = cursor.replicated.as_ref();
                if known.is_none_or(|known| known.yields_to(&value)) {
                    cursor.replicated = Some(value);
                }
            }
            (CursorColumn::Replicated, None) => cursor.replicated = None,
        }
        if cursor.local.is_none() && cursor.replicated.is_none() {
            of_stream.remove(&record.key);
        }
    }

    /// Forgets the cursors of partitions that are gone; returns whose. One pass for all of them,
    /// since a topic may have thousands of partitions and a stream many more cursors.
    pub(crate) fn remove_partitions<'a>(
        &mut self,
        homes: impl Iterator<Item = &'a PartitionHome>,
    ) -> Vec<CursorKey> {
        let mut gone: BTreeMap<StreamId, BTreeSet<(OriginTopicId, u32)>> = BTreeMap::new();
        for home in homes {
            gone.entry(home.stream).or_default().insert((home.topic, home.index));
        }
        let mut keys = Vec::new();
        for (stream, places) in gone {
            let Some(of_stream) = self.by_stream.get_mut(&stream) else { continue };
            let is_gone = |key: &CursorKey| places.contains(&(key.topic, key.partition));
            let removed = of_stream.extract_if(.., |key, _| is_gone(key));
            keys.extend(removed.map(|(key, _)| key));
            if of_stream.is_empty() {
                self.by_stream.remove(&stream);
            }
        }
        keys
    }
}
