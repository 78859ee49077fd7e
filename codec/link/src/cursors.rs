//! Consumer groups' cursors, from a topic's owner outwards.

use mainstem_types::{OriginTopicId, TermId};
use minicbor::{Decode, Encode};

/// One chunk of cursors.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Cursors {
    /// In any order; each key at most once.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub cursors: Vec<CursorItem>,
}

/// One cursor. The receiver keeps it whatever its own end is, and shows it clamped (I4).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CursorItem {
    /// The consumer group.
    #[n(0)]
    pub group: String,
    /// The topic.
    #[n(1)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(2)]
    pub partition: u32,
    /// The next offset that the group will read; -1 when the cursor was deleted.
    #[n(3)]
    pub offset: i64,
    /// The leader epoch that the consumer committed, or -1.
    #[n(4)]
    pub leader_epoch: i32,
    /// The consumer's own text.
    #[n(5)]
    pub metadata: String,
    /// When it was committed at the owner.
    #[n(6)]
    pub commit_ms: i64,
    /// Rises with each commit; an older one is dropped.
    #[n(7)]
    pub version: u64,
    /// The topic's term at the time of the commit.
    #[n(8)]
    pub term: TermId,
}
