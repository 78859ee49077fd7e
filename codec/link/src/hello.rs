//! The opening of a link, its refusal, its end, and what stops one topic of it.

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, LinkEpoch, OriginTopicId, StreamId, StreamPath, Term,
};
use minicbor::{Decode, Encode};

use crate::{Code, Mode};

/// The version that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The peer gives each topic to one of the links that could bring it.
pub const FEATURE_FEEDERS: u64 = 1 << 2;
/// Features that this build offers.
pub const FEATURES: u64 = crate::FEATURE_PACKING | FEATURE_FEEDERS;

/// The sender's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Lowest protocol version spoken.
    #[n(0)]
    pub version_min: u32,
    /// Highest protocol version spoken.
    #[n(1)]
    pub version_max: u32,
    /// Bits of optional features; those unknown are ignored.
    #[n(2)]
    pub features: u64,
    /// The source's cluster; the certificate must name the same.
    #[n(3)]
    pub cluster_id: ClusterId,
    /// Its name.
    #[n(4)]
    pub cluster_name: ClusterName,
    /// The prefix of the producer ids that it hands out; a collision is refused.
    #[n(5)]
    pub producer_prefix: u64,
    /// The node id that its Kafka clients see; a collision is refused.
    #[n(6)]
    pub node_id: i32,
    /// The source stream.
    #[n(7)]
    pub source_id: StreamId,
    /// Its path in the source's cluster.
    #[n(8)]
    pub source_path: StreamPath,
    /// The cluster that is meant to answer.
    #[n(9)]
    pub replica_cluster: ClusterName,
    /// The replica's path there.
    #[n(10)]
    pub replica_path: StreamPath,
    /// The replica's uuid, once the source knows it.
    #[n(11)]
    pub replica_id: Option<StreamId>,
    /// The source's count of this agreement's Hellos and changes.
    #[n(12)]
    pub link_epoch: LinkEpoch,
    /// The highest term that the source stream has seen.
    #[n(13)]
    pub term: Term,
    /// What the session is for.
    #[n(14)]
    pub mode: Mode,
    /// The source stream's catalog sequence.
    #[n(15)]
    pub catalog_seq: CatalogSeq,
    /// The sender's wall clock.
    #[n(16)]
    pub now_ms: i64,
}

/// The receiver will not have this link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// Why, for programs.
    #[n(0)]
    pub code: Code,
    /// Why, for people, with what to do next.
    #[n(1)]
    pub message: String,
    /// Whether the same Hello may succeed later without anybody's doing.
    #[n(2)]
    pub may_retry: bool,
}

/// The link ends in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bye {
    /// Why, for programs.
    #[n(0)]
    pub code: Code,
    /// Why, for people.
    #[n(1)]
    pub message: String,
}

/// One topic or partition stops, or starts again; the rest of the link flows on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Fault {
    /// The topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// The partition; all of them if absent.
    #[n(1)]
    pub partition: Option<u32>,
    /// Why, for programs.
    #[n(2)]
    pub code: Code,
    /// Why, for people.
    #[n(3)]
    pub message: String,
    /// For [`Code::Misaligned`]: the offset that would have been taken.
    #[n(4)]
    pub expected_offset: Option<i64>,
}
