//! The source's end of one session.

mod copy;
mod cursors;
mod decisions;
mod feeding;
mod handover;
mod kept;
mod partition;
mod terms;
mod topics;
mod trims;
mod welcome;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use mainstem_link::{
    Ack, BatchItem, Batches, Bye, Code, CursorItem, End, Fault, Frame, Heartbeat, Hello,
    HighWatermarks, Mode, TermItem, TombstoneItem, TopicItem, TransactionDecision,
};
use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;
use mainstem_types::{CatalogSeq, ClusterId, LinkEpoch, OriginTopicId, StreamId, Term};

use crate::pace::Pace;
use crate::pulse::Pulse;
use crate::{Closing, FaultNote, Pending};

use cursors::CursorQueue;
use feeding::{Feeding, of_topic};
pub use handover::HandoverView;
pub use partition::PartitionView;
use partition::SendPartition;
use topics::ToldTopics;

type Key = (OriginTopicId, u32);

/// How a sender goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct SenderSettings {
    /// One read, and so about one frame: small enough that partitions take turns.
    pub read_bytes_max: usize,
    /// Reads under way at once.
    pub reads_max: usize,
    /// The most that is sent in a second; 0 for no limit.
    pub rate_bytes_per_s: u64,
    /// Whether the link yields while the source's own producers wait for their turn.
    pub yields: bool,
}

impl Default for SenderSettings {
    fn default() -> Self {
        Self { read_bytes_max: 1024 * 1024, reads_max: 4, rate_bytes_per_s: 0, yields: false }
    }
}

/// A batch as it was read from the source's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBatch {
    /// Its first offset.
    pub base_offset: i64,
    /// The next offset after it.
    pub next_offset: i64,
    /// When its owner took it.
    pub arrival_ms: i64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Bytes of one partition that the sender wants to have, answered by
/// [`Sender::handle_read`] or [`Sender::handle_read_failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The topic.
    pub origin: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// From this offset on, or the first batch after it.
    pub from: i64,
    /// Up to this offset, which is durable.
    pub to: i64,
    /// About so many bytes; one batch at least.
    pub bytes_max: usize,
}

/// What a Welcome tells the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcomed {
    /// The cluster that answered; to be compared with its certificate.
    pub cluster_id: ClusterId,
    /// The replica's uuid.
    pub replica_id: StreamId,
    /// The epoch under which this session writes there.
    pub link_epoch: LinkEpoch,
    /// What the replica's end can do besides the protocol's version.
    pub features: u64,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "taken one at a time, and most are the large one")]
pub enum SenderAction {
    /// Send a frame.
    Send(Frame),
    /// Read from the log.
    Read(ReadRequest),
    /// The replica answered; note its uuid.
    Welcomed(Welcomed),
    /// The replica tells of terms: give up durably what is owned in a higher one, tell the sender
    /// the catalog with that in it, and answer by [`Sender::handle_met`]; nothing else before.
    Meet(Term, Vec<TermItem>),
    /// Tell all cursors again by [`Sender::handle_cursors`]: what the replica has of them changed.
    TellCursors,
    /// The replica was this topic's owner and had given it so many partitions: the topic is to have
    /// them here too, where there are fewer.
    Grow(OriginTopicId, u32),
    /// The replica has everything: write down that it may be offered the topics, then tell that by
    /// [`Sender::handle_handover`].
    Drained,
    /// The replica has applied the catalog up to here: deletions may be forgotten for it.
    Applied(CatalogSeq),
    /// What the replica has durably: at the beginning all of it, then what moved. Only of a session
    /// that replicates: a copy keeps nobody waiting.
    Acked(Vec<End>),
    /// The session is over, once what was sent before is out.
    Close(Closing),
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Welcoming,
    /// The Welcome is whole, and what it says of terms is made durable.
    Meeting,
    Open,
    Closed,
}

/// The source's end of one session: see the module's page in docs/PROTOCOL.md.
#[derive(Debug)]
pub struct Sender {
    settings: SenderSettings,
    mode: Mode,
    phase: Phase,
    source: StreamId,
    replica: Option<StreamId>,
    topics: ToldTopics,
    catalog_dirty: bool,
    partitions: BTreeMap<Key, SendPartition>,
    ready: VecDeque<Key>,
    stopped: HashMap<OriginTopicId, (Code, String)>,
    /// The highest term as our Hello said it.
    greeted: Term,
    /// The highest term that was heard of.
    seen: Term,
    /// What the replica says of its topics' owners.
    terms: BTreeMap<OriginTopicId, TermItem>,
    /// How often [`SenderAction::Meet`] was asked for and is not durable.
    meeting: u32,
    /// Topics that are to have more partitions.
    grown: BTreeMap<OriginTopicId, u32>,
    handover: Option<HandoverView>,
    is_drained_told: bool,
    is_offer_sent: bool,
    cursors: CursorQueue,
    cursors_dirty: bool,
    /// Commits that are still to be told.
    decisions: Vec<TransactionDecision>,
    decisions_dirty: bool,
    trims_due: BTreeSet<Key>,
    feeding: Feeding,
    positions_dirty: bool,
    credit: i64,
    pace: Pace,
    reads: usize,
    /// Partitions whose acknowledged end or watermark may be news.
    reigns_due: BTreeSet<Key>,
    moved: BTreeSet<Key>,
    /// The shell has not yet been told what the replica has.
    is_fresh: bool,
    /// The replica may hold watermarks of an earlier session.
    replica_holds: bool,
    acked_seq: CatalogSeq,
    finish_seq: CatalogSeq,
    pending: Pending,
    pulse: Pulse,
    now_ms: u64,
    wall_ms: i64,
    actions: VecDeque<SenderAction>,
    bytes_sent: u64,
    beats: u64,
}

/// Heartbeats between two attempts at topics that stopped.
const RETRY_BEATS: u64 = 5;

impl Sender {
    /// A session that begins with this Hello, at `now_ms` of the monotonic clock.
    pub fn new(settings: SenderSettings, hello: Hello, now_ms: u64) -> Self {
        let (mode, wall_ms, source) = (hello.mode, hello.now_ms, hello.source_id);
        let seen = hello.term;
        Self {
            settings,
            mode,
            phase: Phase::Greeting,
            source,
            replica: None,
            topics: ToldTopics::default(),
            catalog_dirty: false,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            stopped: HashMap::new(),
            greeted: seen,
            seen,
            terms: BTreeMap::new(),
            meeting: 0,
            grown: BTreeMap::new(),
            handover: None,
            is_drained_told: false,
            is_offer_sent: false,
            cursors: CursorQueue::default(),
            cursors_dirty: false,
            decisions: Vec::new(),
            decisions_dirty: false,
            trims_due: BTreeSet::new(),
            feeding: Feeding::default(),
            positions_dirty: false,
            credit: 0,
            pace: Pace::new(settings.rate_bytes_per_s, settings.yields, now_ms),
            reads: 0,
            reigns_due: BTreeSet::new(),
            moved: BTreeSet::new(),
            is_fresh: false,
            replica_holds: false,
            acked_seq: CatalogSeq(0),
            finish_seq: CatalogSeq(0),
            pending: Pending::default(),
            pulse: Pulse::new(now_ms),
            now_ms,
            wall_ms,
            actions: VecDeque::from([SenderAction::Send(hello.into())]),
            bytes_sent: 0,
            beats: 0,
        }
    }

    /// All topics and tombstones of the stream as they are at `seq`.
    pub fn handle_catalog(
        &mut self,
        seq: CatalogSeq,
        topics: Vec<TopicItem>,
        tombstones: Vec<TombstoneItem>,
    ) {
        let gone: BTreeSet<OriginTopicId> = tombstones.iter().map(|item| item.origin).collect();
        self.partitions.retain(|(origin, _), _| !gone.contains(origin));
        self.stopped.retain(|origin, _| !gone.contains(origin));
        self.feeding.keep(|origin| !gone.contains(&origin));
        self.forget_decisions(|origin| gone.contains(&origin));
        let passed = self.topics.handle_catalog(seq, topics, tombstones, self.replica);
        self.catalog_dirty = true;
        self.meet_late();
        self.grow();
        if passed && self.phase == Phase::Open {
            // What the replica has of them was of no concern to its Welcome.
            self.stop(Code::Fenced, "topics have passed to another owner");
        }
    }

    /// A partition of the source moved, or is seen for the first time.
    pub fn handle_partition(&mut self, origin: OriginTopicId, partition: u32, view: PartitionView) {
        let key = (origin, partition);
        let known = self.partitions.entry(key).or_default();
        let end = known.view.as_ref().map_or(0, |view| view.durable_end);
        let was_cut = view.durable_end < end;
        known.view = Some(view);
        self.moved.insert(key);
        if was_cut && self.phase == Phase::Open {
            // What was sent of it may have been set aside here, so the replica has to say anew
            // what it has.
            self.stop(Code::Fenced, "a partition of the source has rejoined its owner's history");
            return;
        }
        self.start(key);
        self.queue(key);
    }

    /// Cursors that were committed or deleted here, or that this cluster passes on.
    pub fn handle_cursors(&mut self, items: impl IntoIterator<Item = CursorItem>) {
        items.into_iter().for_each(|item| self.cursors.push(item));
        self.cursors_dirty = true;
    }

    /// What a [`ReadRequest`] found. If that is nothing, then nothing is kept below `empty_to`.
    pub fn handle_read(&mut self, request: ReadRequest, empty_to: i64, batches: Vec<SourceBatch>) {
        let key = (request.origin, request.partition);
        self.end_read(&request);
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let rewound = partition.next != Some(request.from)
            || partition.fault.is_some()
            || !self.topics.is_told(key.0, key.1);
        if rewound || self.credit <= 0 || !self.is_fed(key.0) {
            // It was rewound, stopped or given to another link while the read was under way; or
            // large batches that were read at the same time took all the credit, and this is read
            // again when some comes.
            self.queue(key);
            return;
        }
        let straddles = batches.first().is_some_and(|batch| batch.base_offset < request.from);
        if straddles {
            return self.handle_straddling(key, request.from);
        }
        self.send_batches(key, request.from, empty_to, batches);
        self.cursors_dirty = true;
        self.queue(key);
    }

    /// A read failed: that partition stops, the others go on.
    pub fn handle_read_failed(&mut self, request: ReadRequest, code: Code, message: String) {
        self.end_read(&request);
        let key = (request.origin, request.partition);
        // A topic that was deleted meanwhile has nothing to read, which is no fault.
        if self.partitions.contains_key(&key) {
            self.stop_partition(key, code, message, true);
        }
    }

    /// A frame of the replica.
    pub fn handle_frame(&mut self, frame: Frame, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.pulse.handle_heard(now_ms);
        match (frame, &self.phase) {
            (_, Phase::Closed) => {}
            (Frame::Refused(refused), _) => self.close(refused.code, refused.message, true),
            (Frame::Bye(bye), _) => self.close(bye.code, bye.message, true),
            (Frame::Welcome(chunk), Phase::Greeting | Phase::Welcoming) => {
                self.handle_welcome(chunk);
            }
            (Frame::Ack(ack), Phase::Meeting | Phase::Open) => self.handle_ack(&ack),
            (Frame::Credit(credit), Phase::Open) => {
                self.credit = self.credit.saturating_add(credit.bytes.min(1 << 40) as i64);
            }
            (Frame::Fault(fault), Phase::Open) => self.handle_fault(fault),
            (Frame::Feed(feed), Phase::Meeting | Phase::Open) => self.handle_feed(&feed),
            // A synchronous replica that has nothing more to acknowledge keeps up: what it lacked
            // may have been deleted.
            (Frame::Heartbeat(_), Phase::Open) => self.is_fresh = self.mode == Mode::Replicate,
            (Frame::Heartbeat(_), _) => {}
            (Frame::Terms(terms), Phase::Meeting | Phase::Open) => {
                self.handle_terms(self.seen, terms.terms);
            }
            (Frame::Digests(_), Phase::Open) => {}
            (frame, _) => {
                let message = format!("a {} frame was not expected here", frame.name());
                self.actions.push_back(bye(Code::Protocol, &message));
                self.close(Code::Protocol, message, false);
            }
        }
    }

    /// The clocks moved. Also when nothing else happens, at [`Self::next_timeout_ms`].
    pub fn handle_time(&mut self, now_ms: u64, wall_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.wall_ms = wall_ms;
        if self.phase == Phase::Closed {
            return;
        }
        if self.pulse.is_silent(now_ms) {
            let message = "nothing was heard from the gateway for ten seconds".to_owned();
            self.close(Code::Silent, message, false);
        } else if self.pulse.is_beat_due(now_ms) && self.phase == Phase::Open {
            let beat = Heartbeat {
                now_ms: wall_ms,
                pending_bytes: self.pending.bytes,
                pending_records: self.pending.records,
                pending_since_ms: self.pending.since_ms,
                ends: Vec::new(),
                pending_counted_ms: self.pending.counted_ms,
                echo_ms: 0,
            };
            self.actions.push_back(SenderAction::Send(beat.into()));
            self.retry_stopped();
            self.send_positions(true);
        }
    }

    /// What stops a topic may be cured at the replica, where this side cannot see it: tell such
    /// topics again now and then. Two histories do not become one by waiting.
    fn retry_stopped(&mut self) {
        self.beats += 1;
        if !self.beats.is_multiple_of(RETRY_BEATS) {
            return;
        }
        for (origin, (code, _)) in &self.stopped {
            if !matches!(code, Code::Diverged | Code::Corrupt) {
                self.topics.forget_told(*origin);
                self.catalog_dirty = true;
            }
        }
    }

    /// Whether the source's own producers wait for their turn.
    pub fn handle_load(&mut self, is_loaded: bool) {
        self.pace.handle_load(is_loaded, self.now_ms);
    }

    /// What the next heartbeat says is still to come.
    pub fn handle_pending(&mut self, pending: Pending) {
        self.pending = pending;
    }

    /// Ends the session: paused, removed, or the process stops.
    pub fn stop(&mut self, code: Code, message: &str) {
        if self.phase != Phase::Closed {
            // I6: batches that have not left stay here, since the agreement may be gone.
            self.actions.retain(|a| !matches!(a, SenderAction::Send(Frame::Batches(_))));
            self.actions.push_back(bye(code, message));
            self.close(code, message.to_owned(), false);
        }
    }

    /// What to do next; `None` until something happens.
    pub fn poll_action(&mut self) -> Option<SenderAction> {
        if self.phase == Phase::Open {
            self.send_catalog();
            self.send_decisions();
            if std::mem::take(&mut self.positions_dirty) {
                self.send_positions(false);
            }
            self.tell_moved();
            self.send_reigns();
            self.request_reads();
            self.send_trims();
            self.send_cursors();
            self.offer_if_drained();
            self.finish_if_done();
        }
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_time`] at the latest.
    pub fn next_timeout_ms(&self) -> u64 {
        let next_ms = self.pulse.next_ms();
        let waits = self.phase == Phase::Open && !self.ready.is_empty() && self.credit > 0;
        let paced = self.pace.next_ms().filter(|_| waits);
        paced.map_or(next_ms, |paced| paced.min(next_ms))
    }

    /// The Welcome has come and the session stands.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The session is over: what is left to do is sent whether there is room or not.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Bytes of batches sent in this session.
    pub const fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// What is durable at the replica, as far as this session knows, of what it is to have:
    /// (topic, partition, end).
    pub fn acked_ends(&self) -> impl Iterator<Item = (OriginTopicId, u32, i64)> + '_ {
        let told = self.partitions.iter().filter(|(key, _)| self.topics.is_told(key.0, key.1));
        told.map(|((origin, partition), p)| (*origin, *partition, p.acked))
    }

    /// What stopped.
    pub fn faults(&self) -> Vec<FaultNote> {
        let topics = self.stopped.iter().map(|(origin, (code, message))| FaultNote {
            origin: *origin,
            topic: None,
            partition: None,
            code: *code,
            message: message.clone(),
        });
        let partitions = self.partitions.iter().filter_map(|((origin, partition), p)| {
            let (code, message) = p.fault.clone()?;
            let (origin, partition) = (*origin, Some(*partition));
            Some(FaultNote { origin, topic: None, partition, code, message })
        });
        topics.chain(partitions).collect()
    }

    fn handle_ack(&mut self, ack: &Ack) {
        for end in &ack.ends {
            let key = (end.origin, end.partition);
            if self.is_beyond(key, end.offset) {
                self.stop(Code::Fenced, "the replica's history is to be compared anew");
                return;
            }
            if let Some(partition) = self.partitions.get_mut(&key) {
                partition.handle_ack(end.offset);
                self.moved.insert(key);
            }
            self.note_trim((end.origin, end.partition));
        }
        if let Some(term) = ack.term {
            self.handle_terms(term, Vec::new());
        }
        if ack.applied_seq > self.acked_seq {
            self.acked_seq = ack.applied_seq;
            self.actions.push_back(SenderAction::Applied(ack.applied_seq));
        }
    }

    fn handle_fault(&mut self, fault: Fault) {
        if fault.code == Code::Diverged && self.may_have_parted(fault.origin) {
            self.stop(Code::Fenced, "the replica's history is to be compared anew");
            return;
        }
        let Some(partition) = fault.partition else {
            self.stopped.insert(fault.origin, (fault.code, fault.message));
            return;
        };
        let key = (fault.origin, partition);
        if fault.code == Code::Misaligned
            && let Some(expected) = fault.expected_offset
            && let Some(held) = self.partitions.get_mut(&key)
        {
            if held.handle_rejoined(expected) {
                self.decisions_dirty = true;
                // Its cursors do not point past that end any more.
                self.cursors.forget(|origin, partition| (origin, partition) == key);
                self.actions.push_back(SenderAction::TellCursors);
                self.queue(key);
                return;
            }
            if held.rewind(expected) {
                self.queue(key);
                return;
            }
        }
        self.stop_partition(key, fault.code, fault.message, false);
    }

    fn stop_partition(&mut self, key: Key, code: Code, message: String, tell: bool) {
        let partition = self.partitions.entry(key).or_default();
        if partition.fault.is_some() {
            return;
        }
        if tell && self.phase == Phase::Open {
            let fault = Fault {
                origin: key.0,
                partition: Some(key.1),
                code,
                message: message.clone(),
                expected_offset: None,
            };
            self.actions.push_back(SenderAction::Send(fault.into()));
        }
        partition.fault = Some((code, message));
    }

    /// Tells the shell what the replica has, and the replica up to where its consumers may read:
    /// the latter always before batches beyond it.
    fn tell_moved(&mut self) {
        if self.moved.is_empty() && !self.is_fresh {
            return;
        }
        let (mut acked, mut watermarks) = (Vec::new(), Vec::new());
        for key in std::mem::take(&mut self.moved) {
            let is_fed = self.is_fed(key.0);
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            let end = |offset| End { origin: key.0, partition: key.1, offset };
            acked.extend(partition.take_acked().map(end));
            if is_fed && self.topics.is_told(key.0, key.1) {
                watermarks.extend(partition.take_watermark().map(end));
            }
        }
        if self.mode == Mode::Replicate && (!acked.is_empty() || self.is_fresh) {
            self.actions.push_back(SenderAction::Acked(acked));
        }
        self.is_fresh = false;
        for ends in watermarks.chunks(LINK_CHUNK_ITEMS_MAX) {
            let frame = HighWatermarks { ends: ends.to_vec() };
            self.actions.push_back(SenderAction::Send(frame.into()));
        }
    }

    fn send_catalog(&mut self) {
        let Some(replica) = self.replica.filter(|_| self.catalog_dirty) else { return };
        self.catalog_dirty = false;
        for frame in self.topics.take_frames(replica) {
            for topic in &frame.topics {
                self.restart_topic(topic.origin);
            }
            self.actions.push_back(SenderAction::Send(frame.into()));
        }
        let keys: Vec<Key> = self.partitions.keys().copied().collect();
        self.moved.extend(&keys);
        for key in keys {
            self.start(key);
            self.queue(key);
        }
        (self.positions_dirty, self.decisions_dirty) = (true, true);
    }

    /// A topic that is told anew gets another chance. What was sent while it was stopped has been
    /// dropped there, so each partition goes back to what is acknowledged.
    fn restart_topic(&mut self, origin: OriginTopicId) {
        if self.stopped.remove(&origin).is_some() {
            of_topic(&mut self.partitions, origin).for_each(|(_, partition)| partition.go_back());
        }
    }

    fn may_send(&self, (origin, partition): Key) -> bool {
        self.phase == Phase::Open
            && self.topics.is_told(origin, partition)
            && !self.stopped.contains_key(&origin)
            && self.is_fed(origin)
    }

    fn queue(&mut self, key: Key) {
        if !self.may_send(key) {
            return;
        }
        self.note_trim(key);
        self.reigns_due.insert(key);
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        if partition.has_data() && !partition.queued {
            partition.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Partitions with data take turns, one read each, while there is credit.
    fn request_reads(&mut self) {
        while self.credit > 0
            && self.reads < self.settings.reads_max
            && let Some(allowance) = self.pace.allowance(self.now_ms)
        {
            let Some(key) = self.ready.pop_front() else { return };
            let fed = self.is_fed(key.0);
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            partition.queued = false;
            if !partition.has_data() || self.stopped.contains_key(&key.0) || !fed {
                continue;
            }
            let room = usize::try_from(self.credit).unwrap_or(usize::MAX);
            let bytes_max = self.settings.read_bytes_max.min(room).min(allowance);
            let (from, to) = (partition.next.unwrap_or_default(), partition.target());
            partition.reading = true;
            self.reads += 1;
            self.credit -= i64::try_from(bytes_max).unwrap_or(i64::MAX);
            self.pace.spend(bytes_max as u64);
            self.actions.push_back(SenderAction::Read(ReadRequest {
                origin: key.0,
                partition: key.1,
                from,
                to,
                bytes_max,
            }));
        }
    }

    fn end_read(&mut self, request: &ReadRequest) {
        self.reads = self.reads.saturating_sub(1);
        self.credit += i64::try_from(request.bytes_max).unwrap_or(i64::MAX);
        self.pace.give_back(request.bytes_max as u64);
        if let Some(partition) = self.partitions.get_mut(&(request.origin, request.partition)) {
            partition.reading = false;
        }
    }

    /// Sends runs of consecutive batches; where the source keeps nothing, the gap is declared.
    fn send_batches(&mut self, key: Key, from: i64, empty_to: i64, batches: Vec<SourceBatch>) {
        self.tell_moved();
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let target = partition.target();
        let mut next = from;
        let mut run: Vec<SourceBatch> = Vec::new();
        let mut frames = Vec::new();
        for batch in batches {
            // I3: whatever the log may hold beyond, only durable bytes leave the source.
            if batch.next_offset > target {
                break;
            }
            let run_end = run.last().map_or(next, |last| last.next_offset);
            if !run.is_empty()
                && (batch.base_offset != run_end || run.len() == LINK_CHUNK_ITEMS_MAX)
            {
                frames.push(frame_of(key, &mut next, std::mem::take(&mut run), partition));
            }
            while run.is_empty() && batch.base_offset > next {
                let hole_end = partition.hole_end(next, batch.base_offset);
                if hole_end == batch.base_offset && !partition.is_gap(next) {
                    // What compaction took is told along with what comes after it.
                    break;
                }
                frames.push(gap_frame(key, next, hole_end, partition));
                next = hole_end;
            }
            run.push(batch);
        }
        if !run.is_empty() {
            frames.push(frame_of(key, &mut next, run, partition));
        }
        let empty_to = empty_to.min(target);
        while frames.iter().all(|frame| frame.items.is_empty()) && empty_to > next {
            let gap_to = partition.hole_end(next, empty_to);
            frames.push(gap_frame(key, next, gap_to, partition));
            next = gap_to;
        }
        partition.next = Some(next);
        for frame in frames {
            let bytes = frame.payload_bytes() as u64;
            self.credit -= bytes as i64;
            self.pace.spend(bytes);
            self.bytes_sent += bytes;
            self.actions.push_back(SenderAction::Send(frame.into()));
        }
    }

    /// I4: a cursor goes out once the data before it has gone out; the replica clamps it besides.
    fn send_cursors(&mut self) {
        if !self.cursors_dirty || self.cursors.is_empty() {
            return;
        }
        self.cursors_dirty = false;
        let (partitions, topics) = (&self.partitions, &self.topics);
        let (feeding, source) = (&self.feeding, self.source);
        let frames = self.cursors.take_frames(|item| {
            let sent = partitions.get(&(item.origin, item.partition)).is_some_and(|partition| {
                let end = partition.view.as_ref().map_or(0, |view| view.durable_end);
                partition.next.is_some_and(|next| next >= item.offset.min(end))
            });
            let owned = topics.owner(item.origin) == Some(source);
            let fed = feeding.feeds(item.origin, owned);
            sent && fed && topics.is_told(item.origin, item.partition)
        });
        for frame in frames {
            self.actions.push_back(SenderAction::Send(frame.into()));
        }
    }

    fn close(&mut self, code: Code, message: String, by_peer: bool) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.actions.push_back(SenderAction::Close(Closing { code, message, by_peer }));
    }
}

fn bye(code: Code, message: &str) -> SenderAction {
    SenderAction::Send(Bye { code, message: message.to_owned() }.into())
}

fn frame_of(
    key: Key,
    next: &mut i64,
    run: Vec<SourceBatch>,
    partition: &mut SendPartition,
) -> Batches {
    let from = run.first().map_or(*next, |batch| batch.base_offset);
    let to = run.last().map_or(from, |batch| batch.next_offset);
    let frame = Batches {
        origin: key.0,
        partition: key.1,
        from,
        to,
        gap_from: (from != *next).then_some(*next),
        lineage: partition.take_lineage(to),
        source_end: partition.view.as_ref().map_or(to, |view| view.durable_end),
        compacted: partition.compacted_from(*next),
        items: run
            .into_iter()
            .map(|batch| BatchItem { arrival_ms: batch.arrival_ms, bytes: batch.bytes })
            .collect(),
    };
    *next = to;
    frame
}

fn gap_frame(key: Key, from: i64, to: i64, partition: &mut SendPartition) -> Batches {
    Batches {
        origin: key.0,
        partition: key.1,
        from: to,
        to,
        gap_from: Some(from),
        lineage: partition.take_lineage(to),
        source_end: partition.view.as_ref().map_or(to, |view| view.durable_end),
        compacted: if partition.is_gap(from) { 0 } else { partition.compacted_from(from) },
        items: Vec::new(),
    }
}
