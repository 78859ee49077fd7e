//! One-shot requests between clusters: the remote steps of a set-up.

use mainstem_types::{
    ClusterId, ClusterName, JobId, OriginTopicId, StreamId, StreamPath, TopicName,
};
use minicbor::{Decode, Encode};

use crate::{Code, DigestAnswer, DigestQuery, PartitionItem};

/// A key and its value, both text.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Setting {
    /// The key.
    #[n(0)]
    pub key: String,
    /// The value.
    #[n(1)]
    pub value: String,
}

/// A request with exactly one of its parts set. Each is idempotent by the uuids it names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Request {
    /// Who asks; the certificate must name the same.
    #[n(0)]
    pub cluster_id: ClusterId,
    /// Its name.
    #[n(1)]
    pub cluster_name: ClusterName,
    /// The cluster that is meant to answer.
    #[n(2)]
    pub to_cluster: ClusterName,
    /// The set-up that this is a step of.
    #[n(3)]
    pub job: JobId,
    /// What the destination gave the operator for this set-up.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub grant: Vec<u8>,
    /// Make the replica stream.
    #[n(5)]
    pub create_stream: Option<CreateStream>,
    /// Declare the upstream.
    #[n(6)]
    pub add_upstream: Option<AddUpstream>,
    /// Declare the reverse agreement of a multi-master set-up.
    #[n(7)]
    pub add_replica: Option<AddReplica>,
    /// Say what stands at a path.
    #[n(8)]
    pub describe: Option<StreamPath>,
    /// Take back the replica of this uuid, if this set-up made it and nobody else has touched it.
    #[n(9)]
    pub undo: Option<StreamId>,
    /// Say whether a copy of these can be taken and finished; changes nothing.
    #[n(10)]
    pub check_copy: Option<Box<CheckCopy>>,
    /// Make what was copied the destination's own.
    #[n(11)]
    pub take_over: Option<Box<TakeOver>>,
    /// Say what these ranges of a replica hold, by digests.
    #[n(16)]
    pub digests: Option<Box<DigestQuery>>,
}

/// Part of what a copy would bring.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckCopy {
    /// The destination's uuid.
    #[n(0)]
    pub stream: StreamId,
    /// The source's topics.
    #[cbor(n(1), with = "crate::items", has_nil)]
    pub topics: Vec<CopyTopic>,
    /// Partitions of these topics, as the source has them.
    #[cbor(n(2), with = "crate::items", has_nil)]
    pub partitions: Vec<PartitionItem>,
}

/// A topic that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CopyTopic {
    /// Its identity.
    #[n(0)]
    pub origin: OriginTopicId,
    /// Its name.
    #[n(1)]
    pub name: TopicName,
}

/// The end of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TakeOver {
    /// The destination's uuid.
    #[n(0)]
    pub stream: StreamId,
    /// Copied topics that the source does not own itself; its own are meant in any case.
    #[cbor(n(1), with = "crate::items", has_nil)]
    pub topics: Vec<OriginTopicId>,
    /// Whether another list follows, and the agreement stands until then.
    #[n(2)]
    pub more: bool,
}

/// Make a stream with this uuid.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreateStream {
    /// Where.
    #[n(0)]
    pub path: StreamPath,
    /// The uuid that the source chose.
    #[n(1)]
    pub stream: StreamId,
    /// The source stream's settings, by their command-line names.
    #[cbor(n(2), with = "crate::items", has_nil)]
    pub settings: Vec<Setting>,
}

/// List the asking cluster's stream as upstream of one here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AddUpstream {
    /// The replica here.
    #[n(0)]
    pub path: StreamPath,
    /// Its uuid.
    #[n(1)]
    pub stream: StreamId,
    /// The source's path in the asking cluster.
    #[n(2)]
    pub source_path: StreamPath,
    /// The source's uuid.
    #[n(3)]
    pub source: StreamId,
}

/// List the asking cluster's stream as replica of one here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AddReplica {
    /// The source here.
    #[n(0)]
    pub path: StreamPath,
    /// Its uuid.
    #[n(1)]
    pub stream: StreamId,
    /// The replica's path in the asking cluster.
    #[n(2)]
    pub replica_path: StreamPath,
    /// The replica's uuid.
    #[n(3)]
    pub replica: StreamId,
    /// `throttle`, `networkencryption`, `synchronous`, `networkcompression`.
    #[cbor(n(4), with = "crate::items", has_nil)]
    pub settings: Vec<Setting>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reply {
    /// The answering cluster.
    #[n(0)]
    pub cluster_id: ClusterId,
    /// Its name.
    #[n(1)]
    pub cluster_name: ClusterName,
    /// Absent: it is done.
    #[n(2)]
    pub code: Option<Code>,
    /// For people, when it is not.
    #[n(3)]
    pub message: String,
    /// Whether the same request may succeed later.
    #[n(4)]
    pub may_retry: bool,
    /// For `describe`.
    #[n(5)]
    pub described: Option<Described>,
    /// For `check_copy`: how many of the partitions are the destination's own and hold all that
    /// the source has.
    #[n(6)]
    pub whole: Option<u64>,
    /// For `digests`: an answer for each range, in their order.
    #[cbor(n(9), with = "crate::items", has_nil)]
    pub digests: Vec<DigestAnswer>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Described {
    /// The stream's uuid, if there is one.
    #[n(0)]
    pub stream: Option<StreamId>,
    /// Its settings, by their command-line names.
    #[cbor(n(1), with = "crate::items", has_nil)]
    pub settings: Vec<Setting>,
}
