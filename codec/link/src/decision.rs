//! Outcomes of transactions, told before their markers.

use mainstem_types::OriginTopicId;
use minicbor::{Decode, Encode};

/// Outcomes of transactions, decided at the owner.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct TransactionDecisions {
    /// In the order of the decisions.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub decisions: Vec<TransactionDecision>,
}

/// One transaction's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TransactionDecision {
    /// The producer.
    #[n(0)]
    pub producer_id: i64,
    /// Its epoch.
    #[n(1)]
    pub producer_epoch: i16,
    /// Committed or aborted.
    #[n(2)]
    pub committed: bool,
    /// When.
    #[n(3)]
    pub decided_ms: i64,
    /// The partitions that take part.
    #[cbor(n(4), with = "crate::items", has_nil)]
    pub markers: Vec<MarkerItem>,
}

/// A transaction's place in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MarkerItem {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(1)]
    pub partition: u32,
    /// The offset of the marker.
    #[n(2)]
    pub offset: i64,
    /// The offset of the first record. An earlier transaction of the same producer is another one.
    #[n(3)]
    pub first_offset: i64,
}
