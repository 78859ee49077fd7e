//! What was seen of a node at one look.

use mainstem_api::links::{LinkReport, UpstreamReport};
use mainstem_types::{ClusterName, StreamPath};

/// Everything that alarms depend on.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// When.
    pub wall_ms: i64,
    /// Every replica of every stream.
    pub replicas: Vec<ReplicaSight>,
    /// Every upstream of every stream.
    pub upstreams: Vec<UpstreamSight>,
    /// Every gateway of every cluster that is replicated to.
    pub gateways: Vec<GatewaySight>,
    /// Partitions out of service.
    pub damaged: Vec<DamageSight>,
    /// The disk.
    pub disk: DiskSight,
}

/// A replica, seen from its source.
#[derive(Clone, Debug)]
pub struct ReplicaSight {
    /// The source.
    pub stream: StreamPath,
    /// Where the replica lies: `/mapr/<cluster>/<path>`.
    pub replica: String,
    /// Whether a person stopped it.
    pub is_paused: bool,
    /// The lag at which an alarm is raised; `None` for never.
    pub lag_ms_max: Option<u64>,
    /// What its link tells.
    pub link: LinkReport,
    /// The hand-over to it, while it is not decided.
    pub handover: Option<HandoverSight>,
}

/// A hand-over that is not decided, so that nobody writes.
#[derive(Clone, Debug)]
pub struct HandoverSight {
    /// What is handed over: `/mapr/<cluster>/<path>`.
    pub source: String,
    /// The replica was offered the topics: only it knows whether it took them.
    pub is_offered: bool,
    /// When, if that was written down.
    pub offered_ms: Option<i64>,
    /// From this moment on it is to be over.
    pub deadline_ms: i64,
}

/// An upstream, seen from its replica.
#[derive(Clone, Debug)]
pub struct UpstreamSight {
    /// The replica.
    pub stream: StreamPath,
    /// Where the source lies.
    pub upstream: String,
    /// What its link tells.
    pub link: UpstreamReport,
}

/// A gateway of another cluster.
#[derive(Clone, Debug)]
pub struct GatewaySight {
    /// Whose it is.
    pub cluster: ClusterName,
    /// `host:port`.
    pub address: String,
    /// Why it does not answer, if it does not.
    pub trouble: Option<String>,
}

/// A partition whose stored data is not what was written.
#[derive(Clone, Debug)]
pub struct DamageSight {
    /// The stream that holds it.
    pub stream: StreamPath,
    /// `topic partition`, as people read it.
    pub partition: String,
    /// What was found.
    pub why: String,
}

/// The disk under the log.
#[derive(Clone, Debug, Default)]
pub struct DiskSight {
    /// Bytes free; `None` if the disk does not say.
    pub free_bytes: Option<u64>,
    /// Below this many, appends are refused.
    pub free_bytes_min: u64,
    /// Appends are refused.
    pub is_full: bool,
    /// What holds most of the log's bytes, largest first.
    pub pinned_by: Vec<(String, u64)>,
}
