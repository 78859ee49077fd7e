//! Digests of what a log keeps: of strides of offsets, or batch by batch.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use mainstem_link::{DigestAnswer, DigestPart, DigestRange};
use mainstem_types::limits::{
    DIGEST_ANSWER_BYTES, DIGEST_ANSWER_PARTS_MAX, DIGEST_PART_BYTES, LINK_CHUNK_ITEMS_MAX,
};
use mainstem_types::{Error, ErrorKind};

use crate::SourceBatch;
use crate::closing::code_of;
use crate::record_digest::{RECORDS_PER_PART_MAX, entries_of};

/// The durable part of a partition, to be read through once.
pub trait KeptLog {
    /// The first offset kept.
    fn log_start(&self) -> i64;

    /// The next offset after everything durable.
    fn end(&self) -> i64;

    /// Below it batches may lack records, or be missing, by log compaction; 0 for none.
    fn compacted(&self) -> i64 {
        0
    }

    /// Why nothing more is taken or told, where something kept is damaged: it may be what was last.
    fn out_of_service(&self) -> Option<Error> {
        None
    }

    /// Some batches, from the one that holds `from` on, or the first after it; none if there is
    /// nothing but a gap up to the end.
    fn read(&self, from: i64) -> Result<Vec<SourceBatch>, Error>;
}

/// What one answer may still take. The ranges of one question share it.
#[derive(Clone, Copy, Debug)]
pub struct DigestRoom {
    bytes: usize,
    parts: usize,
    part_bytes: usize,
}

impl Default for DigestRoom {
    fn default() -> Self {
        Self::new(DIGEST_ANSWER_BYTES, DIGEST_ANSWER_PARTS_MAX, DIGEST_PART_BYTES)
    }
}

impl DigestRoom {
    /// Room for so many bytes of batches and so many parts. A part ends within its stride once it
    /// covers `part_bytes`, which both sides must do alike.
    pub const fn new(bytes: usize, parts: usize, part_bytes: usize) -> Self {
        Self { bytes, parts, part_bytes }
    }

    /// Whether the answer ends here.
    pub const fn is_spent(&self) -> bool {
        self.bytes == 0 || self.parts == 0
    }
}

/// Says what a log keeps of a range, as far as there is room; what is begun is finished, so that
/// the first range of a question always gets on.
pub fn answer_range(
    log: &dyn KeptLog,
    range: &DigestRange,
    stride: u32,
    room: &mut DigestRoom,
) -> DigestAnswer {
    let from = range.from.max(log.log_start());
    let to = range.to.min(log.end());
    let kind = match (range.records, range.batches) {
        (true, _) => Kind::Records,
        (false, true) => Kind::Batches,
        (false, false) => Kind::Strides(i64::from(stride.max(1))),
    };
    let mut parts = Parts::new(kind, from, to, room);
    let read = if parts.room.is_spent() { Ok(range.from) } else { parts.read(log, from, to) };
    let (upto, error) = match read {
        Ok(upto) if upto >= log.end() => (upto, log.out_of_service()),
        Ok(upto) => (upto, None),
        // Retention overtook the reading; the log start says so, and nothing is wrong.
        Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => (parts.at, None),
        Err(error) => (parts.at, Some(error)),
    };
    DigestAnswer {
        log_start: log.log_start(),
        end: log.end(),
        upto: upto.max(range.from),
        parts: parts.done,
        arrival_ms: parts.arrival_ms,
        code: error.as_ref().map(code_of),
        message: error.map(|error| error.message().to_owned()),
        // Asked last: what was written anew while this was read lies below.
        compacted: Some(log.compacted()).filter(|compacted| *compacted > 0),
    }
}

/// What a part is.
#[derive(Clone, Copy)]
enum Kind {
    /// A stride of so many offsets.
    Strides(i64),
    /// A batch.
    Batches,
    /// Records of one batch.
    Records,
}

/// The digest of one batch without its leader epoch, so that a difference in the epoch alone can
/// be told from another one.
pub fn digest_of_batch(bytes: &Bytes) -> Vec<u8> {
    const EPOCH: std::ops::Range<usize> = 12..16;
    let mut digest = Context::new(&SHA256);
    if bytes.len() < EPOCH.end {
        digest.update(bytes);
    } else {
        digest.update(&bytes[..EPOCH.start]);
        digest.update(&[0; 4]);
        digest.update(&bytes[EPOCH.end..]);
    }
    digest.finish().as_ref().to_vec()
}

/// The parts of an answer in the making.
struct Parts<'a> {
    kind: Kind,
    to: i64,
    /// Everything below is in `done`, and the next part begins here or later.
    at: i64,
    open: Option<OpenPart>,
    done: Vec<DigestPart>,
    arrival_ms: i64,
    room: &'a mut DigestRoom,
}

/// A stride, or a piece of one, of which some batches have been seen.
struct OpenPart {
    from: i64,
    stride_end: i64,
    digest: Context,
    bytes: usize,
    arrival_ms: i64,
}

impl<'a> Parts<'a> {
    fn new(kind: Kind, from: i64, to: i64, room: &'a mut DigestRoom) -> Self {
        let (open, done) = (None, Vec::new());
        Self { kind, to, at: from, open, done, arrival_ms: 0, room }
    }

    /// Reads up to `to` or until the answer is full; gives the offset up to which it speaks.
    fn read(&mut self, log: &dyn KeptLog, from: i64, to: i64) -> Result<i64, Error> {
        let mut at = from;
        while at < to {
            // What lies behind may be unreadable, and what was read through stands all the same.
            self.close_before(at);
            let batches = log.read(at)?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                let place = batch.base_offset.max(from);
                if batch.base_offset >= to {
                    at = to;
                    break;
                }
                self.close_before(place);
                if self.open.is_none() && self.is_full() {
                    return Ok(self.at);
                }
                at = batch.next_offset;
                if matches!(self.kind, Kind::Records) {
                    if !self.take_records(&batch, place) {
                        return Ok(self.at);
                    }
                    continue;
                }
                self.take(&batch, place);
            }
        }
        self.close_before(to);
        Ok(to)
    }

    fn is_full(&self) -> bool {
        self.room.is_spent() || self.done.len() >= LINK_CHUNK_ITEMS_MAX
    }

    fn take(&mut self, batch: &SourceBatch, place: i64) {
        self.room.bytes = self.room.bytes.saturating_sub(batch.bytes.len());
        let stride = match self.kind {
            Kind::Strides(stride) => stride,
            Kind::Batches | Kind::Records => 1,
        };
        if matches!(self.kind, Kind::Batches) {
            let part = DigestPart {
                from: batch.base_offset,
                to: batch.next_offset,
                leader_epoch: epoch_of(&batch.bytes),
                digest: digest_of_batch(&batch.bytes),
            };
            self.push(part, batch.arrival_ms);
            return;
        }
        let stride_start = place - place.rem_euclid(stride);
        let open = self.open.get_or_insert_with(|| OpenPart {
            from: stride_start.max(self.at),
            stride_end: stride_start.saturating_add(stride).min(self.to),
            digest: Context::new(&SHA256),
            bytes: 0,
            arrival_ms: 0,
        });
        // The bytes begin with the base offset, the length and the leader epoch.
        open.digest.update(&batch.bytes);
        open.bytes += batch.bytes.len();
        open.arrival_ms = batch.arrival_ms;
        if open.bytes >= self.room.part_bytes {
            self.close(batch.next_offset);
        }
    }

    /// The records of a batch that the range holds; false if there is no room for all of them.
    fn take_records(&mut self, batch: &SourceBatch, place: i64) -> bool {
        self.room.bytes = self.room.bytes.saturating_sub(batch.bytes.len());
        let entries = entries_of(&batch.bytes, place);
        let is_in = |(offset, _): &(i64, _)| (self.at..self.to).contains(offset);
        let entries: Vec<_> = entries.into_iter().filter(is_in).collect();
        for chunk in entries.chunks(RECORDS_PER_PART_MAX) {
            // The bytes are read whatever becomes of them.
            if self.room.parts == 0 || self.done.len() >= LINK_CHUNK_ITEMS_MAX {
                return false;
            }
            let (from, to) = (chunk[0].0, chunk[chunk.len() - 1].0 + 1);
            let leader_epoch = epoch_of(&batch.bytes);
            let digest = crate::record_digest::packed(from, chunk);
            // Such a part is as long as several others.
            self.room.parts = self.room.parts.saturating_sub(chunk.len() / 4);
            self.push(DigestPart { from, to, leader_epoch, digest }, batch.arrival_ms);
        }
        self.at = batch.next_offset.min(self.to).max(self.at);
        true
    }

    /// A part ends with its stride.
    fn close_before(&mut self, place: i64) {
        if let Some(open) = &self.open
            && place >= open.stride_end
        {
            self.close(open.stride_end);
        }
    }

    fn close(&mut self, to: i64) {
        let Some(open) = self.open.take() else { return };
        let digest = open.digest.finish().as_ref().to_vec();
        self.push(DigestPart { from: open.from, to, leader_epoch: 0, digest }, open.arrival_ms);
    }

    fn push(&mut self, part: DigestPart, arrival_ms: i64) {
        self.room.parts = self.room.parts.saturating_sub(1);
        self.at = part.to;
        self.arrival_ms = arrival_ms;
        self.done.push(part);
    }
}

/// The leader epoch in a batch's header, which lies outside of its checksum.
fn epoch_of(bytes: &Bytes) -> i32 {
    let word: Option<[u8; 4]> = bytes.get(12..16).and_then(|word| word.try_into().ok());
    word.map_or(-1, i32::from_be_bytes)
}
