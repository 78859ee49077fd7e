//! The coordinator of transactions (KIP-98): who holds which transactional id, and what its open
//! transaction consists of. `decide` functions change nothing and give events; [`Coordinator::apply`]
//! makes them state, when they happen and when the log is replayed.

use std::collections::{BTreeSet, HashMap};

use mainstem_types::limits::{
    ALL_CURSOR_BYTES_MAX, TRANSACTION_CURSOR_BYTES_MAX, TRANSACTION_CURSORS_MAX,
    TRANSACTION_PARTITIONS_MAX, TRANSACTION_PLACES_MAX, TRANSACTION_TIMEOUT_MS_MAX,
    TRANSACTIONAL_ID_KEPT_MS, TRANSACTIONAL_IDS_MAX,
};
use mainstem_types::{Error, ErrorKind, GroupId, PartitionNo, TransactionalId};

use crate::event::{Decision, Marker, PendingCursor, TransactionEvent};
use crate::transaction::{Transaction, TransactionState};

/// A producer as it names itself in each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionalProducer {
    /// Its transactional id.
    pub id: TransactionalId,
    /// The producer id that it was given.
    pub producer_id: i64,
    /// And the epoch.
    pub epoch: i16,
}

/// What has to be done so that a producer may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It needs a producer id that nobody had; ask again with one.
    NeedsProducerId,
    /// This producer's transaction is open and has to be aborted; then ask again.
    AbortFirst(i64),
    /// It asked before and was answered so.
    Again {
        /// Its producer id.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// It has begun with these events.
    Begun {
        /// In order.
        events: Vec<TransactionEvent>,
        /// Its producer id.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
    },
}

/// What the end of a transaction takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It has ended so before: the answer is true once these are where they must be.
    Again(Vec<Marker>),
    /// It is open and may end so.
    Now,
    /// There is nothing to abort.
    Nothing,
}

/// All transactional producers of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Coordinator {
    by_producer: HashMap<i64, Transaction>,
    producers: HashMap<TransactionalId, i64>,
    /// (deadline, producer id) of those that are open.
    deadlines: BTreeSet<(i64, i64)>,
    /// (since, producer id) of the others.
    idle: BTreeSet<(i64, i64)>,
    places: usize,
    cursor_bytes: usize,
    idle_markers: usize,
}

impl Coordinator {
    /// InitProducerId of a transactional producer. `known` is the id and epoch that it says it
    /// has; `fresh` a producer id that nobody had, if one was drawn.
    ///
    /// # Errors
    /// `Invalid` for a time-out out of bounds, `ProducerFenced` if somebody else has the id by
    /// now, `Limit` if all that are known are at work.
    pub fn begin(
        &self,
        id: &TransactionalId,
        known: Option<(i64, i16)>,
        timeout_ms: i32,
        fresh: Option<i64>,
        now_ms: i64,
    ) -> Result<Begin, Error> {
        if !(1..=TRANSACTION_TIMEOUT_MS_MAX).contains(&timeout_ms) {
            return Err(Error::invalid(format!(
                "a transaction's time-out is 1 to {TRANSACTION_TIMEOUT_MS_MAX} ms, not {timeout_ms}"
            )));
        }
        let begun = |producer_id, epoch, last_epoch| TransactionEvent::ProducerBegun {
            id: id.clone(),
            producer_id,
            epoch,
            last_epoch,
            timeout_ms,
            at_ms: now_ms,
        };
        let Some(ours) = self.by_id(id) else {
            let Some(producer_id) = fresh else { return Ok(Begin::NeedsProducerId) };
            let mut events = self.make_room()?;
            events.push(begun(producer_id, 0, NO_EPOCH));
            return Ok(Begin::Begun { events, producer_id, epoch: 0 });
        };
        let goes_on = match known {
            None => false,
            Some(known) if known == (ours.producer_id, ours.epoch) => true,
            Some((_, NO_EPOCH)) => return Err(fenced(id)),
            Some(known) if known == (ours.producer_id, ours.last_epoch) && !ours.is_open() => {
                if ours.epoch <= LAST_EPOCH {
                    let (producer_id, epoch) = (ours.producer_id, ours.epoch);
                    return Ok(Begin::Again { producer_id, epoch });
                }
                true
            }
            Some(_) => return Err(fenced(id)),
        };
        if ours.is_open() {
            return Ok(Begin::AbortFirst(ours.producer_id));
        }
        if ours.epoch >= LAST_EPOCH {
            let Some(producer_id) = fresh else { return Ok(Begin::NeedsProducerId) };
            let forgotten = TransactionEvent::Forgotten { producer_id: ours.producer_id };
            let events = vec![forgotten, begun(producer_id, 0, NO_EPOCH)];
            return Ok(Begin::Begun { events, producer_id, epoch: 0 });
        }
        let (producer_id, epoch) = (ours.producer_id, ours.epoch + 1);
        let last_epoch = if goes_on { ours.epoch } else { NO_EPOCH };
        let events = vec![begun(producer_id, epoch, last_epoch)];
        Ok(Begin::Begun { events, producer_id, epoch })
    }

    /// AddPartitionsToTxn; no event if all take part already.
    ///
    /// # Errors
    /// As [`Self::check`]; `Limit` if there are too many.
    pub fn add_partitions(
        &self,
        producer: &TransactionalProducer,
        partitions: &[PartitionNo],
        now_ms: i64,
    ) -> Result<Option<TransactionEvent>, Error> {
        let ours = self.check(producer)?;
        let is_new = |no: &&PartitionNo| !(ours.is_open() && ours.partitions.contains(no));
        let partitions: Vec<PartitionNo> = partitions.iter().filter(is_new).copied().collect();
        if partitions.is_empty() {
            return Ok(None);
        }
        let sum = partitions.len() + if ours.is_open() { ours.partitions.len() } else { 0 };
        self.check_room(sum, TRANSACTION_PARTITIONS_MAX, partitions.len())?;
        let producer_id = producer.producer_id;
        Ok(Some(TransactionEvent::PartitionsAdded { producer_id, partitions, at_ms: now_ms }))
    }

    /// AddOffsetsToTxn; no event if the group takes part already.
    ///
    /// # Errors
    /// As [`Self::check`]; `Limit` if there are too many.
    pub fn add_group(
        &self,
        producer: &TransactionalProducer,
        group: &GroupId,
        now_ms: i64,
    ) -> Result<Option<TransactionEvent>, Error> {
        let ours = self.check(producer)?;
        if ours.is_open() && ours.groups.contains(group) {
            return Ok(None);
        }
        self.check_room(ours.groups.len() + 1, TRANSACTION_CURSORS_MAX, 1)?;
        let (producer_id, group) = (producer.producer_id, group.clone());
        Ok(Some(TransactionEvent::GroupAdded { producer_id, group, at_ms: now_ms }))
    }

    /// TxnOffsetCommit.
    ///
    /// # Errors
    /// As [`Self::check`]; `InvalidTransaction` if the group takes part in no open transaction of
    /// this producer; `Limit` if there are too many.
    pub fn add_cursors(
        &self,
        producer: &TransactionalProducer,
        cursors: &[PendingCursor],
    ) -> Result<TransactionEvent, Error> {
        let ours = self.check(producer)?;
        if !ours.is_open() || cursors.iter().any(|cursor| !ours.groups.contains(&cursor.group)) {
            return Err(wrong_state(ours, "its group was not added to an open transaction"));
        }
        let cursors = last_of_each_place(cursors);
        let moved: BTreeSet<_> = cursors.iter().map(PendingCursor::place).collect();
        let others = ours.cursors.iter().filter(|old| !moved.contains(&old.place()));
        let (count, bytes) =
            others.fold((0, 0), |(count, bytes), old| (count + 1, bytes + old.bytes()));
        let more = (cursors.len() + count).saturating_sub(ours.cursors.len());
        self.check_room(count + cursors.len(), TRANSACTION_CURSORS_MAX, more)?;
        let bytes = bytes + cursors.iter().map(PendingCursor::bytes).sum::<usize>();
        let all = self.cursor_bytes - ours.cursor_bytes() + bytes;
        if bytes > TRANSACTION_CURSOR_BYTES_MAX || all > ALL_CURSOR_BYTES_MAX {
            return Err(Error::limit(format!(
                "the cursors of one transaction have at most {TRANSACTION_CURSOR_BYTES_MAX} bytes \
                 with their metadata, and those of all {ALL_CURSOR_BYTES_MAX}"
            )));
        }
        Ok(TransactionEvent::CursorsAdded { producer_id: producer.producer_id, cursors })
    }

    /// EndTxn.
    ///
    /// # Errors
    /// As [`Self::check`]; `InvalidTransaction` if there is none open that could end so.
    pub fn end(&self, producer: &TransactionalProducer, commit: bool) -> Result<End, Error> {
        let ours = self.check(producer)?;
        match ours.state {
            TransactionState::Ongoing => Ok(End::Now),
            TransactionState::Committed if commit => Ok(End::Again(ours.markers.clone())),
            TransactionState::Aborted if !commit => Ok(End::Again(ours.markers.clone())),
            TransactionState::Empty if !commit => Ok(End::Nothing),
            _ => Err(wrong_state(ours, "no transaction is open")),
        }
    }

    /// Whether a batch may be appended: it belongs to the open transaction of its producer, which
    /// has said that it writes to this partition.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` for one that was fenced, else `InvalidTransaction`.
    pub fn check_append(
        &self,
        producer_id: i64,
        epoch: i16,
        partition: PartitionNo,
    ) -> Result<(), Error> {
        let Some(ours) = self.by_producer.get(&producer_id) else {
            return Err(Error::new(
                ErrorKind::InvalidTransaction,
                format!("producer {producer_id} has no transactional id in this cluster"),
            ));
        };
        if epoch < ours.epoch {
            return Err(Error::new(
                ErrorKind::InvalidProducerEpoch,
                format!("producer {producer_id} wrote in epoch {epoch}, which has ended"),
            ));
        }
        if epoch == ours.epoch && ours.is_open() && ours.partitions.contains(&partition) {
            return Ok(());
        }
        Err(wrong_state(ours, "the partition takes part in no open transaction of this producer"))
    }

    /// The decision that ends an open transaction, without the places of its markers. Where the
    /// cluster decides `by_itself`, the producer's epoch ends with it.
    pub fn decision(
        &self,
        producer_id: i64,
        committed: bool,
        by_itself: bool,
        now_ms: i64,
    ) -> Option<Decision> {
        let ours = self.by_producer.get(&producer_id).filter(|ours| ours.is_open())?;
        let raise = i16::from(by_itself);
        Some(Decision {
            producer_id,
            epoch: ours.epoch.saturating_add(raise),
            committed,
            at_ms: now_ms,
            markers: Vec::new(),
            cursors: Vec::new(),
        })
    }

    /// Producers whose open transactions are out of time.
    pub fn overdue(&self, now_ms: i64) -> Vec<i64> {
        let due = self.deadlines.iter().take_while(|(deadline_ms, _)| *deadline_ms <= now_ms);
        due.map(|(_, producer_id)| *producer_id).collect()
    }

    /// Facts about transactional ids that were idle for too long; at most `count`.
    pub fn expire(&self, now_ms: i64, count: usize) -> Vec<TransactionEvent> {
        let before_ms = now_ms.saturating_sub(TRANSACTIONAL_ID_KEPT_MS);
        let old = self.idle.iter().take_while(|(since_ms, _)| *since_ms < before_ms);
        let ids = old.map(|(_, producer_id)| *producer_id).take(count);
        ids.map(|producer_id| TransactionEvent::Forgotten { producer_id }).collect()
    }

    /// Producers whose open transactions have one of these partitions.
    pub fn open_in(&self, partitions: &BTreeSet<PartitionNo>) -> Vec<i64> {
        let open = self.open().filter(|ours| !ours.partitions.is_disjoint(partitions));
        let mut ids: Vec<i64> = open.map(|ours| ours.producer_id).collect();
        ids.sort_unstable();
        ids
    }

    /// All that are open, in no order.
    pub fn open(&self) -> impl Iterator<Item = &Transaction> {
        self.deadlines.iter().filter_map(|(_, producer_id)| self.by_producer.get(producer_id))
    }

    /// The transactional id of a producer.
    pub fn get(&self, producer_id: i64) -> Option<&Transaction> {
        self.by_producer.get(&producer_id)
    }

    /// A transactional id.
    pub fn by_id(&self, id: &TransactionalId) -> Option<&Transaction> {
        self.by_producer.get(self.producers.get(id)?)
    }

    /// All transactional ids, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Transaction> {
        self.by_producer.values()
    }

    /// Applies an event. What it says of a producer that is not known changes nothing. Gives the
    /// transactional id of which something changed.
    pub fn apply(&mut self, event: &TransactionEvent) -> Option<TransactionalId> {
        match event {
            TransactionEvent::ProducerBegun {
                id,
                producer_id,
                epoch,
                last_epoch,
                timeout_ms,
                at_ms,
            } => {
                if let Some(before) = self.producers.get(id).copied() {
                    self.take(before);
                }
                self.insert(Transaction {
                    id: id.clone(),
                    producer_id: *producer_id,
                    epoch: *epoch,
                    last_epoch: *last_epoch,
                    timeout_ms: *timeout_ms,
                    state: TransactionState::Empty,
                    since_ms: *at_ms,
                    partitions: BTreeSet::new(),
                    groups: BTreeSet::new(),
                    cursors: Vec::new(),
                    markers: Vec::new(),
                });
                Some(id.clone())
            }
            TransactionEvent::PartitionsAdded { producer_id, partitions, at_ms } => {
                self.change(*producer_id, |ours| {
                    open(ours, *at_ms);
                    ours.partitions.extend(partitions);
                })
            }
            TransactionEvent::GroupAdded { producer_id, group, at_ms } => {
                self.change(*producer_id, |ours| {
                    open(ours, *at_ms);
                    ours.groups.insert(group.clone());
                })
            }
            TransactionEvent::CursorsAdded { producer_id, cursors } => {
                self.change(*producer_id, |ours| {
                    let moved: BTreeSet<_> = cursors.iter().map(PendingCursor::place).collect();
                    ours.cursors.retain(|old| !moved.contains(&old.place()));
                    ours.cursors.extend(cursors.iter().cloned());
                })
            }
            TransactionEvent::Decided { decision } => {
                let changed = self.change(decision.producer_id, |ours| close(ours, decision));
                self.forget_markers();
                changed
            }
            TransactionEvent::Forgotten { producer_id } => {
                let gone = self.take(*producer_id)?;
                self.producers.remove(&gone.id);
                Some(gone.id)
            }
            // That is the partitions' concern.
            TransactionEvent::Told { .. } => None,
        }
    }

    /// Takes over what a row of the materialised view says.
    pub fn insert(&mut self, ours: Transaction) {
        let key = index_key(&ours);
        if ours.is_open() {
            self.deadlines.insert(key)
        } else {
            self.idle.insert(key)
        };
        self.places += ours.places();
        self.cursor_bytes += ours.cursor_bytes();
        self.idle_markers += ours.markers.len();
        self.producers.insert(ours.id.clone(), ours.producer_id);
        self.by_producer.insert(ours.producer_id, ours);
    }

    fn take(&mut self, producer_id: i64) -> Option<Transaction> {
        let ours = self.by_producer.remove(&producer_id)?;
        let key = index_key(&ours);
        if ours.is_open() {
            self.deadlines.remove(&key)
        } else {
            self.idle.remove(&key)
        };
        self.places -= ours.places();
        self.cursor_bytes -= ours.cursor_bytes();
        self.idle_markers -= ours.markers.len();
        Some(ours)
    }

    fn change(
        &mut self,
        producer_id: i64,
        change: impl FnOnce(&mut Transaction),
    ) -> Option<TransactionalId> {
        let mut ours = self.take(producer_id)?;
        change(&mut ours);
        let id = ours.id.clone();
        self.insert(ours);
        Some(id)
    }

    /// The producer has the id, in the epoch that it says.
    ///
    /// # Errors
    /// `UnknownTransaction` if it never had it, `ProducerFenced` if it has it no more.
    pub fn check(&self, producer: &TransactionalProducer) -> Result<&Transaction, Error> {
        let ours = self.by_id(&producer.id);
        let Some(ours) = ours.filter(|ours| ours.producer_id == producer.producer_id) else {
            return Err(Error::new(
                ErrorKind::UnknownTransaction,
                format!(
                    "producer {} does not have the transactional id {}; transactional ids are \
                     those of one cluster",
                    producer.producer_id, producer.id
                ),
            ));
        };
        if producer.epoch == ours.epoch { Ok(ours) } else { Err(fenced(&producer.id)) }
    }

    fn check_room(&self, sum: usize, max: usize, more: usize) -> Result<(), Error> {
        if sum > max || self.places + more > TRANSACTION_PLACES_MAX {
            return Err(Error::limit(format!(
                "a transaction has at most {max} of these, and all together {TRANSACTION_PLACES_MAX}"
            )));
        }
        Ok(())
    }

    /// Where the last markers of idle ones are too many, those that were idle longest forget theirs:
    /// who asks for an end a second time asks soon. A row says so when it is written next.
    fn forget_markers(&mut self) {
        // More than has to be, so that few ends pay for it.
        const ENOUGH: usize = TRANSACTION_PLACES_MAX - TRANSACTION_PLACES_MAX / 16;
        if self.idle_markers <= TRANSACTION_PLACES_MAX {
            return;
        }
        let idle: Vec<i64> = self.idle.iter().map(|(_, producer_id)| *producer_id).collect();
        for producer_id in idle {
            if self.idle_markers <= ENOUGH {
                return;
            }
            self.change(producer_id, |ours| ours.markers.clear());
        }
    }

    /// The one that was idle longest goes where there are too many.
    fn make_room(&self) -> Result<Vec<TransactionEvent>, Error> {
        if self.by_producer.len() < TRANSACTIONAL_IDS_MAX {
            return Ok(Vec::new());
        }
        let (_, producer_id) = *self.idle.first().ok_or_else(|| {
            Error::limit(format!("{TRANSACTIONAL_IDS_MAX} transactions are open; end some"))
        })?;
        Ok(vec![TransactionEvent::Forgotten { producer_id }])
    }
}

const NO_EPOCH: i16 = -1;
/// The highest epoch that a producer is given: an abort by the cluster finds a higher one.
const LAST_EPOCH: i16 = i16::MAX - 1;

fn index_key(ours: &Transaction) -> (i64, i64) {
    let at_ms = if ours.is_open() { ours.deadline_ms() } else { ours.since_ms };
    (at_ms, ours.producer_id)
}

/// The first fact of a transaction begins it.
fn open(ours: &mut Transaction, at_ms: i64) {
    if !ours.is_open() {
        ours.state = TransactionState::Ongoing;
        ours.since_ms = at_ms;
        ours.markers.clear();
    }
}

/// Of several words on one place the last counts.
fn last_of_each_place(cursors: &[PendingCursor]) -> Vec<PendingCursor> {
    let mut seen = BTreeSet::new();
    let newest: Vec<bool> =
        cursors.iter().rev().map(|cursor| seen.insert(cursor.place())).collect();
    let kept = newest.into_iter().rev();
    cursors
        .iter()
        .zip(kept)
        .filter(|(_, is_last)| *is_last)
        .map(|(cursor, _)| cursor.clone())
        .collect()
}

fn close(ours: &mut Transaction, decision: &Decision) {
    ours.state = match decision.committed {
        true => TransactionState::Committed,
        false => TransactionState::Aborted,
    };
    if decision.epoch != ours.epoch {
        ours.last_epoch = ours.epoch;
        ours.epoch = decision.epoch;
    }
    ours.since_ms = decision.at_ms;
    ours.partitions.clear();
    ours.groups.clear();
    ours.cursors.clear();
    ours.markers.clone_from(&decision.markers);
}

fn fenced(id: &TransactionalId) -> Error {
    Error::new(
        ErrorKind::ProducerFenced,
        format!(
            "the transactional id {id} has passed to another producer, or its transaction was \
             aborted here: it was out of time, or one of its topics has another owner by now"
        ),
    )
}

fn wrong_state(ours: &Transaction, why: &str) -> Error {
    let text = format!("transactional id {}: {why} (it is {:?})", ours.id, ours.state);
    Error::new(ErrorKind::InvalidTransaction, text)
}
