//! All cursors of a node.

use std::collections::BTreeMap;

use mainstem_catalog::PartitionHome;
use mainstem_group::{Cursor, CursorColumn, CursorKey, CursorRecord};
use mainstem_types::StreamId;

/// The cursors, in order of stream, group, topic and partition.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    by_key: BTreeMap<CursorKey, Cursor>,
    version: u64,
}

impl Cursors {
    pub(crate) fn get(&self, key: &CursorKey) -> Option<&Cursor> {
        self.by_key.get(key)
    }

    /// The highest version of any cursor.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn of_stream(&self, stream: StreamId) -> Vec<(CursorKey, Cursor)> {
        let of_stream = self.by_key.iter().filter(|(key, _)| key.stream == stream);
        of_stream.map(|(key, cursor)| (key.clone(), cursor.clone())).collect()
    }

    pub(crate) fn insert(&mut self, key: CursorKey, cursor: Cursor) {
        for value in [&cursor.local, &cursor.replicated].into_iter().flatten() {
            self.version = self.version.max(value.version);
        }
        self.by_key.insert(key, cursor);
    }

    /// Does what a record says. A replicated value never replaces a newer one of the same term.
    pub(crate) fn apply(&mut self, record: CursorRecord) {
        if let Some(value) = &record.value {
            self.version = self.version.max(value.version);
        }
        let cursor = self.by_key.entry(record.key.clone()).or_default();
        match (record.column, record.value) {
            (CursorColumn::Local, value) => cursor.local = value,
            (CursorColumn::Replicated, Some(value)) => {
                let is_stale = cursor
                    .replicated
                    .as_ref()
                    .is_some_and(|old| old.term == value.term && old.version > value.version);
                if !is_stale {
                    cursor.replicated = Some(value);
                }
            }
            (CursorColumn::Replicated, None) => cursor.replicated = None,
        }
        if cursor.local.is_none() && cursor.replicated.is_none() {
            self.by_key.remove(&record.key);
        }
    }

    pub(crate) fn remove_partition(&mut self, home: &PartitionHome) -> Vec<CursorKey> {
        let is_of = |key: &CursorKey| {
            key.stream == home.stream && key.topic == home.topic && key.partition == home.index
        };
        let keys: Vec<_> = self.by_key.keys().filter(|key| is_of(key)).cloned().collect();
        for key in &keys {
            self.by_key.remove(key);
        }
        keys
    }
}
