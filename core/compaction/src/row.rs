//! What is left of batches.

use bytes::Bytes;
use mainstem_record::{BatchHeader, Record, rewrite_batch};
use mainstem_types::limits::BATCH_BYTES_MAX;

use crate::Newest;
use crate::newest::read;

/// By what compaction goes, besides the keys.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The wall clock.
    pub now_ms: i64,
    /// How long a key's deletion is kept once compaction has met it.
    pub delete_retention_ms: u64,
    /// Whether a batch that loses its last record stays as an empty one: it says which sequences
    /// its producer has used.
    pub keeps_empty: &'a dyn Fn(&BatchHeader) -> bool,
}

/// What is left of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It stays as it is.
    All,
    /// This stands in its place.
    Batch(Bytes),
    /// Nothing.
    Nothing,
}

/// A batch as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBatch {
    /// Its first offset.
    pub base_offset: i64,
    /// The next offset after it.
    pub next_offset: i64,
    /// When it arrived at its owner.
    pub arrival_ms: i64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What stands at `from..to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first offset.
    pub from: i64,
    /// The next offset after it.
    pub to: i64,
    /// When the batch arrived at its owner; 0 for none.
    pub arrival_ms: i64,
    /// The batch, if there is one.
    pub batch: Option<Bytes>,
}

/// What stands in the place of a row of batches, without a hole between the first and the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The places; none if the row stays as it is.
    pub places: Vec<Place>,
    /// Records that went.
    pub records: u64,
    /// Bytes that went.
    pub bytes: u64,
    /// The earliest time after which a tombstone that was kept may go.
    pub horizon_ms: Option<i64>,
}

/// Compacts a row of batches in order of offset that follow `from`. As soon as one of them changes
/// all of them are written anew, so that what they were read from has nothing left of them.
pub fn compact_row(from: i64, batches: &[RowBatch], newest: &Newest, rules: &Rules<'_>) -> Row {
    let mut row = Row::default();
    let mut is_changed = false;
    let mut at = batches.first().map_or(from, |first| first.base_offset.min(from));
    for batch in batches {
        let (left, count) = compact(&batch.bytes, newest, rules);
        is_changed |= left != Left::All;
        row.records += count;
        let bytes = match left {
            Left::All => batch.bytes.clone(),
            Left::Batch(bytes) => bytes,
            Left::Nothing => {
                row.bytes += batch.bytes.len() as u64;
                continue;
            }
        };
        row.bytes += (batch.bytes.len() as u64).saturating_sub(bytes.len() as u64);
        row.note_horizon(&bytes);
        row.pass_gap(at, batch.base_offset);
        at = batch.next_offset;
        row.places.push(Place {
            from: batch.base_offset,
            to: at,
            arrival_ms: batch.arrival_ms,
            batch: Some(bytes),
        });
    }
    row.pass_gap(at, batches.last().map_or(at, |last| last.next_offset));
    if !is_changed {
        row.places.clear();
    }
    row
}

impl Row {
    fn pass_gap(&mut self, from: i64, to: i64) {
        if from < to {
            self.places.push(Place { from, to, arrival_ms: 0, batch: None });
        }
    }

    fn note_horizon(&mut self, batch: &Bytes) {
        let Ok(header) = BatchHeader::decode(batch) else { return };
        if header.attributes.has_delete_horizon() && header.record_count > 0 {
            let horizon_ms = self.horizon_ms.get_or_insert(header.base_timestamp);
            *horizon_ms = header.base_timestamp.min(*horizon_ms);
        }
    }
}

/// What is left of one batch, and how many records went. Control batches, what belongs to a
/// transaction, records without a key and what cannot be read stay.
pub fn compact(batch: &Bytes, newest: &Newest, rules: &Rules<'_>) -> (Left, u64) {
    let Ok(header) = BatchHeader::decode(batch) else { return (Left::All, 0) };
    let Some(all) = read(&header, batch) else { return (Left::All, 0) };
    let stay: Vec<bool> =
        all.clone().map(|record| stays(&record, &header, newest, rules.now_ms)).collect();
    let kept = all.zip(&stay).filter_map(|(record, stays)| stays.then_some(record));
    let count = stay.iter().filter(|stays| **stays).count();
    let gone = (stay.len() - count) as u64;
    if count == 0 && !(rules.keeps_empty)(&header) {
        return (Left::Nothing, gone);
    }
    let known = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
    let has_tombstones = kept.clone().any(|record| record.key.is_some() && record.value.is_none());
    let kept_ms = i64::try_from(rules.delete_retention_ms).unwrap_or(i64::MAX);
    let horizon_ms = known.or_else(|| has_tombstones.then(|| rules.now_ms.saturating_add(kept_ms)));
    if gone == 0 && horizon_ms == known {
        return (Left::All, 0);
    }
    let rewritten = rewrite_batch(&header, kept, horizon_ms);
    // Our codecs may pack worse than the producer's did.
    if rewritten.len() > BATCH_BYTES_MAX.max(batch.len()) {
        return (Left::All, 0);
    }
    (Left::Batch(rewritten), gone)
}

fn stays(record: &Record, header: &BatchHeader, newest: &Newest, now_ms: i64) -> bool {
    let Some(key) = &record.key else { return true };
    let is_over = header.attributes.has_delete_horizon() && header.base_timestamp <= now_ms;
    let is_deletion = record.value.is_none();
    !(newest.is_superseded(key, record.offset) || is_deletion && is_over)
}
