//! The two clusters, the network between them, and what happens to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mainstem_catalog::{Command, Place, ReplicaSettings, StreamPatch, StreamSettings, TopicPatch};
use mainstem_engine::{Ack, Append, CursorCommit};
use mainstem_env::{Clock, CrashPolicy, ManualClock, Random, SeededRandom};
use mainstem_group::CursorKey;
use mainstem_types::{ClusterId, ErrorKind, OriginTopicId, PartitionNo, StreamId};

use crate::Plant;
use crate::connection::Connection;
use crate::node::{Answer, Node, Purpose};
use crate::producer::{Acknowledged, Producer, Target};
use crate::truth::Truth;

/// Events before the storm is over.
const EVENTS: u64 = 900;
/// Rounds that the calm may take until both sides are alike.
const CALM_ROUNDS: u64 = 400;

/// The retention of a source that has one.
const TTL_SECONDS: u64 = 30;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// After so many events.
    pub event: u64,
    /// The invariant, by its number or name.
    pub rule: &'static str,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} breaks {} after {} events: {}\nreplay: cargo run -p mainstem-sim --release \
             -- --seed {}",
            self.seed, self.rule, self.event, self.message, self.seed
        )
    }
}

/// What a run has tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records acknowledged to producers.
    pub records: u64,
    /// Bytes of batches sent over links.
    pub bytes: u64,
    /// Frames of batches sent.
    pub frames: u64,
    /// Gaps declared, where retention overtook a link.
    pub gaps: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Crashes of either side.
    pub crashes: u64,
    /// A number that two runs of one seed share.
    pub fingerprint: u64,
}

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Who feeds whom: mostly one source and one replica; also both ways, a chain, and a loop.
fn topology(random: &SeededRandom) -> (&'static [&'static str], &'static [(usize, usize)]) {
    match random.below(8) {
        0 | 1 => (&NAMES[..2], &[(0, 1), (1, 0)]),
        2 => (&NAMES, &[(0, 1), (1, 2)]),
        3 => (&NAMES, &[(0, 1), (1, 2), (2, 0)]),
        _ => (&NAMES[..2], &[(0, 1)]),
    }
}

/// A source, its replica, and their agreement.
pub(crate) struct Link {
    pub(crate) source: usize,
    pub(crate) replica: usize,
    pub(crate) raising: bool,
    /// One of its halves was taken away at some time.
    pub(crate) was_removed: bool,
    /// For a planted bug: what was sent in earlier sessions.
    pub(crate) remembered: BTreeMap<(OriginTopicId, u32), i64>,
}

/// A change that ends older sessions of an upstream.
pub(crate) struct Fence {
    pub(crate) node: usize,
    pub(crate) upstream: StreamId,
    pub(crate) at: u64,
    pub(crate) stands: bool,
}

pub(crate) struct World {
    seed: u64,
    pub(crate) plant: Plant,
    pub(crate) random: SeededRandom,
    clock: Arc<ManualClock>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: Vec<StreamId>,
    pub(crate) links: Vec<Link>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) next_connection: u64,
    pub(crate) truth: Truth,
    pub(crate) producers: Vec<Producer>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) verified: BTreeMap<(usize, OriginTopicId, u32), i64>,
    /// Where each copy's retention has got to, also of topics that are gone by now.
    pub(crate) starts: BTreeMap<(usize, OriginTopicId, u32), i64>,
    pub(crate) fences: Vec<Fence>,
    event: u64,
    violation: Option<Violation>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) gaps: u64,
    pub(crate) sessions: u64,
    crashes: u64,
}

/// Runs one seed: a storm of events, then a calm in which both sides must become alike.
///
/// # Errors
/// The first rule that was broken.
pub fn run(seed: u64, plant: Plant) -> Result<Report, Violation> {
    let mut world = World::new(seed, plant);
    while world.event < EVENTS && world.violation.is_none() {
        world.event += 1;
        world.happen();
        world.settle();
    }
    world.calm_down();
    match world.violation {
        Some(violation) => Err(violation),
        None => Ok(world.report()),
    }
}

impl World {
    fn new(seed: u64, plant: Plant) -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let random = SeededRandom::new(seed);
        let (names, pairs) = topology(&random);
        let mut nodes: Vec<Node> = (0u64..)
            .zip(names)
            .map(|(at, name)| {
                let id = ClusterId(0x1000 * (u128::from(at) + 1) + 7);
                Node::new(name, id, seed.wrapping_mul(31).wrapping_add(at), clock.clone())
            })
            .collect();
        let streams: Vec<StreamId> =
            (1..=nodes.len() as u128).map(|at| StreamId(0xa0 * at)).collect();
        for (node, id) in nodes.iter_mut().zip(&streams) {
            let path = "/s".parse().expect("a legal path");
            let settings = StreamSettings { ttl_seconds: 0, ..StreamSettings::default() };
            node.change_now(Command::CreateStream { path, id: Some(*id), settings });
        }
        let link = |&(source, replica): &(usize, usize)| Link {
            source,
            replica,
            raising: false,
            was_removed: false,
            remembered: BTreeMap::new(),
        };
        let links = pairs.iter().map(link).collect();
        let producers = (0..3).map(|at| Producer::new(1_000 + at)).collect();
        let mut world = Self {
            seed,
            plant,
            random,
            clock,
            nodes,
            streams,
            links,
            connections: BTreeMap::new(),
            next_connection: 1,
            truth: Truth::default(),
            producers,
            acknowledged: Vec::new(),
            verified: BTreeMap::new(),
            starts: BTreeMap::new(),
            fences: Vec::new(),
            event: 0,
            violation: None,
            records: 0,
            bytes: 0,
            frames: 0,
            gaps: 0,
            sessions: 0,
            crashes: 0,
        };
        world.create_topic();
        world.make_agreements();
        world
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    pub(crate) fn place(&self, node: usize) -> Place {
        Place {
            cluster: NAMES[node].parse().expect("a legal name"),
            path: "/s".parse().expect("a legal path"),
        }
    }

    pub(crate) fn violate(&mut self, rule: &'static str, message: String) {
        let (seed, event) = (self.seed, self.event);
        self.violation.get_or_insert(Violation { seed, event, rule, message });
    }

    fn pick(&self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).expect("below a usize")
    }

    /// One thing happens.
    fn happen(&mut self) {
        match self.random.below(1000) {
            0..420 => self.deliver_one(),
            420..620 => self.step(self.pick(self.nodes.len())),
            620..780 => self.produce(),
            780..860 => self.dial(self.pick(self.links.len())),
            860..900 => self.pass_time(self.random.below(400)),
            900..930 => self.commit_cursor(),
            930..938 => self.create_topic(),
            938..942 => self.expire(),
            942..946 => self.grow_topic(),
            946..950 => self.delete_topic(),
            950..960 => self.intrude(),
            960..967 => self.cut_one(),
            967..974 => self.crash(self.pick(self.nodes.len())),
            974..980 => self.doom(),
            980..988 => self.pause_or_resume(),
            988..992 => self.remove_replica(),
            992..996 => self.remove_upstream(),
            _ => self.make_agreements(),
        }
    }

    /// Both ends do what they can without the network, and the rules are looked at.
    fn settle(&mut self) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.pump_sender(id);
            self.pump_receiver(id);
            if let Some(connection) = self.connections.get_mut(&id) {
                // Whoever is left alone hears of it once nothing more is under way.
                if connection.sender.is_none() && !connection.has_down() {
                    connection.receiver = None;
                    connection.is_new = false;
                }
                if connection.receiver.is_none() && !connection.is_new && !connection.has_up() {
                    connection.sender = None;
                }
            }
        }
        self.connections.retain(|_, connection| !connection.is_over());
        self.check_all();
    }

    fn step(&mut self, node: usize) {
        let Some(answers) = self.nodes[node].step() else {
            self.crash(node);
            return;
        };
        for (purpose, answer) in answers {
            self.handle_answer(purpose, answer);
        }
    }

    fn handle_answer(&mut self, purpose: Purpose, answer: Answer) {
        match (purpose, answer) {
            (Purpose::Produce { producer }, Answer::Appended(result)) => {
                self.handle_produced(producer, result);
            }
            (Purpose::Intrude, Answer::Appended(Ok(_))) => {
                self.violate("I5", "a write to a replicated topic was taken".into());
            }
            (Purpose::Raise { link }, Answer::Changed(result)) => self.handle_raised(link, result),
            (Purpose::Open { connection, fence }, Answer::Changed(result)) => {
                self.handle_opened(connection, fence, result);
            }
            (Purpose::RemoveUpstream { fence }, Answer::Changed(result)) => {
                self.fences[fence].stands = result.is_ok();
            }
            (Purpose::Pin { connection }, Answer::Changed(Err(_))) => self.hang_up(connection),
            (Purpose::Append { connection, token, at }, Answer::Replicated(result)) => {
                self.handle_appended(connection, token, at, &result);
            }
            (Purpose::Topic { connection, origin }, Answer::Changed(result)) => {
                self.unblock(connection, |r| r.handle_topic_applied(origin, result.map(drop)));
            }
            (Purpose::Advance { connection, seq }, Answer::Changed(result)) => {
                self.unblock(connection, |r| r.handle_advanced(seq, result.map(drop)));
            }
            (Purpose::Kept { connection }, Answer::Done(result)) => {
                self.unblock(connection, |r| r.handle_kept(result));
            }
            _ => {}
        }
    }

    fn unblock(&mut self, id: u64, tell: impl FnOnce(&mut mainstem_replicate::Receiver)) {
        let side = self.connections.get_mut(&id).and_then(|c| c.receiver.as_mut());
        if let Some(side) = side {
            side.blocked = false;
            tell(&mut side.receiver);
        }
    }

    fn hang_up(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cut();
        }
    }

    fn deliver_one(&mut self) {
        let waiting: Vec<(u64, bool)> = self
            .connections
            .iter()
            .flat_map(|(id, c)| {
                let down = c.has_down().then_some((*id, true));
                down.into_iter().chain(c.has_up().then_some((*id, false)))
            })
            .collect();
        if waiting.is_empty() {
            return;
        }
        match waiting[self.pick(waiting.len())] {
            (id, true) if self.connections[&id].is_slow && self.random.below(8) != 0 => {}
            (id, true) => self.deliver_down(id),
            (id, false) => self.deliver_up(id),
        }
    }

    fn pass_time(&mut self, by_ms: u64) {
        self.clock.advance_ms(by_ms);
        let (now_ms, wall_ms) = (self.now_ms(), self.wall_ms());
        for connection in self.connections.values_mut() {
            if let Some(side) = &mut connection.sender {
                side.sender.handle_time(now_ms, wall_ms);
            }
            if let Some(side) = &mut connection.receiver {
                side.receiver.handle_time(now_ms, wall_ms);
            }
        }
    }

    fn cut_one(&mut self) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.pick(ids.len())];
        if self.random.below(2) == 0 {
            self.hang_up(id);
        } else if let Some(connection) = self.connections.get_mut(&id) {
            connection.abandon();
        }
    }

    /// The power goes in the middle of a group commit.
    fn doom(&mut self) {
        let node = self.pick(self.nodes.len());
        self.nodes[node].doom(self.random.below(12));
        self.step(node);
        // It survived: there was less to do than the doom allowed.
        self.nodes[node].doom(u64::MAX);
    }

    /// The power of a node goes and comes back. What it had sent may still arrive.
    fn crash(&mut self, node: usize) {
        self.crashes += 1;
        let policy = match self.random.below(3) {
            0 => CrashPolicy::LoseAll,
            1 => CrashPolicy::KeepAll,
            _ => CrashPolicy::Seeded,
        };
        self.nodes[node].crash(policy);
        for producer in &mut self.producers {
            if let Some(sent) = &mut producer.outstanding
                && sent.target.node == node
            {
                sent.is_queued = false;
            }
        }
        for link in &mut self.links {
            link.raising &= link.source != node;
        }
        for connection in self.connections.values_mut() {
            let link = &self.links[connection.link];
            if self.random.below(2) == 0 {
                connection.cut();
            } else if link.source == node {
                connection.abandon();
            } else {
                connection.receiver = None;
                connection.is_new = false;
            }
        }
    }

    fn report(&self) -> Report {
        let mut fingerprint = 0u64;
        for ((origin, index), log) in &self.truth.0 {
            for batch in &log.batches {
                let parts = [origin.0 as u64, u64::from(*index), batch.base as u64];
                for part in parts.into_iter().chain([batch.arrival_ms as u64]) {
                    fingerprint = (fingerprint ^ part).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        fingerprint ^= self.sessions << 32 ^ self.frames << 16 ^ self.bytes;
        Report {
            records: self.records,
            bytes: self.bytes,
            frames: self.frames,
            gaps: self.gaps,
            sessions: self.sessions,
            crashes: self.crashes,
            fingerprint,
        }
    }
}

/// What people and clients do.
impl World {
    /// Partitions of topics that begin at a node, with their home.
    fn owned(&self, node: usize) -> Vec<Target> {
        let catalog = self.nodes[node].catalog();
        let Some(stream) = catalog.stream(self.streams[node]) else { return Vec::new() };
        let topics = stream.topics.values().filter(|topic| topic.owner.stream == stream.id);
        let partitions = topics.flat_map(|topic| {
            (0u32..).zip(&topic.partitions).map(|(index, no)| (topic.origin, index, *no))
        });
        partitions.map(|(origin, index, no)| Target { node, no, origin, index }).collect()
    }

    fn produce(&mut self) {
        let at = self.pick(self.producers.len());
        if self.producers[at].outstanding.is_none() {
            let node = self.links[self.pick(self.links.len())].source;
            let targets = self.owned(node);
            if targets.is_empty() {
                return;
            }
            let target = targets[self.pick(targets.len())];
            let count = 1 + i32::try_from(self.random.below(5)).expect("a small number");
            let size = self.pick(300);
            let packed = self.random.below(3) == 0;
            self.producers[at].make(target, count, size, packed);
        }
        self.send(at);
    }

    fn send(&mut self, at: usize) {
        let Some(sent) = &mut self.producers[at].outstanding else { return };
        if sent.is_queued {
            return;
        }
        sent.is_queued = true;
        let (no, batch, node) = (sent.target.no, sent.batch.clone(), sent.target.node);
        self.append(node, Purpose::Produce { producer: at }, no, batch);
    }

    fn append(&mut self, node: usize, purpose: Purpose, no: PartitionNo, batch: bytes::Bytes) {
        let engine = self.nodes[node].engine.clone();
        self.nodes[node].submit(purpose, async move {
            let append = Append { partition: no, batch };
            let answers = match engine.append(vec![append], Ack::Durable).await {
                Ok(answers) => answers.await,
                Err(error) => Err(error),
            };
            Answer::Appended(answers.and_then(|mut answers| answers.remove(0)))
        });
    }

    fn handle_produced(
        &mut self,
        at: usize,
        result: Result<mainstem_engine::Appended, mainstem_types::Error>,
    ) {
        match result {
            Ok(appended) => {
                let promise = self.producers[at].acknowledge(appended.base_offset);
                self.acknowledged.extend(promise);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.producers[at].give_up(),
            Err(error) => {
                self.violate("producers are served", error.to_string());
            }
        }
    }

    /// A local producer at a replica: always refused (I5).
    fn intrude(&mut self) {
        let node = self.links[0].replica;
        let catalog = self.nodes[node].catalog();
        let Some(stream) = catalog.stream(self.streams[node]) else { return };
        let foreign = stream.topics.values().find(|topic| topic.owner.stream != stream.id);
        let Some(no) = foreign.and_then(|topic| topic.partition(0)) else { return };
        let mut intruder = Producer::new(9_000);
        let target = Target { node, no, origin: OriginTopicId(0), index: 0 };
        intruder.make(target, 1, 1, false);
        let batch = intruder.outstanding.expect("just made").batch;
        self.append(node, Purpose::Intrude, no, batch);
    }

    fn commit_cursor(&mut self) {
        let node = self.links[self.pick(self.links.len())].source;
        let targets = self.owned(node);
        if targets.is_empty() {
            return;
        }
        let target = targets[self.pick(targets.len())];
        let Some(partition) = self.nodes[node].engine.partition(target.no) else { return };
        let end = u64::try_from(partition.durable_end()).unwrap_or(0);
        let group = if self.random.below(2) == 0 { "g1" } else { "g2" };
        let commit = CursorCommit {
            key: CursorKey {
                stream: self.streams[node],
                group: group.parse().expect("a legal group"),
                topic: target.origin,
                partition: target.index,
            },
            offset: i64::try_from(self.random.below(end + 1)).expect("an offset"),
            leader_epoch: 0,
            metadata: String::new(),
        };
        let engine = self.nodes[node].engine.clone();
        self.nodes[node].submit(Purpose::Whatever, async move {
            Answer::Done(engine.commit_cursors(vec![commit]).await)
        });
    }

    fn create_topic(&mut self) {
        let node = self.links[self.pick(self.links.len())].source;
        let name = format!("{}{}", NAMES[node], self.random.below(4));
        let create = Command::CreateTopic {
            stream: self.streams[node],
            name: name.parse().expect("a legal name"),
            partitions: Some(1 + u32::try_from(self.random.below(3)).expect("small")),
            timestamp_type: None,
            config: BTreeMap::new(),
        };
        self.nodes[node].change(Purpose::Whatever, create);
    }

    /// Retention takes what is old at the source, whether or not a link has carried it yet.
    fn expire(&mut self) {
        let node = self.links[self.pick(self.links.len())].source;
        let ttl_seconds = Some(if self.random.below(2) == 0 { 0 } else { TTL_SECONDS });
        let patch = StreamPatch { ttl_seconds, ..StreamPatch::default() };
        let path = self.place(node).path;
        self.nodes[node].change(Purpose::Whatever, Command::EditStream { path, patch });
        if self.random.below(2) == 0 {
            // Nobody waits so long in a storm: links see a silent peer and begin anew.
            self.pass_time(TTL_SECONDS * 1_000);
        }
    }

    fn grow_topic(&mut self) {
        let node = self.links[self.pick(self.links.len())].source;
        let targets = self.owned(node);
        let Some(last) = targets.last() else { return };
        let patch = TopicPatch { partitions: Some(last.index + 2), ..TopicPatch::default() };
        let (stream, topic) = (self.streams[node], last.origin);
        self.nodes[node].change(Purpose::Whatever, Command::EditTopic { stream, topic, patch });
    }

    fn delete_topic(&mut self) {
        let node = self.links[self.pick(self.links.len())].source;
        let targets = self.owned(node);
        if targets.is_empty() {
            return;
        }
        let (stream, topic) = (self.streams[node], targets[self.pick(targets.len())].origin);
        self.nodes[node].change(Purpose::Whatever, Command::DeleteTopic { stream, topic });
    }

    fn pause_or_resume(&mut self) {
        let link = self.pick(self.links.len());
        let (node, replica) = (self.links[link].source, self.replica_place(link));
        let stream = self.streams[node];
        let command = if self.random.below(2) == 0 {
            Command::PauseReplica { stream, replica }
        } else {
            Command::ResumeReplica { stream, replica }
        };
        self.nodes[node].change(Purpose::Whatever, command);
    }

    fn remove_replica(&mut self) {
        let link = self.pick(self.links.len());
        self.links[link].was_removed = true;
        let (node, replica) = (self.links[link].source, self.replica_place(link));
        let stream = self.streams[node];
        self.nodes[node].change(Purpose::Whatever, Command::RemoveReplica { stream, replica });
    }

    fn remove_upstream(&mut self) {
        let link = self.pick(self.links.len());
        self.links[link].was_removed = true;
        let (source, node) = (self.links[link].source, self.links[link].replica);
        let (stream, upstream) = (self.streams[node], self.place(source));
        let fence = self.fences.len();
        let remove = Command::RemoveUpstream { stream, upstream };
        let at = self.nodes[node].change(Purpose::RemoveUpstream { fence }, remove);
        let upstream = self.streams[source];
        self.fences.push(Fence { node, upstream, at, stands: false });
    }

    /// Declares whatever half of an agreement is missing.
    fn make_agreements(&mut self) {
        for link in 0..self.links.len() {
            let (source, node) = (self.links[link].source, self.links[link].replica);
            let (replica, upstream) = (self.replica_place(link), self.place(source));
            let catalog = self.nodes[source].catalog();
            if self.find_replica(&catalog, link).is_none() {
                let add = Command::AddReplica {
                    stream: self.streams[source],
                    replica,
                    replica_id: None,
                    settings: ReplicaSettings::default(),
                    paused: false,
                    setup: None,
                };
                self.nodes[source].change(Purpose::Whatever, add);
            }
            let catalog = self.nodes[node].catalog();
            let stream = catalog.stream(self.streams[node]);
            if stream.is_some_and(|stream| stream.upstream(&upstream).is_none()) {
                let stream = self.streams[node];
                let add = Command::AddUpstream { stream, upstream, stream_id: None };
                self.nodes[node].change(Purpose::Whatever, add);
            }
        }
    }
}

/// After the storm.
impl World {
    /// No more faults: everything is put right, and both sides must become alike.
    fn calm_down(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].crash(CrashPolicy::KeepAll);
        }
        self.connections.clear();
        for link in &mut self.links {
            link.raising = false;
        }
        for producer in &mut self.producers {
            if let Some(sent) = &mut producer.outstanding {
                sent.is_queued = false;
            }
        }
        for _ in 0..CALM_ROUNDS {
            if self.violation.is_some() {
                return;
            }
            self.calm_round();
            let busy = self.producers.iter().any(|producer| producer.outstanding.is_some())
                || self.nodes.iter().any(|node| !node.is_idle());
            if !busy && self.is_converged().is_ok() {
                self.check_promises();
                return;
            }
        }
        let reason = self.is_converged().err().unwrap_or_else(|| "a producer waits".into());
        let faults: Vec<String> = self
            .connections
            .values()
            .filter_map(|c| c.sender.as_ref())
            .flat_map(|side| side.sender.faults())
            .map(|fault| format!("{}: {}", fault.code, fault.message))
            .collect();
        self.violate("both sides become alike", format!("{reason}; faults {faults:?}"));
    }

    fn calm_round(&mut self) {
        self.event += 1;
        self.make_agreements();
        for link in 0..self.links.len() {
            let (node, replica) = (self.links[link].source, self.replica_place(link));
            let stream = self.streams[node];
            let catalog = self.nodes[node].catalog();
            if self.find_replica(&catalog, link).is_some_and(|(_, replica)| replica.paused) {
                let resume = Command::ResumeReplica { stream, replica };
                self.nodes[node].change(Purpose::Whatever, resume);
            }
            self.dial(link);
        }
        for at in 0..self.producers.len() {
            self.send(at);
        }
        for node in 0..self.nodes.len() {
            self.step(node);
        }
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            for _ in 0..8 {
                self.deliver_down(id);
                self.deliver_up(id);
                self.pump_sender(id);
                self.pump_receiver(id);
            }
        }
        self.pass_time(10);
        self.settle();
    }
}
