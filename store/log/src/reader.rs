//! Reading, from any thread.

use std::sync::Arc;

use mainstem_types::PartitionNo;

use crate::entry::Entry;
use crate::footer::Span;
use crate::index::{Index, PartitionIndex, Shared};
use crate::pieces::{Column, Piece};
use crate::segment::Segment;
use crate::{Backlog, BatchInfo, Extent, LogError, PartitionBounds, StoredBatch};

/// Reads a log. Cheap to clone; used from any thread while the writer writes.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

/// Where the next entries of a partition are.
enum Place {
    /// Above everything that is there.
    End,
    /// In a piece, most often of a sealed segment.
    Piece(Arc<Segment>, Piece),
    /// At the end of the unsealed segment: the entries that were asked for.
    Open(Arc<Segment>, Vec<Entry>),
}

impl LogReader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What is kept of a partition; `None` if the log does not know it.
    pub fn bounds(&self, partition: PartitionNo) -> Option<PartitionBounds> {
        let index = self.shared.index.read();
        let known = index.partitions.get(&partition)?;
        let is_quarantined = known.quarantine.is_some();
        Some(PartitionBounds { start: known.start, end: known.end, is_quarantined })
    }

    /// The numbers of all partitions that the log knows, in no order.
    pub fn partitions(&self) -> Vec<PartitionNo> {
        let index = self.shared.index.read();
        index.partitions.keys().copied().filter(|partition| partition.0 > 0).collect()
    }

    /// Whole batches, beginning with the one that contains `from` (or the first after it, across
    /// gaps), of which none ends beyond `up_to`; about `bytes_max` of them, fewer where they lie
    /// scattered, and the first whatever its size. Below the partition's start it reads from there.
    /// May read the disk. What cannot be read is an error only where it stands first.
    pub fn read(
        &self,
        partition: PartitionNo,
        from: i64,
        up_to: i64,
        bytes_max: usize,
    ) -> Result<Vec<StoredBatch>, LogError> {
        /// Compaction leaves small pieces, each of which costs a look at the disk.
        const PIECES_AT_ONCE: usize = 32;
        let mut found: Vec<StoredBatch> = Vec::new();
        let (mut from, mut room, mut pieces) = (from, bytes_max, 0);
        loop {
            let (batches, next) =
                match self.read_piece(partition, from, up_to, room, found.is_empty()) {
                    Err(_) if !found.is_empty() => return Ok(found),
                    read => read?,
                };
            room = room.saturating_sub(batches.iter().map(|batch| batch.bytes.len()).sum());
            found.extend(batches);
            pieces += 1;
            let is_enough = pieces >= PIECES_AT_ONCE && !found.is_empty();
            if next >= up_to || room == 0 || is_enough {
                return Ok(found);
            }
            from = next;
        }
    }

    /// The batches of one piece, and where to read on; the highest offset if that is for the next
    /// time.
    fn read_piece(
        &self,
        partition: PartitionNo,
        from: i64,
        up_to: i64,
        room: usize,
        is_first: bool,
    ) -> Result<(Vec<StoredBatch>, i64), LogError> {
        if let Some(batches) = self.read_tail(partition, from, up_to, room) {
            let fits = is_first || batches.first().is_none_or(|batch| batch.bytes.len() <= room);
            return Ok((if fits { batches } else { Vec::new() }, i64::MAX));
        }
        let in_open = |known: &PartitionIndex, from: i64| {
            let first = known.open.partition_point(|entry| entry.next_offset <= from);
            select(known.open.iter().skip(first), (from, up_to, room, is_first))
        };
        match self.place(partition, from, |_| true, in_open)? {
            Place::End => Ok((Vec::new(), i64::MAX)),
            Place::Open(segment, entries) => {
                Ok((segment.read_batches(partition, &entries)?, i64::MAX))
            }
            Place::Piece(segment, piece) => {
                let column = self.column(&segment, partition, &piece)?;
                let from = from.max(self.start(partition));
                let first = column.partition_point(|entry| entry.next_offset <= from);
                let entries = select(column[first..].iter(), (from, up_to, room, is_first));
                let batches = segment.read_batches(partition, &entries)?;
                let count = column[first..].iter().filter(|entry| !entry.is_gap()).count();
                let next = if batches.len() == count { piece.span.end_offset } else { i64::MAX };
                Ok((batches, next))
            }
        }
    }

    /// As [`Self::read`], but only from memory: `None` when the disk would have to be read (or
    /// the partition is out of service; `read` says why).
    pub fn read_tail(
        &self,
        partition: PartitionNo,
        from: i64,
        up_to: i64,
        bytes_max: usize,
    ) -> Option<Vec<StoredBatch>> {
        let index = self.shared.index.read();
        let known = index.partitions.get(&partition)?;
        if known.quarantine.is_some() {
            return None;
        }
        let from = from.max(known.start);
        if from >= known.end.min(up_to) {
            return Some(Vec::new());
        }
        index.tail.read(partition, from, up_to, bytes_max)
    }

    /// The first batch below `up_to` with a record stamped `timestamp_ms` or later.
    pub fn batch_at_or_after_time(
        &self,
        partition: PartitionNo,
        timestamp_ms: i64,
        up_to: i64,
    ) -> Result<Option<BatchInfo>, LogError> {
        let is_late_enough = |span: &Span| span.max_timestamp_ms >= timestamp_ms;
        self.find(partition, up_to, is_late_enough, |entry| entry.max_timestamp_ms >= timestamp_ms)
    }

    /// The batch below `up_to` with the largest timestamp; the first of equals.
    pub fn batch_of_max_timestamp(
        &self,
        partition: PartitionNo,
        up_to: i64,
    ) -> Result<Option<BatchInfo>, LogError> {
        let (mut best, pieces) = self.newest_first(partition, |known| {
            let entries = known.open.iter().filter(|entry| entry.next_offset <= up_to);
            newest(entries, None)
        })?;
        for (segment, piece) in pieces {
            let span = &piece.span;
            let is_hopeless = |best: BatchInfo| span.max_timestamp_ms < best.max_timestamp_ms;
            if span.base_offset >= up_to || best.is_some_and(is_hopeless) {
                continue;
            }
            let column = self.column(&segment, partition, &piece)?;
            let start = self.start(partition);
            let is_in = |entry: &&Entry| entry.next_offset <= up_to && entry.next_offset > start;
            best = newest(column.iter().filter(is_in), best);
        }
        Ok(best)
    }

    /// Whether anything but gaps is kept below an offset.
    pub fn has_batch_below(&self, partition: PartitionNo, offset: i64) -> Result<bool, LogError> {
        let first = self.find(partition, i64::MAX, |_| true, |_| true)?;
        Ok(first.is_some_and(|first| first.base_offset < offset))
    }

    /// When the last batch below an offset arrived, where a batch or a gap ends; `None` if none is
    /// kept.
    pub fn last_arrival_below(
        &self,
        partition: PartitionNo,
        offset: i64,
    ) -> Result<Option<i64>, LogError> {
        let is_it = |entry: &&Entry| !entry.is_gap() && entry.next_offset <= offset;
        let (found, pieces) =
            self.newest_first(partition, |known| known.open.iter().rev().find(is_it).copied())?;
        let start = self.start(partition);
        if let Some(entry) = found {
            return Ok(Some(entry.arrival_ms));
        }
        for (segment, piece) in pieces {
            if piece.span.base_offset >= offset {
                continue;
            }
            let column = self.column(&segment, partition, &piece)?;
            let kept = column.iter().rev().filter(|entry| entry.next_offset > start);
            if let Some(entry) = kept.into_iter().find(is_it) {
                return Ok(Some(entry.arrival_ms));
            }
        }
        Ok(None)
    }

    /// The base offset of the first batch that arrived at `arrival_ms` or later; the end if all
    /// came before. What expiry by age moves the log start to.
    pub fn first_arriving_at_or_after(
        &self,
        partition: PartitionNo,
        arrival_ms: i64,
    ) -> Result<i64, LogError> {
        let is_late_enough = |span: &Span| span.last_arrival_ms >= arrival_ms;
        let bounds = self.bounds(partition);
        let (start, end) = bounds.map_or((0, 0), |bounds| (bounds.start, bounds.end));
        // Asked of every partition every second: as long as nothing has expired, the oldest span
        // answers without a look at its entries.
        let in_open = |_: &PartitionIndex, _| Vec::new();
        if let Place::Piece(_, piece) = self.place(partition, start, is_late_enough, in_open)?
            && piece.span.first_arrival_ms >= arrival_ms
        {
            return Ok(piece.span.base_offset.max(start));
        }
        let is_in_time = |entry: &Entry| entry.arrival_ms >= arrival_ms;
        let found = self.find(partition, i64::MAX, is_late_enough, is_in_time)?;
        Ok(found.map_or(end, |batch| batch.base_offset.max(start)))
    }

    /// The largest start that keeps at least `bytes` bytes of batches, or all there are. What
    /// expiry by size moves the log start to.
    pub fn start_for_retained_bytes(
        &self,
        partition: PartitionNo,
        bytes: u64,
    ) -> Result<i64, LogError> {
        let bounds = self.bounds(partition);
        let (start, end) = bounds.map_or((0, 0), |bounds| (bounds.start, bounds.end));
        let mut kept = Retained { bytes: 0, wanted: bytes, from: end };
        if bytes == 0 {
            return Ok(end);
        }
        let (is_enough, pieces) =
            self.newest_first(partition, |known| kept.take_until_enough(known.open.iter().rev()))?;
        if is_enough {
            return Ok(kept.from.max(start));
        }
        for (segment, piece) in pieces {
            let span = &piece.span;
            if span.is_exact && kept.bytes + span.bytes < bytes {
                kept.bytes += span.bytes;
                kept.from = span.base_offset;
                continue;
            }
            let column = self.column(&segment, partition, &piece)?;
            if kept.take_until_enough(column.iter().rev()) {
                return Ok(kept.from.max(start));
            }
        }
        Ok(start)
    }

    /// Bytes and records of the batches that begin in `from..to`.
    pub fn bytes_between(
        &self,
        partition: PartitionNo,
        from: i64,
        to: i64,
    ) -> Result<Extent, LogError> {
        let is_in = |entry: &&Entry| (from..to).contains(&entry.base_offset);
        let (mut extent, pieces) = self.newest_first(partition, |known| {
            let first = known.open.partition_point(|entry| entry.base_offset < from);
            Extent::default().plus(known.open.iter().skip(first).take_while(is_in))
        })?;
        for (segment, piece) in pieces {
            let span = &piece.span;
            if span.base_offset >= to {
                continue;
            }
            if span.end_offset <= from {
                break;
            }
            if span.is_exact && span.base_offset >= from && span.end_offset <= to {
                extent.bytes += span.bytes;
                extent.records += span.records;
            } else {
                let column = self.column(&segment, partition, &piece)?;
                extent = extent.plus(column.iter().filter(is_in));
            }
        }
        Ok(extent)
    }

    /// What lies from the batch that contains `from` up to `to`, told from the index alone. At
    /// most one footer column is read, of the segment that holds `from`; whole segments above it
    /// answer by their sums, and unsealed entries are looked at a few thousand at a time, so that
    /// the writer never waits for long.
    pub fn backlog(&self, partition: PartitionNo, from: i64, to: i64) -> Result<Backlog, LogError> {
        let mut backlog = Backlog::default();
        let mut open_from = from;
        for (segment, piece) in self.pieces_from(partition, from)? {
            let span = &piece.span;
            open_from = span.end_offset;
            // One that begins with a gap does not say when its first batch came.
            let knows_first = span.first_arrival_ms != i64::MIN || backlog.bytes > 0;
            let is_whole = span.base_offset >= from && span.end_offset <= to;
            if span.is_exact && is_whole && knows_first {
                backlog.add_span(span);
            } else {
                let column = self.column(&segment, partition, &piece)?;
                let first = column.partition_point(|entry| entry.next_offset <= from);
                backlog.add_entries(column[first..].iter(), to);
            }
        }
        while let Some(next) = self.add_open(partition, open_from, to, &mut backlog) {
            open_from = next;
        }
        Ok(backlog)
    }

    /// The entries of a piece, from memory or from its segment's footer.
    fn column(
        &self,
        segment: &Arc<Segment>,
        partition: PartitionNo,
        piece: &Piece,
    ) -> Result<Column, LogError> {
        match piece.column() {
            Some(column) => Ok(column),
            None => self.shared.footers.column(segment, partition, &piece.span),
        }
    }

    /// The pieces that reach beyond `from`, in order of offset.
    fn pieces_from(
        &self,
        partition: PartitionNo,
        from: i64,
    ) -> Result<Vec<(Arc<Segment>, Piece)>, LogError> {
        let index = self.shared.index.read();
        let Some(known) = in_service(&index, partition)? else { return Ok(Vec::new()) };
        let pieces = known.pieces.all.iter().skip(known.pieces.first_beyond(from));
        Ok(pieces.map(|piece| (segment_of(&index, piece), piece.clone())).collect())
    }

    /// Adds some of the unsealed entries; the offset to go on from, if there may be more.
    fn add_open(
        &self,
        partition: PartitionNo,
        from: i64,
        to: i64,
        backlog: &mut Backlog,
    ) -> Option<i64> {
        const AT_ONCE: usize = 4096;
        let index = self.shared.index.read();
        let open = &index.partitions.get(&partition)?.open;
        let first = open.partition_point(|entry| entry.next_offset <= from);
        backlog.add_entries(open.iter().skip(first).take(AT_ONCE), to);
        let last = open.get(first + AT_ONCE - 1)?;
        (last.next_offset < to).then_some(last.next_offset)
    }

    fn start(&self, partition: PartitionNo) -> i64 {
        self.shared.index.read().partitions.get(&partition).map_or(0, |known| known.start)
    }

    /// The first live batch that ends at `up_to` at most and is what `is_it` says; `may_hold` says
    /// which spans are worth a look.
    fn find(
        &self,
        partition: PartitionNo,
        up_to: i64,
        may_hold: impl Fn(&Span) -> bool,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Result<Option<BatchInfo>, LogError> {
        let mut from = i64::MIN;
        loop {
            let is_it = |entry: &&Entry| !entry.is_gap() && is_it(entry);
            let in_open = |known: &PartitionIndex, from: i64| {
                let first = known.open.partition_point(|entry| entry.next_offset <= from);
                known.open.iter().skip(first).find(is_it).copied().into_iter().collect()
            };
            let (entry, next) = match self.place(partition, from, &may_hold, in_open)? {
                Place::End => return Ok(None),
                Place::Open(_, entries) => (entries.first().copied(), i64::MAX),
                Place::Piece(segment, piece) => {
                    let column = self.column(&segment, partition, &piece)?;
                    let from = from.max(self.start(partition));
                    let first = column.partition_point(|entry| entry.next_offset <= from);
                    (column[first..].iter().find(is_it).copied(), piece.span.end_offset)
                }
            };
            match entry {
                Some(entry) => {
                    return Ok((entry.next_offset <= up_to).then(|| entry.info()));
                }
                None if next >= up_to => return Ok(None),
                None => from = next,
            }
        }
    }

    /// Where the entries from `from` on are, passing over pieces that `may_hold` rules out.
    fn place(
        &self,
        partition: PartitionNo,
        from: i64,
        may_hold: impl Fn(&Span) -> bool,
        in_open: impl FnOnce(&PartitionIndex, i64) -> Vec<Entry>,
    ) -> Result<Place, LogError> {
        let index = self.shared.index.read();
        let Some(known) = in_service(&index, partition)? else { return Ok(Place::End) };
        let from = from.max(known.start);
        let mut pieces = known.pieces.all.iter().skip(known.pieces.first_beyond(from));
        if let Some(piece) = pieces.find(|piece| may_hold(&piece.span)) {
            return Ok(Place::Piece(segment_of(&index, piece), piece.clone()));
        }
        let Some(segment) = &index.open else { return Ok(Place::End) };
        Ok(Place::Open(Arc::clone(segment), in_open(known, from)))
    }

    /// What `in_open` makes of the entries at the end, and the pieces before them, from the last
    /// to the first.
    #[expect(clippy::type_complexity, reason = "a pair of results, named by its doc comment")]
    fn newest_first<T: Default>(
        &self,
        partition: PartitionNo,
        in_open: impl FnOnce(&PartitionIndex) -> T,
    ) -> Result<(T, Vec<(Arc<Segment>, Piece)>), LogError> {
        let index = self.shared.index.read();
        let Some(known) = in_service(&index, partition)? else {
            return Ok((T::default(), Vec::new()));
        };
        let pieces = known.pieces.all.iter().rev();
        let pieces = pieces.map(|piece| (segment_of(&index, piece), piece.clone())).collect();
        Ok((in_open(known), pieces))
    }
}

/// The partition, if it is known and in service.
fn in_service(index: &Index, partition: PartitionNo) -> Result<Option<&PartitionIndex>, LogError> {
    let Some(known) = index.partitions.get(&partition) else { return Ok(None) };
    match &known.quarantine {
        Some((_, why)) => Err(LogError::Quarantined { partition, why: why.to_string() }),
        None => Ok(Some(known)),
    }
}

fn segment_of(index: &Index, piece: &Piece) -> Arc<Segment> {
    let sealed = index.segments.get(&piece.span.segment).map(|sealed| &sealed.segment);
    Arc::clone(sealed.or(index.open.as_ref()).expect("a segment with a live piece stays"))
}

/// The entries that one read returns: those of batches from an offset up to another, within so many
/// bytes, the first of all whatever its size.
fn select<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    (from, up_to, bytes_max, is_first): (i64, i64, usize, bool),
) -> Vec<Entry> {
    let mut bytes = 0;
    let mut selected = Vec::new();
    for entry in entries.filter(|entry| entry.next_offset > from && !entry.is_gap()) {
        bytes += entry.payload_bytes as usize;
        let is_forced = is_first && selected.is_empty();
        if entry.next_offset > up_to || !is_forced && bytes > bytes_max {
            break;
        }
        selected.push(*entry);
    }
    selected
}

/// The entry with the largest timestamp, unless `best`, which lies behind them all, has a larger.
fn newest<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    best: Option<BatchInfo>,
) -> Option<BatchInfo> {
    let batches = entries.filter(|entry| !entry.is_gap());
    let first_largest = batches.fold(None, |best: Option<&Entry>, entry| match best {
        Some(best) if best.max_timestamp_ms >= entry.max_timestamp_ms => Some(best),
        _ => Some(entry),
    });
    match (first_largest.map(Entry::info), best) {
        (Some(found), Some(best)) if found.max_timestamp_ms < best.max_timestamp_ms => Some(best),
        (Some(found), _) => Some(found),
        (None, best) => best,
    }
}

impl Backlog {
    fn add_span(&mut self, span: &Span) {
        if span.bytes > 0 {
            self.add(span.bytes, span.records, span.first_arrival_ms);
            self.last_arrival_ms = span.last_arrival_ms;
        }
    }

    fn add_entries<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>, to: i64) {
        for entry in entries.take_while(|entry| entry.base_offset < to) {
            if !entry.is_gap() {
                let (bytes, records) = (entry.payload_bytes.into(), entry.record_count.into());
                self.add(bytes, records, entry.arrival_ms);
            }
        }
    }

    fn add(&mut self, bytes: u64, records: u64, arrival_ms: i64) {
        if self.bytes == 0 {
            self.first_arrival_ms = arrival_ms;
        }
        self.bytes += bytes;
        self.records += records;
        self.last_arrival_ms = arrival_ms;
    }
}

impl Extent {
    fn plus<'a>(self, entries: impl Iterator<Item = &'a Entry>) -> Self {
        entries.fold(self, |sum, entry| Self {
            bytes: sum.bytes + u64::from(entry.payload_bytes),
            records: sum.records + if entry.is_gap() { 0 } else { u64::from(entry.record_count) },
        })
    }
}

/// Adds up batches from the end until there are enough.
struct Retained {
    bytes: u64,
    wanted: u64,
    from: i64,
}

impl Retained {
    /// True once enough bytes are kept.
    fn take_until_enough<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> bool {
        for entry in entries {
            self.bytes += u64::from(entry.payload_bytes);
            self.from = entry.base_offset;
            if self.bytes >= self.wanted {
                return true;
            }
        }
        false
    }
}
