//! What is left of batches.

use bytes::Bytes;
use mainstem_record::{BatchHeader, Record, rewrite_batch};
use mainstem_types::limits::BATCH_BYTES_MAX;

use crate::Newest;
use crate::judged::read;

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
    /// Deletions stay although their time is over, because a batch before them was
    /// [`Compacted::is_unjudged`]: it may hold a record of the same key, which would be back.
    pub keeps_deletions: bool,
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

/// What came of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// What is left of it.
    pub left: Left,
    /// How many records went.
    pub gone: u64,
    /// When a tombstone may go that waits in it for its time.
    pub horizon_ms: Option<i64>,
    /// It stays whole, whatever later records supersede in it.
    pub is_unjudged: bool,
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
    /// The earliest time after which a tombstone may go that waits for it.
    pub horizon_ms: Option<i64>,
    /// What [`Rules::keeps_deletions`] is for the row that follows.
    pub keeps_deletions: bool,
}

/// Compacts a row of batches in order of offset that follow `from`. As soon as one of them changes
/// all of them are written anew, so that what they were read from has nothing left of them.
pub fn compact_row(from: i64, batches: &[RowBatch], newest: &Newest, rules: &Rules<'_>) -> Row {
    let mut row = Row { keeps_deletions: rules.keeps_deletions, ..Row::default() };
    let mut is_changed = false;
    let mut at = batches.first().map_or(from, |first| first.base_offset.min(from));
    for batch in batches {
        let rules = Rules { keeps_deletions: row.keeps_deletions, ..*rules };
        let compacted = compact(&batch.bytes, newest, &rules);
        is_changed |= compacted.left != Left::All;
        row.records += compacted.gone;
        row.horizon_ms = row.horizon_ms.into_iter().chain(compacted.horizon_ms).min();
        row.keeps_deletions |= compacted.is_unjudged;
        let bytes = match compacted.left {
            Left::All => batch.bytes.clone(),
            Left::Batch(bytes) => bytes,
            Left::Nothing => {
                row.bytes += batch.bytes.len() as u64;
                continue;
            }
        };
        row.bytes += (batch.bytes.len() as u64).saturating_sub(bytes.len() as u64);
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
}

impl Compacted {
    const fn whole(horizon_ms: Option<i64>, is_unjudged: bool) -> Self {
        Self { left: Left::All, gone: 0, horizon_ms, is_unjudged }
    }
}

/// What is left of one batch. Control batches, what belongs to a transaction, records without a key,
/// and what cannot be read or is too large stay.
pub fn compact(batch: &Bytes, newest: &Newest, rules: &Rules<'_>) -> Compacted {
    let Ok(header) = BatchHeader::decode(batch) else { return Compacted::whole(None, true) };
    let Some(all) = read(&header, batch) else {
        return Compacted::whole(None, !header.attributes.is_control());
    };
    let known = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
    let is_over = known.is_some_and(|horizon_ms| horizon_ms <= rules.now_ms);
    let deletions_go = is_over && !rules.keeps_deletions;
    let stay: Vec<bool> = all.clone().map(|record| stays(&record, newest, deletions_go)).collect();
    let kept = all.zip(&stay).filter_map(|(record, stays)| stays.then_some(record));
    let count = stay.iter().filter(|stays| **stays).count();
    let gone = (stay.len() - count) as u64;
    if count == 0 && !(rules.keeps_empty)(&header) {
        return Compacted { left: Left::Nothing, gone, horizon_ms: None, is_unjudged: false };
    }
    let has_deletions = kept.clone().any(|record| is_deletion(&record));
    let waits = |horizon_ms: Option<i64>| horizon_ms.filter(|_| has_deletions && !is_over);
    let kept_ms = i64::try_from(rules.delete_retention_ms).unwrap_or(i64::MAX);
    let horizon_ms = known.or_else(|| has_deletions.then(|| rules.now_ms.saturating_add(kept_ms)));
    if gone == 0 && horizon_ms == known {
        return Compacted::whole(waits(known), false);
    }
    let rewritten = rewrite_batch(&header, kept, horizon_ms);
    assert!(rewritten.len() <= BATCH_BYTES_MAX, "a batch is judged only if any part of it fits");
    let (left, horizon_ms) = (Left::Batch(rewritten), waits(horizon_ms));
    Compacted { left, gone, horizon_ms, is_unjudged: false }
}

fn stays(record: &Record, newest: &Newest, deletions_go: bool) -> bool {
    let Some(key) = &record.key else { return true };
    !(newest.is_superseded(key, record.offset) || deletions_go && record.value.is_none())
}

fn is_deletion(record: &Record) -> bool {
    record.key.is_some() && record.value.is_none()
}
