//! The receiver's answer to a Hello: what it already has. Sent in chunks.

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, Lineage, LineageEntry, LinkEpoch, OriginTopicId, StreamId,
    TermId,
};
use minicbor::{Decode, Encode};

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
    #[cbor(n(2), with = "crate::cbor::id")]
    pub cluster_id: ClusterId,
    /// Its name.
    #[cbor(n(3), with = "crate::cbor::name")]
    pub cluster_name: ClusterName,
    /// The prefix of its producer ids.
    #[n(4)]
    pub producer_prefix: u64,
    /// The node id that its Kafka clients see.
    #[n(5)]
    pub node_id: i32,
    /// The replica's uuid.
    #[cbor(n(6), with = "crate::cbor::id")]
    pub replica_id: StreamId,
    /// The link epoch that the replica raised for this session.
    #[cbor(n(7), with = "crate::cbor::counter")]
    pub link_epoch: LinkEpoch,
    /// The last source catalog sequence applied.
    #[cbor(n(8), with = "crate::cbor::counter")]
    pub applied_seq: CatalogSeq,
    /// The highest term that the replica stream has seen: its number.
    #[n(9)]
    pub term_number: u64,
    /// And its id.
    #[cbor(n(10), with = "crate::cbor::id")]
    pub term_id: TermId,
    /// Bytes of batches that may be under way.
    #[n(11)]
    pub credit_bytes: u64,
    /// What the replica holds of the source's topics.
    #[cbor(n(12), with = "crate::cbor::items", has_nil)]
    pub partitions: Vec<PartitionItem>,
    /// The versions of replicated cursors that it holds.
    #[cbor(n(13), with = "crate::cbor::items", has_nil)]
    pub cursors: Vec<CursorVersion>,
    /// Whether another chunk follows.
    #[n(14)]
    pub more: bool,
}

/// One partition at the replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PartitionItem {
    /// The topic.
    #[cbor(n(0), with = "crate::cbor::id")]
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
    #[cbor(n(4), with = "crate::cbor::items", has_nil)]
    pub lineage: Vec<LineageItem>,
}

/// One entry of a lineage.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LineageItem {
    /// Kafka's leader epoch.
    #[n(0)]
    pub leader_epoch: i32,
    /// Its first offset.
    #[n(1)]
    pub start_offset: i64,
    /// The term.
    #[cbor(n(2), with = "crate::cbor::id")]
    pub term_id: TermId,
    /// The owner.
    #[cbor(n(3), with = "crate::cbor::id")]
    pub owner: StreamId,
}

impl LineageItem {
    /// The items of a lineage.
    pub fn of(lineage: &Lineage) -> Vec<Self> {
        lineage.entries().iter().map(Self::from).collect()
    }

    /// The lineage of items, or `None` if they do not rise.
    pub fn lineage(items: &[Self]) -> Option<Lineage> {
        Lineage::from_entries(items.iter().map(LineageEntry::from).collect())
    }
}

impl From<&LineageEntry> for LineageItem {
    fn from(entry: &LineageEntry) -> Self {
        Self {
            leader_epoch: entry.leader_epoch,
            start_offset: entry.start_offset,
            term_id: entry.term_id,
            owner: entry.owner,
        }
    }
}

impl From<&LineageItem> for LineageEntry {
    fn from(item: &LineageItem) -> Self {
        Self {
            leader_epoch: item.leader_epoch,
            start_offset: item.start_offset,
            term_id: item.term_id,
            owner: item.owner,
        }
    }
}

/// The version of one replicated cursor at the replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CursorVersion {
    /// The consumer group.
    #[n(0)]
    pub group: String,
    /// The topic.
    #[cbor(n(1), with = "crate::cbor::id")]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(2)]
    pub partition: u32,
    /// The version that the source gave it.
    #[n(3)]
    pub version: u64,
}
