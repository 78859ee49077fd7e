//! A stream's topics as they are told to a replica, and the ones that were deleted.

use mainstem_types::{CatalogSeq, OriginTopicId, StreamId, Term, TimestampType, TopicName};
use minicbor::{Decode, Encode};

use crate::Setting;

/// One chunk of changes, in the order of their catalog sequences.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Topics {
    /// Created or changed.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub topics: Vec<TopicItem>,
    /// Deleted.
    #[cbor(n(1), with = "crate::items", has_nil)]
    pub tombstones: Vec<TombstoneItem>,
    /// Everything of the source up to here has been told once this chunk is applied.
    #[n(2)]
    pub complete_to: CatalogSeq,
}

/// One topic. A receiver applies it whole: creation, growth and configuration alike.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TopicItem {
    /// Its identity everywhere.
    #[n(0)]
    pub origin: OriginTopicId,
    /// Its name within the stream.
    #[n(1)]
    pub name: TopicName,
    /// How many partitions; never falls.
    #[n(2)]
    pub partitions: u32,
    /// Whose clock stamps its records.
    #[n(3)]
    pub timestamp_type: TimestampType,
    /// Kafka topic configs as they were given; unknown ones are kept, not refused.
    #[cbor(n(4), with = "crate::items", has_nil)]
    pub config: Vec<Setting>,
    /// The stream that owns the topic.
    #[n(5)]
    pub owner: StreamId,
    /// The owner's term.
    #[n(6)]
    pub term: Term,
    /// The source's catalog sequence of its last change.
    #[n(7)]
    pub seq: CatalogSeq,
    /// When it was created at its first owner.
    #[n(8)]
    pub created_ms: i64,
    /// The owner's catalog sequence of its last change; orders what arrives by two ways.
    #[n(9)]
    pub owner_seq: CatalogSeq,
}

/// One deleted topic.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TombstoneItem {
    /// Its identity.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The name it had.
    #[n(1)]
    pub name: TopicName,
    /// The source's catalog sequence of the deletion.
    #[n(2)]
    pub seq: CatalogSeq,
    /// The owner's.
    #[n(3)]
    pub owner_seq: CatalogSeq,
    /// The number of the term in which its owner deleted it, if that is known.
    #[n(4)]
    pub term: Option<u64>,
}
