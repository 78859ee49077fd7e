//! Questions and answers by which two logs are proved equal without shipping either.

use mainstem_types::{OriginTopicId, StreamId};
use minicbor::{Decode, Encode};

use crate::Code;

/// What a source asks of its replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DigestQuery {
    /// The replica's uuid.
    #[n(0)]
    pub stream: StreamId,
    /// The asking stream's uuid, which the replica must list as its upstream.
    #[n(1)]
    pub source: StreamId,
    /// Offsets of one stride; a digest never reaches across the border between two.
    #[n(2)]
    pub stride: u32,
    /// What is asked, answered in this order as far as one answer goes.
    #[cbor(n(3), with = "crate::items", has_nil)]
    pub ranges: Vec<DigestRange>,
}

/// A range of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DigestRange {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(1)]
    pub partition: u32,
    /// The first offset; the batch that holds it belongs to the range.
    #[n(2)]
    pub from: i64,
    /// The next offset after it; a batch that begins below it belongs to the range.
    #[n(3)]
    pub to: i64,
    /// Each batch by itself, rather than strides.
    #[n(4)]
    pub batches: bool,
    /// Each record by itself, as [`RECORD_DIGEST_BYTES`] says; comes before `batches`.
    #[cbor(n(5), default, skip_if = "is_false")]
    pub records: bool,
}

/// What a part says of one record, if records are asked for: the number of offsets from the part's
/// first to it (4 bytes, most significant first), and the first 16 bytes of SHA-256.
pub const RECORD_DIGEST_BYTES: usize = 20;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the encoding wants it")]
const fn is_false(word: &bool) -> bool {
    !*word
}

/// What a side holds of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DigestAnswer {
    /// The first offset kept, as it was after all this had been read.
    #[n(0)]
    pub log_start: i64,
    /// The durable end likewise.
    #[n(1)]
    pub end: i64,
    /// The parts say everything that is kept below this offset.
    #[n(2)]
    pub upto: i64,
    /// Strides or batches that hold something, in order.
    #[cbor(n(3), with = "crate::items", has_nil)]
    pub parts: Vec<DigestPart>,
    /// When the last of them arrived at its owner; 0 if there is none.
    #[n(4)]
    pub arrival_ms: i64,
    /// Why what is kept at `upto` cannot be read.
    #[n(5)]
    pub code: Option<Code>,
    /// The same for people.
    #[n(6)]
    pub message: Option<String>,
    /// Below it batches may lack records, or be missing, by log compaction; absent for none.
    #[n(7)]
    pub compacted: Option<i64>,
}

/// One stride, or a piece of it, or one batch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DigestPart {
    /// Its first offset.
    #[n(0)]
    pub from: i64,
    /// The next offset after it.
    #[n(1)]
    pub to: i64,
    /// For a batch, its leader epoch, which its digest leaves out; 0 for a stride, whose digest
    /// covers it.
    #[n(2)]
    pub leader_epoch: i32,
    /// SHA-256, or one entry for each record.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub digest: Vec<u8>,
}
