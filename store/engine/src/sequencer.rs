//! The one writer: takes what has gathered, decides it, makes it durable, and tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mainstem_env::{Disk, DiskLock, Env};
use mainstem_group::CursorRecord;
use mainstem_log::{CommitLog, Frame};
use mainstem_types::limits::GROUP_BYTES_MAX;
use mainstem_types::{Error, PartitionNo};

use crate::duties::Housekeeping;
use crate::op::{Ack, LinkDecision, Op};
use crate::reply::Reply;
use crate::room::Room;
use crate::settings::EngineSettings;
use crate::shared::Shared;
use crate::state::State;
use crate::sync_desk::SyncDesk;
use crate::view_writer::ViewWriter;

/// Owns everything that can change in a node. Run it on a thread of its own with [`Self::run`], or
/// step it by hand in a simulation.
pub struct Sequencer {
    pub(crate) env: Env,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: EngineSettings,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: State,
    pub(crate) log: Box<dyn CommitLog>,
    pub(crate) view: ViewWriter,
    pub(crate) group: Group,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) sync: SyncDesk,
    pub(crate) cursor_version: u64,
    /// Wall-clock time of the current step.
    pub(crate) now_ms: i64,
    /// Dropped last: log and view are closed before another process may open them.
    pub(crate) _lock: Arc<DiskLock>,
}

/// What the current step has decided and not yet made durable.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) frames: Vec<Frame>,
    /// Partitions whose frontiers or lineage moved.
    pub(crate) partitions: BTreeSet<PartitionNo>,
    pub(crate) partitions_removed: Vec<PartitionNo>,
    /// Partitions that this stream owned before: what is written may be set aside.
    pub(crate) partitions_given_up: BTreeSet<PartitionNo>,
    pub(crate) cursors: Vec<CursorRecord>,
    pub(crate) catalog_changed: bool,
    /// Commits that replicas are to hear of.
    pub(crate) to_tell: Vec<LinkDecision>,
    /// Producers whose transactions moved.
    pub(crate) transactions: BTreeSet<i64>,
    /// Batches among the replies.
    pub(crate) promises: usize,
    pub(crate) replies: Vec<Reply>,
}

/// What a step found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing was queued or due.
    Idle,
    /// Something was done.
    Worked,
    /// The engine was closed; this was the last step.
    Closed,
}

impl Sequencer {
    /// Works until the engine is closed.
    ///
    /// # Errors
    /// The disk failed. Nothing more may be acknowledged: end the process, and let the next start
    /// recover what is durable.
    pub fn run(mut self) -> Result<(), Error> {
        /// How long housekeeping may be late when nothing else happens.
        const IDLE_WAIT: Duration = Duration::from_millis(100);
        loop {
            match self.step()? {
                Step::Idle => self.shared.queue.wait(IDLE_WAIT),
                Step::Worked => {}
                Step::Closed => return Ok(()),
            }
        }
    }

    /// Runs on a thread of its own. A failed disk ends the process at once, since no later answer
    /// could be trusted.
    pub fn spawn(self) -> Result<std::thread::JoinHandle<()>, Error> {
        let run = move || {
            if let Err(error) = self.run() {
                tracing::error!(%error, "the log failed; the process ends so that recovery decides");
                std::process::abort();
            }
        };
        std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(run)
            .map_err(|e| Error::storage(format!("no thread for the sequencer: {e}")))
    }

    /// One group commit: everything that has gathered, up to the group's limit.
    ///
    /// # Errors
    /// As [`Self::run`]. All waiters of this group see their sender dropped.
    pub fn step(&mut self) -> Result<Step, Error> {
        self.now_ms = self.env.clock.wall_ms();
        let ops = self.shared.queue.take(GROUP_BYTES_MAX);
        let mut step = if ops.is_empty() { Step::Idle } else { Step::Worked };
        let closing = ops.iter().any(|op| matches!(op, Op::Close { .. }));
        match self.find_room(&ops)? {
            Room::None => self.go_without_room(ops)?,
            room => {
                for op in ops {
                    self.sequence(op, room);
                }
                if self.housekeeping.are_duties_due
                    && (self.look_at_damage() | self.expire_if_due())
                {
                    step = Step::Worked;
                }
                self.abort_overdue();
                self.keep_synchrony();
                self.commit()?;
            }
        }
        // Without room for it the state may hold what is written nowhere yet.
        if self.group.frames.is_empty() {
            self.keep_view_if_due()?;
        }
        if closing {
            self.close();
            return Ok(Step::Closed);
        }
        Ok(step)
    }

    /// Nothing can be written: everything is refused, but who waits for a replica is still told.
    fn go_without_room(&mut self, ops: Vec<Op>) -> Result<(), Error> {
        for op in ops {
            match op {
                Op::NoteAcked { link, ends } => self.sequence_acked(&link, &ends),
                op => op.refuse().send(),
            }
        }
        self.carry_out(false);
        if self.group.frames.is_empty() { self.commit() } else { Ok(()) }
    }

    fn sequence(&mut self, op: Op, room: Room) {
        let reply = match op {
            op if room == Room::NoAppends && op.is_append() => op.refuse(),
            Op::Append { appends, ack, are_kept, reply } => {
                let append = |(no, batch)| self.sequence_append(no, batch, ack, are_kept);
                let promises: Vec<_> = appends.into_iter().map(append).collect();
                self.group.promises += promises.len();
                Reply::Append(ack, reply, promises)
            }
            Op::AppendReplica { append, reply } => {
                Reply::Offset(reply, self.sequence_replica_append(append))
            }
            Op::Compact { compact, reply } => {
                Reply::Compacted(reply, self.sequence_compaction(compact))
            }
            Op::Rejoin { rejoin, reply } => Reply::Rejoined(reply, self.sequence_rejoin(&rejoin)),
            Op::Change { command, reply } => {
                let changed = self
                    .sequence_change(&command)
                    .map(|catalog| self.doubt_paused(&command).unwrap_or(catalog));
                Reply::Change(reply, Box::new(changed))
            }
            Op::CommitCursors { commits, reply } => {
                Reply::Done(reply, self.sequence_commits(commits))
            }
            Op::ApplyCursors { link, cursors, reply } => {
                Reply::Done(reply, self.sequence_replicated_cursors(link, cursors))
            }
            Op::DeleteCursors { keys, reply } => {
                self.sequence_cursor_deletes(keys);
                Reply::Done(reply, Ok(()))
            }
            Op::Trim { partition, log_start, reply } => {
                Reply::Offset(reply, self.sequence_trim(partition, log_start))
            }
            Op::TrimReplica { link, starts, reply } => {
                Reply::Done(reply, self.sequence_replica_trims(link, starts))
            }
            Op::Transact { step, reply } => {
                Reply::Transacted(reply, self.sequence_transaction_step(step))
            }
            Op::EndTransaction { producer, commit, reply } => {
                let promises = self.sequence_end(&producer, commit);
                self.group.promises += promises.len();
                Reply::Append(Ack::Durable, reply, promises)
            }
            Op::KeepDecisions { link, decisions } => {
                // As with watermarks.
                let _ = self.sequence_told(link, &decisions);
                Reply::Nothing
            }
            Op::NoteAcked { link, ends } => {
                self.sequence_acked(&link, &ends);
                Reply::Nothing
            }
            Op::HoldWatermarks { link, marks } => {
                // A link that no longer stands is told so at its next append.
                let _ = self.sequence_held(link, &marks);
                Reply::Nothing
            }
            Op::Close { reply } => Reply::Closed(reply),
        };
        self.group.replies.push(reply);
    }

    /// Writes, syncs, shows, tells: in this order and no other (I1).
    fn commit(&mut self) -> Result<(), Error> {
        let mut group = std::mem::take(&mut self.group);
        if !group.frames.is_empty() {
            // Room was reserved. A file system that breaks that promise (some copy every block they
            // write) leaves decisions that no log holds: the process has to end, and those who wait
            // learn that nothing is known.
            self.log.write(std::mem::take(&mut group.frames))?;
            let is_early = |reply: &mut Reply| reply.is_for_written();
            group.replies.extract_if(.., is_early).for_each(Reply::send);
            let begun_ms = self.env.clock.monotonic_ms();
            self.log.sync()?;
            self.housekeeping.syncs.note(self.env.clock.monotonic_ms() - begun_ms);
        }
        self.publish(&mut group);
        let given_up = group.partitions_given_up;
        for reply in group.replies {
            match reply {
                Reply::Append(_, waiter, promises)
                    if self.has_synchrony() || !given_up.is_empty() =>
                {
                    self.take_promises(waiter, promises, &given_up);
                }
                reply => reply.send(),
            }
        }
        Ok(())
    }

    /// Lets readers see what has just become durable.
    fn publish(&mut self, group: &mut Group) {
        for no in &group.partitions_removed {
            self.forget_waiting(*no);
        }
        // Before the ends that show their markers.
        self.shared.to_tell.write().extend(std::mem::take(&mut group.to_tell));
        // Before anybody may see more: what waits was promised by an owner, which this is not.
        group.partitions_given_up.iter().for_each(|no| self.turn_away(*no));
        if group.catalog_changed {
            self.publish_partitions(&group.partitions, &group.partitions_removed);
        }
        // Before the new ends: what is held back must never be seen.
        group.partitions.iter().for_each(|no| self.settle_watermark(*no));
        group.partitions.iter().for_each(|no| self.settle_account(*no));
        let partitions = self.shared.partitions.read();
        let mut cuts = 0;
        for no in &group.partitions {
            // It may have been deleted by a later operation of the same group.
            let Some(state) = self.state.partitions.get(no) else { continue };
            let partition = &partitions[no];
            partition.publish_marks(&state.marks);
            partition.publish_transactions(&state.transactions, self.state.is_left_open(state));
            cuts += state.cuts - partition.cuts();
            partition.publish_cuts(state.cuts);
            partition.publish(state.log_start, state.end, state.held, Some(&state.lineage));
            self.state.dirty.partitions.insert(*no);
        }
        drop(partitions);
        if cuts > 0 {
            self.shared.cuts.send_modify(|all| *all += cuts);
        }
        self.publish_cursors(std::mem::take(&mut group.cursors));
        self.publish_pending_cursors(&group.transactions);
        // Last: who sees that a topic was given up sees all that was written to it before.
        if group.catalog_changed {
            self.shared.catalog.send_replace(self.state.catalog.clone());
        }
    }

    /// The last step: the view catches up, so that the next start replays nothing.
    fn close(&mut self) {
        self.shared.queue.close();
        self.flush_view();
    }
}
