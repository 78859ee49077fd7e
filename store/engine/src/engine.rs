//! The engine as doors see it: operations in, answers out, handles for reading.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mainstem_catalog::{Catalog, Command};
use mainstem_env::{Disk, Env};
use mainstem_group::{Cursor, CursorKey, CursorValue};
use mainstem_log::LogStats;
use mainstem_record::check_replicated;
use mainstem_transaction::{ProducerIdBlock, ProducerIdPrefix};
use mainstem_types::{Error, PartitionNo, StreamId};
use tokio::sync::{oneshot, watch};

use crate::cleaner::{Cleaner, CleanerSettings};
use crate::health::Health;
use crate::op::{
    Ack, AckedEnd, Answer, Append, Appending, Changing, CursorCommit, HeldWatermark, LinkName, Op,
    Rejoin, Rejoined, ReplicaAppend, ReplicaAppending, ReplicaLink, closed,
};
use crate::partition::Partition;
use crate::recovery;
use crate::sequencer::Sequencer;
use crate::settings::EngineSettings;
use crate::shared::Shared;
use crate::subscription::Subscription;

/// All streams of a node. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    producer_ids: Arc<tokio::sync::Mutex<Option<ProducerIdBlock>>>,
}

impl Engine {
    /// Recovers the data on `disk` and returns the engine with its sequencer, which the caller
    /// spawns or steps; until then operations wait.
    ///
    /// # Errors
    /// The directory is locked, is of a newer format, or cannot be read.
    pub fn open(
        env: Env,
        disk: Arc<dyn Disk>,
        settings: EngineSettings,
    ) -> Result<(Self, Sequencer), Error> {
        let sequencer = recovery::open(env, disk, settings)?;
        let engine = Self { shared: sequencer.shared.clone(), producer_ids: Arc::default() };
        Ok((engine, sequencer))
    }

    /// The durable catalog, as it is now.
    pub fn catalog(&self) -> Catalog {
        self.shared.catalog.borrow().clone()
    }

    /// The durable catalog, whenever it changes.
    pub fn watch_catalog(&self) -> watch::Receiver<Catalog> {
        self.shared.catalog.subscribe()
    }

    /// How often partitions were cut since the start, whenever one is: what is known of the end of
    /// any may be too much.
    pub fn watch_cuts(&self) -> watch::Receiver<u64> {
        self.shared.cuts.subscribe()
    }

    /// A handle for reading a partition.
    pub fn partition(&self, no: PartitionNo) -> Option<Arc<Partition>> {
        self.shared.partitions.read().get(&no).cloned()
    }

    /// What the log held when it was last looked at, a second ago or less.
    pub fn log_stats(&self) -> LogStats {
        self.shared.log_stats.lock().clone()
    }

    /// How the storage is, a second ago or less.
    pub fn health(&self) -> Health {
        self.shared.health.lock().clone()
    }

    /// Changes the catalog; durable when it returns. Gives the catalog with the change.
    ///
    /// # Errors
    /// A refusal changes nothing and says what to do next.
    pub async fn change(&self, command: Command) -> Result<Catalog, Error> {
        self.queue_change(command).await?.await?
    }

    /// As [`Self::change`], for those who have many changes to make: each is decided in order
    /// with all that was queued before, and those that have gathered share one sync.
    pub async fn queue_change(&self, command: Command) -> Result<Changing, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Change { command: Box::new(command), reply }).await?;
        Ok(Answer(answer))
    }

    /// Queues batches, in order with all that was queued before, once there is room. The answer
    /// comes when `ack` is true for all of them, one result for each in their order.
    pub async fn append(&self, appends: Vec<Append>, ack: Ack) -> Result<Appending, Error> {
        self.queue_append(appends, ack, false).await
    }

    /// As [`Self::append`] for batches that a log has kept before, as imports bring them: what is
    /// part of a transaction is taken as it is, and ends by the marker that follows.
    pub async fn append_kept(&self, appends: Vec<Append>, ack: Ack) -> Result<Appending, Error> {
        self.queue_append(appends, ack, true).await
    }

    async fn queue_append(
        &self,
        appends: Vec<Append>,
        ack: Ack,
        are_kept: bool,
    ) -> Result<Appending, Error> {
        // Offsets are stamped in place, so the batch must be ours alone: one copy, made here and
        // not on the sequencer, unless nobody shares the bytes.
        let own = |append: Append| (append.partition, into_mut(append.batch));
        let appends = appends.into_iter().map(own).collect();
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Append { appends, ack, are_kept, reply }).await?;
        Ok(Answer(answer))
    }

    /// Queues what a link brought. The answer is the partition's durable end.
    ///
    /// # Errors
    /// `Corrupt` at once for a batch that is not what its owner sent (I2). In the answer: `Fenced`
    /// when the agreement or epoch no longer stands (I6), `Misaligned` with the expected offset,
    /// `Diverged`, `NotFound` for an unknown topic, `Policy` for a topic owned here (I5).
    pub async fn append_replica(&self, append: ReplicaAppend) -> Result<ReplicaAppending, Error> {
        for batch in &append.batches {
            check_replicated(&batch.bytes).map_err(|e| Error::corrupt(e.to_string()))?;
        }
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::AppendReplica { append, reply }).await?;
        Ok(Answer(answer))
    }

    /// Queues what a session says that its replica has durably: at its beginning of all that it
    /// knows, then of what moved. A session that was superseded counts for nothing.
    pub async fn note_acked(&self, link: ReplicaLink, ends: Vec<AckedEnd>) -> Result<(), Error> {
        self.shared.queue.push(Op::NoteAcked { link, ends }).await
    }

    /// Queues, in order with appends, up to where consumers of a replica may read. Whether the
    /// link still stands is told by the next append.
    pub async fn hold_watermarks(
        &self,
        link: LinkName,
        marks: Vec<HeldWatermark>,
    ) -> Result<(), Error> {
        self.shared.queue.push(Op::HoldWatermarks { link, marks }).await
    }

    /// Whether writes are refused now because this synchronous replica does not keep up.
    pub fn is_missing(&self, stream: StreamId, replica: u32) -> bool {
        self.shared.missing.lock().contains(&(stream, replica))
    }

    /// Joins a partition to the history that its topic's owner has: what goes beyond what both have
    /// in common is set aside first (I8), and then undone. Gives the end where the link goes on.
    ///
    /// # Errors
    /// As in [`Self::append_replica`]; `Diverged` from anyone but the owner's history; `Policy` also
    /// where another tail has the place in which this one would be set aside.
    pub async fn rejoin(&self, rejoin: Rejoin) -> Result<i64, Error> {
        loop {
            let (reply, answer) = oneshot::channel();
            let op = Op::Rejoin { rejoin: rejoin.clone(), reply };
            self.shared.queue.push(op).await?;
            match answer.await.map_err(|_| closed())?? {
                Rejoined::At(end) => return Ok(end),
                Rejoined::InProgress => {}
            }
        }
    }

    /// Commits cursors of groups here; all of them or none.
    pub async fn commit_cursors(&self, commits: Vec<CursorCommit>) -> Result<(), Error> {
        self.done(|reply| Op::CommitCursors { commits, reply }).await
    }

    /// Takes over cursors that a link brought.
    pub async fn apply_cursors(
        &self,
        link: LinkName,
        cursors: Vec<(CursorKey, CursorValue)>,
    ) -> Result<(), Error> {
        self.done(|reply| Op::ApplyCursors { link, cursors, reply }).await
    }

    /// Forgets cursors, both columns.
    pub async fn delete_cursors(&self, keys: Vec<CursorKey>) -> Result<(), Error> {
        self.done(|reply| Op::DeleteCursors { keys, reply }).await
    }

    /// Deletes records below `log_start`, here and at every replica; gives the log start that
    /// stands then.
    pub async fn trim(&self, partition: PartitionNo, log_start: i64) -> Result<i64, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Trim { partition, log_start, reply }).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Deletes below these offsets what the owners deleted there, as carried by a link. What is
    /// above a partition's end is cut to it; what is gone, or owned here, is passed over.
    pub async fn trim_replica(
        &self,
        link: LinkName,
        starts: Vec<(PartitionNo, i64)>,
    ) -> Result<(), Error> {
        self.done(|reply| Op::TrimReplica { link, starts, reply }).await
    }

    /// What compacts partitions in the background, which the caller spawns or steps.
    pub fn cleaner(&self, env: Env, settings: CleanerSettings) -> Cleaner {
        Cleaner::new(self.shared.clone(), env, settings)
    }

    /// Records and bytes that log compaction has taken since the start.
    pub fn removed_by_compaction(&self) -> (u64, u64) {
        self.shared.removed.get()
    }

    /// Whether those who write wait for their turn: more than a fraction of a group has gathered
    /// while the one before is made durable. What is not urgent yields then.
    pub fn is_loaded(&self) -> bool {
        self.shared.queue.is_loaded()
    }

    /// A group's cursor.
    pub fn cursor(&self, key: &CursorKey) -> Option<Cursor> {
        self.shared.cursors.read().get(key).cloned()?.standing()
    }

    /// All cursors of a stream that stand.
    pub fn cursors(&self, stream: StreamId) -> Vec<(CursorKey, Cursor)> {
        let all = self.cursors_and_deletions(stream).into_iter();
        all.filter_map(|(key, cursor)| Some((key, cursor.standing()?))).collect()
    }

    /// All cursors of a stream with those that were deleted, as links carry them.
    pub fn cursors_and_deletions(&self, stream: StreamId) -> Vec<(CursorKey, Cursor)> {
        self.shared.cursors.read().of_stream(stream)
    }

    /// A subscription that watches nothing yet.
    pub fn subscribe(&self) -> Arc<Subscription> {
        Subscription::new()
    }

    /// Lets a subscription hear of committed cursors of a stream.
    pub fn watch_cursors(&self, stream: StreamId, subscription: &Arc<Subscription>) {
        self.shared.cursor_watchers.add(stream, subscription);
    }

    /// A producer id that no other producer has or will have. Blocks are reserved durably.
    pub async fn next_producer_id(&self) -> Result<i64, Error> {
        const BLOCK: u32 = 1000;
        let mut block = self.producer_ids.lock().await;
        loop {
            if let Some(id) = block.as_mut().and_then(ProducerIdBlock::take) {
                return Ok(id);
            }
            let catalog = self.change(Command::ReserveProducerIds { count: BLOCK }).await?;
            let cluster = catalog.cluster();
            let prefix = ProducerIdPrefix::of(cluster.id, u128::from(cluster.incarnation));
            let end = cluster.next_producer_id;
            *block = Some(ProducerIdBlock::new(prefix, end.saturating_sub(BLOCK)..end));
        }
    }

    /// Lets everything queued become durable, brings the view up to date, and ends the sequencer.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.shared.queue.push(Op::Close { reply }).await.is_ok() {
            // An error means that the sequencer is gone, which is what was wanted.
            let _ = answer.await;
        }
    }

    async fn done(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Op,
    ) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(op(reply)).await?;
        answer.await.map_err(|_| closed())?
    }
}

fn into_mut(bytes: Bytes) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}
