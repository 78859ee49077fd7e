//! Transactions as doors see them: one step after the other, each durable when it is answered.

use mainstem_group::CursorKey;
use mainstem_transaction::{PendingCursor, TransactionalProducer};
use mainstem_types::{Error, GroupId, PartitionNo, TransactionalId};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::op::{CursorCommit, Op, closed};
use crate::transaction_step::{Stepped, TransactionStep};

impl Engine {
    /// Gives a producer its id and epoch under a transactional id. Whoever had that is fenced, and
    /// what it had open is aborted. `known` is what the producer says it has.
    ///
    /// # Errors
    /// `Invalid` for a time-out out of bounds, `ProducerFenced` where `known` is not what stands,
    /// `HandingOver` while what is open cannot end, `Limit` if too many are at work.
    pub async fn begin_producer(
        &self,
        id: &TransactionalId,
        known: Option<(i64, i16)>,
        timeout_ms: i32,
    ) -> Result<(i64, i16), Error> {
        let mut fresh = None;
        loop {
            let step = TransactionStep::Begin { id: id.clone(), known, timeout_ms, fresh };
            match self.step_transaction(step).await? {
                Stepped::Begun(producer_id, epoch) => return Ok((producer_id, epoch)),
                _ => fresh = Some(self.next_producer_id().await?),
            }
        }
    }

    /// Lets partitions take part in the producer's transaction, which begins by it; all of them or
    /// none.
    ///
    /// # Errors
    /// `UnknownTransaction` or `ProducerFenced` where the producer does not have its id; as for an
    /// append where a partition is not written here; `Limit` if there are too many.
    pub async fn add_to_transaction(
        &self,
        producer: TransactionalProducer,
        partitions: Vec<PartitionNo>,
    ) -> Result<(), Error> {
        self.step_transaction(TransactionStep::AddPartitions { producer, partitions })
            .await
            .map(drop)
    }

    /// Lets a group's cursors take part; else as [`Self::add_to_transaction`].
    pub async fn add_group_to_transaction(
        &self,
        producer: TransactionalProducer,
        group: GroupId,
    ) -> Result<(), Error> {
        self.step_transaction(TransactionStep::AddGroup { producer, group }).await.map(drop)
    }

    /// Cursors that move when the transaction is committed; all of them or none.
    ///
    /// # Errors
    /// As [`Self::add_to_transaction`], and `InvalidTransaction` where the group takes part in no
    /// open one.
    pub async fn commit_cursors_in_transaction(
        &self,
        producer: TransactionalProducer,
        commits: Vec<CursorCommit>,
    ) -> Result<(), Error> {
        let cursors = commits.into_iter().map(|commit| PendingCursor {
            stream: commit.key.stream,
            group: commit.key.group,
            topic: commit.key.topic,
            partition: commit.key.partition,
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
        });
        let cursors = cursors.collect();
        self.step_transaction(TransactionStep::AddCursors { producer, cursors }).await.map(drop)
    }

    /// Ends the producer's transaction: decision, markers and cursors at once. It has ended so when
    /// this returns, at the synchronous replicas in force too (I1).
    ///
    /// # Errors
    /// As [`Self::add_to_transaction`], `InvalidTransaction` where none is open that could end so,
    /// `HandingOver` while a topic is on its way to another owner.
    pub async fn end_transaction(
        &self,
        producer: TransactionalProducer,
        commit: bool,
    ) -> Result<(), Error> {
        self.queue_end_transaction(producer, commit).await?.await
    }

    /// As [`Self::end_transaction`], for those who do something else while replicas are waited for:
    /// when this returns, the end is in order with all that was queued before; the answer comes
    /// when it is true.
    ///
    /// # Errors
    /// Only when the engine has closed; the answer's errors are those of [`Self::end_transaction`].
    pub async fn queue_end_transaction(
        &self,
        producer: TransactionalProducer,
        commit: bool,
    ) -> Result<impl Future<Output = Result<(), Error>> + Send + use<>, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::EndTransaction { producer, commit, reply }).await?;
        Ok(async move {
            let markers = answer.await.map_err(|_| closed())?;
            markers.into_iter().try_for_each(|marker| marker.map(drop))
        })
    }

    /// Whether an open transaction is to move this cursor.
    pub fn is_cursor_pending(&self, key: &CursorKey) -> bool {
        self.shared.pending_cursors.read().contains(key)
    }

    async fn step_transaction(&self, step: TransactionStep) -> Result<Stepped, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Transact { step, reply }).await?;
        answer.await.map_err(|_| closed())?
    }
}
