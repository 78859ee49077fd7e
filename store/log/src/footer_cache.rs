//! Columns of sealed segments' footers, in memory up to a bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mainstem_types::PartitionNo;
use parking_lot::Mutex;

use crate::entry::{ENTRY_BYTES, Entry};
use crate::footer::{Span, read_column};
use crate::pieces::Column;
use crate::scan::scan;
use crate::segment::Segment;
use crate::{FrameKind, LogError, Position};

/// Segment, partition, byte of the column, and where the part of it begins that is meant: a column
/// that had to be rebuilt has no more than that.
type Key = (u32, PartitionNo, u32, i64);

/// The least recently used column goes when the bound is passed.
pub(crate) struct FooterCache {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    columns: HashMap<Key, Cached>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

struct Cached {
    entries: Arc<Vec<Entry>>,
    used: u64,
}

fn cost(entries: &[Entry]) -> usize {
    entries.len() * ENTRY_BYTES + 128
}

impl FooterCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The entries of a span, from memory or from the segment's footer. What a truncation, or what
    /// was rewritten, has taken from the span is left out, also of entries that were read before.
    pub(crate) fn column(
        &self,
        segment: &Arc<Segment>,
        partition: PartitionNo,
        span: &Span,
    ) -> Result<Column, LogError> {
        let key = (segment.number, partition, span.column_at, span.base_offset);
        if let Some(entries) = self.state.lock().touch(key) {
            return Ok(Column::of(entries, span));
        }
        let entries: Arc<Vec<Entry>> = match read_column(segment, partition, span)? {
            Some(entries) => Arc::new(entries),
            None => {
                tracing::warn!(segment = segment.name(), %partition, "a damaged index is rebuilt");
                Arc::new(rebuild_column(segment, partition, span)?)
            }
        };
        self.state.lock().insert(key, Arc::clone(&entries), self.bytes_max);
        Ok(Column::of(entries, span))
    }

    /// Forgets a segment that leaves the log.
    pub(crate) fn forget(&self, segment: u32) {
        let mut state = self.state.lock();
        let gone: Vec<Key> =
            state.columns.keys().copied().filter(|(number, ..)| *number == segment).collect();
        for key in gone {
            state.remove(key);
        }
    }
}

/// Finds the entries of a column in the segment itself, since the batches need no index to exist.
fn rebuild_column(
    segment: &Arc<Segment>,
    partition: PartitionNo,
    span: &Span,
) -> Result<Vec<Entry>, LogError> {
    // All groups lie before any column.
    let all = scan(segment, Some(span.column_at), Position::START, 0)?;
    let frames = all.stretches.iter().flat_map(|stretch| &stretch.frames);
    let mut entries: Vec<Entry> = Vec::new();
    for frame in frames.filter(|frame| frame.header.partition == partition) {
        let Some(entry) = Entry::of(&frame.header, frame.at) else { continue };
        // What was written later at the same offsets undid what was there; what was rewritten
        // replaced it, and nothing else.
        let is_rewritten = frame.header.kind == FrameKind::Rewrite as u8;
        let from = entries.partition_point(|earlier| earlier.next_offset <= entry.base_offset);
        let behind = entries.split_off(from);
        entries.push(entry);
        let stays = |later: &Entry| is_rewritten && later.base_offset >= entry.next_offset;
        entries.extend(behind.into_iter().filter(stays));
    }
    let is_live =
        |entry: &Entry| entry.base_offset < span.end_offset && entry.next_offset > span.base_offset;
    entries.retain(is_live);
    Ok(entries)
}

impl State {
    fn touch(&mut self, key: Key) -> Option<Arc<Vec<Entry>>> {
        self.uses += 1;
        let uses = self.uses;
        let cached = self.columns.get_mut(&key)?;
        self.by_use.remove(&cached.used);
        cached.used = uses;
        self.by_use.insert(uses, key);
        Some(Arc::clone(&cached.entries))
    }

    fn insert(&mut self, key: Key, entries: Arc<Vec<Entry>>, bytes_max: usize) {
        self.remove(key);
        self.uses += 1;
        self.bytes += cost(&entries);
        self.by_use.insert(self.uses, key);
        self.columns.insert(key, Cached { entries, used: self.uses });
        while self.bytes > bytes_max
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            let oldest = *oldest;
            self.remove(oldest);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(cached) = self.columns.remove(&key) {
            self.by_use.remove(&cached.used);
            self.bytes -= cost(&cached.entries);
        }
    }
}
