//! What is where: every partition's bounds, spans in sealed segments, entries in the unsealed one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use mainstem_types::PartitionNo;
use parking_lot::RwLock;

use crate::entry::Entry;
use crate::footer::{FooterBuilder, Row, Span};
use crate::footer_cache::FooterCache;
use crate::frame_header::FrameHeader;
use crate::pieces::{Piece, Pieces, SealedSegment, Segments, release};
use crate::segment::Segment;
use crate::tail::TailCache;
use crate::{FrameKind, LogSettings, Position, Quarantine, SegmentPin};

/// What writer and readers share.
pub(crate) struct Shared {
    pub(crate) index: RwLock<Index>,
    pub(crate) footers: FooterCache,
}

impl Shared {
    pub(crate) fn new(settings: &LogSettings) -> Self {
        let index = Index {
            partitions: HashMap::new(),
            segments: BTreeMap::new(),
            open: None,
            open_entries: 0,
            open_columns: 0,
            live_bytes: 0,
            tail: TailCache::new(settings.tail_cache_bytes),
        };
        let footers = FooterCache::new(settings.footer_cache_bytes);
        Self { index: RwLock::new(index), footers }
    }
}

/// The index of the whole log. Only the writer changes it.
pub(crate) struct Index {
    pub(crate) partitions: HashMap<PartitionNo, PartitionIndex>,
    /// Sealed segments by number.
    pub(crate) segments: Segments,
    /// The segment that is written to, which `PartitionIndex::open` points into.
    pub(crate) open: Option<Arc<Segment>>,
    /// Entries of all partitions in it, those included that were replaced there.
    pub(crate) open_entries: usize,
    /// Columns that its footer has at most beyond one for each partition.
    pub(crate) open_columns: usize,
    /// Payload bytes of batches that are kept; about, where only a part of a piece is left.
    pub(crate) live_bytes: u64,
    pub(crate) tail: TailCache,
}

/// One partition.
#[derive(Default)]
pub(crate) struct PartitionIndex {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) quarantine: Option<(i64, Arc<str>)>,
    /// In order of offset, without overlap.
    pub(crate) pieces: Pieces,
    /// Entries of the unsealed segment in order of offset, all above the pieces.
    pub(crate) open: VecDeque<Entry>,
}

impl PartitionIndex {
    fn starting_at(offset: i64) -> Self {
        Self { start: offset, end: offset, ..Self::default() }
    }

    /// The offset where something is missing between start and end, if so.
    pub(crate) fn hole(&self) -> Option<i64> {
        let spans = self.pieces.all.iter().map(|piece| &piece.span);
        let spans = spans.map(|span| (span.base_offset, span.end_offset));
        let entries = self.open.iter().map(|entry| (entry.base_offset, entry.next_offset));
        let mut at = self.start;
        for (base, end) in spans.chain(entries) {
            if base > at {
                return Some(at);
            }
            at = at.max(end);
        }
        (at < self.end).then_some(at)
    }

    /// Makes pieces of the entries below `to`, but for those from `from` on, which are let go;
    /// returns the bytes and the number of the latter.
    fn settle(&mut self, segment: u32, from: i64, to: i64) -> (u64, usize) {
        let mut kept = Vec::new();
        let (mut bytes, mut count) = (0, 0);
        while let Some(entry) = self.open.pop_front_if(|entry| entry.base_offset < to) {
            if entry.next_offset <= from {
                kept.push(entry);
                continue;
            }
            // Only a gap can reach over an edge.
            if entry.base_offset < from {
                kept.push(Entry { next_offset: from, ..entry });
            }
            if entry.next_offset > to {
                self.open.push_front(Entry { base_offset: to, ..entry });
                break;
            }
            bytes += u64::from(entry.payload_bytes);
            count += 1;
        }
        if !kept.is_empty() {
            self.pieces.insert(Piece::unsealed(segment, false, kept));
        }
        (bytes, count)
    }
}

impl Index {
    /// Takes in a frame that lies at byte `at` of the open segment. A batch that does not begin at
    /// its partition's end takes the partition out of service: the writer never writes one, so
    /// recovery has lost something before it.
    pub(crate) fn apply(&mut self, header: &FrameHeader, at: u32) {
        let Some(kind) = FrameKind::from_number(header.kind) else { return };
        let (partition, offset) = (header.partition, header.base_offset);
        match kind {
            FrameKind::Batch | FrameKind::Gap => self.append(header, at),
            FrameKind::Rewrite => self.rewrite(header, at),
            FrameKind::Trim => self.trim(partition, offset),
            FrameKind::TruncateTo => self.truncate(partition, offset),
            FrameKind::PartitionDelete => self.remove_partition(partition),
            FrameKind::EpochStart => {
                self.partition_from(partition, offset);
            }
            FrameKind::PartitionCheckpoint => {
                self.partition_from(partition, offset);
                self.trim(partition, offset);
                let known = self.partition_from(partition, offset);
                known.end = known.end.max(header.next_offset);
            }
            FrameKind::Quarantine => {
                let why = "found damaged at an earlier opening";
                self.quarantine(partition, offset, why);
            }
            _ => {}
        }
    }

    fn partition_from(&mut self, partition: PartitionNo, offset: i64) -> &mut PartitionIndex {
        self.partitions.entry(partition).or_insert_with(|| PartitionIndex::starting_at(offset))
    }

    fn append(&mut self, header: &FrameHeader, at: u32) {
        let (partition, base) = (header.partition, header.base_offset);
        let entry = Entry::of(header, at).expect("batches and gaps have entries");
        let end = self.partition_from(partition, base).end;
        if base != end {
            let why = format!("offsets continue at {base} where {end} was expected");
            self.quarantine(partition, base.min(end), &why);
        }
        if base < end {
            self.truncate(partition, base);
        }
        let known = self.partition_from(partition, base);
        known.open.push_back(entry);
        known.end = header.next_offset;
        self.open_entries += 1;
        self.live_bytes += u64::from(entry.payload_bytes);
    }

    /// Puts what compaction left into the place of what was there. What the tail has of that is
    /// forgotten by who writes, for a whole row at once. A partition that lost something
    /// to damage may lack that, and is out of service.
    fn rewrite(&mut self, header: &FrameHeader, at: u32) {
        const COLUMNS: usize = 3;
        let entry = Entry::of(header, at).expect("what is rewritten has entries");
        let (partition, from, to) = (header.partition, entry.base_offset, entry.next_offset);
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        if to > known.end || to <= known.start {
            return;
        }
        let segment = self.open.as_ref().map_or(0, |segment| segment.number);
        // Where the start has moved on since compaction read, `from` may lie within a batch.
        let from = if from <= known.start { i64::MIN } else { from };
        self.live_bytes -= known.pieces.take_out(&mut self.segments, from, to);
        let (bytes, count) = known.settle(segment, from, to);
        self.live_bytes -= bytes;
        self.open_entries -= count;
        if known.pieces.insert_entry(segment, &entry) {
            self.open_columns += COLUMNS;
        }
        self.open_entries += 1;
        self.live_bytes += u64::from(entry.payload_bytes);
    }

    /// Moves a partition's start; what lies wholly below is let go.
    pub(crate) fn trim(&mut self, partition: PartitionNo, start: i64) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        known.start = known.start.max(start);
        known.end = known.end.max(known.start);
        self.live_bytes -= known.pieces.trim(&mut self.segments, known.start);
        while let Some(entry) = known.open.pop_front_if(|entry| entry.next_offset <= known.start) {
            self.open_entries -= 1;
            self.live_bytes -= u64::from(entry.payload_bytes);
        }
    }

    /// Undoes everything at or above `to`, which is where a batch begins, or within a gap.
    fn truncate(&mut self, partition: PartitionNo, to: i64) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        while let Some(entry) = known.open.pop_back_if(|entry| entry.next_offset > to) {
            if entry.is_gap() && entry.base_offset < to {
                known.open.push_back(Entry { next_offset: to, ..entry });
                break;
            }
            self.open_entries -= 1;
            self.live_bytes -= u64::from(entry.payload_bytes);
        }
        self.live_bytes -= known.pieces.take_out(&mut self.segments, to, i64::MAX);
        known.end = known.end.min(to);
        known.start = known.start.min(to);
        if known.quarantine.as_ref().is_some_and(|(offset, _)| *offset >= to) {
            known.quarantine = None;
        }
        self.tail.truncate(partition, to);
    }

    pub(crate) fn remove_partition(&mut self, partition: PartitionNo) {
        let Some(known) = self.partitions.remove(&partition) else { return };
        for piece in &known.pieces.all {
            self.live_bytes -= release(&mut self.segments, piece);
        }
        for entry in &known.open {
            self.live_bytes -= u64::from(entry.payload_bytes);
        }
        self.open_entries -= known.open.len();
        self.tail.remove(partition);
    }

    /// Takes a partition out of service; the first reason stands.
    pub(crate) fn quarantine(&mut self, partition: PartitionNo, offset: i64, why: &str) {
        let known = self.partition_from(partition, offset);
        if known.quarantine.is_none() {
            known.quarantine = Some((offset, Arc::from(why)));
        }
    }

    /// Every partition that is out of service.
    pub(crate) fn quarantined(&self) -> Vec<Quarantine> {
        let marked = self.partitions.iter().filter_map(|(partition, known)| {
            let (offset, why) = known.quarantine.as_ref()?;
            Some(Quarantine { partition: *partition, offset: *offset, why: why.to_string() })
        });
        let mut marked: Vec<Quarantine> = marked.collect();
        marked.sort_unstable_by_key(|quarantine| quarantine.partition);
        marked
    }

    /// The footer that the open segment would have now, and the spans that stand in it.
    pub(crate) fn footer(&self, groups_end: u32) -> (FooterBuilder, Vec<(PartitionNo, Span)>) {
        let mut builder = FooterBuilder::new(groups_end);
        let mut spans = Vec::new();
        let number = self.open.as_ref().map_or(0, |segment| segment.number);
        let mut partitions: Vec<_> = self.partitions.iter().collect();
        partitions.sort_unstable_by_key(|(partition, _)| **partition);
        for (partition, known) in &partitions {
            for piece in known.pieces.all.iter().filter(|piece| piece.unsealed.is_some()) {
                let entries = piece.column().map(|column| column.clipped(&piece.span));
                let entries = entries.unwrap_or_default();
                let is_rewritten = piece.span.is_rewritten;
                let span = builder.add_column(number, **partition, is_rewritten, entries.iter());
                spans.push((**partition, span));
            }
            if !known.open.is_empty() {
                let span = builder.add_column(number, **partition, false, known.open.iter());
                spans.push((**partition, span));
            }
        }
        for (partition, known) in &partitions {
            builder.add_row(Row {
                partition: **partition,
                start: known.start,
                end: known.end,
                is_quarantined: known.quarantine.is_some(),
            });
        }
        (builder, spans)
    }

    /// Turns the open segment into a sealed one, its entries into these spans.
    pub(crate) fn seal(&mut self, spans: Vec<(PartitionNo, Span)>, end: Position, bytes: u64) {
        let segment = self.open.take().expect("only an open segment is sealed");
        let live_pieces = u32::try_from(spans.len()).expect("footers count columns in u32");
        self.segments.insert(segment.number, SealedSegment { segment, end, bytes, live_pieces });
        for (partition, span) in spans {
            let known = self.partitions.get_mut(&partition).expect("spans are of known partitions");
            let at = known.pieces.first_beyond(span.base_offset);
            self.live_bytes += span.bytes;
            match known.pieces.all.get_mut(at) {
                Some(piece) => {
                    let is_it = piece.unsealed.is_some()
                        && piece.span.base_offset == span.base_offset
                        && piece.span.end_offset == span.end_offset;
                    assert!(is_it, "each unsealed piece has a column");
                    self.live_bytes -= piece.span.bytes;
                    *piece = Piece::sealed(span);
                }
                None => {
                    let bytes = |entry: &Entry| u64::from(entry.payload_bytes);
                    self.live_bytes -= known.open.iter().map(bytes).sum::<u64>();
                    known.open.clear();
                    known.pieces.insert(Piece::sealed(span));
                }
            }
        }
        self.open_entries = 0;
        self.open_columns = 0;
    }

    /// Takes in a sealed segment, the newest so far. What overlaps an older span proves that the
    /// older one was truncated, unless it was rewritten: then it takes the place of that part.
    pub(crate) fn add_sealed(
        &mut self,
        segment: Arc<Segment>,
        spans: Vec<(PartitionNo, Span)>,
        end: Position,
        bytes: u64,
    ) {
        let number = segment.number;
        let live_pieces = u32::try_from(spans.len()).expect("footers count columns in u32");
        self.segments.insert(number, SealedSegment { segment, end, bytes, live_pieces });
        for (partition, span) in spans {
            let known = self
                .partitions
                .entry(partition)
                .or_insert_with(|| PartitionIndex::starting_at(span.base_offset));
            let to = if span.is_rewritten { span.end_offset } else { i64::MAX };
            self.live_bytes -= known.pieces.take_out(&mut self.segments, span.base_offset, to);
            self.live_bytes += span.bytes;
            known.pieces.insert(Piece::sealed(span));
            known.end = known.end.max(span.end_offset);
        }
    }

    /// Makes every partition what the table of the newest footer says.
    pub(crate) fn set_table(&mut self, rows: &[Row]) {
        let known: HashMap<PartitionNo, Row> =
            rows.iter().map(|row| (row.partition, *row)).collect();
        let gone: Vec<PartitionNo> =
            self.partitions.keys().copied().filter(|name| !known.contains_key(name)).collect();
        for partition in gone {
            self.remove_partition(partition);
        }
        for row in rows {
            let state = self.partition_from(row.partition, row.start);
            state.start = row.start;
            state.end = row.end;
            if let Some(known) = self.partitions.get_mut(&row.partition) {
                self.live_bytes -= known.pieces.take_out(&mut self.segments, row.end, i64::MAX);
            }
            self.trim(row.partition, row.start);
            if row.is_quarantined {
                self.quarantine(row.partition, row.start, "found damaged at an earlier opening");
            }
        }
    }

    /// Sealed segments that nothing needs and that lie wholly below `applied`. The newest sealed
    /// one always stays: its table knows the partitions that have no data left.
    pub(crate) fn take_unneeded(&mut self, applied: Position) -> Vec<SealedSegment> {
        let Some(newest) = self.segments.keys().next_back().copied() else { return Vec::new() };
        let unneeded = self.segments.iter().filter(|(number, sealed)| {
            **number != newest && sealed.live_pieces == 0 && sealed.end <= applied
        });
        let numbers: Vec<u32> = unneeded.map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| self.segments.remove(number)).collect()
    }

    /// Who keeps which sealed segment.
    pub(crate) fn pins(&self) -> Vec<SegmentPin> {
        let mut holders: BTreeMap<u32, Vec<(PartitionNo, u64)>> = BTreeMap::new();
        for (partition, known) in &self.partitions {
            let mut held: BTreeMap<u32, u64> = BTreeMap::new();
            for Piece { span, .. } in &known.pieces.all {
                *held.entry(span.segment).or_default() += span.bytes;
            }
            for (segment, bytes) in held {
                holders.entry(segment).or_default().push((*partition, bytes));
            }
        }
        let pin = |(number, sealed): (&u32, &SealedSegment)| {
            let mut largest = holders.remove(number)?;
            largest.sort_unstable_by_key(|(partition, bytes)| (u64::MAX - bytes, *partition));
            let partitions = u32::try_from(largest.len()).unwrap_or(u32::MAX);
            largest.truncate(8);
            Some(SegmentPin { segment: *number, bytes: sealed.bytes, partitions, largest })
        };
        self.segments.iter().filter_map(pin).collect()
    }
}
