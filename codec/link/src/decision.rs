//! Outcomes of transactions, told before their markers.

use minicbor::{Decode, Encode};

use crate::End;

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
    /// The partitions that take part, with the offsets of their markers.
    #[cbor(n(4), with = "crate::items", has_nil)]
    pub markers: Vec<End>,
}
