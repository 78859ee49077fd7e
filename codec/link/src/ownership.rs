//! Who owns what, as one end tells the other, and how a log rejoins its owner's history.

use mainstem_types::{LineageEntry, OriginTopicId, StreamId, Term};
use minicbor::{Decode, Encode};

/// Changes of ownership: fail-over, hand-over, fencing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Terms {
    /// One per topic.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub terms: Vec<TermItem>,
}

/// One topic's term.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TermItem {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// Its owner from now on.
    #[n(1)]
    pub owner: StreamId,
    /// Its term.
    #[n(2)]
    pub term: Term,
}

/// The replica's log goes on in another history than the owner's: what the owner does not have is
/// to be set aside and undone. A [`crate::Fault`] then says at which offset to go on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rejoin {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(1)]
    pub partition: u32,
    /// The whole lineage at the source, which ends in the owner's term.
    #[cbor(n(2), with = "crate::items", has_nil)]
    pub lineage: Vec<LineageEntry>,
    /// The source's durable end.
    #[n(3)]
    pub source_end: i64,
}

/// All that the source owns and has stopped writing is acknowledged: the replica may take it over,
/// in this term. It answers by [`Terms`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HandOver {
    /// The replica's term.
    #[n(0)]
    pub term: Term,
}
