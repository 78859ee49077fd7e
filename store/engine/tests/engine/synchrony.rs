//! Synchronous replicas: acknowledgements wait for whom the log says (I1), readers see no more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::world::{SOURCE, START_MS, TOPIC, World, batch, place};
use mainstem_catalog::{
    Command, Owner, Place, Replica, ReplicaPatch, ReplicaSettings, StreamPatch, StreamSettings,
    SyncPolicy, SyncState, TopicPatch,
};
use mainstem_engine::{
    Ack, AckedEnd, Append, Appended, Appending, HeldWatermark, LinkName, ReplicaLink,
    TransactionalProducer,
};
use mainstem_env::CrashPolicy;
use mainstem_record::BatchBuilder;
use mainstem_types::limits::SYNC_TIMEOUT_MS_DEFAULT;
use mainstem_types::{Error, ErrorKind, PartitionNo, StreamId, Term, TermId, TransactionalId};

const TIMEOUT_MS: u64 = SYNC_TIMEOUT_MS_DEFAULT as u64;

/// A stream with a synchronous replica that is in force, and its partition.
struct Source {
    world: World,
    stream: StreamId,
    no: PartitionNo,
}

impl Source {
    fn new(seed: u64, sync_policy: SyncPolicy) -> Self {
        let mut world = World::new(seed);
        let no = world.owned("/a", StreamSettings::default());
        let stream = world.engine.catalog().streams().next().unwrap().id;
        let mut source = Self { world, stream, no };
        source.add(place(), sync_policy);
        assert_eq!(source.replica().sync_state, SyncState::Joining);
        source.say(&[0]);
        assert_eq!(source.replica().sync_state, SyncState::InForce);
        source
    }

    fn add(&mut self, replica: Place, sync_policy: SyncPolicy) {
        let settings =
            ReplicaSettings { synchronous: true, sync_policy, ..ReplicaSettings::default() };
        let (stream, replica_id, setup) = (self.stream, None, None);
        let paused = false;
        let add = Command::AddReplica { stream, replica, replica_id, settings, paused, setup };
        self.world.change(add).unwrap();
    }

    fn replica(&self) -> Replica {
        self.replica_at(&place())
    }

    fn replica_at(&self, place: &Place) -> Replica {
        let catalog = self.world.engine.catalog();
        catalog.stream(self.stream).unwrap().replica(place).unwrap().clone()
    }

    /// The first replica says, in the session of now, what it has of each partition.
    fn say(&mut self, offsets: &[i64]) {
        self.say_at(&place(), self.replica().link_epoch, offsets);
    }

    fn say_at(&mut self, replica: &Place, epoch: mainstem_types::LinkEpoch, offsets: &[i64]) {
        let catalog = self.world.engine.catalog();
        let topic = catalog.stream(self.stream).unwrap().topics.values().next().unwrap().origin;
        let end = |(partition, offset): (u32, &i64)| AckedEnd { topic, partition, offset: *offset };
        let ends = (0..).zip(offsets).map(end).collect();
        let link = ReplicaLink { stream: self.stream, replica: replica.clone(), link_epoch: epoch };
        let engine = self.world.engine.clone();
        self.world.run(async move { engine.note_acked(link, ends).await }).unwrap();
        self.step();
    }

    fn step(&mut self) {
        self.world.sequencer.step().unwrap();
    }

    fn pass(&mut self, ms: u64) {
        self.world.clock.advance_ms(ms);
        self.step();
    }

    fn send(&mut self, ack: Ack, batch: bytes::Bytes) -> Appending {
        let engine = self.world.engine.clone();
        let append = Append { partition: self.no, batch };
        let appending = self.world.run(async move { engine.append(vec![append], ack).await });
        self.step();
        appending.unwrap()
    }

    fn produce(&mut self, count: i64) -> Appending {
        self.send(Ack::Durable, batch(count, None, "x"))
    }

    /// (high watermark, durable end)
    fn ends(&self) -> (i64, i64) {
        let partition = self.world.engine.partition(self.no).unwrap();
        (partition.high_watermark(), partition.durable_end())
    }

    fn edit(&mut self, patch: ReplicaPatch) {
        let edit = Command::EditReplica { stream: self.stream, replica: place(), patch };
        self.world.change(edit).unwrap();
    }

    fn raise_epoch(&mut self) {
        let raise = Command::RaiseReplicaEpoch { stream: self.stream, replica: place() };
        self.world.change(raise).unwrap();
    }
}

/// The answer, if it is there.
fn seen(appending: &mut Appending) -> Option<Result<Appended, Error>> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(appending).poll(&mut context) {
        Poll::Ready(answers) => Some(answers.unwrap().remove(0)),
        Poll::Pending => None,
    }
}

fn offset(appending: &mut Appending) -> Option<i64> {
    seen(appending).map(|answer| answer.unwrap().base_offset)
}

fn refusal(appending: &mut Appending) -> Option<ErrorKind> {
    seen(appending).map(|answer| answer.unwrap_err().kind())
}

#[test]
fn i1_an_acknowledgement_waits_for_who_is_in_force_and_readers_too() {
    let mut source = Source::new(1, SyncPolicy::Degrade);
    let mut all = source.produce(3);
    assert_eq!((offset(&mut all), source.ends()), (None, (0, 3)));
    let partition = source.world.engine.partition(source.no).unwrap();
    assert_eq!(partition.batch_at_or_after_time(0).unwrap(), None, "a search sees no more");
    partition.check_range(2).unwrap();
    let mut written = source.send(Ack::Written, batch(2, None, "y"));
    assert_eq!(offset(&mut written), Some(3), "acks=1 is for what is written here");
    source.say(&[2]);
    assert_eq!((offset(&mut all), source.ends()), (None, (2, 5)));
    source.say(&[3]);
    assert_eq!((offset(&mut all), source.ends()), (Some(0), (3, 5)));
}

#[test]
fn i1_the_answer_to_a_repetition_waits_as_the_first_does() {
    let mut source = Source::new(2, SyncPolicy::Degrade);
    let repeated = batch(3, Some((77, 0)), "x");
    let mut first = source.send(Ack::Durable, repeated.clone());
    let mut again = source.send(Ack::Durable, repeated.clone());
    assert_eq!((offset(&mut first), offset(&mut again)), (None, None));
    source.say(&[3]);
    assert_eq!((offset(&mut first), offset(&mut again)), (Some(0), Some(0)));
    assert_eq!(offset(&mut source.send(Ack::Durable, repeated)), Some(0));
}

#[test]
fn a_replica_that_does_not_keep_up_is_degraded_durably_and_comes_back_by_itself() {
    let mut source = Source::new(3, SyncPolicy::Degrade);
    let mut before = source.produce(3);
    source.say(&[3]);
    assert_eq!(offset(&mut before), Some(0));
    let mut waits = source.produce(2);
    source.pass(TIMEOUT_MS - 1);
    assert_eq!(offset(&mut waits), None);
    source.pass(100);
    assert_eq!((offset(&mut waits), source.ends()), (Some(3), (5, 5)));
    assert_eq!(source.replica().sync_state, SyncState::Degraded);
    assert_eq!(offset(&mut source.produce(4)), Some(5), "acknowledgements go on without it");
    // What was acknowledged without it was acknowledged under a rule that a restart finds.
    source.world.crash(CrashPolicy::LoseAll);
    let window = source.replica().windows[0].clone();
    assert_eq!((window.from_ms, window.to_ms), (START_MS, None));
    assert_eq!((window.ranges.len(), window.ranges[0].from), (1, 3));
    source.raise_epoch();
    source.say(&[5]);
    source.say(&[9]);
    let back = source.replica();
    assert_eq!(back.sync_state, SyncState::InForce);
    assert!(back.windows[0].to_ms.is_some());
    assert_eq!(back.windows[0].ranges[0].to, Some(9));
    assert_eq!(offset(&mut source.produce(1)), None, "it is waited for again");
}

#[test]
fn a_window_lists_each_partition_from_its_first_write_without_the_replica() {
    let mut source = Source::new(13, SyncPolicy::Degrade);
    let stream = source.stream;
    let topic = |source: &Source| {
        let catalog = source.world.engine.catalog();
        catalog.stream(stream).unwrap().topics.values().next().unwrap().clone()
    };
    let patch = TopicPatch { partitions: Some(2), ..TopicPatch::default() };
    let edit = Command::EditTopic { stream, topic: topic(&source).origin, patch };
    source.world.change(edit).unwrap();
    let first = source.no;
    let second = topic(&source).partitions[1];
    source.no = second;
    let mut before = source.produce(2);
    source.say(&[0, 2]);
    assert_eq!(offset(&mut before), Some(0));
    source.no = first;
    source.produce(3);
    source.pass(TIMEOUT_MS + 100);
    source.no = second;
    assert_eq!(offset(&mut source.produce(4)), Some(2));
    source.world.crash(CrashPolicy::LoseAll);
    let ranges = |source: &Source| {
        let ranges = source.replica().windows[0].ranges.clone();
        ranges.iter().map(|at| (at.partition, at.from, at.to)).collect::<Vec<_>>()
    };
    assert_eq!(ranges(&source), [(first, 0, None), (second, 2, None)]);
    source.say(&[3, 6]);
    assert_eq!(ranges(&source), [(first, 0, Some(3)), (second, 2, Some(6))]);
}

#[test]
fn where_policy_refuses_nothing_is_acknowledged_without_the_replica() {
    let mut source = Source::new(4, SyncPolicy::Refuse);
    let late = batch(3, Some((77, 0)), "x");
    let mut waits = source.send(Ack::Durable, late.clone());
    source.pass(TIMEOUT_MS + 100);
    assert_eq!(refusal(&mut waits), Some(ErrorKind::ReplicaLate));
    assert_eq!(refusal(&mut source.produce(1)), Some(ErrorKind::ReplicaMissing));
    assert_eq!(source.ends(), (0, 3), "nothing was written, and what was is not shown");
    assert!(source.world.engine.is_missing(source.stream, 1));
    let mut written = source.send(Ack::Written, batch(1, None, "y"));
    assert_eq!(offset(&mut written), Some(3));
    source.say(&[4]);
    assert!(!source.world.engine.is_missing(source.stream, 1));
    assert_eq!(offset(&mut source.send(Ack::Durable, late)), Some(0), "it is here once");
    assert_eq!(source.replica().sync_state, SyncState::InForce);
    // Somebody would rather go on than wait.
    let mut waits = source.produce(1);
    source.pass(TIMEOUT_MS + 100);
    assert_eq!(refusal(&mut waits), Some(ErrorKind::ReplicaLate));
    let sync_policy = Some(SyncPolicy::Degrade);
    source.edit(ReplicaPatch { sync_policy, ..ReplicaPatch::default() });
    source.pass(TIMEOUT_MS + 100);
    assert_eq!(source.replica().sync_state, SyncState::Degraded);
    assert_eq!(offset(&mut source.produce(1)), Some(5));
}

#[test]
fn after_a_restart_the_logged_watermark_holds_until_the_replica_is_heard() {
    let mut source = Source::new(5, SyncPolicy::Degrade);
    source.produce(3);
    source.say(&[3]);
    source.pass(1_000);
    source.produce(2);
    let before = source.replica().link_epoch;
    source.world.crash(CrashPolicy::KeepAll);
    assert_eq!(source.ends(), (3, 5));
    source.raise_epoch();
    source.say_at(&place(), before, &[5]);
    assert_eq!(source.ends(), (3, 5), "a session that was superseded counts for nothing");
    let mut new = source.produce(1);
    source.say(&[5]);
    assert_eq!((offset(&mut new), source.ends()), (None, (5, 6)));
    source.say(&[6]);
    assert_eq!((offset(&mut new), source.ends()), (Some(5), (6, 6)));
    source.produce(1);
    source.world.crash(CrashPolicy::KeepAll);
    source.step();
    assert!(source.ends().0 < 7);
    source.pass(TIMEOUT_MS + 100);
    assert_eq!(source.ends(), (7, 7), "or until it is degraded");
}

#[test]
fn who_is_paused_removed_or_no_longer_synchronous_holds_nobody_up() {
    for seed in 6..9 {
        let mut source = Source::new(seed, SyncPolicy::Refuse);
        let mut waits = source.produce(3);
        let (stream, replica) = (source.stream, place());
        match seed {
            6 => source.world.change(Command::PauseReplica { stream, replica }).unwrap(),
            7 => source.world.change(Command::RemoveReplica { stream, replica }).unwrap(),
            _ => {
                let synchronous = Some(false);
                source.edit(ReplicaPatch { synchronous, ..ReplicaPatch::default() });
            }
        }
        assert_eq!((offset(&mut waits), source.ends()), (Some(0), (3, 3)));
        source.world.crash(CrashPolicy::LoseAll);
        assert_eq!(source.ends(), (3, 3));
        assert_eq!(offset(&mut source.produce(1)), Some(3));
        if seed == 6 {
            let paused = source.replica_at(&place());
            let window = paused.open_window().expect("what goes out without it is at risk");
            assert_eq!(paused.sync_state, SyncState::Degraded);
            assert_eq!(
                window.ranges.iter().map(|at| (at.from, at.to)).collect::<Vec<_>>(),
                [(0, None)]
            );
        }
    }
}

#[test]
fn all_that_are_in_force_are_waited_for() {
    let mut source = Source::new(9, SyncPolicy::Degrade);
    let other = Place { path: "/other".parse().unwrap(), ..place() };
    source.add(other.clone(), SyncPolicy::Degrade);
    let mut before = source.produce(1);
    source.say(&[1]);
    assert_eq!(offset(&mut before), Some(0), "who is joining holds nobody up");
    let epoch = source.replica_at(&other).link_epoch;
    source.say_at(&other, epoch, &[1]);
    assert_eq!(source.replica_at(&other).sync_state, SyncState::InForce);
    let mut waits = source.produce(1);
    source.say(&[2]);
    assert_eq!(offset(&mut waits), None);
    source.say_at(&other, epoch, &[2]);
    assert_eq!(offset(&mut waits), Some(1));
}

#[test]
fn a_topic_that_is_deleted_answers_what_waits_for_it() {
    let mut source = Source::new(10, SyncPolicy::Degrade);
    let mut waits = source.produce(3);
    let catalog = source.world.engine.catalog();
    let stream = source.stream;
    let topic = catalog.stream(stream).unwrap().topics.values().next().unwrap().origin;
    source.world.change(Command::DeleteTopic { stream, topic }).unwrap();
    assert_eq!(refusal(&mut waits), Some(ErrorKind::NotFound));
}

#[test]
fn a_replica_shows_what_its_source_lets_it_show() {
    let mut world = World::new(11);
    let (link, no) = world.replica();
    let hold = |world: &mut World, link: LinkName, watermark| {
        let mark = HeldWatermark { topic: TOPIC, partition: 0, watermark };
        let engine = world.engine.clone();
        world.run(async move { engine.hold_watermarks(link, vec![mark]).await }).unwrap();
        world.sequencer.step().unwrap();
    };
    let ends = |world: &World| {
        let partition = world.engine.partition(no).unwrap();
        (partition.high_watermark(), partition.durable_end())
    };
    crate::replica::send_batches(&mut world, link, &[(0, 3)]);
    assert_eq!(ends(&world), (3, 3), "nothing is held back unless the source says so");
    hold(&mut world, link, Some(2));
    assert_eq!(ends(&world), (3, 3), "what was shown stays");
    crate::replica::send_batches(&mut world, link, &[(3, 2), (5, 1)]);
    assert_eq!(ends(&world), (3, 6));
    hold(&mut world, link, Some(5));
    assert_eq!(ends(&world), (5, 6));
    world.clock.advance_ms(1_000);
    world.sequencer.step().unwrap();
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(ends(&world), (5, 6), "after a restart as before");
    let newer = world.hello();
    hold(&mut world, link, None);
    assert_eq!(ends(&world), (5, 6), "a superseded session says nothing");
    hold(&mut world, newer, None);
    assert_eq!(ends(&world), (6, 6));
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(ends(&world), (6, 6));
    assert_eq!(newer.upstream, SOURCE);
}

#[test]
fn a_replica_that_lost_its_source_for_good_shows_all_that_it_has() {
    let mut world = World::new(12);
    let (link, no) = world.replica();
    let mark = HeldWatermark { topic: TOPIC, partition: 0, watermark: Some(0) };
    let engine = world.engine.clone();
    world.run(async move { engine.hold_watermarks(link, vec![mark]).await }).unwrap();
    crate::replica::send_batches(&mut world, link, &[(0, 3)]);
    let shown = |world: &World| world.engine.partition(no).unwrap().high_watermark();
    assert_eq!(shown(&world), 0);
    let remove = Command::RemoveUpstream { stream: crate::world::REPLICA, upstream: place() };
    world.change(remove).unwrap();
    assert_eq!(shown(&world), 3);
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(shown(&world), 3);
}

#[test]
fn i1_nothing_that_a_replica_in_force_lacks_is_deleted_or_expires() {
    let mut source = Source::new(31, SyncPolicy::Refuse);
    source.produce(4);
    source.say(&[4]);
    source.produce(3);
    let trim = |source: &mut Source, to: i64| {
        let (engine, no) = (source.world.engine.clone(), source.no);
        source.world.run(async move { engine.trim(no, to).await })
    };
    assert_eq!(source.ends(), (4, 7));
    assert_eq!(trim(&mut source, 5).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(trim(&mut source, 4), Ok(4));
    let ttl_seconds = Some(1);
    let path = "/a".parse().unwrap();
    let patch = StreamPatch { ttl_seconds, ..StreamPatch::default() };
    source.world.change(Command::EditStream { path, patch }).unwrap();
    source.pass(5_000);
    assert_eq!(source.world.engine.partition(source.no).unwrap().log_start(), 4);
    source.say(&[7]);
    source.pass(5_000);
    assert_eq!(source.world.engine.partition(source.no).unwrap().log_start(), 7);
}

#[test]
fn i1_what_waits_for_a_replica_is_turned_away_when_its_topic_passes_to_another_owner() {
    let mut source = Source::new(32, SyncPolicy::Refuse);
    let mut waits = source.produce(2);
    assert!(seen(&mut waits).is_none());
    let catalog = source.world.engine.catalog();
    let topic = catalog.stream(source.stream).unwrap().topics.values().next().unwrap().origin;
    let term = Term { number: 9, id: TermId(9) };
    let owner = Owner { stream: SOURCE, term };
    let meet =
        Command::MeetTerms { stream: source.stream, seen: term, terms: vec![(topic, owner)] };
    source.world.change(meet).unwrap();
    assert_eq!(refusal(&mut waits), Some(ErrorKind::HandingOver));
}

#[test]
fn i1_a_stream_that_takes_topics_over_counts_on_nobody_before_it_has_heard_anew() {
    let mut source = Source::new(33, SyncPolicy::Degrade);
    source.produce(2);
    source.say(&[2]);
    let before = source.replica().link_epoch;
    source.world.change(Command::Renew { stream: source.stream }).unwrap();
    assert_eq!(source.replica().sync_state, SyncState::Degraded);
    // Said in a session that knew the other history.
    source.say_at(&place(), before, &[9]);
    assert_eq!(source.replica().sync_state, SyncState::Degraded);
    source.say(&[2]);
    assert_eq!(source.replica().sync_state, SyncState::InForce);
}

#[test]
fn i1_a_commit_is_told_and_shown_when_the_replica_has_its_marker() {
    let mut source = Source::new(31, SyncPolicy::Degrade);
    let engine = source.world.engine.clone();
    let id: TransactionalId = "t".parse().unwrap();
    let begin = async { engine.begin_producer(&id, None, 60_000).await };
    let (producer_id, epoch) = source.world.run(begin).unwrap();
    let producer = TransactionalProducer { id: id.clone(), producer_id, epoch };
    let (adder, no) = (producer.clone(), source.no);
    let add = async { engine.add_to_transaction(adder, vec![no]).await };
    source.world.run(add).unwrap();
    let mut builder = BatchBuilder::new().producer(producer_id, epoch, 0).transactional();
    builder.push(START_MS, None, Some(b"part"));
    let append = Append { partition: no, batch: builder.build().freeze() };
    source.world.run(async { engine.append(vec![append], Ack::Written).await }).unwrap();
    source.step();
    source.say(&[1]);
    let shown = |source: &Source| {
        let partition = source.world.engine.partition(no).unwrap();
        (partition.last_stable_offset(), partition.high_watermark(), partition.durable_end())
    };
    assert_eq!(shown(&source), (0, 1, 1));
    let mut ending = Box::pin(engine.end_transaction(producer.clone(), true));
    let mut context = Context::from_waker(Waker::noop());
    assert!(ending.as_mut().poll(&mut context).is_pending());
    source.step();
    assert!(ending.as_mut().poll(&mut context).is_pending(), "the replica lacks the marker");
    assert_eq!(shown(&source), (0, 1, 2), "and so do readers");
    let mut again = Box::pin(engine.end_transaction(producer, true));
    assert!(again.as_mut().poll(&mut context).is_pending());
    source.step();
    assert!(again.as_mut().poll(&mut context).is_pending(), "asked again, it waits as well");
    source.world.crash(CrashPolicy::LoseAll);
    source.step();
    let (stable, watermark, end) = shown(&source);
    assert!(watermark <= 1 && stable == 0 && end == 2, "held still: {stable}, {watermark}");
    drop((ending, again));
    source.say(&[2]);
    assert_eq!(shown(&source), (2, 2, 2));
}
