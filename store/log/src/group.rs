//! Groups: the frames of one vectored write, on 4 KiB boundaries.
//!
//! A group is a header of 64 bytes, the frames, zeros, and a directory that ends where the group
//! ends. The directory says which partitions have frames in it, so that damage can be attributed
//! even when the headers in front are gone.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, BufMut};
use mainstem_types::PartitionNo;

use crate::frame_header::{FRAME_HEADER_BYTES, FrameHeader, padded};
use crate::{Frame, Position};

/// The version of the format that this crate writes.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// Groups begin and end at multiples of this, the page size that disks write whole at best.
pub(crate) const GROUP_ALIGN_BYTES: usize = 4096;
/// The length of a group's header.
pub(crate) const GROUP_HEADER_BYTES: usize = 64;
/// The fixed last part of a directory.
pub(crate) const DIRECTORY_TAIL_BYTES: usize = 32;
/// One partition in a directory.
pub(crate) const DIRECTORY_ENTRY_BYTES: usize = 16;

const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"MSGR");
const DIRECTORY_MAGIC: u32 = u32::from_le_bytes(*b"MSGD");
/// Payloads below this are copied beside their header: cheaper than a slice of their own.
const COPIED_PAYLOAD_BYTES_MAX: usize = 2048;

/// The header of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) version: u16,
    pub(crate) generation: u64,
    /// Counts the groups of a node for ever, across segments and generations.
    pub(crate) number: u64,
    /// Everything below was durable when this group was written.
    pub(crate) durable: Position,
    pub(crate) segment: u32,
    /// The checksum of the group before.
    pub(crate) previous: u32,
    /// Bytes of frames.
    pub(crate) body_bytes: u32,
    pub(crate) frame_count: u32,
    /// From the header to the end of the directory; a multiple of 4 KiB.
    pub(crate) total_bytes: u32,
    pub(crate) directory_bytes: u32,
    /// CRC32C over all frame headers one after the other.
    pub(crate) headers_crc: u32,
    /// CRC32C over the fields above, and so over the whole chain of groups before.
    pub(crate) checksum: u32,
}

impl GroupHeader {
    fn encode(&self) -> [u8; GROUP_HEADER_BYTES] {
        let mut out = Vec::with_capacity(GROUP_HEADER_BYTES);
        out.put_u32_le(GROUP_MAGIC);
        out.put_u16_le(self.version);
        out.put_u16_le(0);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.number);
        out.put_u64_le(self.durable.0);
        out.put_u32_le(self.segment);
        out.put_u32_le(self.previous);
        out.put_u32_le(self.body_bytes);
        out.put_u32_le(self.frame_count);
        out.put_u32_le(self.total_bytes);
        out.put_u32_le(self.directory_bytes);
        out.put_u32_le(self.headers_crc);
        out.put_u32_le(crc32c::crc32c(&out));
        out.try_into().expect("the fields above are 64 bytes")
    }

    /// Reads a header; `None` unless magic, checksum and lengths fit together.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let mut rest = bytes;
        if rest.get_u32_le() != GROUP_MAGIC {
            return None;
        }
        let version = rest.get_u16_le();
        rest.advance(2);
        let header = Self {
            version,
            generation: rest.get_u64_le(),
            number: rest.get_u64_le(),
            durable: Position(rest.get_u64_le()),
            segment: rest.get_u32_le(),
            previous: rest.get_u32_le(),
            body_bytes: rest.get_u32_le(),
            frame_count: rest.get_u32_le(),
            total_bytes: rest.get_u32_le(),
            directory_bytes: rest.get_u32_le(),
            headers_crc: rest.get_u32_le(),
            checksum: rest.get_u32_le(),
        };
        let used = GROUP_HEADER_BYTES as u64
            + u64::from(header.body_bytes)
            + u64::from(header.directory_bytes);
        let fits = header.checksum == crc32c::crc32c(&bytes[..GROUP_HEADER_BYTES - 4])
            && used <= u64::from(header.total_bytes)
            && (header.total_bytes as usize).is_multiple_of(GROUP_ALIGN_BYTES);
        fits.then_some(header)
    }
}

/// How many frames each partition has in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) generation: u64,
    pub(crate) group: u64,
    pub(crate) frames: BTreeMap<PartitionNo, u32>,
}

impl Directory {
    fn of(frames: &[Frame], generation: u64, group: u64) -> Self {
        let mut counts = BTreeMap::new();
        for frame in frames {
            *counts.entry(frame.partition).or_insert(0) += 1;
        }
        Self { generation, group, frames: counts }
    }

    fn bytes(&self) -> usize {
        self.frames.len() * DIRECTORY_ENTRY_BYTES + DIRECTORY_TAIL_BYTES
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for (partition, frames) in &self.frames {
            out.put_u64_le(partition.0);
            out.put_u32_le(*frames);
            out.put_u32_le(0);
        }
        out.put_u64_le(self.generation);
        out.put_u64_le(self.group);
        out.put_u32_le(u32::try_from(self.frames.len()).expect("a group's frames fit in u32"));
        out.put_u32_le(0);
        out.put_u32_le(DIRECTORY_MAGIC);
        let crc = crc32c::crc32c(&out[start..]);
        out.put_u32_le(crc);
    }

    /// Reads the directory that ends where `bytes` ends; `None` if none does.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let tail_at = bytes.len().checked_sub(DIRECTORY_TAIL_BYTES)?;
        let mut tail = &bytes[tail_at..];
        let generation = tail.get_u64_le();
        let group = tail.get_u64_le();
        let count = tail.get_u32_le() as usize;
        tail.advance(4);
        if tail.get_u32_le() != DIRECTORY_MAGIC {
            return None;
        }
        let start = tail_at.checked_sub(count.checked_mul(DIRECTORY_ENTRY_BYTES)?)?;
        if tail.get_u32_le() != crc32c::crc32c(&bytes[start..bytes.len() - 4]) {
            return None;
        }
        let mut entries = &bytes[start..tail_at];
        let mut frames = BTreeMap::new();
        while entries.has_remaining() {
            let partition = PartitionNo(entries.get_u64_le());
            frames.insert(partition, entries.get_u32_le());
            entries.advance(4);
        }
        Some(Self { generation, group, frames })
    }
}

/// Where a group will stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupPlace {
    pub(crate) generation: u64,
    pub(crate) number: u64,
    pub(crate) durable: Position,
    pub(crate) segment: u32,
    pub(crate) previous: u32,
}

/// A group ready for one vectored write; large payloads are borrowed from the frames.
pub(crate) struct EncodedGroup<'a> {
    frames: &'a [Frame],
    /// Headers, small payloads, padding and directory.
    own: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where each frame's header lies, from the start of the group.
    pub(crate) frames_at: Vec<u32>,
    pub(crate) total_bytes: u32,
    pub(crate) checksum: u32,
}

enum Piece {
    Own(Range<usize>),
    Payload(usize),
}

/// The bytes that a group of these frames takes on disk.
pub(crate) fn group_bytes(frames: &[Frame]) -> usize {
    let mut partitions: Vec<PartitionNo> = frames.iter().map(|frame| frame.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let directory = partitions.len() * DIRECTORY_ENTRY_BYTES + DIRECTORY_TAIL_BYTES;
    (GROUP_HEADER_BYTES + body_bytes(frames) + directory).next_multiple_of(GROUP_ALIGN_BYTES)
}

fn body_bytes(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| FRAME_HEADER_BYTES + padded(frame.payload.len())).sum()
}

impl<'a> EncodedGroup<'a> {
    /// Lays the frames out for a place.
    pub(crate) fn new(frames: &'a [Frame], place: GroupPlace) -> Self {
        let directory = Directory::of(frames, place.generation, place.number);
        let body = body_bytes(frames);
        let total = group_bytes(frames);
        let mut group = Self {
            frames,
            own: vec![0; GROUP_HEADER_BYTES],
            pieces: Vec::new(),
            frames_at: Vec::with_capacity(frames.len()),
            total_bytes: length(total),
            checksum: 0,
        };
        let headers_crc = group.lay_frames(place);
        let zeros = total - GROUP_HEADER_BYTES - body - directory.bytes();
        group.own.put_bytes(0, zeros);
        directory.encode(&mut group.own);
        group.close_own_piece();
        let header = GroupHeader {
            version: FORMAT_VERSION,
            generation: place.generation,
            number: place.number,
            durable: place.durable,
            segment: place.segment,
            previous: place.previous,
            body_bytes: length(body),
            frame_count: length(frames.len()),
            total_bytes: length(total),
            directory_bytes: length(directory.bytes()),
            headers_crc,
            checksum: 0,
        };
        let encoded = header.encode();
        group.checksum = (&encoded[GROUP_HEADER_BYTES - 4..]).get_u32_le();
        group.own[..GROUP_HEADER_BYTES].copy_from_slice(&encoded);
        group
    }

    /// Appends all frames; returns the checksum over their headers.
    fn lay_frames(&mut self, place: GroupPlace) -> u32 {
        let mut headers_crc = 0;
        let mut at = GROUP_HEADER_BYTES;
        for (index, frame) in self.frames.iter().enumerate() {
            let header = FrameHeader::of(frame, place.generation, place.number, length(index));
            self.frames_at.push(length(at));
            at += header.stored_bytes();
            let start = self.own.len();
            header.encode(&mut self.own);
            headers_crc = crc32c::crc32c_append(headers_crc, &self.own[start..]);
            if frame.payload.len() < COPIED_PAYLOAD_BYTES_MAX {
                self.own.extend_from_slice(&frame.payload);
            } else {
                self.close_own_piece();
                self.pieces.push(Piece::Payload(index));
            }
            self.own.put_bytes(0, padded(frame.payload.len()) - frame.payload.len());
        }
        headers_crc
    }

    fn close_own_piece(&mut self) {
        let from = self
            .pieces
            .iter()
            .rev()
            .find_map(|piece| match piece {
                Piece::Own(range) => Some(range.end),
                Piece::Payload(_) => None,
            })
            .unwrap_or(0);
        if from < self.own.len() {
            self.pieces.push(Piece::Own(from..self.own.len()));
        }
    }

    /// The group's bytes, in order.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let slice = |piece: &Piece| match piece {
            Piece::Own(range) => IoSlice::new(&self.own[range.clone()]),
            Piece::Payload(index) => IoSlice::new(&self.frames[*index].payload),
        };
        self.pieces.iter().map(slice).collect()
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("the writer bounds a group well below 4 GiB")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::FrameKind;

    fn place() -> GroupPlace {
        GroupPlace { generation: 3, number: 9, durable: Position(77), segment: 2, previous: 5 }
    }

    fn flat(group: &EncodedGroup<'_>) -> Vec<u8> {
        group.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn groups_read_back(lengths in prop::collection::vec((0..5000_usize, 0..4_u64), 1..20)) {
            let frames: Vec<Frame> = lengths
                .iter()
                .map(|(length, partition)| Frame {
                    payload: Bytes::from(vec![7; *length]),
                    ..Frame::at(FrameKind::Batch, PartitionNo(*partition), 4)
                })
                .collect();
            let group = EncodedGroup::new(&frames, place());
            let bytes = flat(&group);
            prop_assert_eq!(bytes.len(), group.total_bytes as usize);
            let header = GroupHeader::decode(&bytes).unwrap();
            prop_assert_eq!(header.checksum, group.checksum);
            prop_assert_eq!(header.frame_count as usize, frames.len());
            let directory = Directory::decode(&bytes).unwrap();
            prop_assert_eq!(directory.frames.values().sum::<u32>() as usize, frames.len());
            for (frame, at) in frames.iter().zip(&group.frames_at) {
                let at = *at as usize;
                let header = FrameHeader::decode(&bytes[at..]).unwrap();
                let payload = &bytes[at + FRAME_HEADER_BYTES..][..frame.payload.len()];
                prop_assert!(header.fits(payload));
                prop_assert_eq!(payload, &frame.payload[..]);
            }
        }

        #[test]
        fn any_flipped_bit_of_a_header_is_seen(at in 0..GROUP_HEADER_BYTES, bit in 0..8_u8) {
            let frames = [Frame::at(FrameKind::Trim, PartitionNo(1), 4)];
            let mut bytes = flat(&EncodedGroup::new(&frames, place()));
            bytes[at] ^= 1 << bit;
            prop_assert!(GroupHeader::decode(&bytes).is_none());
        }
    }
}
