//! A stream's topics as they are told to a replica, and the ones that were deleted.

use mainstem_types::{CatalogSeq, OriginTopicId, StreamId, TermId, TopicName};
use minicbor::{Decode, Encode};

use crate::Setting;

/// One chunk of changes, in the order of their catalog sequences.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Topics {
    /// Created or changed.
    #[cbor(n(0), with = "crate::cbor::items", has_nil)]
    pub topics: Vec<TopicItem>,
    /// Deleted.
    #[cbor(n(1), with = "crate::cbor::items", has_nil)]
    pub tombstones: Vec<TombstoneItem>,
    /// Everything of the source up to here has been told once this chunk is applied.
    #[cbor(n(2), with = "crate::cbor::counter")]
    pub complete_to: CatalogSeq,
}

/// One topic. A receiver applies it whole: creation, growth and configuration alike.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TopicItem {
    /// Its identity everywhere.
    #[cbor(n(0), with = "crate::cbor::id")]
    pub origin: OriginTopicId,
    /// Its name within the stream.
    #[cbor(n(1), with = "crate::cbor::name")]
    pub name: TopicName,
    /// How many partitions; never falls.
    #[n(2)]
    pub partitions: u32,
    /// `true` for LogAppendTime, `false` for CreateTime.
    #[n(3)]
    pub log_append_time: bool,
    /// Kafka topic configs as they were given; unknown ones are kept, not refused.
    #[cbor(n(4), with = "crate::cbor::items", has_nil)]
    pub config: Vec<Setting>,
    /// The stream that owns the topic.
    #[cbor(n(5), with = "crate::cbor::id")]
    pub owner: StreamId,
    /// The owner's term: its number.
    #[n(6)]
    pub term_number: u64,
    /// And its id.
    #[cbor(n(7), with = "crate::cbor::id")]
    pub term_id: TermId,
    /// The source's catalog sequence of its last change.
    #[cbor(n(8), with = "crate::cbor::counter")]
    pub seq: CatalogSeq,
    /// When it was created at its first owner.
    #[n(9)]
    pub created_ms: i64,
}

/// One deleted topic.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TombstoneItem {
    /// Its identity.
    #[cbor(n(0), with = "crate::cbor::id")]
    pub origin: OriginTopicId,
    /// The name it had.
    #[cbor(n(1), with = "crate::cbor::name")]
    pub name: TopicName,
    /// The catalog sequence of the deletion.
    #[cbor(n(2), with = "crate::cbor::counter")]
    pub seq: CatalogSeq,
}
