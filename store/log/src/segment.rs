//! Segments: the files of the log, and reading frames out of them.

use std::sync::Arc;

use bytes::Bytes;
use mainstem_env::{Disk, DiskFile};
use mainstem_types::PartitionNo;

use crate::LogError;
use crate::StoredBatch;
use crate::entry::Entry;
use crate::frame_header::{FRAME_HEADER_BYTES, FrameHeader};

/// Two frames of a partition closer than this are read together: a seek costs more than the bytes.
const READ_THROUGH_BYTES_MAX: u32 = 16 * 1024;

/// One segment file. Whoever holds the `Arc` keeps it from being recycled.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) generation: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Opens the file of a segment that exists.
    pub(crate) fn open(disk: &dyn Disk, number: u32, generation: u64) -> Result<Self, LogError> {
        let name = FileName::Segment { number, generation }.to_string();
        let file = disk.open(&name).map_err(LogError::disk(format!("opening {name}")))?;
        Ok(Self { number, generation, file })
    }

    /// The file's name.
    pub(crate) fn name(&self) -> String {
        FileName::Segment { number: self.number, generation: self.generation }.to_string()
    }

    /// Reads the batches of these entries, which are in order and none of them a gap. What comes
    /// before a damaged one is returned; damage is an error only where it stands first.
    pub(crate) fn read_batches(
        &self,
        partition: PartitionNo,
        entries: &[Entry],
    ) -> Result<Vec<StoredBatch>, LogError> {
        let mut batches = Vec::with_capacity(entries.len());
        for run in entries.chunk_by(|a, b| frame_end(a) + READ_THROUGH_BYTES_MAX >= b.at) {
            let (first, last) = (run[0], run[run.len() - 1]);
            let mut bytes = vec![0; (frame_end(&last) - first.at) as usize];
            let read = self.file.read_at(u64::from(first.at), &mut bytes);
            let filled = read.map_err(LogError::unreadable(format!("reading {}", self.name())))?;
            bytes.truncate(filled);
            let bytes = Bytes::from(bytes);
            for entry in run {
                match self.cut_batch(partition, entry, &bytes, (entry.at - first.at) as usize) {
                    Ok(batch) => batches.push(batch),
                    Err(error) if batches.is_empty() => return Err(error),
                    Err(_) => return Ok(batches),
                }
            }
        }
        Ok(batches)
    }

    /// Takes one batch out of bytes that were read, checking that it is the one that was meant.
    fn cut_batch(
        &self,
        partition: PartitionNo,
        entry: &Entry,
        bytes: &Bytes,
        at: usize,
    ) -> Result<StoredBatch, LogError> {
        let corrupt = |why: &str| LogError::Corrupt {
            partition,
            offset: entry.base_offset,
            why: format!("{why} in {} at byte {}", self.name(), entry.at),
        };
        let header = bytes.get(at..).and_then(FrameHeader::decode);
        let header = header.ok_or_else(|| corrupt("no frame header"))?;
        let is_meant = header.generation == self.generation
            && header.partition == partition
            && header.base_offset == entry.base_offset
            && header.next_offset == entry.next_offset;
        if !is_meant {
            return Err(corrupt("another frame"));
        }
        let from = at + FRAME_HEADER_BYTES;
        let to = from + header.payload_bytes as usize;
        if to > bytes.len() || !header.fits(&bytes[from..to]) {
            return Err(corrupt("a payload that does not fit its checksum"));
        }
        Ok(StoredBatch {
            base_offset: entry.base_offset,
            next_offset: entry.next_offset,
            arrival_ms: entry.arrival_ms,
            leader_epoch: entry.leader_epoch,
            bytes: bytes.slice(from..to),
        })
    }
}

fn frame_end(entry: &Entry) -> u32 {
    entry.at + FRAME_HEADER_BYTES as u32 + entry.payload_bytes
}

/// The names of the log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileName {
    /// A part of the log.
    Segment { number: u32, generation: u64 },
    /// A tail being copied by recovery; worth nothing until it is renamed.
    Recovery { number: u32, generation: u64 },
    /// A file whose blocks were written before, for a later segment. Its bytes mean nothing.
    Reserve { number: u32 },
    /// An empty file that keeps a generation from being used twice.
    Generation { generation: u64 },
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Segment { number, generation } => {
                write!(f, "{number:08x}-{generation:016x}.segment")
            }
            Self::Recovery { number, generation } => {
                write!(f, "{number:08x}-{generation:016x}.recovery")
            }
            Self::Reserve { number } => write!(f, "{number:08x}.reserve"),
            Self::Generation { generation } => write!(f, "{generation:016x}.generation"),
        }
    }
}

impl FileName {
    /// The meaning of a file's name; `None` if it is not one of the log's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let pair = || {
            let (number, generation) = stem.split_once('-')?;
            Some((parse_hex_u32(number)?, parse_hex_u64(generation)?))
        };
        let parsed = match extension {
            "segment" => pair().map(|(number, generation)| Self::Segment { number, generation }),
            "recovery" => pair().map(|(number, generation)| Self::Recovery { number, generation }),
            "reserve" => parse_hex_u32(stem).map(|number| Self::Reserve { number }),
            "generation" => parse_hex_u64(stem).map(|generation| Self::Generation { generation }),
            _ => None,
        };
        parsed.filter(|parsed| parsed.to_string() == name)
    }
}

fn parse_hex_u32(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

fn parse_hex_u64(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_others_are_left_alone() {
        for name in [
            FileName::Segment { number: 7, generation: u64::MAX },
            FileName::Recovery { number: u32::MAX, generation: 1 },
            FileName::Reserve { number: 3 },
            FileName::Generation { generation: 9 },
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for other in ["lock", "catalog.redb", "7-1.segment", "0000000G.reserve", ".segment"] {
            assert_eq!(FileName::parse(other), None);
        }
    }
}
