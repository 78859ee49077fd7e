//! One cluster: an engine over a simulated disk, stepped by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mainstem_catalog::{Catalog, Command};
use mainstem_engine::{
    Appended, Cleaner, CleanerSettings, Engine, EngineSettings, LogSettings, ReserveMode,
    Sequencer, ViewMode,
};
use mainstem_env::{CrashPolicy, Env, ManualClock, SeededRandom, SimDisk};
use mainstem_replicate::AppendToken;
use mainstem_types::{CatalogSeq, ClusterId, Error, OriginTopicId, Term};

/// What an operation was for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// A producer's batch.
    Produce { producer: usize },
    /// A step of a transactional producer, its request of that number.
    Transact { client: usize, request: u64 },
    /// A write that must be refused (I5).
    Intrude,
    /// A change whose refusal is of no interest.
    Whatever,
    /// The source's epoch for a new session of a link.
    Raise { link: usize },
    /// The replica's uuid.
    Pin { connection: u64 },
    /// The replica opens a session.
    Open { connection: u64, fence: usize },
    /// A person takes the replica's half away.
    RemoveUpstream { fence: usize },
    /// A topic of a session.
    Topic { connection: u64, origin: OriginTopicId },
    /// How far the source's catalog was applied.
    Advance { connection: u64, seq: CatalogSeq },
    /// Batches of a session to a site, submitted as operation number `at`.
    Append { connection: u64, site: usize, token: AppendToken, at: u64 },
    /// A source hears of a higher term.
    Meet { connection: u64 },
    /// A partition rejoins its owner's history.
    Rejoin { connection: u64, token: AppendToken },
    /// A replica is promoted.
    FailOver { site: usize },
    /// A source writes down that it offers its topics.
    Offer { connection: u64 },
    /// Or that it does not any more.
    TakeBack { link: usize, term: Term },
    /// A replica takes them.
    TakeOver { connection: u64, site: usize, term: Term },
    /// Cursors of these topics, or trims, that a session has brought to a site.
    Kept { connection: u64, site: usize, cursors_of: Vec<OriginTopicId> },
}

/// What the engine answered.
pub(crate) enum Answer {
    Changed(Box<Result<Catalog, Error>>),
    Appended(Result<Appended, Error>),
    Begun(Result<(i64, i16), Error>),
    Replicated(Result<i64, Error>),
    Done(Result<(), Error>),
}

/// Eager, and with little memory, so that passes are many and cut into pieces.
const CLEANER: CleanerSettings =
    CleanerSettings { interval_ms: 0, pass_interval_ms: 0, map_bytes: 20 * 48, step_bytes: 1_500 };

type Future_ = Pin<Box<dyn Future<Output = Answer>>>;

/// A cluster.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    sequencer: Sequencer,
    cleaner: Cleaner,
    /// Records that compaction took before the last crash.
    compacted: u64,
    disk: SimDisk,
    env: Env,
    pub(crate) clock: Arc<ManualClock>,
    operations: Vec<(Purpose, Future_)>,
    submitted: u64,
}

impl Node {
    pub(crate) fn new(name: &str, id: ClusterId, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(seed)) };
        let disk = SimDisk::new(seed);
        let (engine, sequencer) = open(&env, &disk);
        let operations = Vec::new();
        let cleaner = engine.cleaner(env.clone(), CLEANER);
        let mut node = Self {
            engine,
            sequencer,
            cleaner,
            compacted: 0,
            disk,
            env,
            clock,
            operations,
            submitted: 0,
        };
        let name = name.parse().expect("a legal name");
        let found = Command::FoundCluster { id, name, incarnation: 1 };
        node.change_now(found);
        node
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.engine.catalog()
    }

    /// Changes the catalog at once, while the scene is set.
    pub(crate) fn change_now(&mut self, command: Command) {
        self.change(Purpose::Whatever, command);
        for (_, answer) in self.step().expect("the disk works while the scene is set") {
            if let Answer::Changed(result) = answer {
                result.expect("the scene can be set");
            }
        }
    }

    pub(crate) fn change(&mut self, purpose: Purpose, command: Command) -> u64 {
        let engine = self.engine.clone();
        self.submit(purpose, async move { Answer::Changed(Box::new(engine.change(command).await)) })
    }

    /// Puts an operation into the engine's queue; its number orders it among the others.
    pub(crate) fn submit(
        &mut self,
        purpose: Purpose,
        future: impl Future<Output = Answer> + 'static,
    ) -> u64 {
        let mut future: Future_ = Box::pin(future);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            future = Box::pin(std::future::ready(answer));
        }
        self.submitted += 1;
        self.operations.push((purpose, future));
        self.submitted
    }

    /// One group commit, and what was answered. `None` if the power went meanwhile.
    pub(crate) fn step(&mut self) -> Option<Vec<(Purpose, Answer)>> {
        // A disk may die under work that the engine takes for optional, such as its view.
        if self.sequencer.step().is_err() || self.disk.is_dead() {
            return None;
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for (purpose, mut future) in std::mem::take(&mut self.operations) {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(answer) => answers.push((purpose, answer)),
                Poll::Pending => waiting.push((purpose, future)),
            }
        }
        self.operations = waiting;
        Some(answers)
    }

    /// Records that compaction has taken.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted + self.engine.removed_by_compaction().0
    }

    /// The node's compaction looks for work, reads, or hands over what it has done.
    pub(crate) fn compact_a_step(&mut self) {
        self.cleaner.step();
    }

    /// The number that the next operation will have.
    pub(crate) const fn next_number(&self) -> u64 {
        self.submitted + 1
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.operations.is_empty()
    }

    /// The power will go within so many disk operations.
    pub(crate) fn doom(&self, operations: u64) {
        self.disk.die_after(operations);
    }

    /// The power goes and comes back; what was not answered never will be.
    pub(crate) fn crash(&mut self, policy: CrashPolicy) {
        self.operations.clear();
        self.disk.crash(policy);
        let (engine, sequencer) = open(&self.env, &self.disk);
        self.compacted = self.compacted();
        self.cleaner = engine.cleaner(self.env.clone(), CLEANER);
        self.engine = engine;
        self.sequencer = sequencer;
    }
}

fn open(env: &Env, disk: &SimDisk) -> (Engine, Sequencer) {
    let settings = EngineSettings {
        log: LogSettings {
            segment_bytes: 64 * 1024,
            reserve_segments: 1,
            reserve_mode: ReserveMode::Inline,
            tail_cache_bytes: 16 * 1024,
            ..LogSettings::default()
        },
        view_mode: ViewMode::Inline,
        ..EngineSettings::default()
    };
    Engine::open(env.clone(), Arc::new(disk.clone()), settings).expect("every crash is recovered")
}
