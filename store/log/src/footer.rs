//! Footers: what a sealed segment says of itself, so that it is never scanned.
//!
//! Behind the last group lie one column of entries per partition, a directory of the columns, and
//! a table of *all* partitions of the node as they were when the segment was sealed. The last
//! bytes of the file say where these are. The newest table and the segments after it know every
//! partition's start and end, so older segments can go without a trace.

use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes};
use mainstem_types::PartitionNo;

use crate::LogError;
use crate::entry::{ENTRY_BYTES, Entry};
use crate::group::{FORMAT_VERSION, GROUP_ALIGN_BYTES};
use crate::segment::Segment;

const MAGIC: u64 = u64::from_le_bytes(*b"MSFOOTER");
/// The last bytes of a sealed segment's file.
pub(crate) const FOOTER_TAIL_BYTES: usize = 80;
/// One column in the directory.
const SPAN_BYTES: usize = 72;
/// One partition in the table.
const ROW_BYTES: usize = 32;
const ROW_QUARANTINED: u32 = 1;
/// The version of a footer that says of columns that they were rewritten.
const REWRITTEN_VERSION: u16 = 2;
/// In a directory record's number of entries: they replace what older segments hold of these
/// offsets, and say nothing about what lies above.
const SPAN_REWRITTEN: u32 = 1 << 31;

/// A row of batches of one partition in one segment, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) segment: u32,
    /// Raised where what was rewritten reaches into it.
    pub(crate) base_offset: i64,
    /// The first offset after; lowered when a truncation, or what was rewritten, reaches into it.
    pub(crate) end_offset: i64,
    /// Of the first batch, if no gap is before it: arrivals do not decrease. The least value, if
    /// one is.
    pub(crate) first_arrival_ms: i64,
    pub(crate) last_arrival_ms: i64,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// The byte of the segment where the column of entries begins.
    pub(crate) column_at: u32,
    pub(crate) entries: u32,
    /// Compaction wrote it, in the place of older batches.
    pub(crate) is_rewritten: bool,
    /// False once a truncation or what was rewritten has reached into it, for then the sums are
    /// bounds or guesses.
    pub(crate) is_exact: bool,
}

impl Span {
    /// What a row of entries adds up to.
    pub(crate) fn of<'a>(
        segment: u32,
        is_rewritten: bool,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Self {
        let mut span = Self {
            segment,
            base_offset: i64::MAX,
            end_offset: i64::MIN,
            first_arrival_ms: i64::MIN,
            last_arrival_ms: i64::MIN,
            max_timestamp_ms: i64::MIN,
            bytes: 0,
            records: 0,
            column_at: 0,
            entries: 0,
            is_rewritten,
            is_exact: true,
        };
        for entry in entries {
            span.take(entry);
        }
        span
    }

    /// Takes in the next entry.
    pub(crate) fn take(&mut self, entry: &Entry) {
        if self.entries == 0 {
            self.base_offset = entry.base_offset;
            self.first_arrival_ms = if entry.is_gap() { i64::MIN } else { entry.arrival_ms };
        }
        self.end_offset = entry.next_offset;
        self.entries += 1;
        if !entry.is_gap() {
            self.last_arrival_ms = self.last_arrival_ms.max(entry.arrival_ms);
            self.max_timestamp_ms = self.max_timestamp_ms.max(entry.max_timestamp_ms);
            self.bytes += u64::from(entry.payload_bytes);
            self.records += u64::from(entry.record_count);
        }
    }
}

/// One partition in the table of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) partition: PartitionNo,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) is_quarantined: bool,
}

/// Which groups a segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupRange {
    /// The number of the first one.
    pub(crate) first: u64,
    /// The number of the last one; below the first if there is none.
    pub(crate) last: u64,
    /// The checksum of the last one.
    pub(crate) last_checksum: u32,
}

/// The tail record: where the parts are, and how the chain goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FooterTail {
    pub(crate) version: u16,
    pub(crate) segment: u32,
    pub(crate) generation: u64,
    /// Where the groups end and the columns begin.
    pub(crate) groups_end: u32,
    pub(crate) groups: GroupRange,
    columns_bytes: u32,
    spans: u32,
    rows: u32,
    /// CRC32C over directory and table.
    meta_crc: u32,
}

/// A footer read back, without its columns.
pub(crate) struct Footer {
    pub(crate) tail: FooterTail,
    pub(crate) spans: Vec<(PartitionNo, Span)>,
    pub(crate) rows: Vec<Row>,
}

/// A footer being built.
pub(crate) struct FooterBuilder {
    groups_end: u32,
    columns: Vec<u8>,
    directory: Vec<u8>,
    spans: u32,
    table: Vec<u8>,
    rows: u32,
    has_rewritten: bool,
}

impl FooterBuilder {
    /// For a segment whose groups end at `groups_end`.
    pub(crate) const fn new(groups_end: u32) -> Self {
        Self {
            groups_end,
            columns: Vec::new(),
            directory: Vec::new(),
            spans: 0,
            table: Vec::new(),
            rows: 0,
            has_rewritten: false,
        }
    }

    /// Adds a row of a partition's entries, in order of offset; returns the span that stands for
    /// them.
    pub(crate) fn add_column<'a>(
        &mut self,
        segment: u32,
        partition: PartitionNo,
        is_rewritten: bool,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Span {
        let start = self.columns.len();
        let column_at = self.groups_end + length(start);
        let span = Span { column_at, ..Span::of(segment, is_rewritten, entries.clone()) };
        entries.for_each(|entry| entry.encode(&mut self.columns));
        let crc = column_crc(partition, &self.columns[start..]);
        self.columns.put_u32_le(crc);
        encode_span(partition, &span, &mut self.directory);
        self.spans += 1;
        self.has_rewritten |= is_rewritten;
        span
    }

    /// Adds a partition to the table.
    pub(crate) fn add_row(&mut self, row: Row) {
        self.table.put_u64_le(row.partition.0);
        self.table.put_i64_le(row.start);
        self.table.put_i64_le(row.end);
        self.table.put_u32_le(if row.is_quarantined { ROW_QUARANTINED } else { 0 });
        self.table.put_u32_le(0);
        self.rows += 1;
    }

    /// How long the file will be that is `len` bytes now.
    pub(crate) fn file_bytes(&self, len: u64) -> u64 {
        let body = self.columns.len() + self.directory.len() + self.table.len();
        sealed_bytes(len, self.groups_end, body)
    }

    /// Writes the footer behind the groups, which are durable already, and makes it durable: the
    /// tail at the end of the file comes last, so that a tail proves what it speaks of.
    pub(crate) fn write(mut self, segment: &Segment, groups: GroupRange) -> Result<(), LogError> {
        const WRITING: &str = "sealing a segment";
        let columns_bytes = length(self.columns.len());
        self.columns.append(&mut self.directory);
        self.columns.append(&mut self.table);
        let tail = FooterTail {
            // An older program would take what was rewritten for a truncation.
            version: if self.has_rewritten { REWRITTEN_VERSION } else { FORMAT_VERSION },
            segment: segment.number,
            generation: segment.generation,
            groups_end: self.groups_end,
            groups,
            columns_bytes,
            spans: self.spans,
            rows: self.rows,
            meta_crc: crc32c::crc32c(&self.columns[columns_bytes as usize..]),
        };
        let file = &segment.file;
        let len = file.len().map_err(LogError::disk(WRITING))?;
        let end = sealed_bytes(len, self.groups_end, self.columns.len());
        let body = [IoSlice::new(&self.columns)];
        let written = file.write_at(u64::from(self.groups_end), &body);
        written.map_err(LogError::full_or_disk(WRITING))?;
        if end < len {
            file.set_len(end).map_err(LogError::disk(WRITING))?;
        }
        file.sync_data().map_err(LogError::disk(WRITING))?;
        let tail_at = end - FOOTER_TAIL_BYTES as u64;
        let written = file.write_at(tail_at, &[IoSlice::new(&tail.encode())]);
        written.map_err(LogError::full_or_disk(WRITING))?;
        file.sync_data().map_err(LogError::disk(WRITING))
    }
}

/// How long a sealed file is that is `len` bytes now. One that was sealed early, after a crash, gives
/// back what it does not need, lest every restart costs the disk a whole segment; a full one keeps
/// its last few blocks, which the next segment in them will not have to allocate.
fn sealed_bytes(len: u64, groups_end: u32, body: usize) -> u64 {
    let used = u64::from(groups_end) + body as u64 + FOOTER_TAIL_BYTES as u64;
    let needed = if used < len / 2 { used } else { len.max(used) };
    needed.next_multiple_of(GROUP_ALIGN_BYTES as u64)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a segment and its footer stay below 4 GiB")
}

fn encode_span(partition: PartitionNo, span: &Span, out: &mut Vec<u8>) {
    out.put_u64_le(partition.0);
    out.put_i64_le(span.base_offset);
    out.put_i64_le(span.end_offset);
    out.put_i64_le(span.first_arrival_ms);
    out.put_i64_le(span.last_arrival_ms);
    out.put_i64_le(span.max_timestamp_ms);
    out.put_u64_le(span.bytes);
    out.put_u64_le(span.records);
    out.put_u32_le(span.column_at);
    out.put_u32_le(span.entries | if span.is_rewritten { SPAN_REWRITTEN } else { 0 });
}

fn decode_span(segment: u32, bytes: &mut impl Buf) -> (PartitionNo, Span) {
    let partition = PartitionNo(bytes.get_u64_le());
    let mut span = Span {
        segment,
        base_offset: bytes.get_i64_le(),
        end_offset: bytes.get_i64_le(),
        first_arrival_ms: bytes.get_i64_le(),
        last_arrival_ms: bytes.get_i64_le(),
        max_timestamp_ms: bytes.get_i64_le(),
        bytes: bytes.get_u64_le(),
        records: bytes.get_u64_le(),
        column_at: bytes.get_u32_le(),
        entries: bytes.get_u32_le(),
        is_rewritten: false,
        is_exact: true,
    };
    span.is_rewritten = span.entries & SPAN_REWRITTEN != 0;
    span.entries &= !SPAN_REWRITTEN;
    (partition, span)
}

impl FooterTail {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_TAIL_BYTES);
        out.put_u64_le(MAGIC);
        out.put_u16_le(self.version);
        out.put_u16_le(0);
        out.put_u32_le(self.segment);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.groups.first);
        out.put_u64_le(self.groups.last);
        out.put_u32_le(self.groups.last_checksum);
        out.put_u32_le(self.groups_end);
        out.put_u32_le(self.columns_bytes);
        out.put_u32_le(self.spans);
        out.put_u32_le(self.rows);
        out.put_u32_le(self.meta_crc);
        out.put_bytes(0, FOOTER_TAIL_BYTES - 4 - out.len());
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..FOOTER_TAIL_BYTES)?;
        let (checked, mut crc) = rest.split_at(FOOTER_TAIL_BYTES - 4);
        if rest.get_u64_le() != MAGIC || crc.get_u32_le() != crc32c::crc32c(checked) {
            return None;
        }
        let version = rest.get_u16_le();
        rest.advance(2);
        Some(Self {
            version,
            segment: rest.get_u32_le(),
            generation: rest.get_u64_le(),
            groups: GroupRange {
                first: rest.get_u64_le(),
                last: rest.get_u64_le(),
                last_checksum: rest.get_u32_le(),
            },
            groups_end: rest.get_u32_le(),
            columns_bytes: rest.get_u32_le(),
            spans: rest.get_u32_le(),
            rows: rest.get_u32_le(),
            meta_crc: rest.get_u32_le(),
        })
    }
}

/// Reads a segment's footer; `None` if it has none that is whole and its own.
pub(crate) fn read_footer(segment: &Segment) -> Result<Option<Footer>, LogError> {
    let read = || format!("reading {}", segment.name());
    let file_end = segment.file.len().map_err(LogError::disk(read()))?;
    let Some(tail_at) = file_end.checked_sub(FOOTER_TAIL_BYTES as u64) else { return Ok(None) };
    let mut bytes = [0; FOOTER_TAIL_BYTES];
    segment.file.read_at(tail_at, &mut bytes).map_err(LogError::disk(read()))?;
    let Some(tail) = FooterTail::decode(&bytes) else { return Ok(None) };
    if (tail.segment, tail.generation) != (segment.number, segment.generation) {
        return Ok(None);
    }
    if tail.version > REWRITTEN_VERSION {
        return Err(LogError::Format(format!(
            "{} has format {}, this version reads up to {REWRITTEN_VERSION}; run a newer one",
            segment.name(),
            tail.version
        )));
    }
    let meta_at = u64::from(tail.groups_end) + u64::from(tail.columns_bytes);
    let meta_bytes = tail.spans as u64 * SPAN_BYTES as u64 + tail.rows as u64 * ROW_BYTES as u64;
    if meta_at + meta_bytes > tail_at {
        return Ok(None);
    }
    let mut meta = vec![0; usize::try_from(meta_bytes).expect("below the file's length")];
    segment.file.read_at(meta_at, &mut meta).map_err(LogError::disk(read()))?;
    if crc32c::crc32c(&meta) != tail.meta_crc {
        return Ok(None);
    }
    let mut meta = Bytes::from(meta);
    let spans = (0..tail.spans).map(|_| decode_span(segment.number, &mut meta)).collect();
    let rows = (0..tail.rows).map(|_| decode_row(&mut meta)).collect();
    Ok(Some(Footer { tail, spans, rows }))
}

fn decode_row(bytes: &mut impl Buf) -> Row {
    let partition = PartitionNo(bytes.get_u64_le());
    let (start, end) = (bytes.get_i64_le(), bytes.get_i64_le());
    let is_quarantined = bytes.get_u32_le() & ROW_QUARANTINED != 0;
    bytes.advance(4);
    Row { partition, start, end, is_quarantined }
}

/// Reads the column of entries that a span is of; `None` if it is damaged.
pub(crate) fn read_column(
    segment: &Segment,
    partition: PartitionNo,
    span: &Span,
) -> Result<Option<Vec<Entry>>, LogError> {
    let mut bytes = vec![0; span.entries as usize * ENTRY_BYTES + 4];
    let read = segment.file.read_at(u64::from(span.column_at), &mut bytes);
    read.map_err(LogError::unreadable(format!("reading {}", segment.name())))?;
    let (column, mut crc) = bytes.split_at(bytes.len() - 4);
    if crc.get_u32_le() != column_crc(partition, column) {
        return Ok(None);
    }
    Ok(Some(column.chunks_exact(ENTRY_BYTES).map(Entry::decode).collect()))
}

/// The checksum that follows a column. The partition is in it, so that no column stands in for
/// another's.
fn column_crc(partition: PartitionNo, column: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&partition.0.to_le_bytes()), column)
}
