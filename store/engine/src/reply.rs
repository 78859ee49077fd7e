//! Answers that wait until they are true.

use std::sync::Arc;

use mainstem_catalog::Catalog;
use mainstem_transaction::Producers;
use mainstem_types::Error;
use tokio::sync::oneshot;

use crate::op::{Ack, Op, Rejoined};
use crate::transaction_step::Stepped;
use crate::waiting::{Answers, Promise};

/// An answer that waits for its truth.
pub(crate) enum Reply {
    Append(Ack, oneshot::Sender<Answers>, Vec<Result<Promise, Error>>),
    Offset(oneshot::Sender<Result<i64, Error>>, Result<i64, Error>),
    Change(oneshot::Sender<Result<Catalog, Error>>, Box<Result<Catalog, Error>>),
    Rejoined(oneshot::Sender<Result<Rejoined, Error>>, Result<Rejoined, Error>),
    Compacted(
        oneshot::Sender<Result<Option<Arc<Producers>>, Error>>,
        Result<Option<Arc<Producers>>, Error>,
    ),
    Done(oneshot::Sender<Result<(), Error>>, Result<(), Error>),
    Transacted(oneshot::Sender<Result<Stepped, Error>>, Result<Stepped, Error>),
    Closed(oneshot::Sender<()>),
    /// Nobody asked.
    Nothing,
}

impl Reply {
    /// Whoever asked may have gone away; then nobody is told.
    pub(crate) fn send(self) {
        match self {
            Self::Append(_, waiter, promises) => {
                let answers = promises.into_iter().map(|p| p.map(|promise| promise.appended));
                drop(waiter.send(answers.collect()));
            }
            Self::Offset(waiter, answer) => drop(waiter.send(answer)),
            Self::Change(waiter, answer) => drop(waiter.send(*answer)),
            Self::Rejoined(waiter, answer) => drop(waiter.send(answer)),
            Self::Compacted(waiter, answer) => drop(waiter.send(answer)),
            Self::Done(waiter, answer) => drop(waiter.send(answer)),
            Self::Transacted(waiter, answer) => drop(waiter.send(answer)),
            Self::Closed(waiter) => drop(waiter.send(())),
            Self::Nothing => {}
        }
    }

    pub(crate) fn is_for_written(&self) -> bool {
        matches!(self, Self::Append(Ack::Written | Ack::None, ..))
    }
}

impl Op {
    /// Answers that the disk is full; nothing was done.
    pub(crate) fn refuse(self) -> Reply {
        match self {
            Self::Append { appends, ack, reply, .. } => {
                Reply::Append(ack, reply, appends.iter().map(|_| Err(disk_full())).collect())
            }
            Self::AppendReplica { reply, .. } | Self::Trim { reply, .. } => {
                Reply::Offset(reply, Err(disk_full()))
            }
            Self::Change { reply, .. } => Reply::Change(reply, Box::new(Err(disk_full()))),
            Self::Rejoin { reply, .. } => Reply::Rejoined(reply, Err(disk_full())),
            Self::Compact { reply, .. } => Reply::Compacted(reply, Err(disk_full())),
            Self::CommitCursors { reply, .. }
            | Self::ApplyCursors { reply, .. }
            | Self::TrimReplica { reply, .. }
            | Self::DeleteCursors { reply, .. } => Reply::Done(reply, Err(disk_full())),
            Self::Transact { reply, .. } => Reply::Transacted(reply, Err(disk_full())),
            Self::EndTransaction { reply, .. } => {
                Reply::Append(Ack::Durable, reply, vec![Err(disk_full())])
            }
            Self::NoteAcked { .. } | Self::HoldWatermarks { .. } | Self::KeepDecisions { .. } => {
                Reply::Nothing
            }
            Self::Close { reply } => Reply::Closed(reply),
        }
    }
}

fn disk_full() -> Error {
    Error::storage(
        "the disk is full; free space, or delete topics or lower their ttl, and try again",
    )
}
