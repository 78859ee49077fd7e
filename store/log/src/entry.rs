//! Index entries: one per batch or gap, in memory for the unsealed segment, in footers for others.

use bytes::{Buf, BufMut};

use crate::frame_header::FrameHeader;
use crate::{BatchInfo, FrameKind};

/// The length of an entry in a footer column.
pub(crate) const ENTRY_BYTES: usize = 48;

/// Where one batch lies and what is asked of it without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) arrival_ms: i64,
    pub(crate) max_timestamp_ms: i64,
    /// The byte of the segment where the frame's header begins.
    pub(crate) at: u32,
    /// 0 for a gap: there is no batch without bytes.
    pub(crate) payload_bytes: u32,
    pub(crate) record_count: u32,
    pub(crate) leader_epoch: i32,
}

impl Entry {
    /// The entry for a frame at a byte of its segment; `None` for kinds that are not indexed.
    pub(crate) fn of(header: &FrameHeader, at: u32) -> Option<Self> {
        let payload_bytes = match FrameKind::from_number(header.kind) {
            Some(FrameKind::Batch | FrameKind::Rewrite) => header.payload_bytes,
            Some(FrameKind::Gap) => 0,
            _ => return None,
        };
        Some(Self {
            base_offset: header.base_offset,
            next_offset: header.next_offset,
            // A gap's is when it was noted, which says nothing about when records came.
            arrival_ms: if payload_bytes == 0 { 0 } else { header.arrival_ms },
            max_timestamp_ms: header.max_timestamp_ms,
            at,
            payload_bytes,
            record_count: header.record_count,
            leader_epoch: header.leader_epoch,
        })
    }

    pub(crate) const fn is_gap(&self) -> bool {
        self.payload_bytes == 0
    }

    pub(crate) const fn info(&self) -> BatchInfo {
        BatchInfo {
            base_offset: self.base_offset,
            next_offset: self.next_offset,
            arrival_ms: self.arrival_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            record_count: self.record_count,
            leader_epoch: self.leader_epoch,
            bytes: self.payload_bytes,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64_le(self.base_offset);
        out.put_i64_le(self.next_offset);
        out.put_i64_le(self.arrival_ms);
        out.put_i64_le(self.max_timestamp_ms);
        out.put_u32_le(self.at);
        out.put_u32_le(self.payload_bytes);
        out.put_u32_le(self.record_count);
        out.put_i32_le(self.leader_epoch);
    }

    /// Reads one entry; `bytes` holds at least [`ENTRY_BYTES`].
    pub(crate) fn decode(mut bytes: &[u8]) -> Self {
        Self {
            base_offset: bytes.get_i64_le(),
            next_offset: bytes.get_i64_le(),
            arrival_ms: bytes.get_i64_le(),
            max_timestamp_ms: bytes.get_i64_le(),
            at: bytes.get_u32_le(),
            payload_bytes: bytes.get_u32_le(),
            record_count: bytes.get_u32_le(),
            leader_epoch: bytes.get_i32_le(),
        }
    }
}
