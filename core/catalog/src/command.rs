//! What the catalog can be asked to change.

use std::collections::BTreeMap;

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, JobId, LinkEpoch, OriginTopicId, PartitionNo,
    StreamCompression, StreamId, StreamPath, Term, TermId, TimestampType, TopicName,
};

use crate::{
    GrantId, Owner, Place, ReplicaSettings, SetupKind, SetupStep, StreamSettings, SyncPolicy,
    SyncTimeoutMs,
};

/// A wish. [`crate::Catalog::decide`] turns it into events or refuses it and changes nothing.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields carry the names of DESIGN.md's nouns")]
pub enum Command {
    /// Names this cluster, once; later only its incarnation may change.
    FoundCluster {
        id: ClusterId,
        name: ClusterName,
        incarnation: u64,
    },

    /// `id` chooses the uuid; otherwise one is drawn.
    CreateStream {
        path: StreamPath,
        id: Option<StreamId>,
        settings: StreamSettings,
    },
    EditStream {
        path: StreamPath,
        patch: StreamPatch,
    },
    DeleteStream {
        path: StreamPath,
    },

    /// A topic that begins here; `None` takes the stream's defaults.
    CreateTopic {
        stream: StreamId,
        name: TopicName,
        partitions: Option<u32>,
        timestamp_type: Option<TimestampType>,
        config: BTreeMap<String, String>,
    },
    EditTopic {
        stream: StreamId,
        topic: OriginTopicId,
        patch: TopicPatch,
    },
    /// The owner gives its topic another name, here and at every replica.
    RenameTopic {
        stream: StreamId,
        topic: OriginTopicId,
        name: TopicName,
    },
    DeleteTopic {
        stream: StreamId,
        topic: OriginTopicId,
    },

    /// The source's half of an agreement; with `setup`, as the first act of a job.
    AddReplica {
        stream: StreamId,
        replica: Place,
        replica_id: Option<StreamId>,
        settings: ReplicaSettings,
        paused: bool,
        setup: Option<NewSetup>,
    },
    EditReplica {
        stream: StreamId,
        replica: Place,
        patch: ReplicaPatch,
    },
    PauseReplica {
        stream: StreamId,
        replica: Place,
    },
    ResumeReplica {
        stream: StreamId,
        replica: Place,
    },
    RemoveReplica {
        stream: StreamId,
        replica: Place,
    },
    /// A copy that made its agreement for its own time is over, and what is left is meant to stay.
    EndCopy {
        stream: StreamId,
        replica: Place,
        job: JobId,
    },
    /// The destination has taken back what a removed set-up made there.
    EndUndo {
        job: JobId,
    },
    /// Begins a job on a replica that is listed already, such as a copy.
    BeginSetup {
        stream: StreamId,
        replica: Place,
        setup: NewSetup,
    },
    /// A job got on, or is stuck. Fenced when that job is no longer the replica's.
    AdvanceSetup {
        stream: StreamId,
        replica: Place,
        job: JobId,
        step: SetupStep,
        percent: u32,
        error: Option<String>,
    },
    /// At the source, before each Hello: from here on only answers of the new epoch count.
    RaiseReplicaEpoch {
        stream: StreamId,
        replica: Place,
    },
    /// At the source, at Welcome: pins the replica's uuid. Fenced in another epoch.
    SetReplicaId {
        stream: StreamId,
        replica: Place,
        link_epoch: LinkEpoch,
        replica_id: StreamId,
    },
    /// At the source: the replica has applied every deletion up to `seq` (our sequence).
    AckTombstones {
        stream: StreamId,
        replica: Place,
        link_epoch: LinkEpoch,
        seq: CatalogSeq,
    },

    /// At the source: a synchronous replica did not keep up. It lacks what lies from these offsets
    /// on, since then.
    DegradeReplica {
        stream: StreamId,
        idx: u32,
        since_ms: i64,
        at_risk: Vec<(PartitionNo, i64)>,
    },
    /// At the source: these partitions are written from here on while a window at risk is open.
    WidenRisk {
        stream: StreamId,
        idx: u32,
        at_risk: Vec<(PartitionNo, i64)>,
    },
    /// At the source: a synchronous replica has everything up to these ends.
    BringInForce {
        stream: StreamId,
        idx: u32,
        ends: BTreeMap<PartitionNo, i64>,
    },

    /// The replica's half of an agreement; without `stream_id` the first Hello pins it.
    AddUpstream {
        stream: StreamId,
        upstream: Place,
        stream_id: Option<StreamId>,
    },
    RemoveUpstream {
        stream: StreamId,
        upstream: Place,
    },
    /// At the replica, on Hello: checks the agreement, pins the uuid, raises the link epoch.
    OpenLink {
        stream: StreamId,
        source: Place,
        source_id: StreamId,
        source_seq: CatalogSeq,
    },
    /// A topic as the source has it: created, grown or configured here, or nothing to do.
    ApplyTopic {
        stream: StreamId,
        upstream: StreamId,
        link_epoch: LinkEpoch,
        origin: OriginTopicId,
        name: TopicName,
        partitions: u32,
        timestamp_type: TimestampType,
        config: BTreeMap<String, String>,
        owner: Owner,
        owner_seq: CatalogSeq,
        source_seq: CatalogSeq,
        created_ms: i64,
    },
    /// A deletion as the source has it, with the number of the term in which the topic's owner
    /// deleted it, if that is known.
    ApplyTombstone {
        stream: StreamId,
        upstream: StreamId,
        link_epoch: LinkEpoch,
        origin: OriginTopicId,
        owner_seq: CatalogSeq,
        term: Option<u64>,
        source_seq: CatalogSeq,
    },
    /// All of the source's catalog up to `source_seq` has been applied or reported as a conflict.
    AdvanceUpstream {
        stream: StreamId,
        upstream: StreamId,
        link_epoch: LinkEpoch,
        source_seq: CatalogSeq,
    },

    /// At a destination: lets one autosetup make one stream, or with `copy` one copy fill one.
    /// `grant` is random and secret.
    IssueGrant {
        grant: GrantId,
        replica_path: StreamPath,
        replica_id: StreamId,
        source: Place,
        source_id: StreamId,
        multimaster: bool,
        use_existing: bool,
        copy: bool,
        expires_ms: i64,
    },
    /// Redeems a grant: makes the replica, with the source's settings. May be repeated.
    CreateByGrant {
        grant: GrantId,
        replica_id: StreamId,
        settings: StreamSettings,
    },
    /// Redeems a grant: lists the source as upstream. May be repeated.
    AddUpstreamByGrant {
        grant: GrantId,
        replica_id: StreamId,
    },
    /// Redeems a grant for both directions: lists the source as replica. May be repeated.
    AddReplicaByGrant {
        grant: GrantId,
        replica_id: StreamId,
        settings: ReplicaSettings,
    },
    /// Undoes a refused setup: deletes the replica if it is ours and nobody else has touched it.
    RollbackByGrant {
        grant: GrantId,
        replica_id: StreamId,
    },

    /// Redeems a copy's grant once all is copied: these topics and all of the source's own belong
    /// to the replica from now on, in a term of its own. Unless there is `more` to name, the
    /// agreement goes too. May be repeated.
    TakeOverByGrant {
        grant: GrantId,
        replica_id: StreamId,
        topics: Vec<OriginTopicId>,
        more: bool,
    },

    /// At a replica: what its upstream owned belongs to it from now on, in a new term. `upstream`
    /// may be left out where there is no choice.
    FailOver {
        stream: StreamId,
        upstream: Option<Place>,
    },
    /// What this stream owns goes on in a term above all that it has heard of: of several streams
    /// that were promoted over one topic, a person has chosen this one.
    Renew {
        stream: StreamId,
    },
    /// A peer has told of terms: topics that somebody owns in a higher one are given up to them.
    MeetTerms {
        stream: StreamId,
        seen: Term,
        terms: Vec<(OriginTopicId, Owner)>,
    },
    /// Stops writes to what this stream owns, so that the replica can get everything and be offered
    /// the topics. May be repeated.
    BeginHandover {
        stream: StreamId,
        replica: Place,
        job: JobId,
        timeout_ms: u64,
    },
    /// The replica has everything; it is offered the term next.
    OfferHandover {
        stream: StreamId,
        replica: Place,
        link_epoch: LinkEpoch,
    },
    /// It did not come about, and the replica cannot take the offer any more: this stream goes on.
    TakeBack {
        stream: StreamId,
        replica: Place,
        job: JobId,
        why: String,
    },
    /// At the replica: what the upstream owned is this stream's in that term.
    AcceptHandover {
        stream: StreamId,
        upstream: StreamId,
        link_epoch: LinkEpoch,
        term: Term,
        /// Where each partition of the topics ends, as the link has brought them; one that is not
        /// named is empty. Whoever sequences this checks that it is so here.
        ends: BTreeMap<(OriginTopicId, u32), i64>,
    },
    /// Sees to a place for what a topic's owner does not have of it (I8). May be repeated.
    MakeAside {
        stream: StreamId,
        topic: OriginTopicId,
        written_by: StreamId,
        written_in: TermId,
    },

    SetGateways {
        cluster: ClusterName,
        gateways: Vec<String>,
    },
    DeleteGateways {
        cluster: ClusterName,
    },
    /// Sets aside a block of producer ids so that none is ever given out twice.
    ReserveProducerIds {
        count: u32,
    },
}

/// The job that comes with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Setup")]
pub struct NewSetup {
    pub job: JobId,
    pub kind: SetupKind,
    pub grant: Option<GrantId>,
    pub multimaster: bool,
    pub direct_copy: bool,
    pub use_existing: bool,
    pub reads: u64,
}

/// Changes to a stream's settings; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in StreamSettings")]
pub struct StreamPatch {
    pub ttl_seconds: Option<u64>,
    pub autocreate: Option<bool>,
    pub default_partitions: Option<u32>,
    pub compression: Option<StreamCompression>,
    pub default_timestamp_type: Option<TimestampType>,
    pub produceperm: Option<String>,
    pub consumeperm: Option<String>,
    pub topicperm: Option<String>,
    pub copyperm: Option<String>,
    pub adminperm: Option<String>,
    pub pid_expiry_seconds: Option<u64>,
    pub compact: Option<bool>,
    pub min_compaction_lag_ms: Option<u64>,
    pub delete_retention_ms: Option<u64>,
    pub lag_alarm_seconds: Option<Option<u32>>,
}

macro_rules! patch {
    ($patch:ident, $($field:ident),*) => {
        impl $patch {
            /// The settings with these changes.
            #[must_use]
            pub fn applied_to(&self, settings: &StreamSettings) -> StreamSettings {
                let mut settings = settings.clone();
                $(if let Some(value) = &self.$field {
                    settings.$field = value.clone();
                })*
                settings
            }
        }
    };
}
patch!(
    StreamPatch,
    ttl_seconds,
    autocreate,
    default_partitions,
    compression,
    default_timestamp_type,
    produceperm,
    consumeperm,
    topicperm,
    copyperm,
    adminperm,
    pid_expiry_seconds,
    compact,
    min_compaction_lag_ms,
    delete_retention_ms,
    lag_alarm_seconds
);

/// Changes to a topic; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPatch {
    /// The new number of partitions; only upwards.
    pub partitions: Option<u32>,
    /// Whose clock stamps records from now on.
    pub timestamp_type: Option<TimestampType>,
    /// Kafka configs to set, or with `None` to forget.
    pub config: BTreeMap<String, Option<String>>,
}

/// Changes to a replica; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaPatch {
    /// Where the replica lies now that it was renamed.
    pub place: Option<Place>,
    /// See [`ReplicaSettings::throttle`].
    pub throttle: Option<bool>,
    /// See [`ReplicaSettings::network_encryption`].
    pub network_encryption: Option<bool>,
    /// See [`ReplicaSettings::synchronous`].
    pub synchronous: Option<bool>,
    /// See [`ReplicaSettings::network_compression`].
    pub network_compression: Option<StreamCompression>,
    /// See [`ReplicaSettings::rate_bytes_per_s`].
    pub rate_bytes_per_s: Option<u64>,
    /// See [`ReplicaSettings::sync_timeout_ms`].
    pub sync_timeout_ms: Option<SyncTimeoutMs>,
    /// See [`ReplicaSettings::sync_policy`].
    pub sync_policy: Option<SyncPolicy>,
}
