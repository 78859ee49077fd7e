//! The receiver's answer to a Hello: what it already has. Sent in chunks.

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, LineageEntry, LinkEpoch, OriginTopicId, StreamId, Term,
    TermId,
};
use minicbor::{Decode, Encode};

use crate::TermItem;

/// One chunk. The scalars stand in each; lists continue until `more` is false.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The protocol version of this session.
    #[n(0)]
    pub version: u32,
    /// Features that both sides have.
    #[n(1)]
    pub features: u64,
    /// The replica's cluster.
    #[n(2)]
    pub cluster_id: ClusterId,
    /// Its name.
    #[n(3)]
    pub cluster_name: ClusterName,
    /// The prefix of its producer ids.
    #[n(4)]
    pub producer_prefix: u64,
    /// The node id that its Kafka clients see.
    #[n(5)]
    pub node_id: i32,
    /// The replica's uuid.
    #[n(6)]
    pub replica_id: StreamId,
    /// The link epoch that the replica raised for this session.
    #[n(7)]
    pub link_epoch: LinkEpoch,
    /// The last source catalog sequence applied.
    #[n(8)]
    pub applied_seq: CatalogSeq,
    /// The highest term that the replica stream has seen.
    #[n(9)]
    pub term: Term,
    /// Bytes of batches that may be under way.
    #[n(10)]
    pub credit_bytes: u64,
    /// What the replica holds of the source's topics.
    #[cbor(n(11), with = "crate::items", has_nil)]
    pub partitions: Vec<PartitionItem>,
    /// The versions of replicated cursors that it holds.
    #[cbor(n(12), with = "crate::items", has_nil)]
    pub cursors: Vec<CursorVersion>,
    /// Whether another chunk follows.
    #[n(13)]
    pub more: bool,
    /// Who owns the replica's topics that the source does not own, as far as it knows.
    #[cbor(n(14), with = "crate::items", has_nil)]
    pub terms: Vec<TermItem>,
    /// Consumers of some partition there do not see all that is durable: the sender begins by
    /// saying of each up to where they may.
    #[cbor(n(16), default, skip_if = "std::ops::Not::not")]
    pub holds: bool,
}

/// One partition at the replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PartitionItem {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(1)]
    pub partition: u32,
    /// The first offset kept.
    #[n(2)]
    pub log_start: i64,
    /// The next offset: where the sender goes on.
    #[n(3)]
    pub end: i64,
    /// Who wrote it.
    #[cbor(n(4), with = "crate::items", has_nil)]
    pub lineage: Vec<LineageEntry>,
    /// Below it the replica knows that the topic's owner deleted the records; absent for none.
    #[n(14)]
    pub trimmed: Option<i64>,
}

/// The version of one replicated cursor at the replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CursorVersion {
    /// The consumer group.
    #[n(0)]
    pub group: String,
    /// The topic.
    #[n(1)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(2)]
    pub partition: u32,
    /// The version that the source gave it.
    #[n(3)]
    pub version: u64,
    /// The term in which it was committed; versions of two terms cannot be compared.
    #[n(4)]
    pub term: TermId,
}
