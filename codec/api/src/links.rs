//! What is told about links, and what can be asked of them: shared by the doors that ask and the
//! door that knows.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mainstem_types::{ClusterName, Error, JobId, StreamId, StreamPath, StreamRef, TopicName};

/// A future that can be boxed in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The original's names for what a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplicaState {
    /// Set-up waits for the end of a bulk load of the source: a copy or an import into it.
    WaitTillBulkload,
    /// Creation of the replica is scheduled.
    CreateSchedule,
    /// The first copy waits for its turn.
    CopySchedule,
    /// The first copy runs.
    CopyInProgress,
    /// The first copy goes on after a broken connection.
    CopyInRecover,
    /// The copy is done and its traces are cleared.
    DeletingCursors,
    /// Steady state.
    #[default]
    Replicating,
    /// See the error.
    Unexpected,
}

impl ReplicaState {
    /// As `replicaState` shows it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::WaitTillBulkload => "REPLICA_STATE_WAIT_TILL_BULKLOAD",
            Self::CreateSchedule => "REPLICA_STATE_CREATE_SCHEDULE",
            Self::CopySchedule => "REPLICA_STATE_COPY_SCHEDULE",
            Self::CopyInProgress => "REPLICA_STATE_COPY_IN_PROGRESS",
            Self::CopyInRecover => "REPLICA_STATE_COPY_IN_RECOVER",
            Self::DeletingCursors => "REPLICA_STATE_DELETING_CURSORS",
            Self::Replicating => "REPLICA_STATE_REPLICATING",
            Self::Unexpected => "REPLICA_STATE_UNEXPECTED",
        }
    }
}

/// Whether acknowledgements wait for a synchronous replica, as was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncStanding {
    /// They do, or will once it has caught up for the first time, or nobody asked for it.
    #[default]
    AsAsked,
    /// They go on without it, until it has caught up.
    Degraded,
    /// Policy refuses them, until it keeps up.
    Refusing,
}

/// Why a link does not move data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    /// A word for programs, such as `ErrAllGatewaysUnreachable`.
    pub code: String,
    /// Who saw it.
    pub host: String,
    /// A sentence that says what to do next.
    pub message: String,
    /// When it was seen last.
    pub at_ms: i64,
}

/// The code of a [`LinkError`] where a link stands and its source has nothing to give: topics belong
/// to another stream, and nobody feeds the source.
pub const NOT_FED: &str = "ErrNotFed";

/// A topic or partition that stopped while the rest flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFault {
    /// The topic's name, or its id if the name is not known.
    pub topic: String,
    /// The partition; all of them if absent.
    pub partition: Option<u32>,
    /// A word for programs.
    pub code: String,
    /// A sentence that says what to do next.
    pub message: String,
}

/// Offsets that a replica will never hold: retention took them at the source before they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkGap {
    /// The topic's name, or its id if the name is not known.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that is missing.
    pub from: i64,
    /// The first that is not.
    pub to: i64,
    /// When it was declared to the replica.
    pub at_ms: i64,
}

/// How fast a link moves, per second.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Rates {
    /// Records, over the last ten seconds.
    pub records: f64,
    /// Bytes, over the last ten seconds.
    pub bytes: f64,
    /// Records, over the last minute.
    pub records_of_minute: f64,
    /// Bytes, over the last minute.
    pub bytes_of_minute: f64,
}

/// One replica as its source sees it, taken when it is asked for (I9).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LinkReport {
    /// What it is doing.
    pub state: ReplicaState,
    /// A session stands and its Welcome has come.
    pub connected: bool,
    /// Everything durable at the source is acknowledged by the replica.
    pub is_uptodate: bool,
    /// Arrival time of the oldest record not yet acknowledged; 0 if there is none.
    pub min_pending_ms: i64,
    /// And of the newest.
    pub max_pending_ms: i64,
    /// Bytes not yet acknowledged.
    pub bytes_pending: u64,
    /// Records not yet acknowledged.
    pub puts_pending: u64,
    /// Partitions with something not yet acknowledged.
    pub buckets_pending: u64,
    /// The replica was not heard since this cluster was started, and all that is kept counts as
    /// pending.
    pub is_unheard: bool,
    /// Offsets that retention has deleted at the source before they were sent: gaps to come.
    pub expired: u64,
    /// How far the first copy is, 0 to 100.
    pub copy_percent: u8,
    /// Now less the oldest pending arrival; 0 if nothing is pending. So much of what producers
    /// were told is safe would be lost if the source vanished now.
    pub lag_ms: u64,
    /// The highest of the last minute, seen in looks a second apart.
    pub lag_ms_max: u64,
    /// How fast it moves.
    pub rates: Rates,
    /// When the replica was heard last.
    pub last_contact_ms: Option<i64>,
    /// When it was heard last in a session that stood: one that answers may refuse it.
    pub stood_ms: Option<i64>,
    /// The gateway in use.
    pub gateway: Option<String>,
    /// Bytes of batches sent since the process started.
    pub bytes_sent: u64,
    /// Records sent since the process started.
    pub records_sent: u64,
    /// Sessions opened since the process started.
    pub sessions: u64,
    /// Since when the session stands, if one does.
    pub connected_since_ms: Option<i64>,
    /// How long a frame and its answer take, as of the last heartbeat.
    pub round_trip_ms: Option<u64>,
    /// Whether acknowledgements wait for it, where they should.
    pub sync: SyncStanding,
    /// Why nothing flows, if nothing flows.
    pub error: Option<LinkError>,
    /// Topics that stopped.
    pub faults: Vec<TopicFault>,
    /// The newest gaps that were declared since the process started; the replica keeps its own
    /// account of them durably.
    pub gaps: Vec<LinkGap>,
}

/// One upstream as its replica sees it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct UpstreamReport {
    /// A session stands.
    pub connected: bool,
    /// When the source was heard last.
    pub last_contact_ms: Option<i64>,
    /// What the source says is still to come, in bytes.
    pub bytes_pending: u64,
    /// And in records.
    pub puts_pending: u64,
    /// And since when; 0 if nothing is.
    pub pending_since_ms: i64,
    /// When the source counted that, by this cluster's clock; `None` if this session has not heard
    /// a count yet, or none stands.
    pub counted_ms: Option<i64>,
    /// The age of the oldest record that is still to come, as far as the last count tells; `None`
    /// if nothing is known.
    pub lag_ms: Option<u64>,
    /// How fast it moves.
    pub rates: Rates,
    /// Bytes of batches received since the process started.
    pub bytes_received: u64,
    /// Records likewise.
    pub records_received: u64,
    /// Sessions opened since the process started.
    pub sessions: u64,
    /// Since when the session stands, if one does.
    pub connected_since_ms: Option<i64>,
    /// Topics that come from here now, and not from another upstream that has them too.
    pub topics_fed: u64,
    /// Why the last session was refused or ended, if none stands.
    pub error: Option<LinkError>,
    /// Topics that stopped.
    pub faults: Vec<TopicFault>,
}

/// A gateway of a cluster that some stream is replicated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    /// Whose it is.
    pub cluster: ClusterName,
    /// `host:port`.
    pub address: String,
    /// Why it did not answer when it was last called, if it did not.
    pub trouble: Option<String>,
}

/// How a bounded copy goes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CopyReport {
    /// 0 to 100.
    pub percent: u8,
    /// Records acknowledged by the destination.
    pub records: u64,
    /// Bytes likewise.
    pub bytes: u64,
    /// It is over: `Some(Ok)` when all is there, `Some(Err)` when it was given up.
    pub finished: Option<Result<(), Error>>,
    /// Why it waits, while it does.
    pub waiting: Option<LinkError>,
}

/// How a proof of equality goes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// 0 to 100.
    pub percent: u8,
    /// It is over: `Some(Ok)` when every partition has its row, `Some(Err)` when it was refused.
    pub finished: Option<Result<(), Error>>,
    /// Why it waits, while it does.
    pub waiting: Option<String>,
    /// What was found so far.
    pub partitions: Vec<VerifiedPartition>,
}

/// What was found of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: u32,
    /// `identical`, `different` or `unknown`.
    pub status: &'static str,
    /// The first offset that both keep.
    pub from: i64,
    /// Up to here they are identical.
    pub to: i64,
    /// When the last record compared arrived at its owner; 0 if none was.
    pub time_ms: i64,
    /// Offsets that the source has and the replica does not have yet: no difference.
    pub lag_records: u64,
    /// Where records were compared by themselves instead of digests of batches, as either side was
    /// compacted there: from this offset to that, and how many records both keep.
    pub by_records: Option<(i64, i64, u64)>,
    /// The first batch that differs.
    pub offset: Option<i64>,
    /// How: `bytes`, `epoch`, `missing`, `extra`.
    pub difference: Option<&'static str>,
    /// For people.
    pub message: String,
}

/// What a destination granted to a copy after which the topics belong to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CopyGrant {
    /// The grant, a secret.
    pub grant: [u8; 16],
    /// The destination's uuid: chosen, or found.
    pub stream: StreamId,
}

/// What the gateway door answers for the others.
pub trait Links: Send + Sync {
    /// The state of one replica of a stream; `None` if no such replica is listed.
    fn replica(
        &self,
        stream: StreamId,
        cluster: &ClusterName,
        path: &StreamPath,
    ) -> Option<LinkReport>;

    /// The state of one upstream of a stream, given where the source is; `None` if the source was
    /// never heard.
    fn upstream(
        &self,
        stream: StreamId,
        cluster: &ClusterName,
        path: &StreamPath,
    ) -> Option<UpstreamReport>;

    /// Why what a removed set-up made at its destination is still there, if it was tried to take it
    /// back.
    fn undo(&self, job: JobId) -> Option<LinkError>;

    /// `-refreshnow`: try to reach the replica now rather than after the back-off, and wait a
    /// moment for what comes of it.
    fn refresh(&self, stream: StreamId) -> BoxFuture<'_, ()>;

    /// Starts a bounded copy of a stream into another. Without a grant both halves of an agreement
    /// must stand, and stay; with one it makes an agreement for its own time, and the topics belong
    /// to the destination afterwards. It reads so many partitions at a time, or as many as any
    /// link. Asking again for the same pair joins the copy under way.
    fn start_copy(
        &self,
        source: StreamId,
        destination: &StreamRef,
        grant: Option<CopyGrant>,
        reads: Option<u64>,
    ) -> BoxFuture<'_, Result<JobId, Error>>;

    /// How a copy goes; `None` if it is unknown or long over.
    fn copy(&self, job: JobId) -> Option<CopyReport>;

    /// Starts comparing a stream, or one topic of it, with its replica by digests. Asking again
    /// while it goes on joins it.
    fn start_verify(
        &self,
        _stream: StreamId,
        _replica: &StreamRef,
        _topic: Option<&TopicName>,
    ) -> Result<JobId, Error> {
        Err(Error::unsupported("this server has no gateway to verify replicas by"))
    }

    /// How that goes; `None` if it is unknown or long over.
    fn verification(&self, _job: JobId) -> Option<VerifyReport> {
        None
    }

    /// The gateways of a cluster that answer now: of the list that was set, else of what DNS says at
    /// this moment, else of the cluster's known address.
    fn resolve(&self, cluster: &ClusterName) -> BoxFuture<'_, Vec<String>>;

    /// The uuid of the stream at a path of any cluster, `None` if there is no stream: what
    /// `upstream add` pins.
    fn remote_stream(
        &self,
        cluster: &ClusterName,
        path: &StreamPath,
    ) -> BoxFuture<'_, Result<Option<StreamId>, Error>>;

    /// The gateways of all clusters that are replicated to, each as it was last seen; those that
    /// were not called yet are left out.
    fn gateways(&self) -> Vec<GatewayReport>;

    /// The gateways that this cluster itself offers.
    fn local_gateways(&self) -> Vec<String>;
}

/// A door that is handed to others.
pub type SharedLinks = Arc<dyn Links>;
