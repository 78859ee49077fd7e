//! The replica's end of one session.

mod feeding;

use std::collections::{BTreeMap, HashMap, VecDeque};

use mainstem_link::{
    Ack, Batches, Bye, Code, Credit, CursorItem, CursorVersion, End, FEATURE_FEEDERS, FEATURES,
    Fault, Frame, Heartbeat, Hello, Mode, PROTOCOL_VERSION, PartitionItem, Refused, Rejoin,
    TermItem, Terms, TombstoneItem, TopicItem, Topics, TransactionDecision, Welcome,
};
use mainstem_types::limits::{LINK_CREDIT_BYTES, LINK_FRAME_BYTES_MAX, PARTITIONS_PER_TOPIC_MAX};
use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, Error, ErrorKind, LinkEpoch, OriginTopicId, StreamId, Term,
    TopicName,
};

use crate::pulse::Pulse;
use crate::{Closing, FaultNote, Pending, code_of};

pub use feeding::FeedOrder;
use feeding::Taking;

type Key = (OriginTopicId, u32);

/// Partitions and lineage entries in one chunk of a Welcome.
const WELCOME_CHUNK: usize = 512;

/// Who answers a Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverIdentity {
    /// This cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: ClusterName,
    /// The prefix of the producer ids that it hands out.
    pub producer_prefix: u64,
    /// The node id that its Kafka clients see.
    pub node_id: i32,
}

/// The state of the replica once the link epoch is raised, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The replica's uuid.
    pub replica_id: StreamId,
    /// The epoch of this session.
    pub link_epoch: LinkEpoch,
    /// The last source catalog sequence applied.
    pub applied_seq: CatalogSeq,
    /// The highest term that the replica has seen.
    pub term: Term,
    /// What it holds, durably, of topics that others own.
    pub partitions: Vec<PartitionItem>,
    /// Those of its topics that the source owns: their data comes unasked.
    pub owned: Vec<TermItem>,
    /// Versions of its replicated cursors.
    pub cursors: Vec<CursorVersion>,
    /// Its consumers do not see all that is durable of some partition.
    pub holds: bool,
    /// Who owns those of its topics that the source does not own.
    pub terms: Vec<TermItem>,
}

/// Names one append, so that a late answer is not taken for a newer one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendToken {
    /// The topic.
    pub origin: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The number of the owner's term that the source knew of as it sent.
    pub term: u64,
    generation: u32,
    bytes: u64,
}

/// What the shell is to do, one after the other. Topics, tombstones and appends only have to be in
/// the engine's order, so that many share one sync; everything else is done before the next action
/// is asked for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "taken one at a time, and most are the large one")]
pub enum ReceiverAction {
    /// Send a frame.
    Send(Frame),
    /// Check the agreement and raise its link epoch durably; answer by
    /// [`Receiver::handle_opened`].
    Open(Box<Hello>),
    /// Create or change a topic; answer by [`Receiver::handle_topic_applied`].
    ApplyTopic(TopicItem),
    /// Delete a topic; answer by [`Receiver::handle_topic_applied`].
    ApplyTombstone(TombstoneItem),
    /// Note how far the source's catalog was applied; answer by [`Receiver::handle_advanced`].
    Advance(CatalogSeq),
    /// Append exactly at the end; answer by [`Receiver::handle_appended`].
    Append(AppendToken, Batches),
    /// Set aside what the owner does not have, and undo it; answer by
    /// [`Receiver::handle_rejoined`]. Other actions need not wait for it.
    Rejoin(AppendToken, Rejoin),
    /// Take over what the source owns, in this term, if each partition ends where this session has
    /// brought it to; answer by [`Receiver::handle_taken_over`].
    TakeOver(Term, Vec<End>),
    /// Keep cursors in the replicated column; answer by [`Receiver::handle_kept`].
    KeepCursors(Vec<CursorItem>),
    /// Let consumers read up to these offsets, in the engine's order like an append.
    HoldWatermarks(Vec<End>),
    /// Keep what is told of commits until their markers are here, in the engine's order like an
    /// append.
    KeepDecisions(Vec<TransactionDecision>),
    /// Move log starts; answer by [`Receiver::handle_kept`].
    Trim(Vec<End>),
    /// How far the source is with topics that it does not feed; answer by
    /// [`Receiver::handle_compared`].
    Compare(Vec<End>),
    /// The session is over, once what was sent before is out.
    Close(Closing),
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Opening,
    Open,
    Closed,
}

#[derive(Debug, Default)]
struct ReceivePartition {
    generation: u32,
    /// Where the next batches of this session begin. The engine has the last word on its own end;
    /// this is checked first because a gap that begins elsewhere must not be declared there.
    next: i64,
    /// Where what is durable here ends, as far as this session knows.
    durable: i64,
    /// Nothing is taken until batches begin here, or before it.
    resync: Option<i64>,
    /// What this session last said of the watermark while another one fed the topic.
    watermark_told: Option<i64>,
    /// It is being joined to the source's history, and may be cut for that.
    rejoining: bool,
}

/// The replica's end of one session: see docs/PROTOCOL.md.
#[derive(Debug)]
pub struct Receiver {
    identity: ReceiverIdentity,
    peer: ClusterId,
    phase: Phase,
    partitions: HashMap<Key, ReceivePartition>,
    stopped: BTreeMap<(OriginTopicId, Option<u32>), (Code, String)>,
    /// Names of topics that the source told in this session, and of how many partitions.
    told: HashMap<OriginTopicId, (TopicName, u32)>,
    taking: Taking,
    outstanding: u64,
    returned: u64,
    acks: BTreeMap<Key, i64>,
    applied_seq: Option<CatalogSeq>,
    /// The highest term told to the source, and one that is to be told.
    seen: u64,
    seen_due: Option<Term>,
    pending: Pending,
    /// The time in the source's last heartbeat, and when it came.
    beat_heard: Option<(i64, u64)>,
    pulse: Pulse,
    wall_ms: i64,
    actions: VecDeque<ReceiverAction>,
    /// Topics and tombstones that the engine was given and has not answered, with the partitions
    /// that will be here then.
    changing: VecDeque<(OriginTopicId, u32)>,
    bytes_received: u64,
}

impl Receiver {
    /// A session with a peer whose certificate names the cluster `peer`.
    pub fn new(identity: ReceiverIdentity, peer: ClusterId, now_ms: u64, wall_ms: i64) -> Self {
        Self {
            identity,
            peer,
            phase: Phase::Waiting,
            partitions: HashMap::new(),
            stopped: BTreeMap::new(),
            told: HashMap::new(),
            taking: Taking::default(),
            outstanding: 0,
            returned: 0,
            acks: BTreeMap::new(),
            applied_seq: None,
            seen: 0,
            seen_due: None,
            pending: Pending::default(),
            beat_heard: None,
            pulse: Pulse::new(now_ms),
            wall_ms,
            actions: VecDeque::new(),
            changing: VecDeque::new(),
            bytes_received: 0,
        }
    }

    /// A frame of the source.
    pub fn handle_frame(&mut self, frame: Frame, now_ms: u64) {
        self.pulse.handle_heard(now_ms);
        match (frame, &self.phase) {
            (_, Phase::Closed) => {}
            (Frame::Hello(hello), Phase::Waiting) => self.handle_hello(hello),
            (Frame::Bye(bye), _) => self.close(bye.code, bye.message, true),
            (Frame::Topics(topics), Phase::Open) => self.handle_topics(topics),
            (Frame::Batches(batches), Phase::Open) => self.handle_batches(batches),
            (Frame::Rejoin(rejoin), Phase::Open) => self.handle_rejoin(rejoin),
            (Frame::HandOver(offer), Phase::Open) => {
                let ends = self.ends_brought();
                self.actions.push_back(ReceiverAction::TakeOver(offer.term, ends));
            }
            (Frame::Cursors(cursors), Phase::Open) => {
                self.actions.push_back(ReceiverAction::KeepCursors(cursors.cursors));
            }
            (Frame::Trims(trims), Phase::Open) => {
                self.actions.push_back(ReceiverAction::Trim(trims.starts));
            }
            (Frame::Positions(positions), Phase::Open) => {
                self.actions.push_back(ReceiverAction::Compare(positions.ends));
            }
            (Frame::Heartbeat(beat), Phase::Open) => {
                self.pending = Pending {
                    bytes: beat.pending_bytes,
                    records: beat.pending_records,
                    since_ms: beat.pending_since_ms,
                    counted_ms: beat.pending_counted_ms,
                };
                self.beat_heard = Some((beat.now_ms, now_ms));
            }
            (Frame::Fault(fault), Phase::Open) => {
                let key = (fault.origin, fault.partition);
                self.stopped.entry(key).or_insert((fault.code, fault.message));
            }
            (Frame::HighWatermarks(marks), Phase::Open) => self.handle_watermarks(marks.ends),
            (Frame::TransactionDecisions(told), Phase::Open) => {
                self.actions.push_back(ReceiverAction::KeepDecisions(told.decisions));
            }
            (Frame::Digests(_), Phase::Open) => {}
            (frame, _) => {
                self.refuse_frame(&format!("a {} frame was not expected here", frame.name()));
            }
        }
    }

    /// The agreement stands and its epoch is raised; or why not.
    pub fn handle_opened(&mut self, opened: Result<Opened, Refused>) {
        if self.phase != Phase::Opening {
            return;
        }
        match opened {
            Ok(opened) => {
                self.phase = Phase::Open;
                self.seen = opened.term.number;
                for item in &opened.partitions {
                    let (next, durable) = (item.end, item.end);
                    let state = ReceivePartition { next, durable, ..Default::default() };
                    self.partitions.insert((item.origin, item.partition), state);
                }
                let told = opened.owned.iter().chain(&opened.terms);
                told.for_each(|i| self.taking.note_owner(i.origin, i.owner, i.term));
                for chunk in welcome_chunks(&self.identity, opened) {
                    self.actions.push_back(ReceiverAction::Send(chunk.into()));
                }
            }
            Err(refused) => self.refuse(refused),
        }
    }

    /// How a topic's creation, change or deletion went; answers come in their order.
    pub fn handle_topic_applied(&mut self, origin: OriginTopicId, result: Result<(), Error>) {
        let (topic, partitions) =
            self.changing.pop_front().expect("only what was asked is answered");
        assert_eq!(topic, origin, "answers come in the order of the questions");
        let Err(error) = result else {
            // I9: the source is told of every partition that is here, also of an empty one: it
            // takes what it was not told of for missing.
            for partition in 0..partitions {
                self.acks.entry((origin, partition)).or_insert(0);
            }
            return;
        };
        match error.kind() {
            ErrorKind::Fenced => self.fence(&error),
            ErrorKind::Storage | ErrorKind::Retry => self.give_up(&error),
            _ => self.stop(origin, None, code_of(&error), error.message(), None),
        }
    }

    /// How the note of the source's catalog sequence went.
    pub fn handle_advanced(&mut self, seq: CatalogSeq, result: Result<(), Error>) {
        match result {
            Ok(()) => self.applied_seq = self.applied_seq.max(Some(seq)),
            Err(error) => self.end_with(&error),
        }
    }

    /// How cursors or trims were taken.
    pub fn handle_kept(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.end_with(&error);
        }
    }

    /// How an append went: the partition's durable end now, or why it was refused. Answers come
    /// in the order of the appends of a partition.
    pub fn handle_appended(&mut self, token: AppendToken, result: Result<i64, Error>) {
        self.release(token.bytes);
        match result {
            Ok(durable_end) => {
                let key = (token.origin, token.partition);
                let end = self.acks.entry(key).or_insert(durable_end);
                *end = (*end).max(durable_end);
                let state = self.partitions.entry(key).or_default();
                state.durable = state.durable.max(durable_end);
            }
            Err(error) => self.handle_append_error(token, &error),
        }
    }

    /// Where a partition ends that has rejoined its owner's history.
    pub fn handle_rejoined(&mut self, token: AppendToken, result: Result<i64, Error>) {
        let key = (token.origin, token.partition);
        let state = self.partitions.entry(key).or_default();
        state.rejoining = false;
        match result {
            Ok(end) => {
                state.generation += 1;
                (state.next, state.durable, state.resync) = (end, end, None);
                self.acks.remove(&key);
                let (origin, partition) = (token.origin, Some(token.partition));
                let message = "the log has rejoined its owner's history".to_owned();
                let (code, expected_offset) = (Code::Misaligned, Some(end));
                let fault = Fault { origin, partition, code, message, expected_offset };
                self.actions.push_back(ReceiverAction::Send(fault.into()));
            }
            Err(error) => self.handle_append_error(token, &error),
        }
    }

    /// What is kept of a partition here is damaged: it takes nothing more, which a source that has the
    /// topic hears at once rather than when something more is to come.
    pub fn handle_damaged(&mut self, origin: OriginTopicId, partition: u32, message: &str) {
        if self.taking.owns(origin) || self.told.contains_key(&origin) {
            self.stop(origin, Some(partition), Code::Corrupt, message, None);
        }
    }

    /// A partition here was cut, perhaps for what another link brings. Of one that this session feeds
    /// the source has then to hear anew what is here, and of which history. `end` is where one ends
    /// durably.
    pub fn handle_cut(&mut self, end: impl Fn(OriginTopicId, u32) -> Option<i64>) {
        let is_cut = |((origin, partition), state): (&Key, &ReceivePartition)| {
            let is_ours = self.taking.takes(*origin) && !state.rejoining;
            is_ours && end(*origin, *partition).is_some_and(|end| end < state.durable)
        };
        if self.phase == Phase::Open && self.partitions.iter().any(is_cut) {
            let message = "another link has joined a partition here to its owner's history";
            self.say_bye(Code::Fenced, format!("{message}; say Hello again"));
        }
    }

    /// Where the partitions of the source's topics end as far as this session knows. Another link, or
    /// this replica itself as an owner of before, may have written more than the source has.
    fn ends_brought(&self) -> Vec<End> {
        let owned = self.partitions.iter().filter(|((origin, _), _)| self.taking.owns(*origin));
        let end = |(&(origin, partition), state): (&Key, &ReceivePartition)| End {
            origin,
            partition,
            offset: state.next,
        };
        owned.map(end).collect()
    }

    /// Whether what was offered was taken. If so, [`Self::handle_terms`] tells of it.
    pub fn handle_taken_over(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.end_with(&error);
        }
    }

    /// The replica has seen other terms than it told the source: topics that others own, and the
    /// highest.
    pub fn handle_terms(&mut self, seen: Term, terms: &[TermItem]) {
        if self.phase != Phase::Open {
            return;
        }
        for chunk in terms.chunks(WELCOME_CHUNK) {
            let terms = Terms { terms: chunk.to_vec() };
            self.actions.push_back(ReceiverAction::Send(terms.into()));
        }
        if seen.number > self.seen {
            self.seen = seen.number;
            self.seen_due = Some(seen);
        }
    }

    /// The clocks moved.
    pub fn handle_time(&mut self, now_ms: u64, wall_ms: i64) {
        self.wall_ms = wall_ms;
        if self.phase == Phase::Closed {
            return;
        }
        if self.pulse.is_silent(now_ms) {
            self.close(Code::Silent, "nothing was heard from the source".to_owned(), false);
        } else if self.pulse.is_beat_due(now_ms) && self.phase == Phase::Open {
            // The source's own time, as it would be here: it tells how long a frame takes.
            let echo = |(peer_ms, heard_ms)| {
                i64::saturating_add(peer_ms, i64::try_from(now_ms - heard_ms).unwrap_or(i64::MAX))
            };
            let echo_ms = self.beat_heard.map_or(0, echo);
            let beat = Heartbeat { now_ms: wall_ms, echo_ms, ..Heartbeat::default() };
            self.actions.push_back(ReceiverAction::Send(beat.into()));
        }
    }

    /// Ends the session: the process stops.
    pub fn shut(&mut self, code: Code, message: &str) {
        self.say_bye(code, message.to_owned());
    }

    /// What to do next; `None` until something happens. Acks and credit come last, so that they
    /// speak for everything that was answered before.
    pub fn poll_action(&mut self) -> Option<ReceiverAction> {
        // What could not be applied must not be noted as applied: the source would not tell it
        // again. And a topic must be there before its partitions can be compared.
        let waits = matches!(
            self.actions.front(),
            Some(ReceiverAction::Advance(_) | ReceiverAction::Compare(_))
        );
        if waits && !self.changing.is_empty() {
            return None;
        }
        if let Some(action) = self.actions.pop_front() {
            match &action {
                ReceiverAction::ApplyTopic(item) => {
                    self.changing.push_back((item.origin, item.partitions));
                }
                ReceiverAction::ApplyTombstone(item) => self.changing.push_back((item.origin, 0)),
                _ => {}
            }
            return Some(action);
        }
        if self.phase != Phase::Open {
            return None;
        }
        if !self.acks.is_empty() || self.applied_seq.is_some() || self.seen_due.is_some() {
            return Some(ReceiverAction::Send(self.take_ack().into()));
        }
        if self.returned > 0 {
            let bytes = std::mem::take(&mut self.returned);
            return Some(ReceiverAction::Send(Credit { bytes }.into()));
        }
        None
    }

    /// When to call [`Self::handle_time`] at the latest.
    pub fn next_timeout_ms(&self) -> u64 {
        self.pulse.next_ms()
    }

    /// The Welcome was sent and the session stands.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// What the source said last of what is still to come.
    pub const fn pending(&self) -> Pending {
        self.pending
    }

    /// Bytes of batches received in this session.
    pub const fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// What stopped.
    pub fn faults(&self) -> Vec<FaultNote> {
        self.stopped
            .iter()
            .map(|((origin, partition), (code, message))| FaultNote {
                origin: *origin,
                topic: self.told.get(origin).map(|(name, _)| name.clone()),
                partition: *partition,
                code: *code,
                message: message.clone(),
            })
            .collect()
    }

    fn handle_hello(&mut self, hello: Hello) {
        if let Err((code, message)) = self.check_hello(&hello) {
            self.refuse(Refused { code, message, may_retry: false });
            return;
        }
        let chooses = hello.features & FEATURE_FEEDERS != 0 && hello.mode == Mode::Replicate;
        self.taking.begin(hello.source_id, chooses);
        self.phase = Phase::Opening;
        self.actions.push_back(ReceiverAction::Open(Box::new(hello)));
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), (Code, String)> {
        let here = &self.identity;
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            return Err((
                Code::Version,
                format!(
                    "this cluster speaks link protocol {PROTOCOL_VERSION}, the source {} to {}; \
                     upgrade the older one",
                    hello.version_min, hello.version_max
                ),
            ));
        }
        if hello.cluster_id != self.peer {
            return Err((
                Code::WrongCluster,
                format!(
                    "the certificate is of cluster {}, the Hello says {}",
                    self.peer, hello.cluster_id
                ),
            ));
        }
        if hello.replica_cluster != here.cluster_name {
            return Err((
                Code::WrongCluster,
                format!(
                    "this is a gateway of {}, not of {}; correct the gateways by `cluster \
                     gateway set -dstcluster {}`",
                    here.cluster_name, hello.replica_cluster, hello.replica_cluster
                ),
            ));
        }
        let another = hello.cluster_id != here.cluster_id;
        if another
            && (hello.producer_prefix == here.producer_prefix || hello.node_id == here.node_id)
        {
            return Err((
                Code::Collision,
                format!(
                    "clusters {} and {} drew the same node id or producer id prefix; set up one \
                     of them anew",
                    hello.cluster_name, here.cluster_name
                ),
            ));
        }
        Ok(())
    }

    fn handle_topics(&mut self, topics: Topics) {
        for item in topics.tombstones {
            self.stopped.retain(|(origin, _), _| *origin != item.origin);
            self.told.remove(&item.origin);
            self.actions.push_back(ReceiverAction::ApplyTombstone(item));
        }
        for item in topics.topics {
            // The source tells a topic again when it changed, which may have cured it.
            let partitions = item.partitions.min(PARTITIONS_PER_TOPIC_MAX);
            if self.stopped.remove(&(item.origin, None)).is_some() {
                self.await_restart(item.origin, partitions);
            }
            self.told.insert(item.origin, (item.name.clone(), partitions));
            self.taking.note_owner(item.origin, item.owner, item.term);
            self.actions.push_back(ReceiverAction::ApplyTopic(item));
        }
        self.actions.push_back(ReceiverAction::Advance(topics.complete_to));
    }

    /// What was sent while a topic was stopped is dropped, and so is what follows it, until the
    /// source has heard of that and begins again.
    fn await_restart(&mut self, origin: OriginTopicId, partitions: u32) {
        for partition in 0..partitions {
            let state = self.partitions.entry((origin, partition)).or_default();
            state.resync.get_or_insert(state.durable);
        }
    }

    fn handle_batches(&mut self, batches: Batches) {
        let bytes = batches.payload_bytes() as u64;
        self.bytes_received += bytes;
        self.outstanding += bytes;
        if self.outstanding > LINK_CREDIT_BYTES + LINK_FRAME_BYTES_MAX as u64 {
            self.refuse_frame("more bytes are under way than the credit allows");
            return;
        }
        let (origin, partition) = (batches.origin, batches.partition);
        if self.is_stopped(origin, partition) || !self.taking.takes(origin) {
            self.release(bytes);
            return;
        }
        let state = self.partitions.entry((origin, partition)).or_default();
        let from = batches.gap_from.unwrap_or(batches.from);
        if let Some(expected) = state.resync {
            if from > expected {
                self.release(bytes);
                return;
            }
            state.resync = None;
            state.generation += 1;
            state.next = expected;
        }
        let (generation, term) = (state.generation, self.taking.term(origin));
        let token = AppendToken { origin, partition, term, generation, bytes };
        if from > state.next || batches.to < batches.from || batches.from < from {
            let error = Error::misaligned(state.next, from);
            self.release(bytes);
            self.resync(token, &error);
            return;
        }
        state.next = state.next.max(batches.to);
        self.actions.push_back(ReceiverAction::Append(token, batches));
    }

    fn handle_rejoin(&mut self, rejoin: Rejoin) {
        let (origin, partition) = (rejoin.origin, rejoin.partition);
        if self.is_stopped(origin, partition) {
            return;
        }
        let state = self.partitions.entry((origin, partition)).or_default();
        state.rejoining = true;
        let (generation, term) = (state.generation, self.taking.term(origin));
        let token = AppendToken { origin, partition, term, generation, bytes: 0 };
        self.actions.push_back(ReceiverAction::Rejoin(token, rejoin));
    }

    fn handle_append_error(&mut self, token: AppendToken, error: &Error) {
        let (origin, partition) = (token.origin, Some(token.partition));
        match error.kind() {
            ErrorKind::Fenced => self.fence(error),
            ErrorKind::Misaligned => self.resync(token, error),
            ErrorKind::Diverged => self.stop(origin, None, Code::Diverged, error.message(), None),
            ErrorKind::NotFound => self.stop(origin, None, Code::NoTopic, error.message(), None),
            ErrorKind::Policy => self.stop(origin, None, Code::Conflict, error.message(), None),
            ErrorKind::Corrupt | ErrorKind::Invalid => {
                self.stop(origin, partition, Code::Corrupt, error.message(), None);
            }
            _ => self.give_up(error),
        }
    }

    /// Everything of the partition that is already under way is dropped until the source begins
    /// again at the expected offset: a tail must not be taken after a refused head.
    fn resync(&mut self, token: AppendToken, error: &Error) {
        let state = self.partitions.entry((token.origin, token.partition)).or_default();
        if state.resync.is_some() || state.generation != token.generation {
            return;
        }
        let Some(expected) = error.expected_offset() else { return self.give_up(error) };
        state.resync = Some(expected);
        if self.phase == Phase::Open {
            let fault = Fault {
                origin: token.origin,
                partition: Some(token.partition),
                code: Code::Misaligned,
                message: error.message().to_owned(),
                expected_offset: Some(expected),
            };
            self.actions.push_back(ReceiverAction::Send(fault.into()));
        }
    }

    fn is_stopped(&self, origin: OriginTopicId, partition: u32) -> bool {
        self.stopped.contains_key(&(origin, None))
            || self.stopped.contains_key(&(origin, Some(partition)))
    }

    fn stop(
        &mut self,
        origin: OriginTopicId,
        partition: Option<u32>,
        code: Code,
        message: &str,
        expected_offset: Option<i64>,
    ) {
        let key = (origin, partition);
        // The first reason stands: what follows from it would hide it.
        if self.stopped.contains_key(&key) {
            return;
        }
        self.stopped.insert(key, (code, message.to_owned()));
        if self.phase != Phase::Open {
            return;
        }
        let message = message.to_owned();
        let fault = Fault { origin, partition, code, message, expected_offset };
        self.actions.push_back(ReceiverAction::Send(fault.into()));
    }

    fn release(&mut self, bytes: u64) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
        self.returned += bytes;
    }

    fn take_ack(&mut self) -> Ack {
        let mut ends = Vec::new();
        while ends.len() < WELCOME_CHUNK
            && let Some(((origin, partition), offset)) = self.acks.pop_first()
        {
            ends.push(End { origin, partition, offset });
        }
        let applied_seq = self.applied_seq.take().unwrap_or_default();
        Ack { ends, applied_seq, term: self.seen_due.take() }
    }

    fn end_with(&mut self, error: &Error) {
        match error.kind() {
            ErrorKind::Fenced => self.fence(error),
            _ => self.give_up(error),
        }
    }

    fn fence(&mut self, error: &Error) {
        self.say_bye(Code::Fenced, error.message().to_owned());
    }

    fn give_up(&mut self, error: &Error) {
        self.say_bye(code_of(error), error.message().to_owned());
    }

    fn refuse_frame(&mut self, message: &str) {
        self.say_bye(Code::Protocol, message.to_owned());
    }

    fn say_bye(&mut self, code: Code, message: String) {
        if self.phase == Phase::Closed {
            return;
        }
        // What was not begun under this session is not begun any more.
        self.actions.retain(|action| matches!(action, ReceiverAction::Send(_)));
        let bye = Bye { code, message: message.clone() };
        self.actions.push_back(ReceiverAction::Send(bye.into()));
        self.close(code, message, false);
    }

    fn refuse(&mut self, refused: Refused) {
        let (code, message) = (refused.code, refused.message.clone());
        self.actions.push_back(ReceiverAction::Send(refused.into()));
        self.close(code, message, false);
    }

    fn close(&mut self, code: Code, message: String, by_peer: bool) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            let closing = Closing { code, message, by_peer };
            self.actions.push_back(ReceiverAction::Close(closing));
        }
    }
}

fn welcome_chunks(here: &ReceiverIdentity, opened: Opened) -> Vec<Welcome> {
    let chunk = |more| Welcome {
        version: PROTOCOL_VERSION,
        features: FEATURES,
        cluster_id: here.cluster_id,
        cluster_name: here.cluster_name.clone(),
        producer_prefix: here.producer_prefix,
        node_id: here.node_id,
        replica_id: opened.replica_id,
        link_epoch: opened.link_epoch,
        applied_seq: opened.applied_seq,
        term: opened.term,
        credit_bytes: LINK_CREDIT_BYTES,
        partitions: Vec::new(),
        cursors: Vec::new(),
        more,
        holds: opened.holds,
        terms: Vec::new(),
    };
    let of_terms = |terms: &[TermItem]| Welcome { terms: terms.to_vec(), ..chunk(true) };
    let mut chunks: Vec<Welcome> = opened.terms.chunks(WELCOME_CHUNK).map(of_terms).collect();
    if chunks.is_empty() {
        chunks.push(chunk(true));
    }
    let mut weight = 0;
    for partition in opened.partitions {
        let last = chunks.last_mut().expect("one from the start");
        weight += 1 + partition.lineage.len();
        last.partitions.push(partition);
        if weight >= WELCOME_CHUNK {
            chunks.push(chunk(true));
            weight = 0;
        }
    }
    for cursor in opened.cursors {
        let last = chunks.last_mut().expect("one from the start");
        // A group's id may be long, hence counted by its length.
        weight += 1 + cursor.group.len() / 128;
        last.cursors.push(cursor);
        if weight >= WELCOME_CHUNK {
            chunks.push(chunk(true));
            weight = 0;
        }
    }
    chunks.last_mut().expect("one from the start").more = false;
    chunks
}
