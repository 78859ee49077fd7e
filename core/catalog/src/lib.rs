//! The catalog: which streams, topics, replicas, upstreams and gateways a cluster has, as pure
//! state that commands are decided against and events are applied to.
//!
//! It must never know where events are kept, who asked, or what time it is: ids, time and
//! randomness come in with each command, and the engine makes each event durable before anyone
//! sees its effect.

mod agreement;
mod apply;
mod catalog;
mod command;
mod compaction;
mod decide;
mod event;
mod names;
mod partition_runs;
mod row;
mod stream;
mod synchrony;

pub use agreement::{
    Grant, GrantId, Handover, HandoverStep, Place, Replica, ReplicaSettings, Setup, SetupKind,
    SetupStep, Undo, Upstream,
};
pub use apply::Applied;
pub use catalog::{Catalog, Cluster, PartitionHome};
pub use command::{Command, NewSetup, ReplicaPatch, StreamPatch, TopicPatch};
pub use compaction::{CleanupPolicy, Compaction};
pub use event::Event;
pub use names::ResolvedTopic;
pub use row::RowKey;
pub use stream::{Aside, LAG_ALARM_SECONDS, Owner, Stream, StreamSettings, Tombstone, Topic};
pub use synchrony::{RiskRange, RiskWindow, SyncPolicy, SyncState, SyncTimeoutMs};
