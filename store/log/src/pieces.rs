//! What a partition is made of below its newest batches: pieces, each a row of entries in one segment.
//!
//! A segment adds a piece when it is sealed. Compaction puts pieces into the place of others, or of
//! parts of them; what is left of a piece is a window on its column.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;

use crate::Position;
use crate::entry::Entry;
use crate::footer::Span;
use crate::segment::Segment;

/// Entries of one piece in memory at most, so that adding to one that a reader holds copies little.
const REWRITTEN_ENTRIES_MAX: usize = 4096;

/// A row of entries, or a window on one.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) span: Span,
    /// The entries, as long as the segment has no footer.
    pub(crate) unsealed: Option<Arc<Vec<Entry>>>,
}

impl Piece {
    /// One whose entries stand in its segment's footer.
    pub(crate) const fn sealed(span: Span) -> Self {
        Self { span, unsealed: None }
    }

    /// One in the segment that is written to. There is at least one entry.
    pub(crate) fn unsealed(segment: u32, is_rewritten: bool, entries: Vec<Entry>) -> Self {
        let span = Span::of(segment, is_rewritten, entries.iter());
        Self { span, unsealed: Some(Arc::new(entries)) }
    }

    /// The window on the entries of an unsealed piece.
    pub(crate) fn column(&self) -> Option<Column> {
        Some(Column::of(Arc::clone(self.unsealed.as_ref()?), &self.span))
    }

    /// Takes in an entry that follows, if that is possible.
    fn push(&mut self, entry: &Entry) -> bool {
        let Some(entries) = &mut self.unsealed else { return false };
        let is_whole = entries.last().is_some_and(|last| last.next_offset == self.span.end_offset);
        let follows = self.span.is_rewritten && self.span.end_offset == entry.base_offset;
        if !follows || !is_whole || entries.len() >= REWRITTEN_ENTRIES_MAX {
            return false;
        }
        Arc::make_mut(entries).push(*entry);
        self.span.take(entry);
        true
    }

    /// The part at `from..to`, if that is not empty.
    fn cut(&self, from: i64, to: i64) -> Option<Self> {
        let mut part = self.clone();
        let span = &mut part.span;
        if from > span.base_offset {
            span.base_offset = from;
            span.first_arrival_ms = i64::MIN;
        }
        span.end_offset = span.end_offset.min(to);
        let width = span.end_offset.saturating_sub(span.base_offset);
        if width <= 0 {
            return None;
        }
        let whole = self.span.end_offset - self.span.base_offset;
        if width < whole {
            // Nobody looks at entries for it; sums of what was rewritten even out.
            let share = u128::from(span.bytes) * width.unsigned_abs() as u128;
            span.bytes = u64::try_from(share / whole.unsigned_abs() as u128).unwrap_or(span.bytes);
            span.is_exact = false;
        }
        Some(part)
    }
}

/// Some entries of a column: those that a span still stands for.
pub(crate) struct Column {
    entries: Arc<Vec<Entry>>,
    from: usize,
    to: usize,
}

impl Column {
    /// The entries that lie within a span. A gap may reach beyond it.
    pub(crate) fn of(entries: Arc<Vec<Entry>>, span: &Span) -> Self {
        let from = entries.partition_point(|entry| entry.next_offset <= span.base_offset);
        let to = entries.partition_point(|entry| entry.base_offset < span.end_offset);
        Self { from, to: to.max(from), entries }
    }

    /// As they go into a footer: gaps end where the span does.
    pub(crate) fn clipped(&self, span: &Span) -> Vec<Entry> {
        let clip = |entry: &Entry| Entry {
            base_offset: entry.base_offset.max(span.base_offset),
            next_offset: entry.next_offset.min(span.end_offset),
            ..*entry
        };
        self.iter().map(|entry| if entry.is_gap() { clip(entry) } else { *entry }).collect()
    }
}

impl Deref for Column {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries[self.from..self.to]
    }
}

/// A partition's pieces, in order of offset and without overlap.
#[derive(Default)]
pub(crate) struct Pieces {
    pub(crate) all: VecDeque<Piece>,
}

/// A sealed segment and how many pieces of it are still needed.
pub(crate) struct SealedSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: Position,
    pub(crate) bytes: u64,
    pub(crate) live_pieces: u32,
}

/// The sealed segments by number.
pub(crate) type Segments = BTreeMap<u32, SealedSegment>;

impl Pieces {
    /// The first piece that reaches beyond `offset`.
    pub(crate) fn first_beyond(&self, offset: i64) -> usize {
        self.all.partition_point(|piece| piece.span.end_offset <= offset)
    }

    /// Lets go of what lies wholly below `start`; returns its bytes.
    pub(crate) fn trim(&mut self, segments: &mut Segments, start: i64) -> u64 {
        let mut bytes = 0;
        while let Some(piece) = self.all.pop_front_if(|piece| piece.span.end_offset <= start) {
            bytes += release(segments, &piece);
        }
        bytes
    }

    /// Takes `from..to` out of what is there; returns the bytes that went, about.
    pub(crate) fn take_out(&mut self, segments: &mut Segments, from: i64, to: i64) -> u64 {
        let mut bytes = 0;
        let mut at = self.first_beyond(from);
        while self.all.get(at).is_some_and(|piece| piece.span.base_offset < to) {
            let piece = self.all.remove(at).expect("there is one at this place");
            bytes += release(segments, &piece);
            let rest = [piece.cut(i64::MIN, from), piece.cut(to, i64::MAX)];
            for part in rest.into_iter().flatten() {
                bytes -= hold(segments, &part).min(bytes);
                self.all.insert(at, part);
                at += 1;
            }
        }
        bytes
    }

    /// Puts a piece into a place that is free.
    pub(crate) fn insert(&mut self, piece: Piece) {
        let at = self.first_beyond(piece.span.base_offset);
        self.all.insert(at, piece);
    }

    /// Puts a rewritten entry into a place that is free; says whether it is a piece of its own.
    pub(crate) fn insert_entry(&mut self, segment: u32, entry: &Entry) -> bool {
        let at = self.first_beyond(entry.base_offset);
        let before = at.checked_sub(1).and_then(|before| self.all.get_mut(before));
        if before.is_some_and(|piece| piece.span.segment == segment && piece.push(entry)) {
            return false;
        }
        self.all.insert(at, Piece::unsealed(segment, true, vec![*entry]));
        true
    }
}

fn hold(segments: &mut Segments, piece: &Piece) -> u64 {
    if let Some(sealed) = segments.get_mut(&piece.span.segment) {
        sealed.live_pieces += 1;
    }
    piece.span.bytes
}

/// Lets go of a piece; returns its bytes.
pub(crate) fn release(segments: &mut Segments, piece: &Piece) -> u64 {
    match segments.get_mut(&piece.span.segment) {
        Some(sealed) => sealed.live_pieces -= 1,
        None => assert!(piece.unsealed.is_some(), "a segment with a live piece stays"),
    }
    piece.span.bytes
}
