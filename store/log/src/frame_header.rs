//! A frame's header on disk: 88 bytes, little-endian, with a checksum of its own.

use bytes::{Buf, BufMut};
use mainstem_types::PartitionNo;

use crate::Frame;

/// "MSFR" as it lies on disk.
const MAGIC: u32 = u32::from_le_bytes(*b"MSFR");
/// The length of a header; payloads follow at once and are padded to [`FRAME_ALIGN_BYTES`].
pub(crate) const FRAME_HEADER_BYTES: usize = 88;
/// Frames begin at multiples of this, so that a search after damage can find them.
pub(crate) const FRAME_ALIGN_BYTES: usize = 8;

/// The header of one frame, with what ties it to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// The kind's number; perhaps one that this version does not know.
    pub(crate) kind: u8,
    pub(crate) generation: u64,
    pub(crate) group: u64,
    pub(crate) partition: PartitionNo,
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) arrival_ms: i64,
    pub(crate) max_timestamp_ms: i64,
    /// The frame's place in its group.
    pub(crate) place: u32,
    pub(crate) record_count: u32,
    pub(crate) leader_epoch: i32,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
}

/// A payload's length with its padding.
pub(crate) const fn padded(payload_bytes: usize) -> usize {
    payload_bytes.next_multiple_of(FRAME_ALIGN_BYTES)
}

impl FrameHeader {
    /// The header for a frame at a place.
    pub(crate) fn of(frame: &Frame, generation: u64, group: u64, place: u32) -> Self {
        let payload_crc = crc32c::crc32c(&frame.payload);
        Self { payload_crc, ..Self::indexed(frame, generation, group, place) }
    }

    /// The same without the payload's checksum, which the index has no use for.
    pub(crate) fn indexed(frame: &Frame, generation: u64, group: u64, place: u32) -> Self {
        Self {
            kind: frame.kind as u8,
            generation,
            group,
            partition: frame.partition,
            base_offset: frame.base_offset,
            next_offset: frame.next_offset,
            arrival_ms: frame.arrival_ms,
            max_timestamp_ms: frame.max_timestamp_ms,
            place,
            record_count: frame.record_count,
            leader_epoch: frame.leader_epoch,
            payload_bytes: u32::try_from(frame.payload.len())
                .expect("the writer refuses payloads beyond 1 GiB"),
            payload_crc: 0,
        }
    }

    /// Appends the 88 bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32_le(MAGIC);
        out.put_u8(self.kind);
        out.put_bytes(0, 3);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.group);
        out.put_u64_le(self.partition.0);
        out.put_i64_le(self.base_offset);
        out.put_i64_le(self.next_offset);
        out.put_i64_le(self.arrival_ms);
        out.put_i64_le(self.max_timestamp_ms);
        out.put_u32_le(self.place);
        out.put_u32_le(self.record_count);
        out.put_i32_le(self.leader_epoch);
        out.put_u32_le(self.payload_bytes);
        out.put_u32_le(self.payload_crc);
        let crc = crc32c::crc32c(&out[start..]);
        out.put_u32_le(crc);
    }

    /// Reads a header from the front of `bytes`; `None` unless magic and checksum fit.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        let (checked, mut crc) = bytes.split_at(FRAME_HEADER_BYTES - 4);
        let mut rest = checked;
        if rest.get_u32_le() != MAGIC || crc.get_u32_le() != crc32c::crc32c(checked) {
            return None;
        }
        let kind = rest.get_u8();
        rest.advance(3);
        Some(Self {
            kind,
            generation: rest.get_u64_le(),
            group: rest.get_u64_le(),
            partition: PartitionNo(rest.get_u64_le()),
            base_offset: rest.get_i64_le(),
            next_offset: rest.get_i64_le(),
            arrival_ms: rest.get_i64_le(),
            max_timestamp_ms: rest.get_i64_le(),
            place: rest.get_u32_le(),
            record_count: rest.get_u32_le(),
            leader_epoch: rest.get_i32_le(),
            payload_bytes: rest.get_u32_le(),
            payload_crc: rest.get_u32_le(),
        })
    }

    /// Header and padded payload together.
    pub(crate) fn stored_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + padded(self.payload_bytes as usize)
    }

    /// True if `payload` is what was written.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize && crc32c::crc32c(payload) == self.payload_crc
    }
}
