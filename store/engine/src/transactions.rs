//! Transactions in the sequencer's order. `mainstem_transaction::Coordinator` decides; here a
//! decision, its markers and its cursors become one group.
//!
//! The decision is one frame, with the cursors in it, in front of the markers. Where a crash leaves
//! the one without the others, the next start writes them (see `complete_open`), so a transaction
//! is never half committed and needs no second phase.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;
use mainstem_group::{CursorColumn, CursorRecord, CursorValue};
use mainstem_log::{Frame, FrameKind};
use mainstem_record::{BatchHeader, end_marker};
use mainstem_transaction::{
    Account, Begin, End, Marker, PendingCursor, Transaction, TransactionEvent, TransactionState,
    TransactionalProducer,
};
use mainstem_types::{Error, ErrorKind, Lineage, PartitionNo};

use crate::op::{Appended, Op};
use crate::pending_cursors::key_of;
use crate::room::Need;
use crate::sequencer::Sequencer;
use crate::state::{end_unknown, note_transaction};
use crate::transaction_step::{MARKER_BYTES, Stepped, TransactionStep, cursor_bytes};
use crate::waiting::Promise;

/// Transactional ids that are forgotten at once.
const FORGOTTEN_AT_ONCE: usize = 256;
/// What is read at a time where an account is told anew.
const RETELL_BYTES: usize = 1024 * 1024;

impl Sequencer {
    /// A step of a transactional producer, but for the end.
    pub(crate) fn sequence_transaction_step(
        &mut self,
        step: TransactionStep,
    ) -> Result<Stepped, Error> {
        let event = match step {
            TransactionStep::Begin { id, known, timeout_ms, fresh } => loop {
                let coordinator = &self.state.coordinator;
                match coordinator.begin(&id, known, timeout_ms, fresh, self.now_ms)? {
                    Begin::NeedsProducerId => return Ok(Stepped::NeedsProducerId),
                    Begin::AbortFirst(producer_id) => {
                        self.check_may_end(producer_id)?;
                        self.stage_end(producer_id, false, true);
                    }
                    Begin::Again { producer_id, epoch } => {
                        return Ok(Stepped::Begun(producer_id, epoch));
                    }
                    Begin::Begun { events, producer_id, epoch } => {
                        events.iter().for_each(|event| self.stage_transaction(event));
                        return Ok(Stepped::Begun(producer_id, epoch));
                    }
                }
            },
            TransactionStep::AddPartitions { producer, partitions } => {
                for no in &partitions {
                    self.check_local_write(*no)?;
                    self.check_none_left(*no, &producer)?;
                }
                self.state.coordinator.add_partitions(&producer, &partitions, self.now_ms)?
            }
            TransactionStep::AddGroup { producer, group } => {
                self.state.coordinator.add_group(&producer, &group, self.now_ms)?
            }
            TransactionStep::AddCursors { producer, cursors } => {
                for cursor in &cursors {
                    self.check_cursor(&key_of(cursor))?;
                }
                Some(self.state.coordinator.add_cursors(&producer, &cursors)?)
            }
        };
        if let Some(event) = event {
            self.stage_transaction(&event);
        }
        Ok(Stepped::Done)
    }

    /// What a producer's earlier transaction has left open in a partition does not become a part of
    /// its next one.
    fn check_none_left(
        &mut self,
        no: PartitionNo,
        producer: &TransactionalProducer,
    ) -> Result<(), Error> {
        let id = producer.producer_id;
        let is_open = |this: &Self| {
            let partition = this.state.partitions.get(&no);
            partition.is_some_and(|partition| partition.transactions.open_of(id).is_some())
        };
        let ours = self.state.coordinator.get(id);
        if !is_open(self)
            || ours.is_some_and(|ours| ours.is_open() && ours.partitions.contains(&no))
        {
            return Ok(());
        }
        self.complete_open(no);
        if is_open(self) {
            return Err(Error::new(
                ErrorKind::InvalidTransaction,
                format!(
                    "producer {id} has records of another transaction in partition {no}, which an \
                     import brought; begin with a producer of another transactional id"
                ),
            ));
        }
        Ok(())
    }

    /// The end of a transaction, as its producer wants it: a promise for each marker.
    pub(crate) fn sequence_end(
        &mut self,
        producer: &TransactionalProducer,
        commit: bool,
    ) -> Vec<Result<Promise, Error>> {
        match self.end_with_promises(producer, commit) {
            Ok(promises) => promises.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn end_with_promises(
        &mut self,
        producer: &TransactionalProducer,
        commit: bool,
    ) -> Result<Vec<Promise>, Error> {
        let markers = match self.state.coordinator.end(producer, commit)? {
            End::Nothing => Vec::new(),
            End::Again(markers) => {
                self.check_waiting()?;
                markers
            }
            End::Now => {
                self.check_may_end(producer.producer_id)?;
                self.stage_end(producer.producer_id, commit, false)
            }
        };
        markers.into_iter().map(|marker| self.marker_promise(marker)).collect()
    }

    /// A batch belongs to its producer's open transaction, or to none where none is open.
    pub(crate) fn check_transaction(
        &self,
        no: PartitionNo,
        header: &BatchHeader,
    ) -> Result<(), Error> {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        if header.attributes.is_control() {
            // No producer's: doors refuse it from those.
            return Ok(());
        }
        if header.attributes.is_transactional() {
            return self.state.coordinator.check_append(id, epoch, no);
        }
        if id >= 0 && self.state.partitions[&no].transactions.open_of(id).is_some() {
            return Err(Error::new(
                ErrorKind::InvalidTransaction,
                format!("producer {id} has a transaction open here; end it first"),
            ));
        }
        Ok(())
    }

    /// Transactions that are out of time are aborted, and their producers fenced.
    pub(crate) fn abort_overdue(&mut self) {
        for producer_id in self.state.coordinator.overdue(self.now_ms) {
            // While a topic is being handed over, nothing is written; its next owner aborts it.
            if self.check_may_end(producer_id).is_ok() {
                if let Some(ours) = self.state.coordinator.get(producer_id) {
                    tracing::info!(id = %ours.id, producer_id, "a transaction was out of time");
                }
                self.stage_end(producer_id, false, true);
            }
        }
    }

    /// Transactions that wrote to partitions which another stream owns from here on cannot be
    /// committed any more. There the next owner ends them.
    pub(crate) fn abort_given_up(&mut self, partitions: &[PartitionNo]) {
        if partitions.is_empty() {
            return;
        }
        let partitions: BTreeSet<PartitionNo> = partitions.iter().copied().collect();
        for producer_id in self.state.coordinator.open_in(&partitions) {
            self.stage_end(producer_id, false, true);
        }
    }

    /// What is open in a partition that is written here and is none of this cluster's open
    /// transactions is completed: as decided, else aborted. So it is after a take-over, and after
    /// a crash between a decision and its markers. What began in this reign besides, be it of a
    /// producer that is known here too, is left to the import that brought it.
    pub(crate) fn complete_open(&mut self, no: PartitionNo) {
        let Some(partition) = self.state.partitions.get(&no) else { return };
        if partition.transactions.open_count() == 0 || !self.may_mark(no) {
            return;
        }
        let reign = partition.lineage.last().map_or(0, |entry| entry.start_offset);
        for (producer_id, epoch, is_commit) in self.left_open(no, reign) {
            tracing::warn!(
                partition = no.0,
                producer_id,
                is_commit,
                "a transaction that was left open is completed"
            );
            self.stage_marker(no, producer_id, epoch, is_commit);
        }
    }

    /// What [`Self::complete_open`] ends in a reign that began at `reign`: the producers, their
    /// epochs, and whether it is committed.
    pub(crate) fn left_open(&self, no: PartitionNo, reign: i64) -> Vec<(i64, i16, bool)> {
        let partition = &self.state.partitions[&no];
        let end = partition.end;
        let left = partition.transactions.open();
        left.filter_map(|(producer_id, open)| {
            let ours = self.state.coordinator.get(producer_id);
            if ours.is_some_and(|ours| ours.is_open() && ours.partitions.contains(&no)) {
                return None;
            }
            if let Some(ours) = ours.filter(|ours| has_marker(ours, no, end)) {
                let is_commit = ours.state == TransactionState::Committed;
                return Some((producer_id, ours.epoch, is_commit));
            }
            if open.first_offset >= reign {
                return None;
            }
            let told = partition.transactions.told_commit(producer_id);
            let epoch = told.map_or(open.epoch, |told| told.epoch);
            Some((producer_id, epoch, told.is_some()))
        })
        .collect()
    }

    /// From time to time: what nobody ends any more, and transactional ids that nobody uses.
    pub(crate) fn sweep_transactions(&mut self) {
        let open = self.state.partitions.iter();
        let open = open.filter(|(_, partition)| partition.transactions.open_count() > 0);
        let mut open: Vec<PartitionNo> = open.map(|(no, _)| *no).collect();
        open.sort_unstable();
        open.into_iter().for_each(|no| self.complete_open(no));
        for event in self.state.coordinator.expire(self.now_ms, FORGOTTEN_AT_ONCE) {
            self.stage_transaction(&event);
        }
    }

    /// The account of what stands below `to`, told anew where an end above it is undone.
    pub(crate) fn account_below(&self, no: PartitionNo, to: i64) -> Result<Account, Error> {
        let partition = &self.state.partitions[&no];
        let mut left = Account::clone(&partition.transactions);
        let Some(from) = left.retold_from(to, partition.log_start) else {
            left.truncate(to);
            return Ok(left);
        };
        left.begin_at(from);
        let (mut left, mut at) = (Arc::new(left), from.max(partition.log_start));
        let mut lineage = Lineage::clone(&partition.lineage);
        lineage.truncate(to);
        let mut told_to = from;
        let gaps = partition.marks.gaps.iter().filter(|gap| gap.from >= from && gap.from < to);
        let mut gaps = gaps.peekable();
        while at < to {
            let batches = self.log.reader().read(no, at, to, RETELL_BYTES);
            let batches = batches.map_err(|error| self.shared.damage.note(error))?;
            // What is left is a gap.
            let Some(last) = batches.last() else { break };
            at = last.next_offset;
            for batch in batches.iter().take_while(|batch| batch.base_offset < to) {
                let header =
                    BatchHeader::decode(&batch.bytes).map_err(|e| Error::corrupt(e.to_string()))?;
                while let Some(gap) = gaps.next_if(|gap| gap.to <= batch.base_offset) {
                    Arc::make_mut(&mut left).note_gap(gap.from, gap.to);
                }
                end_unknown(&mut left, &lineage, told_to + 1..=batch.base_offset);
                told_to = batch.base_offset;
                note_transaction(&mut left, &header, &batch.bytes);
            }
        }
        end_unknown(&mut left, &lineage, told_to + 1..=to);
        let mut left = Arc::unwrap_or_clone(left);
        gaps.for_each(|gap| left.note_gap(gap.from, gap.to.min(to)));
        left.settle(partition.held);
        Ok(left)
    }

    /// Readers see ends whose markers they see.
    pub(crate) fn settle_account(&mut self, no: PartitionNo) {
        let Some(partition) = self.state.partitions.get_mut(&no) else { return };
        if !partition.transactions.is_settled(partition.held) {
            Arc::make_mut(&mut partition.transactions).settle(partition.held);
        }
    }

    /// Shows readers which cursors are about to move.
    pub(crate) fn publish_pending_cursors(&self, producers: &BTreeSet<i64>) {
        if producers.is_empty() {
            return;
        }
        let mut pending = self.shared.pending_cursors.write();
        for producer_id in producers {
            pending.set(*producer_id, self.state.coordinator.get(*producer_id));
        }
    }

    /// The most that the ends of transactions add to a group.
    pub(crate) fn need_of_transactions(&self, ops: &[Op]) -> Need {
        let coordinator = &self.state.coordinator;
        let is_change = |op: &Op| matches!(op, Op::Change { .. });
        // What the cluster ends by itself is aborted, and moves no cursor.
        let commits = ops.iter().filter_map(|op| match op {
            Op::EndTransaction { producer, commit: true, .. } => coordinator.by_id(&producer.id),
            _ => None,
        });
        let cursors = |ours: &Transaction| Need {
            payload_bytes: ours.cursors.iter().map(cursor_bytes).sum(),
            frames: 0,
        };
        let begun = ops.iter().map(|op| match op {
            Op::Transact { step: TransactionStep::AddPartitions { partitions, .. }, .. } => {
                partitions.len()
            }
            _ => 0,
        });
        let marker = Need { payload_bytes: MARKER_BYTES, frames: 1 };
        // Wherever one begins, an earlier one may have to be completed.
        let more = commits.map(cursors).sum::<Need>() + marker.times(begun.sum());
        if ops.iter().any(is_change) || self.housekeeping.are_duties_due {
            let open = coordinator.open().map(need_of_end);
            let left = self.state.partitions.values().map(|p| p.transactions.open_count()).sum();
            let forgotten = coordinator.expire(self.now_ms, FORGOTTEN_AT_ONCE).len();
            let forgotten = Need { payload_bytes: 64, frames: 1 }.times(forgotten);
            return open.sum::<Need>() + more + marker.times(left) + forgotten;
        }
        let ended = ops.iter().filter_map(|op| match op {
            Op::EndTransaction { producer, .. } => coordinator.by_id(&producer.id),
            Op::Transact { step: TransactionStep::Begin { id, .. }, .. } => coordinator.by_id(id),
            _ => None,
        });
        let overdue = coordinator.overdue(self.now_ms);
        let overdue = overdue.iter().filter_map(|producer_id| coordinator.get(*producer_id));
        ended.chain(overdue).map(need_of_end).sum::<Need>() + more
    }

    /// Whether all partitions of an open transaction can be written to: none is being handed over.
    fn check_may_end(&self, producer_id: i64) -> Result<(), Error> {
        let Some(ours) = self.state.coordinator.get(producer_id) else { return Ok(()) };
        for no in &ours.partitions {
            // One that was deleted, or is out of service, gets no marker and holds up nothing.
            if let Err(error) = self.check_local_write(*no)
                && error.kind() == ErrorKind::HandingOver
            {
                return Err(error);
            }
        }
        for cursor in &ours.cursors {
            if let Some(stream) = self.state.catalog.stream(cursor.stream) {
                stream.check_not_handing_over()?;
            }
        }
        Ok(())
    }

    fn may_mark(&self, no: PartitionNo) -> bool {
        let in_service = |no| {
            let partition = self.state.partitions.get(no);
            partition.is_some_and(|partition| partition.check_in_service().is_ok())
        };
        self.check_local_write(no).is_ok() && in_service(&no)
    }

    /// Decides an open transaction, and does all that follows.
    fn stage_end(&mut self, producer_id: i64, commit: bool, by_itself: bool) -> Vec<Marker> {
        let coordinator = &self.state.coordinator;
        let decision = coordinator.decision(producer_id, commit, by_itself, self.now_ms);
        let Some(mut decision) = decision else { return Vec::new() };
        let ours = coordinator.get(producer_id).expect("it has a decision");
        let marker = |no: &PartitionNo| {
            let partition = self.state.partitions.get(no)?;
            let first_offset = partition.transactions.open_of(producer_id)?.first_offset;
            let marker = Marker { partition: *no, offset: partition.end, first_offset };
            self.may_mark(*no).then_some(marker)
        };
        decision.markers = ours.partitions.iter().filter_map(marker).collect();
        let cursors = if commit { ours.cursors.clone() } else { Vec::new() };
        for cursor in cursors {
            if let Some(record) = self.cursor_record(cursor) {
                let bytes = minicbor::to_vec(&record).expect("a Vec takes every byte");
                decision.cursors.push(bytes.into());
                self.group.cursors.push(record);
            }
        }
        let (markers, epoch) = (decision.markers.clone(), decision.epoch);
        if commit && markers.len() > 1 {
            self.note_to_tell(&decision);
        }
        self.stage_transaction(&TransactionEvent::Decided { decision });
        for marker in &markers {
            self.stage_marker(marker.partition, producer_id, epoch, commit);
        }
        markers
    }

    /// What a cursor becomes by a commit; nothing if its topic was deleted meanwhile.
    fn cursor_record(&mut self, cursor: PendingCursor) -> Option<CursorRecord> {
        let key = key_of(&cursor);
        self.check_cursor(&key).ok()?;
        let stream = self.state.catalog.stream(key.stream)?;
        let topic = stream.topic_by_origin(key.topic)?;
        let term = topic.owner.term.id;
        let end = self.end_of_cut(topic, key.partition);
        let is_cut = cursor.offset > end;
        let value = CursorValue {
            offset: cursor.offset.min(end),
            leader_epoch: if is_cut { -1 } else { cursor.leader_epoch },
            metadata: cursor.metadata,
            commit_ms: self.now_ms,
            version: self.next_cursor_version(),
            term,
        };
        Some(CursorRecord { key, column: CursorColumn::Local, value: Some(value) })
    }

    pub(crate) fn stage_transaction(&mut self, event: &TransactionEvent) {
        self.group.frames.push(Frame::node_wide(FrameKind::Transaction, event.encode().into()));
        self.group.transactions.insert(producer_of_event(event));
        self.state.apply_transaction(event);
    }

    fn stage_marker(&mut self, no: PartitionNo, producer_id: i64, epoch: i16, is_commit: bool) {
        let marker = end_marker(producer_id, epoch, is_commit, 0, self.now_ms);
        self.stage_own_batch(no, BytesMut::from(&marker[..]), false);
    }

    /// True once the marker is durable, and where it must be. Where the partition has another owner
    /// by now, nobody here knows whether it has the marker.
    fn marker_promise(&self, marker: Marker) -> Result<Promise, Error> {
        let Marker { partition: no, offset, .. } = marker;
        let appended = Appended { base_offset: offset, append_time_ms: None, log_start: 0 };
        match self.check_local_write(no) {
            Err(error) if error.kind() == ErrorKind::Policy => Err(Error::new(
                ErrorKind::ProducerFenced,
                "a topic of the transaction has another owner by now, which may have ended it \
                 otherwise; look there, and begin anew",
            )),
            _ => Ok(Promise { appended, partition: no, next_offset: offset + 1 }),
        }
    }
}

/// Whether the last decision of a transactional id is the one that a partition lacks the marker of.
fn has_marker(ours: &Transaction, no: PartitionNo, end: i64) -> bool {
    ours.markers.iter().any(|marker| marker.partition == no && marker.offset >= end)
}

const fn producer_of_event(event: &TransactionEvent) -> i64 {
    match event {
        TransactionEvent::ProducerBegun { producer_id, .. }
        | TransactionEvent::PartitionsAdded { producer_id, .. }
        | TransactionEvent::GroupAdded { producer_id, .. }
        | TransactionEvent::CursorsAdded { producer_id, .. }
        | TransactionEvent::Forgotten { producer_id } => *producer_id,
        TransactionEvent::Decided { decision } | TransactionEvent::Told { decision } => {
            decision.producer_id
        }
    }
}

/// But for its cursors.
fn need_of_end(ours: &Transaction) -> Need {
    const DECISION_BYTES: usize = 128;
    let markers = ours.partitions.len();
    Need { payload_bytes: DECISION_BYTES + 2 * markers * MARKER_BYTES, frames: 2 + markers }
}

/// What is left of an account after a cut takes no more bytes.
pub(crate) fn account_bytes_max(account: &Account) -> usize {
    /// For transactions whose ends are undone, and which are open again.
    const OPEN_AGAIN_BYTES: usize = 64 * 1024;
    OPEN_AGAIN_BYTES + account.encode().len()
}
