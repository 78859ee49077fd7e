//! Record batches of one partition, as they lie in the source's log.

use bytes::Bytes;
use mainstem_types::limits::BATCH_BYTES_MAX;
use mainstem_types::{Error, Result};
use mainstem_types::{LineageEntry, OriginTopicId};
use minicbor::{Decode, Encode};

/// Consecutive batches, to be taken exactly at the replica's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The topic.
    pub origin: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The base offset of the first batch, or the gap's end if there is no batch.
    pub from: i64,
    /// The next offset after the last batch.
    pub to: i64,
    /// Set if retention or compaction left nothing between this offset and `from` at the source.
    pub gap_from: Option<i64>,
    /// The partition's whole lineage, when the receiver may not know it yet.
    pub lineage: Vec<LineageEntry>,
    /// The source's durable end when this was read.
    pub source_end: i64,
    /// Below it the source's batches may lack records, or be missing, by log compaction, where that
    /// concerns this frame; 0 otherwise.
    pub compacted: i64,
    /// The batches.
    pub items: Vec<BatchItem>,
}

/// One batch with the time at which its owner took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchItem {
    /// At the owner; non-decreasing within a partition.
    pub arrival_ms: i64,
    /// A record batch, format 2, offsets and leader epoch in place.
    pub bytes: Bytes,
}

/// What precedes the raw bytes in the frame.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct BatchesHeader {
    #[n(0)]
    origin: OriginTopicId,
    #[n(1)]
    partition: u32,
    #[n(2)]
    from: i64,
    #[n(3)]
    to: i64,
    #[n(4)]
    gap_from: Option<i64>,
    #[cbor(n(5), with = "crate::items", has_nil)]
    lineage: Vec<LineageEntry>,
    #[n(6)]
    source_end: i64,
    #[cbor(n(7), with = "crate::items", has_nil)]
    arrivals_ms: Vec<i64>,
    #[cbor(n(8), with = "crate::items", has_nil)]
    lengths: Vec<u32>,
    #[n(9)]
    compacted: Option<i64>,
}

impl Batches {
    /// Bytes of batches: what the frame costs in credit.
    pub fn payload_bytes(&self) -> usize {
        self.items.iter().map(|item| item.bytes.len()).sum()
    }

    pub(crate) fn header(&self) -> BatchesHeader {
        BatchesHeader {
            origin: self.origin,
            partition: self.partition,
            from: self.from,
            to: self.to,
            gap_from: self.gap_from,
            lineage: self.lineage.clone(),
            source_end: self.source_end,
            compacted: (self.compacted > 0).then_some(self.compacted),
            arrivals_ms: self.items.iter().map(|item| item.arrival_ms).collect(),
            lengths: self
                .items
                .iter()
                .map(|item| u32::try_from(item.bytes.len()).expect("a batch is below 4 GiB"))
                .collect(),
        }
    }

    pub(crate) fn from_parts(header: BatchesHeader, mut payload: Bytes) -> Result<Self> {
        let BatchesHeader { arrivals_ms, lengths, .. } = header;
        if arrivals_ms.len() != lengths.len() {
            return Err(Error::corrupt("a batches frame gives more times than lengths"));
        }
        let mut items = Vec::with_capacity(lengths.len());
        for (arrival_ms, length) in arrivals_ms.into_iter().zip(lengths) {
            let length = length as usize;
            if length > payload.len() || length > BATCH_BYTES_MAX {
                return Err(Error::corrupt("a batches frame gives a length beyond its bytes"));
            }
            items.push(BatchItem { arrival_ms, bytes: payload.split_to(length) });
        }
        if !payload.is_empty() {
            return Err(Error::corrupt("a batches frame has bytes that belong to no batch"));
        }
        Ok(Self {
            origin: header.origin,
            partition: header.partition,
            from: header.from,
            to: header.to,
            gap_from: header.gap_from,
            lineage: header.lineage,
            source_end: header.source_end,
            compacted: header.compacted.unwrap_or(0),
            items,
        })
    }
}
