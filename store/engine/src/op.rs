//! What doors ask of the sequencer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use mainstem_catalog::{Catalog, Command};
use mainstem_compaction::Place;
use mainstem_group::{CursorKey, CursorValue};
use mainstem_transaction::{Producers, TransactionalProducer};
use mainstem_types::{Error, LineageEntry, LinkEpoch, OriginTopicId, PartitionNo, StreamId};
use tokio::sync::oneshot;

use crate::transaction_step::{Stepped, TransactionStep};

/// What a producer waits for (Kafka's `acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// `acks=all`: on disk after fdatasync (I1).
    Durable,
    /// `acks=1`: written, not yet synced.
    Written,
    /// `acks=0`: nothing.
    None,
}

/// One batch from a client for one partition.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where it goes.
    pub partition: PartitionNo,
    /// One record batch of format 2 that passed `mainstem_record::check_produced`.
    pub batch: Bytes,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: i64,
    /// The owner's clock, where the topic has log append time.
    pub append_time_ms: Option<i64>,
    /// The partition's first offset.
    pub log_start: i64,
}

/// Names a link at its receiving end: what must still stand when a frame is sequenced (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkName {
    /// The replica.
    pub stream: StreamId,
    /// The uuid of the stream that feeds it.
    pub upstream: StreamId,
    /// The epoch that its Hello was given.
    pub link_epoch: LinkEpoch,
}

/// Names a link at its sending end: the session whose word on its replica counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaLink {
    /// The source.
    pub stream: StreamId,
    /// Where the replica lies.
    pub replica: mainstem_catalog::Place,
    /// The epoch that was raised for its Hello.
    pub link_epoch: LinkEpoch,
}

/// What is durable at a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedEnd {
    /// The topic.
    pub topic: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The next offset after it.
    pub offset: i64,
}

/// Up to where a source lets consumers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldWatermark {
    /// The topic.
    pub topic: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The next offset after what they may read; nothing if that is everything durable.
    pub watermark: Option<i64>,
}

/// A commit as links tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDecision {
    /// The producer.
    pub producer_id: i64,
    /// The markers' epoch.
    pub epoch: i16,
    /// When it was decided.
    pub at_ms: i64,
    /// Where the markers stand.
    pub markers: Vec<LinkMarker>,
}

/// Where one marker stands, in words that both ends of a link know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkMarker {
    /// The stream that holds the topic in this cluster.
    pub stream: StreamId,
    /// The topic.
    pub topic: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The marker's offset.
    pub offset: i64,
    /// The offset of the transaction's first record there.
    pub first_offset: i64,
}

/// Batches of one partition that a link brought.
#[derive(Clone, Debug)]
pub struct ReplicaAppend {
    /// The link.
    pub link: LinkName,
    /// The topic.
    pub topic: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The partition's whole lineage at its source when it changed, else empty.
    pub lineage: Vec<LineageEntry>,
    /// The source keeps nothing from our end up to here: retention or compaction took it.
    pub gap_to: Option<i64>,
    /// Batches below may have been compacted at the source before they came; 0 for none.
    pub compacted: i64,
    /// The number of the owner's term that the source knew of then.
    pub compacted_in: u64,
    /// The batches, in order.
    pub batches: Vec<ReplicaBatch>,
}

/// A batch as its owner keeps it.
#[derive(Clone, Debug)]
pub struct ReplicaBatch {
    /// When it arrived at the owner.
    pub arrival_ms: i64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A partition as its topic's owner has it, to whose history ours is to be joined.
#[derive(Clone, Debug)]
pub struct Rejoin {
    /// The link.
    pub link: LinkName,
    /// The topic.
    pub topic: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// Its whole lineage at the owner.
    pub lineage: Vec<LineageEntry>,
    /// Its durable end there.
    pub source_end: i64,
}

/// How far a [`Rejoin`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoined {
    /// Part of what the owner does not have is set aside by now; ask again.
    InProgress,
    /// What is left is the beginning of the owner's history, up to this end.
    At(i64),
}

/// A commit by a consumer group here.
#[derive(Clone, Debug)]
pub struct CursorCommit {
    /// Whose, where.
    pub key: CursorKey,
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// The client's words.
    pub metadata: String,
}

/// Answers to an append, when they are true.
pub type Appending = Answer<Vec<Result<Appended, Error>>>;
/// The partition's durable end after a replicated append.
pub type ReplicaAppending = Answer<Result<i64, Error>>;

/// The catalog with a change in it, or the change's refusal.
pub type Changing = Answer<Result<Catalog, Error>>;

/// An answer that the sequencer will give.
#[derive(Debug)]
pub struct Answer<T>(pub(crate) oneshot::Receiver<T>);

impl<T> Future for Answer<T> {
    /// An error means that the engine has closed, and nothing is known of the operation.
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| closed())
    }
}

pub(crate) fn closed() -> Error {
    Error::retry("the node is shutting down; try again when it is back")
}

/// A step of compaction in one partition.
#[derive(Clone, Debug)]
pub(crate) struct Compact {
    pub(crate) partition: PartitionNo,
    /// The partition's cuts when the pass began.
    pub(crate) cuts: u64,
    pub(crate) step: CompactStep,
}

#[derive(Clone, Debug)]
pub(crate) enum CompactStep {
    /// What lies below may be written anew from now on.
    Begin(i64),
    /// This stands in the place of what is there.
    Rewrite(Vec<Place>),
    /// Every key below was looked at.
    Done(i64),
}

/// One operation in the queue.
pub(crate) enum Op {
    Append {
        appends: Vec<(PartitionNo, BytesMut)>,
        ack: Ack,
        /// They were kept elsewhere, and belong to no transaction of this cluster.
        are_kept: bool,
        reply: oneshot::Sender<Vec<Result<Appended, Error>>>,
    },
    AppendReplica {
        append: ReplicaAppend,
        reply: oneshot::Sender<Result<i64, Error>>,
    },
    Rejoin {
        rejoin: Rejoin,
        reply: oneshot::Sender<Result<Rejoined, Error>>,
    },
    Compact {
        compact: Compact,
        reply: oneshot::Sender<Result<Option<Arc<Producers>>, Error>>,
    },
    Change {
        command: Box<Command>,
        reply: oneshot::Sender<Result<Catalog, Error>>,
    },
    CommitCursors {
        commits: Vec<CursorCommit>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    ApplyCursors {
        link: LinkName,
        cursors: Vec<(CursorKey, CursorValue)>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    DeleteCursors {
        keys: Vec<CursorKey>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Trim {
        partition: PartitionNo,
        log_start: i64,
        reply: oneshot::Sender<Result<i64, Error>>,
    },
    TrimReplica {
        link: LinkName,
        starts: Vec<(PartitionNo, i64)>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Transact {
        step: TransactionStep,
        reply: oneshot::Sender<Result<Stepped, Error>>,
    },
    EndTransaction {
        producer: TransactionalProducer,
        commit: bool,
        reply: oneshot::Sender<Vec<Result<Appended, Error>>>,
    },
    /// Nobody waits for an answer to this, nor to the next two.
    KeepDecisions {
        link: LinkName,
        decisions: Vec<LinkDecision>,
    },
    NoteAcked {
        link: ReplicaLink,
        ends: Vec<AckedEnd>,
    },
    HoldWatermarks {
        link: LinkName,
        marks: Vec<HeldWatermark>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

impl CompactStep {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Rewrite(places) => {
                places.iter().filter_map(|place| place.batch.as_ref()).map(Bytes::len).sum()
            }
            Self::Begin(_) | Self::Done(_) => 0,
        }
    }

    pub(crate) fn frames(&self) -> usize {
        match self {
            Self::Rewrite(places) => places.len(),
            Self::Begin(_) | Self::Done(_) => 1,
        }
    }
}

impl Op {
    /// What it weighs in the queue.
    pub(crate) fn bytes(&self) -> usize {
        const SMALL: usize = 256;
        const REJOIN_BYTES: usize = 1024 * 1024;
        SMALL
            + match self {
                Self::Append { appends, .. } => appends.iter().map(|(_, b)| b.len()).sum(),
                Self::AppendReplica { append, .. } => {
                    append.batches.iter().map(|b| b.bytes.len()).sum()
                }
                Self::CommitCursors { commits, .. } => commits.len() * SMALL,
                Self::ApplyCursors { cursors, .. } => cursors.len() * SMALL,
                Self::DeleteCursors { keys, .. } => keys.len() * SMALL,
                Self::TrimReplica { starts, .. } => starts.len() * size_of::<(PartitionNo, i64)>(),
                Self::NoteAcked { ends, .. } => ends.len() * size_of::<AckedEnd>(),
                Self::HoldWatermarks { marks, .. } => marks.len() * size_of::<HeldWatermark>(),
                Self::Transact { step, .. } => step.bytes(),
                Self::KeepDecisions { decisions, .. } => {
                    decisions.iter().map(|one| one.markers.len() * size_of::<LinkMarker>()).sum()
                }
                Self::Compact { compact, .. } => compact.step.bytes(),
                // A group copies so much for each of them.
                Self::Rejoin { .. } => REJOIN_BYTES,
                Self::Change { .. }
                | Self::Trim { .. }
                | Self::EndTransaction { .. }
                | Self::Close { .. } => 0,
            }
    }
}
