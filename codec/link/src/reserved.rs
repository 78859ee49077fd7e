//! Frames that have their place from the first version and are not sent yet.

use mainstem_types::OriginTopicId;
use minicbor::{Decode, Encode};

/// Digests of strides of offsets, to prove two logs equal.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Digests {
    /// One per stride.
    #[cbor(n(0), with = "crate::items", has_nil)]
    pub digests: Vec<DigestItem>,
}

/// The digest of the batches that begin within one stride.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DigestItem {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition's index.
    #[n(1)]
    pub partition: u32,
    /// The stride's first offset.
    #[n(2)]
    pub from: i64,
    /// And the next one after it.
    #[n(3)]
    pub to: i64,
    /// Its digest.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub digest: Vec<u8>,
}
