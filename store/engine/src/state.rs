//! Everything that can change, as the sequencer owns it and as replay rebuilds it.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeBounds;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_catalog::{Applied, Catalog, Event, PartitionHome, RowKey};
use mainstem_group::{CursorKey, CursorRecord};
use mainstem_log::{Frame, FrameKind};
use mainstem_record::{BatchHeader, ControlRecord, control_of};
use mainstem_transaction::{
    Account, BatchProducer, Coordinator, Marker, Producers, ToldCommit, TransactionEvent,
};
use mainstem_types::{
    Error, Lineage, LineageEntry, LinkEpoch, PartitionNo, StreamId, TermId, TransactionalId,
};
use minicbor::{Decode, Encode};

use crate::cursors::Cursors;
use crate::marks::{Gap, Marks};
use crate::sync_desk::held_by_frame;

/// The term in which the owner of a partition's topic has it.
pub(crate) fn owner_term(catalog: &Catalog, home: PartitionHome) -> Option<TermId> {
    let topic = catalog.stream(home.stream)?.topic_by_origin(home.topic)?;
    Some(topic.owner.term.id)
}

/// One partition as the sequencer knows it: ahead of what readers see by the current group.
#[derive(Clone, Debug)]
pub(crate) struct PartitionState {
    pub(crate) home: PartitionHome,
    pub(crate) log_start: i64,
    pub(crate) end: i64,
    /// Shared with readers and the view's writer, as is the next.
    pub(crate) lineage: Arc<Lineage>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) transactions: Arc<Account>,
    pub(crate) last_arrival_ms: i64,
    pub(crate) marks: Arc<Marks>,
    /// How often it was cut back since the start: what was read before is then another history.
    pub(crate) cuts: u64,
    /// The link that has cut it back, and the link epoch of the stream then: others that were open
    /// know of another history.
    pub(crate) joined: Option<(StreamId, LinkEpoch)>,
    /// Readers see no further than this: not all synchronous replicas have the rest, here or, for
    /// a replica, at its source.
    pub(crate) held: Option<i64>,
    /// The topic's owner said so itself, since the start.
    pub(crate) held_by_owner: bool,
    /// Why it is out of service, if it is (I8).
    pub(crate) quarantined: Option<String>,
}

/// In the header of a Trim frame, where other kinds count records: the owner deleted them.
pub(crate) const TRIM_BY_OWNER: u32 = 1;
/// Likewise in that of a Gap frame: compaction took the records, and nothing is lost.
pub(crate) const GAP_BY_COMPACTION: u32 = 1;

/// The partition's row in the materialised view.
#[derive(Encode, Decode)]
#[cbor(map)]
struct PartitionRow {
    #[n(0)]
    log_start: i64,
    #[n(1)]
    end: i64,
    #[n(2)]
    lineage: Lineage,
    #[cbor(n(3), with = "minicbor::bytes")]
    producers: Vec<u8>,
    #[n(4)]
    last_arrival_ms: i64,
    #[n(18)]
    marks: Option<Marks>,
    #[n(5)]
    held: Option<i64>,
    #[cbor(n(20), with = "minicbor::bytes")]
    transactions: Option<Vec<u8>>,
}

impl PartitionState {
    pub(crate) fn new(home: PartitionHome) -> Self {
        Self {
            home,
            log_start: 0,
            end: 0,
            lineage: Arc::default(),
            producers: Arc::default(),
            transactions: Arc::default(),
            last_arrival_ms: 0,
            marks: Arc::default(),
            cuts: 0,
            joined: None,
            held: None,
            held_by_owner: false,
            quarantined: None,
        }
    }

    pub(crate) fn from_row(home: PartitionHome, row: &[u8]) -> Result<Self, Error> {
        let row: PartitionRow =
            minicbor::decode(row).map_err(|e| Error::corrupt(format!("a partition's row: {e}")))?;
        let transactions = row.transactions.as_deref().map(Account::decode).transpose()?;
        Ok(Self {
            home,
            log_start: row.log_start,
            end: row.end,
            lineage: Arc::new(row.lineage),
            producers: Arc::new(Producers::decode(&row.producers)?),
            transactions: Arc::new(transactions.unwrap_or_default()),
            last_arrival_ms: row.last_arrival_ms,
            marks: Arc::new(row.marks.unwrap_or_default()),
            cuts: 0,
            joined: None,
            held: row.held,
            held_by_owner: false,
            quarantined: None,
        })
    }

    pub(crate) fn to_row(&self) -> Vec<u8> {
        let row = PartitionRow {
            log_start: self.log_start,
            end: self.end,
            lineage: Lineage::clone(&self.lineage),
            producers: self.producers.encode(),
            last_arrival_ms: self.last_arrival_ms,
            marks: (!self.marks.is_empty()).then(|| Marks::clone(&self.marks)),
            held: self.held,
            transactions: (!self.transactions.is_empty()).then(|| self.transactions.encode()),
        };
        minicbor::to_vec(row).expect("a Vec takes every byte")
    }

    /// Takes note of a batch that stands at the end.
    pub(crate) fn note_batch(&mut self, header: &BatchHeader, batch: &Bytes, arrival_ms: i64) {
        let next_offset = header.next_offset();
        assert_eq!(header.base_offset, self.end, "I2: a batch stands exactly at the end");
        let producer = producer_of(header);
        // What is not idempotent leaves no trace, and needs no copy of its own.
        if producer.producer_id >= 0 {
            let producers = Arc::make_mut(&mut self.producers);
            producers.record(&producer, header.base_offset, next_offset, arrival_ms);
        }
        note_transaction(&mut self.transactions, header, batch);
        // What is not kept any more may have come by the clock of another owner.
        let is_empty = self.log_start == self.end;
        let floor_ms = if is_empty { arrival_ms } else { self.last_arrival_ms };
        self.end = next_offset;
        self.last_arrival_ms = arrival_ms.max(floor_ms);
        end_unknown(&mut self.transactions, &self.lineage, header.base_offset + 1..=next_offset);
    }

    /// Up to where readers see once all that is decided is durable. Nothing beyond it is deleted or
    /// expires: it is not yet everywhere where it must be (I1).
    pub(crate) fn shown_end(&self) -> i64 {
        self.held.map_or(self.end, |held| held.clamp(self.log_start, self.end))
    }

    /// Moves the start, by retention or, if `by_owner`, because the owner deleted the records.
    pub(crate) fn trim(&mut self, to: i64, by_owner: bool) {
        self.log_start = self.log_start.max(to);
        if !self.transactions.aborted().is_empty() {
            Arc::make_mut(&mut self.transactions).trim(self.log_start);
        }
        if by_owner {
            Arc::make_mut(&mut self.marks).trim(to);
        }
    }

    /// Begins the next entry of the lineage, if it follows the newest one; says whether it did.
    /// `owned_in` is the term in which the topic is owned now.
    pub(crate) fn begin_epoch(&mut self, entry: &LineageEntry, owned_in: Option<TermId>) -> bool {
        let follows = Arc::make_mut(&mut self.lineage).push(*entry);
        if follows {
            self.forget_told(entry, owned_in);
            end_unknown(&mut self.transactions, &self.lineage, ..=self.end);
            if Some(entry.term_id) == owned_in && self.marks.anew_to > entry.start_offset {
                // What comes beyond is another history.
                Arc::make_mut(&mut self.marks).anew_to = entry.start_offset;
            }
        }
        follows
    }

    /// Passes over offsets that the source no longer keeps (I8).
    pub(crate) fn pass_gap(&mut self, frame: &Frame) {
        if frame.record_count != GAP_BY_COMPACTION {
            let gap = Gap { from: self.end, to: frame.next_offset, at_ms: frame.arrival_ms };
            Arc::make_mut(&mut self.marks).note_gap(gap);
            if self.transactions.open_count() + self.transactions.told_count() > 0 {
                Arc::make_mut(&mut self.transactions).note_gap(self.end, frame.next_offset);
            }
        }
        end_unknown(&mut self.transactions, &self.lineage, self.end + 1..=frame.next_offset);
        self.end = frame.next_offset;
    }

    /// Undoes everything from `to` on, where a batch began. What is left arrived by `arrived_ms`:
    /// what comes there from elsewhere may have arrived before what is undone. `transactions` is
    /// the account of what is left. Up to `anew_to` the same comes anew.
    pub(crate) fn truncate(
        &mut self,
        to: i64,
        anew_to: i64,
        arrived_ms: i64,
        transactions: Account,
    ) {
        self.cuts += 1;
        self.end = to;
        self.last_arrival_ms = arrived_ms;
        self.log_start = self.log_start.min(to);
        self.held = self.held.map(|held| held.min(to));
        Arc::make_mut(&mut self.producers).truncate(to);
        self.transactions = Arc::new(transactions);
        Arc::make_mut(&mut self.marks).truncate(to, anew_to);
        Arc::make_mut(&mut self.lineage).truncate(to);
    }

    /// Another owner's reign begins: what was told beyond is void, unless it was in the term in which
    /// the topic is owned now, whose owner vouches for all of its history. Of a reign of our own the
    /// end of what was open may be still to come.
    fn forget_told(&mut self, reign: &LineageEntry, owned_in: Option<TermId>) {
        if self.transactions.told_count() > 0 && reign.owner != self.home.stream {
            Arc::make_mut(&mut self.transactions).forget_told(reign.start_offset, owned_in);
        }
    }

    /// Takes it out of service; the first reason stands.
    pub(crate) fn quarantine(&mut self, offset: i64, why: &str) {
        self.quarantined.get_or_insert_with(|| format!("offset {offset}: {why}"));
    }

    /// In replay only: where something is missing because it was damaged, the partition is out of
    /// service (I8), and goes on so that the rest can be replayed.
    fn note_hole_before(&mut self, base_offset: i64) {
        if base_offset != self.end {
            let why = format!("offsets continue at {base_offset}");
            self.quarantine(self.end, &why);
            self.end = base_offset;
        }
    }

    pub(crate) fn check_in_service(&self) -> Result<(), Error> {
        match &self.quarantined {
            None => Ok(()),
            Some(why) => Err(Error::storage(format!(
                "the partition is out of service because stored data is damaged ({why}); \
                 restore it from a replica"
            ))),
        }
    }
}

/// Takes note of a batch in an account. What is part of no transaction needs no copy of its own.
pub(crate) fn note_transaction(account: &mut Arc<Account>, header: &BatchHeader, batch: &Bytes) {
    let (id, offset) = (header.producer_id, header.base_offset);
    if header.attributes.is_control() {
        match control_of(batch) {
            Ok(Some(ControlRecord::Commit)) => Arc::make_mut(account).note_marker(id, true, offset),
            Ok(Some(ControlRecord::Abort)) => Arc::make_mut(account).note_marker(id, false, offset),
            // Of a kind that says nothing of transactions, or nothing that can be read.
            Ok(_) | Err(_) => {}
        }
    } else if header.attributes.is_transactional() && account.open_of(id).is_none() {
        Arc::make_mut(account).note_records(id, header.producer_epoch, offset);
    }
}

/// What is open from before a reign that follows another owner's, and has no end among the markers with
/// which it begins, its owner never had, and nobody will ever end it: so it ends here, in an account
/// that goes to the end of `to`. Only reigns of which the last such marker ends in `to` are looked at.
pub(crate) fn end_unknown(
    account: &mut Arc<Account>,
    lineage: &Lineage,
    to: impl RangeBounds<i64>,
) {
    if account.open_count() == 0 {
        return;
    }
    let entries = lineage.entries();
    for (at, pair) in
        (2..).zip(entries.windows(2)).filter(|(_, pair)| pair[0].owner != pair[1].owner)
    {
        let (start, settled) = (pair[1].start_offset, pair[1].settled_from());
        // Who reigned next had not all of its markers.
        let is_cut = entries.get(at).is_some_and(|next| next.start_offset < settled);
        let is_due = to.contains(&settled)
            && !is_cut
            && account.open().any(|(_, open)| open.first_offset < start);
        if is_due {
            Arc::make_mut(account).end_before(start, settled);
        }
    }
}

/// A batch's producer fields.
pub(crate) fn producer_of(header: &BatchHeader) -> BatchProducer {
    BatchProducer {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        sequences: u32::try_from(header.offset_count()).unwrap_or(0),
        control: header.attributes.is_control(),
    }
}

/// What has changed and is not yet in the materialised view.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) catalog: BTreeSet<RowKey>,
    pub(crate) partitions: BTreeSet<PartitionNo>,
    pub(crate) cursors: BTreeSet<CursorKey>,
    pub(crate) transactions: BTreeSet<TransactionalId>,
}

impl Dirty {
    pub(crate) fn is_empty(&self) -> bool {
        self.catalog.is_empty()
            && self.partitions.is_empty()
            && self.cursors.is_empty()
            && self.transactions.is_empty()
    }
}

/// Catalog, partitions and transactional producers; cursors are shared with readers and passed in.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) catalog: Catalog,
    pub(crate) partitions: HashMap<PartitionNo, PartitionState>,
    pub(crate) coordinator: Coordinator,
    pub(crate) dirty: Dirty,
}

impl State {
    /// Applies an event, live or in replay.
    pub(crate) fn apply_event(&mut self, event: &Event, cursors: &mut Cursors) -> Applied {
        let applied = self.catalog.apply(event);
        self.dirty.catalog.extend(applied.rows.iter().cloned());
        for no in &applied.partitions_added {
            let home = self.catalog.partition(*no).expect("an added partition has a home");
            self.partitions.insert(*no, PartitionState::new(home));
            self.dirty.partitions.insert(*no);
        }
        for no in &applied.partitions_taken_over {
            // What the old owner's producers sent it last may never have come here.
            let partition = self.partitions.get_mut(no).expect("every partition has a state");
            Arc::make_mut(&mut partition.producers).inherit();
            // Nobody else says any more up to where it may be read.
            partition.held = None;
            self.dirty.partitions.insert(*no);
        }
        for (no, _) in &applied.partitions_removed {
            self.partitions.remove(no);
            self.dirty.partitions.insert(*no);
        }
        let homes = applied.partitions_removed.iter().map(|(_, home)| home);
        self.dirty.cursors.extend(cursors.remove_partitions(homes));
        applied
    }

    /// Whether a partition keeps what was set aside, and has transactions in it that nobody ends.
    pub(crate) fn is_left_open(&self, partition: &PartitionState) -> bool {
        partition.transactions.open_count() > 0
            && self
                .catalog
                .stream(partition.home.stream)
                .and_then(|stream| stream.topic_by_origin(partition.home.topic))
                .is_some_and(|topic| topic.aside.is_some())
    }

    /// Applies what happened to a transactional producer.
    pub(crate) fn apply_transaction(&mut self, event: &TransactionEvent) {
        let changed = self.coordinator.apply(event);
        self.dirty.transactions.extend(changed);
        let TransactionEvent::Told { decision } = event else { return };
        for marker in &decision.markers {
            let Some(partition) = self.partitions.get_mut(&marker.partition) else { continue };
            let (producer_id, epoch) = (decision.producer_id, decision.epoch);
            let Marker { offset, first_offset, .. } = *marker;
            let Some(term) = owner_term(&self.catalog, partition.home) else { continue };
            let told = ToldCommit { producer_id, epoch, marker: offset, first_offset, term };
            Arc::make_mut(&mut partition.transactions).note_told(told);
            self.dirty.partitions.insert(marker.partition);
        }
    }

    /// Does again what an event says, with the cursors that moved by it.
    fn replay_transaction(
        &mut self,
        event: &TransactionEvent,
        cursors: &mut Cursors,
    ) -> Result<(), Error> {
        self.apply_transaction(event);
        if let TransactionEvent::Decided { decision } = event {
            for record in &decision.cursors {
                self.replay_cursor(record, cursors)?;
            }
        }
        Ok(())
    }

    fn replay_cursor(&mut self, payload: &[u8], cursors: &mut Cursors) -> Result<(), Error> {
        let record: CursorRecord = minicbor::decode(payload)
            .map_err(|e| Error::corrupt(format!("a cursor's record: {e}")))?;
        self.dirty.cursors.insert(record.key.clone());
        cursors.apply(record);
        Ok(())
    }

    /// Does again what a frame of the log says.
    pub(crate) fn replay(&mut self, frame: &Frame, cursors: &mut Cursors) -> Result<(), Error> {
        match frame.kind {
            FrameKind::CatalogEvent => {
                self.apply_event(&Event::decode(&frame.payload)?, cursors);
                return Ok(());
            }
            FrameKind::Cursor => return self.replay_cursor(&frame.payload, cursors),
            FrameKind::Transaction => {
                let event = TransactionEvent::decode(&frame.payload)?;
                return self.replay_transaction(&event, cursors);
            }
            _ => {}
        }
        // A partition that was deleted later may still have frames here.
        let Some(partition) = self.partitions.get_mut(&frame.partition) else {
            return Ok(());
        };
        self.dirty.partitions.insert(frame.partition);
        match frame.kind {
            FrameKind::Batch => {
                let header = BatchHeader::decode(&frame.payload)
                    .map_err(|e| Error::corrupt(format!("a stored batch: {e}")))?;
                partition.note_hole_before(frame.base_offset);
                partition.note_batch(&header, &frame.payload, frame.arrival_ms);
            }
            FrameKind::Gap => {
                partition.note_hole_before(frame.base_offset);
                partition.pass_gap(frame);
            }
            FrameKind::Trim => {
                partition.trim(frame.base_offset, frame.record_count == TRIM_BY_OWNER);
                partition.end = partition.end.max(frame.base_offset);
            }
            FrameKind::TruncateTo => {
                let left = match frame.payload.is_empty() {
                    true => Account::default(),
                    false => Account::decode(&frame.payload)?,
                };
                let (to, anew_to) = (frame.base_offset, frame.next_offset);
                partition.truncate(to, anew_to, frame.arrival_ms, left);
            }
            FrameKind::EpochStart => {
                let entry: LineageEntry = minicbor::decode(&frame.payload)
                    .map_err(|e| Error::corrupt(format!("a lineage entry: {e}")))?;
                partition.begin_epoch(&entry, owner_term(&self.catalog, partition.home));
            }
            FrameKind::HighWatermark => {
                partition.held = held_by_frame(frame);
                Arc::make_mut(&mut partition.transactions).settle(partition.held);
            }
            FrameKind::Compacted => {
                let marks = Arc::make_mut(&mut partition.marks);
                marks.note_compaction(frame.base_offset, frame.next_offset);
                if frame.arrival_ms > 0 {
                    marks.note_ahead(frame.arrival_ms, frame.max_timestamp_ms);
                }
            }
            FrameKind::Quarantine => {
                let why = String::from_utf8_lossy(&frame.payload);
                partition.quarantine(frame.base_offset, &why);
            }
            _ => {}
        }
        Ok(())
    }
}
