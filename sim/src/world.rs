//! The clusters, what is between them, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use mainstem_catalog::{Catalog, Command, Place, Stream, StreamSettings};
use mainstem_engine::Engine;
use mainstem_env::{Random, SeededRandom};
use mainstem_replicate::Feeders;
use mainstem_types::{ClusterId, OriginTopicId, StreamId};

use crate::Plant;
use crate::connection::Connection;
use crate::node::{Answer, Node, Purpose};
use crate::offer::Offers;
use crate::producer::{Acknowledged, Producer};
use crate::sync_watch::SyncWatch;
use crate::topology::{Link, NAMES, Site, TOPOLOGIES, Topology};
use crate::transactional::Transactional;
use crate::truth::Truth;
use crate::written::Histories;

/// Events before the storm is over.
const EVENTS: u64 = 900;
/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// Who feeds whom in it.
    pub topology: &'static str,
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
            "seed {} ({}) breaks {} after {} events: {}",
            self.seed, self.topology, self.rule, self.event, self.message
        )
    }
}

impl Violation {
    /// The command that shows it again, given what [`run_in`] was given.
    pub fn replay(&self, topology: &str, plant: Plant) -> String {
        let mut command = format!("cargo run -p mainstem-sim --release -- --seed {}", self.seed);
        if !topology.is_empty() {
            command += &format!(" --topology \"{topology}\"");
        }
        if plant != Plant::None {
            command += &format!(" --plant {plant}");
        }
        command
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
    /// Transactions of which a commit was acknowledged.
    pub commits: u64,
    /// Records that log compaction took, anywhere.
    pub compacted: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Crashes of either side.
    pub crashes: u64,
    /// A number that two runs of one seed share.
    pub fingerprint: u64,
}

/// A change that ends older sessions of an upstream.
pub(crate) struct Fence {
    pub(crate) site: usize,
    pub(crate) upstream: StreamId,
    pub(crate) at: u64,
    pub(crate) stands: bool,
}

pub(crate) struct World {
    seed: u64,
    pub(crate) plant: Plant,
    pub(crate) random: SeededRandom,
    pub(crate) topology: &'static Topology,
    pub(crate) nodes: Vec<Node>,
    pub(crate) sites: Vec<Site>,
    pub(crate) links: Vec<Link>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) next_connection: u64,
    /// Directions, from cluster to cluster, in which nothing gets through at present.
    pub(crate) cut_off: BTreeSet<(usize, usize)>,
    pub(crate) truth: Truth,
    /// Where owners change.
    pub(crate) histories: Histories,
    pub(crate) fail_overs: u64,
    pub(crate) hand_overs: u64,
    pub(crate) offers: Offers,
    pub(crate) producers: Vec<Producer>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) verified: BTreeMap<(usize, OriginTopicId, u32), i64>,
    /// Where each copy's retention has got to, also of topics that are gone by now.
    pub(crate) starts: BTreeMap<(usize, OriginTopicId, u32), i64>,
    pub(crate) fences: Vec<Fence>,
    /// Most replicas are synchronous.
    pub(crate) synchronous: bool,
    /// Records have keys, and some sites compact.
    pub(crate) compacts: bool,
    pub(crate) sync: SyncWatch,
    pub(crate) transactional: Transactional,
    pub(crate) event: u64,
    pub(crate) violation: Option<Violation>,
    /// What happens, if anybody wants to know.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) gaps: u64,
    pub(crate) sessions: u64,
    pub(crate) crashes: u64,
    /// How often half an agreement was taken away: what is deleted then may stay elsewhere.
    pub(crate) halves_removed: u64,
    /// Topics that began at a site, until people asked for their deletion.
    pub(crate) wanted: BTreeSet<(usize, OriginTopicId)>,
    /// What people asked to delete.
    pub(crate) unwanted: BTreeSet<OriginTopicId>,
}

/// Runs one seed: a storm of events, then a calm in which both sides must become alike.
///
/// # Errors
/// The first rule that was broken.
pub fn run(seed: u64, plant: Plant) -> Result<Report, Violation> {
    play(World::new(seed, plant, !seed.is_multiple_of(2), None)).0
}

/// As [`run`], in a topology that is chosen by name, or drawn as ever if none has that name.
///
/// # Errors
/// As [`run`].
pub fn run_in(topology: &str, seed: u64, plant: Plant) -> Result<Report, Violation> {
    play(World::new(seed, plant, !seed.is_multiple_of(2), Topology::named(topology))).0
}

/// As [`run_in`], with a line for each frame that a link carried.
pub fn run_traced(
    topology: &str,
    seed: u64,
    plant: Plant,
) -> (Result<Report, Violation>, Vec<String>) {
    let mut world = World::new(seed, plant, !seed.is_multiple_of(2), Topology::named(topology));
    world.trace = Some(Vec::new());
    play(world)
}

/// The names of all topologies.
pub fn topologies() -> Vec<&'static str> {
    TOPOLOGIES.iter().map(|topology| topology.name).collect()
}

fn play(mut world: World) -> (Result<Report, Violation>, Vec<String>) {
    world.switch_compaction_on(world.seed);
    world.switch_transactions_on(world.seed);
    while world.event < EVENTS && world.violation.is_none() {
        world.event += 1;
        world.compact_a_step();
        world.transact();
        match world.topology.reigns {
            true => world.happen_in_reigns(),
            false => world.happen(),
        }
        world.settle();
    }
    world.check_promised(|_| true);
    world.check_promised_commits(|_| true);
    world.calm_down();
    let trace = world.trace.take().unwrap_or_default();
    match world.violation {
        Some(violation) => (Err(violation), trace),
        None => (Ok(world.report()), trace),
    }
}

impl World {
    pub(crate) fn new(
        seed: u64,
        plant: Plant,
        synchronous: bool,
        named: Option<&'static Topology>,
    ) -> Self {
        let random = SeededRandom::new(seed);
        let drawn = Topology::draw(&random);
        let topology = named.unwrap_or(drawn);
        let mut nodes: Vec<Node> = (0u64..)
            .zip(&NAMES[..topology.clusters()])
            .map(|(at, name)| {
                let id = ClusterId(0x1000 * (u128::from(at) + 1) + 7);
                Node::new(name, id, seed.wrapping_mul(31).wrapping_add(at))
            })
            .collect();
        let mut sites = Vec::new();
        for (at, &(node, path)) in (1..).zip(topology.sites) {
            let stream = StreamId(0xa0 * at);
            let settings = StreamSettings { ttl_seconds: 0, ..StreamSettings::default() };
            let id = Some(stream);
            let path_here = path.parse().expect("a legal path");
            nodes[node].change_now(Command::CreateStream { path: path_here, id, settings });
            sites.push(Site { node, path, stream, feeders: Feeders::default() });
        }
        let links = topology.links.iter().map(Link::new).collect();
        let producers = (0..3).map(|at| Producer::new(1_000 + at)).collect();
        let mut world = Self {
            seed,
            plant,
            random,
            topology,
            nodes,
            sites,
            links,
            connections: BTreeMap::new(),
            next_connection: 1,
            cut_off: BTreeSet::new(),
            truth: Truth::default(),
            histories: Histories::default(),
            fail_overs: 0,
            hand_overs: 0,
            offers: Offers::new(),
            producers,
            acknowledged: Vec::new(),
            verified: BTreeMap::new(),
            starts: BTreeMap::new(),
            fences: Vec::new(),
            synchronous,
            compacts: false,
            sync: SyncWatch::default(),
            transactional: Transactional::default(),
            event: 0,
            violation: None,
            trace: None,
            records: 0,
            bytes: 0,
            frames: 0,
            gaps: 0,
            sessions: 0,
            crashes: 0,
            halves_removed: 0,
            wanted: BTreeSet::new(),
            unwanted: BTreeSet::new(),
        };
        world.create_topic();
        world.make_agreements();
        world
    }

    pub(crate) fn node(&self, site: usize) -> &Node {
        &self.nodes[self.sites[site].node]
    }

    pub(crate) fn node_mut(&mut self, site: usize) -> &mut Node {
        &mut self.nodes[self.sites[site].node]
    }

    pub(crate) fn engine(&self, site: usize) -> &Engine {
        &self.node(site).engine
    }

    pub(crate) fn catalog(&self, site: usize) -> Catalog {
        self.node(site).catalog()
    }

    /// The uuid of a site's stream.
    pub(crate) fn id(&self, site: usize) -> StreamId {
        self.sites[site].stream
    }

    pub(crate) fn stream(&self, site: usize) -> Option<Arc<Stream>> {
        self.catalog(site).stream(self.id(site)).cloned()
    }

    pub(crate) fn place(&self, site: usize) -> Place {
        let Site { node, path, .. } = self.sites[site];
        Place {
            cluster: NAMES[node].parse().expect("a legal name"),
            path: path.parse().expect("a legal path"),
        }
    }

    pub(crate) fn violate(&mut self, rule: &'static str, message: String) {
        let (seed, event, topology) = (self.seed, self.event, self.topology.name);
        self.violation.get_or_insert(Violation { seed, topology, event, rule, message });
    }

    pub(crate) fn event(&self) -> u64 {
        self.event
    }

    pub(crate) fn pick(&self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).expect("below a usize")
    }

    /// One thing happens.
    fn happen(&mut self) {
        match self.random.below(1000) {
            0..420 => self.deliver_one(),
            420..620 => self.step(self.pick(self.nodes.len())),
            620..780 => self.produce(),
            780..857 => self.dial(self.pick(self.links.len())),
            857..860 => self.call(self.pick(self.links.len())),
            860..890 => self.pass_time(self.random.below(400)),
            890..900 => self.delete_records(),
            900..927 => self.commit_cursor(),
            927..930 => self.delete_cursor(),
            930..936 => self.create_topic(),
            936..938 => self.rename_topic(),
            938..942 => self.expire(),
            942..946 => self.grow_topic(),
            946..950 => self.delete_topic(),
            950..960 => self.intrude(),
            960..965 => self.cut_one(),
            965..968 => self.cut_off_or_heal(),
            968..970 => self.jump_clock(),
            970..975 => self.crash(self.pick(self.nodes.len())),
            975..980 => self.doom(),
            980..988 => self.pause_or_resume(),
            988..992 => self.remove_replica(),
            992..995 => self.remove_upstream(),
            995..997 => self.change_synchrony(self.pick(self.links.len())),
            _ => self.make_agreements(),
        }
    }

    /// Both ends do what they can without the network, and the rules are looked at.
    pub(crate) fn settle(&mut self) {
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
        self.close_feeders();
        if self.plant == Plant::DegradeInMemory {
            (0..self.sites.len()).for_each(|site| self.pretend_acked(site));
        }
        match self.topology.reigns {
            true => self.check_reigns(),
            false => self.check_all(),
        }
        self.check_isolation();
    }

    pub(crate) fn step(&mut self, node: usize) {
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
            (Purpose::Transact { client, request }, answer) => {
                self.handle_transacted(client, request, answer);
            }
            (Purpose::Intrude, Answer::Appended(Ok(_))) => {
                self.violate("I5", "a write to a replicated topic was taken".into());
            }
            (Purpose::Raise { link }, Answer::Changed(result)) => self.handle_raised(link, *result),
            (Purpose::Open { connection, fence }, Answer::Changed(result)) => {
                self.handle_opened(connection, fence, *result);
            }
            (Purpose::RemoveUpstream { fence }, Answer::Changed(result)) => {
                self.fences[fence].stands = result.is_ok();
                let site = self.fences[fence].site;
                let stream = result.ok().and_then(|catalog| catalog.stream(self.id(site)).cloned());
                if stream.is_some_and(|stream| stream.upstreams.is_empty()) {
                    self.note_orphans(site);
                }
            }
            (Purpose::Pin { connection }, Answer::Changed(result)) if result.is_err() => {
                self.hang_up(connection);
            }
            (Purpose::Append { connection, site, token, at }, Answer::Replicated(result)) => {
                self.handle_appended(connection, site, token, at, &result);
            }
            (Purpose::Topic { connection, origin }, Answer::Changed(result)) => {
                let side = self.connections.get_mut(&connection).and_then(|c| c.receiver.as_mut());
                if let Some(side) = side {
                    side.receiver.handle_topic_applied(origin, result.map(drop));
                }
            }
            (Purpose::Advance { connection, seq }, Answer::Changed(result)) => {
                self.unblock(connection, |r| r.handle_advanced(seq, result.map(drop)));
            }
            (Purpose::Meet { connection }, Answer::Changed(result)) if result.is_ok() => {
                self.handle_met(connection);
            }
            (Purpose::Rejoin { connection, token }, Answer::Replicated(result)) => {
                self.handle_rejoined(connection, token, result);
            }
            (Purpose::Offer { connection }, Answer::Changed(result)) => {
                self.handle_offered(connection, *result);
            }
            (Purpose::TakeBack { link, term }, Answer::Changed(result)) => {
                self.handle_taken_back(link, term, &result);
            }
            (Purpose::TakeOver { connection, site, term }, Answer::Changed(result)) => {
                if result.is_ok() {
                    self.check_taken_over(site, term);
                }
                self.unblock(connection, |r| r.handle_taken_over(result.map(drop)));
            }
            (Purpose::FailOver { site }, Answer::Changed(result)) => {
                self.handle_failed_over(site, &result);
            }
            (Purpose::Kept { connection, site, cursors_of }, Answer::Done(result)) => {
                if result.is_ok() {
                    self.note_brought(connection, site, &cursors_of);
                }
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
            commits: self.transactional.committed,
            compacted: self.nodes.iter().map(Node::compacted).sum(),
            sessions: self.sessions,
            crashes: self.crashes,
            fingerprint,
        }
    }
}
