//! Which of several links feeds a topic: what the others say instead of data, and how the replica
//! gives a topic to one of them.

use mainstem_types::OriginTopicId;
use minicbor::{Decode, Encode};

use crate::{End, PartitionItem};

/// Ends and nothing else: from a link that is not a topic's feeder. The replica answers with its
/// own ends, in an Ack.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Positions {
    /// Durable ends at the source.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub ends: Vec<End>,
}

/// The replica's choice of topics for this link.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Feed {
    /// Send these from now on, each partition from the end that was named last.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub feed: Vec<OriginTopicId>,
    /// Of these send positions only.
    #[cbor(n(1), with = "crate::items", has_nil)]
    pub hold: Vec<OriginTopicId>,
    /// What the replica has, as in a Welcome, of topics that are named here or in one of the next
    /// frames: since its Welcome another link may have brought it another history.
    #[cbor(n(2), with = "crate::items", has_nil)]
    pub partitions: Vec<PartitionItem>,
}
