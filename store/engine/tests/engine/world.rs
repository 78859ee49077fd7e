//! One engine over a simulated disk, stepped by hand.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mainstem_catalog::{Command, Owner, Place, StreamSettings};
use mainstem_engine::{
    Ack, Append, Appended, Engine, EngineSettings, LinkName, LogSettings, ReserveMode, Sequencer,
    ViewMode,
};
use mainstem_env::{Clock, CrashPolicy, Env, ManualClock, Random, SeededRandom, SimDisk};
use mainstem_record::BatchBuilder;
use mainstem_types::{
    CatalogSeq, ClusterId, Error, LinkEpoch, OriginTopicId, PartitionNo, StreamId, Term, TermId,
    TimestampType,
};

pub(crate) const START_MS: i64 = 1_700_000_000_000;

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) disk: SimDisk,
    pub(crate) settings: EngineSettings,
    pub(crate) engine: Engine,
    pub(crate) sequencer: Sequencer,
}

fn settings() -> EngineSettings {
    EngineSettings {
        log: LogSettings {
            segment_bytes: 64 * 1024,
            reserve_segments: 1,
            reserve_mode: ReserveMode::Inline,
            tail_cache_bytes: 32 * 1024,
            ..LogSettings::default()
        },
        view_mode: ViewMode::Inline,
        ..EngineSettings::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    /// With other settings than the small ones that are usual here.
    pub(crate) fn with(seed: u64, change: impl FnOnce(&mut EngineSettings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let disk = SimDisk::new(seed);
        let clock = Arc::new(ManualClock::new(START_MS));
        let random = Arc::new(SeededRandom::new(seed));
        let (engine, sequencer) = open(&clock, &random, &disk, &settings).unwrap();
        let mut world = Self { clock, random, disk, settings, engine, sequencer };
        let name = "here".parse().unwrap();
        let found = Command::FoundCluster { id: ClusterId(7), name, incarnation: 1 };
        world.change(found).unwrap();
        world
    }

    /// The power goes and comes back.
    pub(crate) fn crash(&mut self, policy: CrashPolicy) {
        self.disk.crash(policy);
        // What the dead process still held must not touch the disk of the new one.
        self.try_open().unwrap();
    }

    /// Opens the engine again, which may be refused.
    pub(crate) fn try_open(&mut self) -> Result<(), Error> {
        let (engine, sequencer) = open(&self.clock, &self.random, &self.disk, &self.settings)?;
        self.engine = engine;
        self.sequencer = sequencer;
        Ok(())
    }

    /// How many partitions the log knows.
    pub(crate) fn log_partitions(&mut self) -> u64 {
        self.clock.advance_ms(2_000);
        self.sequencer.step().unwrap();
        self.engine.log_stats().partitions
    }

    /// Polls `future` to its end, stepping the sequencer while it waits.
    pub(crate) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.sequencer.step().unwrap();
        }
        panic!("no answer after a hundred steps");
    }

    pub(crate) fn change(&mut self, command: Command) -> Result<(), Error> {
        let engine = self.engine.clone();
        self.run(async move { engine.change(command).await.map(drop) })
    }

    pub(crate) fn append(&mut self, no: PartitionNo, batch: Bytes) -> Result<Appended, Error> {
        let engine = self.engine.clone();
        self.run(async move {
            let append = Append { partition: no, batch };
            let mut answers = engine.append(vec![append], Ack::Durable).await?.await?;
            answers.remove(0)
        })
    }

    /// A stream with one topic of one partition, owned here.
    pub(crate) fn owned(&mut self, path: &str, settings: StreamSettings) -> PartitionNo {
        let path = path.parse().unwrap();
        self.change(Command::CreateStream { path, id: None, settings }).unwrap();
        let stream = self.engine.catalog().streams().last().unwrap().id;
        self.change(Command::CreateTopic {
            stream,
            name: "t".parse().unwrap(),
            partitions: Some(1),
            timestamp_type: None,
            config: Default::default(),
        })
        .unwrap();
        let catalog = self.engine.catalog();
        catalog.stream(stream).unwrap().topics.values().next().unwrap().partitions[0]
    }

    /// A replica stream with one topic that `SOURCE` owns, and its link.
    pub(crate) fn replica(&mut self) -> (LinkName, PartitionNo) {
        let (path, source) = ("/copy".parse().unwrap(), place());
        let settings = StreamSettings::default();
        self.change(Command::CreateStream { path, id: Some(REPLICA), settings }).unwrap();
        self.change(Command::AddUpstream {
            stream: REPLICA,
            upstream: source,
            stream_id: Some(SOURCE),
        })
        .unwrap();
        let link = self.hello();
        self.change(told_topic(link, TERM, 1)).unwrap();
        let catalog = self.engine.catalog();
        let topic = catalog.stream(REPLICA).unwrap().topic_by_origin(TOPIC).unwrap().clone();
        (link, topic.partitions[0])
    }

    /// The source says Hello (again).
    pub(crate) fn hello(&mut self) -> LinkName {
        self.change(Command::OpenLink {
            stream: REPLICA,
            source: place(),
            source_id: SOURCE,
            source_seq: CatalogSeq(1),
        })
        .unwrap();
        let catalog = self.engine.catalog();
        let upstream = catalog.stream(REPLICA).unwrap().upstream_by_id(SOURCE).unwrap();
        let link_epoch: LinkEpoch = upstream.link_epoch;
        LinkName { stream: REPLICA, upstream: SOURCE, link_epoch }
    }

    /// Everything that a consumer can read.
    pub(crate) fn read_all(&self, no: PartitionNo) -> Vec<Bytes> {
        self.try_read_all(no).unwrap()
    }

    /// As [`Self::read_all`], which may fail.
    pub(crate) fn try_read_all(&self, no: PartitionNo) -> Result<Vec<Bytes>, Error> {
        let partition = self.engine.partition(no).unwrap();
        let (mut at, mut all) = (partition.log_start(), Vec::new());
        while at < partition.durable_end() {
            for batch in partition.read(at, usize::MAX)? {
                at = batch.next_offset;
                all.push(batch.bytes);
            }
        }
        Ok(all)
    }

    /// What the wall clock shows.
    pub(crate) fn env_now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.random.below(end)
    }
}

pub(crate) const SOURCE: StreamId = StreamId(100);
pub(crate) const REPLICA: StreamId = StreamId(200);
pub(crate) const TOPIC: OriginTopicId = OriginTopicId(300);
pub(crate) const TERM: Term = Term { number: 1, id: TermId(400) };

/// `SOURCE` tells its topic, as it is at this sequence.
pub(crate) fn told_topic(link: LinkName, term: Term, seq: u64) -> Command {
    Command::ApplyTopic {
        stream: REPLICA,
        upstream: SOURCE,
        link_epoch: link.link_epoch,
        origin: TOPIC,
        name: "t".parse().unwrap(),
        partitions: 1,
        timestamp_type: TimestampType::CreateTime,
        config: Default::default(),
        owner: Owner { stream: SOURCE, term },
        owner_seq: CatalogSeq(seq),
        source_seq: CatalogSeq(seq),
        created_ms: START_MS,
    }
}

pub(crate) fn place() -> Place {
    Place { cluster: "there".parse().unwrap(), path: "/original".parse().unwrap() }
}

fn open(
    clock: &Arc<ManualClock>,
    random: &Arc<SeededRandom>,
    disk: &SimDisk,
    settings: &EngineSettings,
) -> Result<(Engine, Sequencer), Error> {
    let env = Env { clock: clock.clone(), random: random.clone() };
    Engine::open(env, Arc::new(disk.clone()), settings.clone())
}

/// A batch of `count` records, of an idempotent producer if `producer` gives id and sequence.
pub(crate) fn batch(count: i64, producer: Option<(i64, i32)>, mark: &str) -> Bytes {
    let mut builder = BatchBuilder::new();
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    for at in 0..count {
        let value = format!("{mark} {at}");
        builder.push(START_MS + at, Some(b"key"), Some(value.as_bytes()));
    }
    builder.build().freeze()
}
