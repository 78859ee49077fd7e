//! The two halves of an agreement, the jobs that set one up, and the grants they use.

use std::fmt;

use mainstem_types::limits::RISK_WINDOWS_MAX;
use mainstem_types::{
    CatalogSeq, ClusterName, JobId, LinkEpoch, StreamCompression, StreamId, StreamPath, Term,
};
use minicbor::{Decode, Encode};

use crate::{RiskRange, RiskWindow, SyncPolicy, SyncState, SyncTimeoutMs};

/// A stream as seen from anywhere: `/mapr/<cluster>/<path>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct Place {
    /// Its cluster.
    #[n(0)]
    pub cluster: ClusterName,
    /// Its path there.
    #[n(1)]
    pub path: StreamPath,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/mapr/{}{}", self.cluster, self.path)
    }
}

/// The source's half: to whom a stream is replicated.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Replica {
    /// Its slot, from 1.
    #[n(0)]
    pub idx: u32,
    /// Where the replica lies.
    #[n(1)]
    pub place: Place,
    /// The replica's uuid, once known.
    #[n(2)]
    pub replica_id: Option<StreamId>,
    /// What `replica add` and `replica edit` set.
    #[n(3)]
    pub settings: ReplicaSettings,
    /// Whether a person stopped it.
    #[n(4)]
    pub paused: bool,
    /// Rises with every Hello and every change of this half.
    #[n(5)]
    pub link_epoch: LinkEpoch,
    /// The replica has applied every deletion up to here (our sequence).
    #[n(6)]
    pub acked_tombstone_seq: CatalogSeq,
    /// When it was added.
    #[n(7)]
    pub created_ms: i64,
    /// The job that sets it up or fills it; kept when done as the record of it.
    #[n(8)]
    pub setup: Option<Setup>,
    /// Whether acknowledgements wait for it now.
    #[cbor(n(9), default, skip_if = "SyncState::is_async")]
    pub sync_state: SyncState,
    /// When it did not keep up, and what would have been lost then; the newest last.
    #[cbor(n(10), default, skip_if = "Vec::is_empty")]
    pub windows: Vec<RiskWindow>,
    /// The last hand-over to it, under way or as the record of it.
    #[n(12)]
    pub handover: Option<Handover>,
}

impl Replica {
    /// Whether its link has something to do: a job under way, or ordinary replication. A copy
    /// runs although the replica is paused: that is its purpose.
    pub fn is_active(&self) -> bool {
        let copying = self.setup.as_ref().is_some_and(|s| s.kind == SetupKind::Copy && s.is_open());
        !self.paused || copying
    }

    /// The window that is open now.
    pub fn open_window(&self) -> Option<&RiskWindow> {
        self.windows.last().filter(|window| window.to_ms.is_none())
    }

    fn open_window_mut(&mut self) -> Option<&mut RiskWindow> {
        self.windows.last_mut().filter(|window| window.to_ms.is_none())
    }

    pub(crate) fn degrade(&mut self, window: RiskWindow) {
        self.sync_state = SyncState::Degraded;
        if self.windows.len() == RISK_WINDOWS_MAX {
            self.windows.remove(0);
        }
        self.windows.push(window);
    }

    pub(crate) fn widen(&mut self, ranges: &[RiskRange], is_partial: bool) {
        let window = self.open_window_mut().expect("only an open window is widened");
        window.ranges.extend(ranges);
        window.is_partial |= is_partial;
    }

    pub(crate) fn bring_in_force(&mut self, at_ms: i64, ends: &[i64]) {
        self.sync_state = SyncState::InForce;
        let Some(window) = self.open_window_mut() else { return };
        assert_eq!(window.ranges.len(), ends.len(), "a window ends where all its ranges do");
        window.to_ms = Some(at_ms);
        for (range, end) in window.ranges.iter_mut().zip(ends) {
            range.to = Some(*end);
        }
    }

    /// Joins or leaves the synchronous ones as its settings say. Nobody watches a replica that has
    /// left, so an open window ends without saying where.
    pub(crate) fn follow_settings(&mut self, now_ms: i64) {
        let is_listed = self.sync_state != SyncState::Async;
        if is_listed == self.settings.synchronous {
            return;
        }
        self.sync_state = self.settings.first_sync_state();
        if let Some(window) = self.open_window_mut() {
            window.to_ms = Some(now_ms);
        }
    }
}

/// What `replica add` and `replica edit` set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReplicaSettings {
    /// Yield to new messages under load.
    #[n(0)]
    pub throttle: bool,
    /// Asked for; links are always encrypted.
    #[n(1)]
    pub network_encryption: bool,
    /// Acknowledge only what the replica has.
    #[n(2)]
    pub synchronous: bool,
    /// Shown; batches travel as the producer encoded them.
    #[n(3)]
    pub network_compression: StreamCompression,
    /// The most that is sent to it in a second; 0 for no limit.
    #[cbor(n(4), default, skip_if = "is_zero")]
    pub rate_bytes_per_s: u64,
    /// How long a synchronous replica may keep an acknowledgement waiting.
    #[cbor(n(5), default, skip_if = "SyncTimeoutMs::is_default")]
    pub sync_timeout_ms: SyncTimeoutMs,
    /// What happens then.
    #[cbor(n(6), default, skip_if = "SyncPolicy::is_default")]
    pub sync_policy: SyncPolicy,
}

impl ReplicaSettings {
    /// Where a replica with these settings begins.
    pub(crate) const fn first_sync_state(&self) -> SyncState {
        if self.synchronous { SyncState::Joining } else { SyncState::Async }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the derived code calls it")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A planned change of owner: the owner stops taking writes, lets the replica have everything, and
/// offers it a term.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Handover {
    /// Its id.
    #[n(0)]
    pub job: JobId,
    /// The term in which the replica is to be the owner.
    #[n(1)]
    pub term: Term,
    /// How far it is.
    #[n(2)]
    pub step: HandoverStep,
    /// From this moment on it is not offered any more, but taken back.
    #[n(3)]
    pub deadline_ms: i64,
    /// Why it was taken back, if it was.
    #[n(4)]
    pub error: Option<String>,
    /// When it was written down that it is offered; nothing before that, and nothing of versions
    /// that did not keep it.
    #[n(5)]
    pub offered_ms: Option<i64>,
}

impl Handover {
    /// Whether it is undecided who owns the topics next, so that nobody writes them.
    pub fn is_open(&self) -> bool {
        matches!(self.step, HandoverStep::Draining | HandoverStep::Offered)
    }
}

/// How far a hand-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum HandoverStep {
    /// The replica is given what it lacks. It knows of nothing yet.
    #[n(0)]
    Draining,
    /// It has everything, and may have been offered the term: only it knows whether it took it.
    #[n(1)]
    Offered,
    /// It is the owner.
    #[n(2)]
    Done,
    /// It is not, and this stream goes on in a term above the one that was meant for it.
    #[n(3)]
    TakenBack,
}

impl HandoverStep {
    /// The word that status shows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Offered => "offered",
            Self::Done => "done",
            Self::TakenBack => "taken back",
        }
    }
}

/// A tracked job on a replica, durable at the source before its first step.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Setup {
    /// Its id.
    #[n(0)]
    pub job: JobId,
    /// Which job.
    #[n(1)]
    pub kind: SetupKind,
    /// How far it is.
    #[n(2)]
    pub step: SetupStep,
    /// What the destination lets it do.
    #[n(3)]
    pub grant: Option<GrantId>,
    /// Both sides are to feed each other.
    #[n(4)]
    pub multimaster: bool,
    /// The servers copy (always so here; kept for the original's scripts).
    #[n(5)]
    pub direct_copy: bool,
    /// The replica was there before.
    #[n(6)]
    pub use_existing: bool,
    /// The last known share of the copy that was done, of 100.
    #[n(7)]
    pub percent: u32,
    /// Why it is stuck, when it is.
    #[n(8)]
    pub error: Option<String>,
    /// How many partitions the copy reads at a time; 0 for as many as any link does.
    #[cbor(n(9), default, skip_if = "is_zero")]
    pub reads: u64,
}

impl Setup {
    /// Whether it is a copy that made its agreement itself, and ends it when it ends.
    pub fn is_temporary(&self) -> bool {
        self.kind == SetupKind::Copy && self.grant.is_some()
    }

    /// Whether it ends in a hand-over.
    pub fn is_failback(&self) -> bool {
        self.kind == SetupKind::Failback
    }

    /// Whether there is still something to do.
    pub fn is_open(&self) -> bool {
        self.step != SetupStep::Replicating
    }
}

/// What a set-up made at a destination, and the destination is to take back: the set-up's replica
/// was removed before it was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Undo {
    /// The set-up's job.
    #[n(0)]
    pub job: JobId,
    /// What the destination let it do.
    #[n(1)]
    pub grant: GrantId,
    /// Where.
    #[n(2)]
    pub place: Place,
    /// The uuid that was chosen for the replica.
    #[n(3)]
    pub replica_id: StreamId,
    /// The source stream, which may be gone.
    #[n(4)]
    pub stream: StreamId,
    /// When the replica was removed.
    #[n(5)]
    pub since_ms: i64,
}

/// Which job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SetupKind {
    /// `stream replica autosetup`.
    #[n(0)]
    Autosetup,
    /// `mapr copystream`.
    #[n(1)]
    Copy,
    /// `stream replica failback`.
    #[n(2)]
    Failback,
}

/// The documented states of a replica that is being set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SetupStep {
    /// The replica is to be created.
    #[n(0)]
    CreateSchedule,
    /// It exists; both halves of the agreement are being declared, the copy waits.
    #[n(1)]
    CopySchedule,
    /// What was there at the start is being copied.
    #[n(2)]
    CopyInProgress,
    /// The copy goes on after a lost connection.
    #[n(3)]
    CopyInRecover,
    /// The copy is done; the last declarations are made.
    #[n(4)]
    DeletingCursors,
    /// Done: steady state.
    #[n(5)]
    Replicating,
    /// The destination refused; see the error.
    #[n(6)]
    Unexpected,
}

impl SetupStep {
    /// The documented word for `replicaState`.
    pub const fn state(self) -> &'static str {
        match self {
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

/// The replica's half: from whom a stream is replicated.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upstream {
    /// Its slot, from 1.
    #[n(0)]
    pub idx: u32,
    /// Where the source lies.
    #[n(1)]
    pub place: Place,
    /// The source's uuid: pinned when given, or at the first Hello.
    #[n(2)]
    pub stream_id: Option<StreamId>,
    /// Rises with every Hello and every change of this half; nothing older is sequenced (I6).
    #[n(3)]
    pub link_epoch: LinkEpoch,
    /// The source's sequence up to which its catalog was applied.
    #[n(4)]
    pub applied_seq: CatalogSeq,
    /// When it was added.
    #[n(5)]
    pub created_ms: i64,
    /// Listed for one copy only, under this grant: at its end the topics become this stream's own
    /// and the agreement goes.
    #[n(6)]
    pub copy: Option<GrantId>,
}

/// Names one grant; whoever knows it may use it, so it is random and shown to one job only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct GrantId(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

impl GrantId {
    /// The grant that was sent as these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its sixteen bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantId(secret)")
    }
}

/// What a destination lets one autosetup or copy do: make this stream, list that upstream, for a
/// copy take its topics over; nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// Its name, a secret.
    #[n(0)]
    pub id: GrantId,
    /// Where the replica is to lie here.
    #[n(1)]
    pub replica_path: StreamPath,
    /// The uuid that was chosen for the replica.
    #[n(2)]
    pub replica_id: StreamId,
    /// Where the source lies.
    #[n(3)]
    pub source: Place,
    /// The source's uuid.
    #[n(4)]
    pub source_id: StreamId,
    /// Whether the source may also be declared a replica of the new stream.
    #[n(5)]
    pub multimaster: bool,
    /// Whether the replica was there before, and so is never deleted by a rollback.
    #[n(6)]
    pub use_existing: bool,
    /// It cannot be used first after this moment.
    #[n(7)]
    pub expires_ms: i64,
    /// For a copy, whose topics belong to the destination afterwards.
    #[cbor(n(8), default, skip_if = "std::ops::Not::not")]
    pub copy: bool,
}
