//! Frontiers, credit and signs of life.

use mainstem_types::{CatalogSeq, OriginTopicId, Term};
use minicbor::{Decode, Encode};

/// One partition and an offset that is the *next* one of some frontier.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct End {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(1)]
    pub partition: u32,
    /// The frontier.
    #[n(2)]
    pub offset: i64,
}

/// What is durable at the replica now.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Ack {
    /// Partitions whose durable end moved.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub ends: Vec<End>,
    /// The last source catalog sequence applied, if it moved.
    #[n(1)]
    pub applied_seq: CatalogSeq,
    /// The highest term that the replica has seen, if it is higher than before.
    #[n(2)]
    pub term: Option<Term>,
}

/// More bytes of batches may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Credit {
    /// Added to what is left.
    #[n(0)]
    pub bytes: u64,
}

/// Sign of life, both ways; from the sender also what is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Heartbeat {
    /// The wall clock of who sends it.
    #[n(0)]
    pub now_ms: i64,
    /// Bytes durable at the source and not acknowledged.
    #[n(1)]
    pub pending_bytes: u64,
    /// Records likewise.
    #[n(2)]
    pub pending_records: u64,
    /// Arrival time of the oldest of them; 0 if none.
    #[n(3)]
    pub pending_since_ms: i64,
    /// The source's durable ends that moved since the last heartbeat, for the replica's status.
    #[cbor(n(4), with = "crate::items", has_nil)]
    pub ends: Vec<End>,
    /// When the pending bytes and records were counted, by the sender's clock; 0 if never yet.
    #[cbor(n(5), default, skip_if = "is_zero")]
    pub pending_counted_ms: i64,
    /// From the receiver: the time in the last heartbeat that it heard, and how long ago that was,
    /// added up; 0 if it heard none. What the sender's clock is ahead of it is a round trip.
    #[cbor(n(6), default, skip_if = "is_zero")]
    pub echo_ms: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// High watermarks at the source, up to which a replica's consumers may read where the source holds
/// one back for its synchronous replicas. 2^63 − 1 says that it no longer does.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct HighWatermarks {
    /// Partitions whose watermark moved.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub ends: Vec<End>,
}

/// Log starts moved by DeleteRecords at the owner.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Trims {
    /// The new first offsets.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub starts: Vec<End>,
}
