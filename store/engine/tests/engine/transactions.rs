//! Transactions: one decision for all partitions, whatever happens, and the same account of them
//! at owner and replica.

use std::task::{Context, Waker};

use bytes::Bytes;
use mainstem_catalog::{Command, Owner, StreamSettings};
use mainstem_engine::{
    AbortedRange, Ack, Append, CursorCommit, EngineSettings, LinkDecision, LinkMarker, LinkName,
    Rejoin, ReplicaAppend, ReplicaBatch, TransactionalProducer,
};
use mainstem_env::CrashPolicy;
use mainstem_group::CursorKey;
use mainstem_record::{
    BatchBuilder, BatchHeader, ControlRecord, control_of, end_marker, patch_leader_epoch,
};
use mainstem_types::{
    Error, ErrorKind, LineageEntry, OriginTopicId, PartitionNo, StreamId, StreamPath, Term, TermId,
};

use crate::replica::{append, at, send};
use crate::world::{REPLICA, SOURCE, START_MS, TERM, TOPIC, World, batch, place, told_topic};

const TIMEOUT_MS: i32 = 60_000;

/// A batch that is part of a transaction.
fn part(producer: &TransactionalProducer, sequence: i32, value: &str) -> Bytes {
    let (id, epoch) = (producer.producer_id, producer.epoch);
    let mut builder = BatchBuilder::new().producer(id, epoch, sequence).transactional();
    builder.push(START_MS, None, Some(value.as_bytes()));
    builder.build().freeze()
}

/// Hardly more than a frame each.
fn small_groups(settings: &mut EngineSettings) {
    settings.log.group_bytes_max = 128;
    settings.log.segment_bytes = 1024 * 1024;
}

/// A stream with a topic of three partitions, owned here.
struct Owned {
    world: World,
    stream: StreamId,
    topic: OriginTopicId,
    partitions: Vec<PartitionNo>,
}

impl Owned {
    fn new(seed: u64) -> Self {
        Self::on(World::new(seed))
    }

    /// With groups on disk so small that a crash may cut between any two frames.
    fn in_small_groups(seed: u64) -> Self {
        Self::on(World::with(seed, small_groups))
    }

    fn on(world: World) -> Self {
        let (stream, topic) = (StreamId(0), OriginTopicId(0));
        let mut owned = Self { world, stream, topic, partitions: Vec::new() };
        (owned.stream, owned.topic) = owned.make("/s", 3);
        owned
    }

    /// One more stream with a topic. Its partitions stand behind those that are there.
    fn make(&mut self, path: &str, partitions: u32) -> (StreamId, OriginTopicId) {
        let (path, settings): (StreamPath, _) = (path.parse().unwrap(), StreamSettings::default());
        let create = Command::CreateStream { path: path.clone(), id: None, settings };
        self.world.change(create).unwrap();
        let stream = self.world.engine.catalog().stream_at(&path).unwrap().id;
        self.world
            .change(Command::CreateTopic {
                stream,
                name: "t".parse().unwrap(),
                partitions: Some(partitions),
                timestamp_type: None,
                config: Default::default(),
            })
            .unwrap();
        let catalog = self.world.engine.catalog();
        let topic = catalog.stream(stream).unwrap().topics.values().next().unwrap();
        self.partitions.extend(&topic.partitions);
        (stream, topic.origin)
    }

    fn begin(&mut self, id: &str) -> TransactionalProducer {
        let (engine, id) = (self.world.engine.clone(), id.parse().unwrap());
        let begun = self.world.run(async {
            let begun = engine.begin_producer(&id, None, TIMEOUT_MS).await;
            begun.map(|begun| (id.clone(), begun))
        });
        let (id, (producer_id, epoch)) = begun.unwrap();
        TransactionalProducer { id, producer_id, epoch }
    }

    fn add(&mut self, producer: &TransactionalProducer, at: &[usize]) -> Result<(), Error> {
        let partitions = at.iter().map(|at| self.partitions[*at]).collect();
        let (engine, producer) = (self.world.engine.clone(), producer.clone());
        self.world.run(async move { engine.add_to_transaction(producer, partitions).await })
    }

    fn send(&mut self, who: &TransactionalProducer, at: usize, n: i32) -> Result<i64, Error> {
        let appended = self.world.append(self.partitions[at], part(who, n, "part"))?;
        Ok(appended.base_offset)
    }

    fn end(&mut self, producer: &TransactionalProducer, commit: bool) -> Result<(), Error> {
        let (engine, producer) = (self.world.engine.clone(), producer.clone());
        self.world.run(async move { engine.end_transaction(producer, commit).await })
    }

    fn key(&self) -> CursorKey {
        let group = "readers".parse().unwrap();
        CursorKey { stream: self.stream, group, topic: self.topic, partition: 0 }
    }

    fn cursor(&self) -> Option<i64> {
        self.world.engine.cursor(&self.key())?.local.map(|value| value.offset)
    }

    fn commit_cursor(&mut self, who: &TransactionalProducer, offset: i64) -> Result<(), Error> {
        let (engine, producer, key) = (self.world.engine.clone(), who.clone(), self.key());
        self.world.run(async move {
            engine.add_group_to_transaction(producer.clone(), key.group.clone()).await?;
            let commit = CursorCommit { key, offset, leader_epoch: 0, metadata: "x".into() };
            engine.commit_cursors_in_transaction(producer, vec![commit]).await
        })
    }

    /// A transaction with a record in each partition and a cursor, not ended.
    fn open(&mut self, id: &str) -> TransactionalProducer {
        let producer = self.begin(id);
        self.add(&producer, &[0, 1, 2]).unwrap();
        for at in 0..3 {
            self.send(&producer, at, 0).unwrap();
        }
        self.commit_cursor(&producer, 1).unwrap();
        producer
    }

    fn stable(&self, at: usize) -> (i64, i64) {
        stable(&self.world, self.partitions[at])
    }

    fn markers(&self, at: usize) -> Vec<ControlRecord> {
        markers(&self.world, self.partitions[at])
    }

    /// Lets the view come up to date, so that a start replays nothing of before.
    fn settle(&mut self) {
        self.world.clock.advance_ms(5_000);
        self.world.sequencer.step().unwrap();
        self.world.sequencer.step().unwrap();
    }

    /// Another stream owns the topic from here on.
    fn give_up(&mut self) {
        let meet = self.meet();
        self.world.change(meet).unwrap();
    }

    fn meet(&self) -> Command {
        let owner = Owner { stream: SOURCE, term: NEW_TERM };
        let terms = vec![(self.topic, owner)];
        Command::MeetTerms { stream: self.stream, seen: NEW_TERM, terms }
    }

    fn is_given_up(&self) -> bool {
        let catalog = self.world.engine.catalog();
        let topic = catalog.stream(self.stream).unwrap().topic_by_origin(self.topic).unwrap();
        topic.owner.stream != self.stream
    }
}

const NEW_TERM: Term = Term { number: 2, id: TermId(401) };

/// (last stable offset, high watermark).
fn stable(world: &World, no: PartitionNo) -> (i64, i64) {
    let partition = world.engine.partition(no).unwrap();
    (partition.last_stable_offset(), partition.high_watermark())
}

fn markers(world: &World, no: PartitionNo) -> Vec<ControlRecord> {
    world.read_all(no).iter().filter_map(|batch| control_of(batch).unwrap()).collect()
}

fn kind(result: Result<impl std::fmt::Debug, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn an_end_is_one_for_all_partitions_and_cursors_and_survives_a_crash() {
    for (commit, marker) in [(true, ControlRecord::Commit), (false, ControlRecord::Abort)] {
        for is_settled in [false, true] {
            let mut owned = Owned::new(1);
            let producer = owned.open("t");
            let key = owned.key();
            assert!(owned.world.engine.is_cursor_pending(&key));
            if is_settled {
                owned.settle();
            }
            owned.world.crash(CrashPolicy::LoseAll);
            assert_eq!(owned.stable(0), (0, 1), "it is open after a crash");
            assert!(owned.world.engine.is_cursor_pending(&key));
            assert_eq!(owned.cursor(), None);
            owned.end(&producer, commit).unwrap();
            for _ in 0..2 {
                for at in 0..3 {
                    assert_eq!(owned.stable(at), (2, 2));
                    assert_eq!(owned.markers(at), [marker]);
                    let partition = owned.world.engine.partition(owned.partitions[at]).unwrap();
                    let aborted = AbortedRange {
                        producer_id: producer.producer_id,
                        first_offset: 0,
                        marker: 1,
                    };
                    let expected = if commit { vec![] } else { vec![aborted] };
                    assert_eq!(partition.aborted_between(0, 9), expected);
                }
                assert_eq!(owned.cursor(), commit.then_some(1));
                assert!(!owned.world.engine.is_cursor_pending(&key));
                if is_settled {
                    owned.settle();
                }
                owned.world.crash(CrashPolicy::LoseAll);
            }
            assert_eq!(owned.end(&producer, commit), Ok(()), "asked again after a crash");
            assert_eq!(kind(owned.end(&producer, !commit)), ErrorKind::InvalidTransaction);
            // The same producer goes on.
            owned.add(&producer, &[0]).unwrap();
            assert_eq!(owned.send(&producer, 0, 1), Ok(2));
            owned.end(&producer, true).unwrap();
            assert_eq!(owned.stable(0), (4, 4));
        }
    }
}

#[test]
fn a_crash_amid_an_end_leaves_no_transaction_half_committed() {
    let (mut ended, mut not) = (0, 0);
    for seed in 0..48 {
        let mut owned = Owned::in_small_groups(seed);
        let producer = owned.open("t");
        owned.world.disk.die_after(seed % 12);
        let engine = owned.world.engine.clone();
        let mut waiting = std::pin::pin!(engine.end_transaction(producer.clone(), true));
        let mut context = Context::from_waker(Waker::noop());
        let _ = waiting.as_mut().poll(&mut context);
        let _ = owned.world.sequencer.step();
        let acknowledged =
            matches!(waiting.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(())));
        owned.world.crash(CrashPolicy::Seeded);
        owned.world.sequencer.step().unwrap();
        let is_committed = owned.cursor().is_some();
        assert!(is_committed || !acknowledged, "I1: seed {seed}");
        let markers = if is_committed { vec![ControlRecord::Commit] } else { vec![] };
        for at in 0..3 {
            assert_eq!(owned.markers(at), markers, "seed {seed}, partition {at}");
            assert_eq!(owned.stable(at).0, if is_committed { 2 } else { 0 }, "seed {seed}");
        }
        (ended, not) = (ended + u32::from(is_committed), not + u32::from(!is_committed));
        assert_eq!(owned.end(&producer, true), Ok(()), "seed {seed}: asked again");
        assert_eq!(owned.cursor(), Some(1));
    }
    assert!(ended > 4 && not > 4, "the crashes came too early or too late: {ended}, {not}");
}

#[test]
fn only_who_has_the_id_and_said_where_may_write() {
    let mut owned = Owned::new(2);
    let producer = owned.begin("t");
    assert_eq!(kind(owned.send(&producer, 0, 0)), ErrorKind::InvalidTransaction);
    owned.add(&producer, &[0]).unwrap();
    assert_eq!(owned.send(&producer, 0, 0), Ok(0));
    assert_eq!(owned.send(&producer, 0, 0), Ok(0), "the same batch again is stored once");
    assert_eq!(kind(owned.send(&producer, 1, 0)), ErrorKind::InvalidTransaction);
    let plain = batch(1, Some((producer.producer_id, 1)), "plain");
    let no = owned.partitions[0];
    assert_eq!(kind(owned.world.append(no, plain)), ErrorKind::InvalidTransaction);
    let heir = owned.begin("t");
    assert_eq!(heir.producer_id, producer.producer_id);
    assert!(heir.epoch > producer.epoch);
    assert_eq!(owned.markers(0), [ControlRecord::Abort], "what the fenced one had open");
    assert_eq!(kind(owned.send(&producer, 0, 1)), ErrorKind::InvalidProducerEpoch);
    assert_eq!(kind(owned.end(&producer, true)), ErrorKind::ProducerFenced);
    assert_eq!(kind(owned.add(&producer, &[0])), ErrorKind::ProducerFenced);
    owned.add(&heir, &[0]).unwrap();
    assert_eq!(owned.send(&heir, 0, 0), Ok(2), "the sequence of a new epoch");
    owned.end(&heir, true).unwrap();
    assert_eq!(owned.stable(0), (4, 4));
}

#[test]
fn time_outs_abort_and_what_is_idle_is_forgotten() {
    let mut owned = Owned::new(3);
    let producer = owned.open("t");
    owned.world.clock.advance_ms(TIMEOUT_MS as u64 - 1);
    owned.world.sequencer.step().unwrap();
    assert_eq!(owned.stable(0), (0, 1));
    owned.world.clock.advance_ms(1);
    owned.world.sequencer.step().unwrap();
    assert_eq!((owned.stable(0), owned.markers(2)), ((2, 2), vec![ControlRecord::Abort]));
    assert_eq!(
        (owned.cursor(), kind(owned.end(&producer, true))),
        (None, ErrorKind::ProducerFenced)
    );
    let heir = owned.begin("t");
    let eight_days_ms = 8 * 24 * 3_600_000;
    owned.world.clock.advance_ms(eight_days_ms);
    owned.world.sequencer.step().unwrap();
    assert_eq!(kind(owned.add(&heir, &[0])), ErrorKind::UnknownTransaction);
}

#[test]
fn an_emptied_partition_keeps_its_account() {
    let mut owned = Owned::new(4);
    let producer = owned.open("t");
    let no = owned.partitions[0];
    let engine = owned.world.engine.clone();
    owned.world.run(async move { engine.trim(no, 1).await }).unwrap();
    for _ in 0..2 {
        assert_eq!(owned.stable(0), (1, 1), "nothing is left to read");
        owned.settle();
        owned.world.crash(CrashPolicy::LoseAll);
    }
    owned.world.append(no, batch(1, None, "plain")).unwrap();
    assert_eq!(owned.stable(0), (1, 2), "it is open still");
    owned.end(&producer, false).unwrap();
    assert_eq!(owned.stable(0), (3, 3));
    let partition = owned.world.engine.partition(no).unwrap();
    assert_eq!(partition.aborted_between(0, 9).len(), 1);
}

/// What stands in an owner's partition, as a link brings it.
fn carry(world: &mut World, link: LinkName, batches: &[Bytes]) -> i64 {
    let batches = batches.iter().map(|bytes| {
        // As if it had been written at the owner from the first.
        ReplicaBatch { arrival_ms: START_MS, bytes: bytes.clone() }
    });
    send(world, append(link, batches.collect())).unwrap()
}

/// An owner's history with an aborted, a committed and an open transaction: offsets 0 to 5, the
/// open one's record at 4.
fn history() -> (Owned, i64, Vec<Bytes>) {
    let mut owned = Owned::new(5);
    let producer = owned.begin("t");
    for (n, commit) in [(0, Some(false)), (1, Some(true)), (2, None)] {
        owned.add(&producer, &[0]).unwrap();
        owned.send(&producer, 0, n).unwrap();
        if let Some(commit) = commit {
            owned.end(&producer, commit).unwrap();
        }
    }
    owned.world.append(owned.partitions[0], batch(1, None, "plain")).unwrap();
    let batches = owned.world.read_all(owned.partitions[0]);
    (owned, producer.producer_id, batches)
}

#[test]
fn fault_10_with_a_transaction_open_the_replicas_last_stable_offset_is_not_its_high_watermark() {
    let (owned, producer_id, batches) = history();
    assert_eq!(owned.stable(0), (4, 6));
    let mut world = World::new(6);
    let (link, no) = world.replica();
    let aborted = AbortedRange { producer_id, first_offset: 0, marker: 1 };
    for (count, expected) in (1..).zip([(0, 1), (2, 2), (2, 3), (4, 4), (4, 5), (4, 6)]) {
        carry(&mut world, link, &batches[..count]);
        assert_eq!(stable(&world, no), expected, "after {count} batches");
        let known = world.engine.partition(no).unwrap().aborted_between(0, 9);
        assert_eq!(known, if count < 2 { vec![] } else { vec![aborted] });
    }
    for policy in [CrashPolicy::LoseAll, CrashPolicy::Seeded] {
        world.crash(policy);
        assert_eq!(stable(&world, no), (4, 6), "after a crash");
        world.clock.advance_ms(5_000);
        world.sequencer.step().unwrap();
    }
    assert_eq!(world.read_all(no), batches, "I2");
}

#[test]
fn fault_11_a_transaction_left_open_by_a_promotion_does_not_stop_readers() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(7);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches);
        world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        assert_eq!(stable(&world, no), (7, 7));
        let partition = world.engine.partition(no).unwrap();
        let open = AbortedRange { producer_id, first_offset: 4, marker: 6 };
        assert_eq!(partition.aborted_between(4, 9), [open]);
        let last = world.read_all(no).pop().unwrap();
        assert_eq!(control_of(&last).unwrap(), Some(ControlRecord::Abort));
        let header = BatchHeader::decode(&last).unwrap();
        assert_eq!(header.leader_epoch, partition.leader_epoch(), "under the new term");
        assert_eq!(header.producer_id, producer_id);
        assert_eq!(world.read_all(no)[..6], batches, "I2");
    }
}

#[test]
fn fault_11_a_promotion_that_a_crash_cuts_leaves_no_transaction_open() {
    let (_, _, batches) = history();
    for seed in 0..16 {
        let mut world = World::with(seed, small_groups);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches);
        world.disk.die_after(seed % 8);
        let engine = world.engine.clone();
        let mut waiting =
            std::pin::pin!(engine.change(Command::FailOver { stream: REPLICA, upstream: None }));
        let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let _ = world.sequencer.step();
        world.crash(CrashPolicy::Seeded);
        world.sequencer.step().unwrap();
        let catalog = world.engine.catalog();
        let owner = catalog.stream(REPLICA).unwrap().topic_by_origin(TOPIC).unwrap().owner;
        let expected = if owner.stream == REPLICA { (7, 7) } else { (4, 6) };
        assert_eq!(stable(&world, no), expected, "seed {seed}");
    }
}

#[test]
fn who_loses_a_topic_aborts_what_it_had_there_and_its_producer_learns_of_it() {
    let mut owned = Owned::new(8);
    owned.make("/other", 1);
    let producer = owned.begin("t");
    owned.add(&producer, &[0, 3]).unwrap();
    owned.send(&producer, 0, 0).unwrap();
    owned.send(&producer, 3, 0).unwrap();
    owned.give_up();
    assert_eq!(owned.stable(0), (0, 1), "there the next owner ends it");
    assert_eq!((owned.stable(3), owned.markers(3)), ((2, 2), vec![ControlRecord::Abort]));
    assert_eq!(kind(owned.end(&producer, true)), ErrorKind::ProducerFenced);
    assert_eq!(kind(owned.send(&producer, 3, 1)), ErrorKind::InvalidProducerEpoch);
    let heir = owned.begin("t");
    assert_eq!(kind(owned.add(&heir, &[0])), ErrorKind::Policy, "I5");
    owned.add(&heir, &[3]).unwrap();
    owned.send(&heir, 3, 0).unwrap();
    owned.end(&heir, true).unwrap();
    assert_eq!(owned.stable(3), (4, 4));
}

#[test]
fn a_crash_amid_the_loss_of_a_topic_leaves_nothing_to_be_committed_in_part() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..24 {
        let mut owned = Owned::in_small_groups(seed);
        owned.make("/other", 1);
        let producer = owned.begin("t");
        owned.add(&producer, &[0, 3]).unwrap();
        owned.send(&producer, 0, 0).unwrap();
        owned.send(&producer, 3, 0).unwrap();
        owned.world.disk.die_after(seed % 8);
        let engine = owned.world.engine.clone();
        let mut waiting = std::pin::pin!(engine.change(owned.meet()));
        let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let _ = owned.world.sequencer.step();
        owned.world.crash(CrashPolicy::Seeded);
        owned.world.sequencer.step().unwrap();
        let ended = owned.end(&producer, true);
        let expected = if owned.is_given_up() {
            lost += 1;
            assert_eq!(kind(ended), ErrorKind::ProducerFenced, "seed {seed}");
            ControlRecord::Abort
        } else {
            kept += 1;
            ended.unwrap();
            ControlRecord::Commit
        };
        assert_eq!(owned.markers(3), [expected], "seed {seed}");
    }
    assert!(lost > 2 && kept > 2, "{lost} lost, {kept} kept");
}

#[test]
fn while_a_topic_is_handed_over_its_transactions_wait() {
    let mut owned = Owned::new(9);
    let producer = owned.begin("t");
    owned.add(&producer, &[0]).unwrap();
    owned.send(&producer, 0, 0).unwrap();
    let (stream, replica) = (owned.stream, place());
    owned
        .world
        .change(Command::AddReplica {
            stream,
            replica: replica.clone(),
            replica_id: Some(REPLICA),
            settings: Default::default(),
            paused: false,
            setup: None,
        })
        .unwrap();
    let begin = Command::BeginHandover {
        stream,
        replica: replica.clone(),
        job: mainstem_types::JobId(5),
        timeout_ms: 20_000,
    };
    owned.world.change(begin).unwrap();
    assert_eq!(kind(owned.end(&producer, true)), ErrorKind::HandingOver);
    owned.world.clock.advance_ms(TIMEOUT_MS as u64 + 1);
    owned.world.sequencer.step().unwrap();
    assert_eq!(owned.stable(0), (0, 1), "nothing is written, though it is out of time");
    owned.give_up();
    assert_eq!(kind(owned.end(&producer, true)), ErrorKind::ProducerFenced);
    assert_eq!(owned.stable(0), (0, 1), "the next owner ends it");
}

/// An old master learns of a successor whose history goes on at `from`, with the ends of what is open.
fn rejoin(owned: &mut Owned, from: i64) -> i64 {
    let (stream, upstream) = (owned.stream, place());
    let add = Command::AddUpstream { stream, upstream, stream_id: Some(SOURCE) };
    owned.world.change(add).unwrap();
    owned.give_up();
    let open = Command::OpenLink {
        stream,
        source: place(),
        source_id: SOURCE,
        source_seq: Default::default(),
    };
    owned.world.change(open).unwrap();
    let catalog = owned.world.engine.catalog();
    let upstream = catalog.stream(stream).unwrap().upstream_by_id(SOURCE).unwrap();
    let link_epoch = upstream.link_epoch;
    let link = LinkName { stream, upstream: SOURCE, link_epoch };
    let first = owned.world.engine.partition(owned.partitions[0]).unwrap().lineage().entries()[0];
    let begun = LineageEntry {
        leader_epoch: 1,
        start_offset: from,
        term_id: NEW_TERM.id,
        owner: SOURCE,
        markers: 1,
    };
    let rejoin = Rejoin {
        link,
        topic: owned.topic,
        partition: 0,
        lineage: vec![first, begun],
        source_end: from + 1,
    };
    let engine = owned.world.engine.clone();
    owned.world.run(async move { engine.rejoin(rejoin).await }).unwrap()
}

#[test]
fn what_is_cut_is_forgotten_and_what_ended_there_is_open_again() {
    // (the cut, what is stable below it, where aborted transactions begin)
    let cases =
        [(5, 4, vec![0]), (4, 4, vec![0]), (3, 2, vec![0]), (1, 0, vec![]), (6, 4, vec![0])];
    for (from, expected, aborted) in cases {
        for is_settled in [false, true] {
            let (mut owned, ..) = history();
            if is_settled {
                owned.settle();
            }
            assert_eq!(rejoin(&mut owned, from), from);
            for note in ["at once", "after a crash"] {
                assert_eq!(owned.stable(0), (expected, from), "cut at {from} {note}");
                let partition = owned.world.engine.partition(owned.partitions[0]).unwrap();
                let known = partition.aborted_between(0, 99);
                let known: Vec<i64> = known.iter().map(|range| range.first_offset).collect();
                assert_eq!(known, aborted, "cut at {from} {note}");
                owned.world.crash(CrashPolicy::LoseAll);
            }
            let catalog = owned.world.engine.catalog();
            let stream = catalog.stream(owned.stream).unwrap();
            let aside = stream.topics.values().find(|topic| topic.aside.is_some());
            if let Some(aside) = aside {
                let (stable, end) = stable(&owned.world, aside.partitions[0]);
                assert_eq!(stable, end, "nobody ends what was set aside, and it holds up nobody");
            }
        }
    }
}

#[test]
fn what_was_open_where_retention_took_its_marker_holds_up_no_reader() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(14);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches);
        let gap = ReplicaAppend { gap_to: Some(20), ..append(link, Vec::new()) };
        send(&mut world, gap).unwrap();
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        assert_eq!(stable(&world, no), (20, 20));
        let partition = world.engine.partition(no).unwrap();
        let open = AbortedRange { producer_id, first_offset: 4, marker: 5 };
        assert_eq!(partition.aborted_between(2, 20), [open]);
        assert_eq!(partition.aborted_between(6, 20), [], "no marker would end the skipping");
    }
}

#[test]
fn i4_a_cursor_of_a_transaction_does_not_point_past_the_end_of_a_topic_that_was_cut() {
    let mut owned = Owned::new(15);
    let producer = owned.open("t");
    owned.commit_cursor(&producer, 50).unwrap();
    owned.end(&producer, true).unwrap();
    assert_eq!(owned.cursor(), Some(50), "what a client says of a topic that never was");
    let stream = owned.stream;
    owned.world.change(Command::Renew { stream }).unwrap();
    owned.add(&producer, &[0]).unwrap();
    owned.commit_cursor(&producer, 50).unwrap();
    owned.end(&producer, true).unwrap();
    let end = owned.world.engine.partition(owned.partitions[0]).unwrap().durable_end();
    assert!(owned.cursor().is_some_and(|offset| offset <= end));
}

/// A commit of the open transaction of [`history`], as a link tells it.
fn told(producer_id: i64, offset: i64) -> LinkDecision {
    told_from(producer_id, 4, offset)
}

fn told_from(producer_id: i64, first_offset: i64, offset: i64) -> LinkDecision {
    let marker = LinkMarker { stream: REPLICA, topic: TOPIC, partition: 0, offset, first_offset };
    LinkDecision { producer_id, epoch: 0, at_ms: START_MS, markers: vec![marker] }
}

fn keep(world: &mut World, link: LinkName, decision: LinkDecision) {
    let engine = world.engine.clone();
    world.run(async move { engine.keep_decisions(link, vec![decision]).await }).unwrap();
    world.sequencer.step().unwrap();
}

#[test]
fn fault_11_a_promotion_completes_a_transaction_as_it_was_told_that_it_is_decided() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(10);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches[..4]);
        keep(&mut world, link, told(producer_id, 6));
        carry(&mut world, link, &batches);
        keep(&mut world, link, told(producer_id, 3));
        if crashes {
            world.crash(CrashPolicy::LoseAll);
            world.clock.advance_ms(5_000);
            world.sequencer.step().unwrap();
            world.sequencer.step().unwrap();
            world.crash(CrashPolicy::LoseAll);
        }
        let (passed, _) = world.engine.commits_to_tell(0);
        assert_eq!(passed, if crashes { vec![] } else { vec![told(producer_id, 6)] });
        world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
        assert_eq!(stable(&world, no), (7, 7));
        let last = world.read_all(no).pop().unwrap();
        assert_eq!(control_of(&last).unwrap(), Some(ControlRecord::Commit), "as told");
        assert_eq!(world.engine.partition(no).unwrap().aborted_between(2, 9), []);
    }
}

/// The reign in which a commit was decided begins with the first records, and does not void it.
#[test]
fn fault_11_a_promotion_completes_what_was_told_before_the_first_record_came() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(16);
        let (link, no) = world.replica();
        keep(&mut world, link, told(producer_id, 6));
        carry(&mut world, link, &batches);
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
        assert_eq!(markers(&world, no).last(), Some(&ControlRecord::Commit));
    }
}

/// The replica is behind: of the producer's transactions it has the first, which the owner has
/// aborted since, and was told of the second.
#[test]
fn fault_11_a_promotion_does_not_commit_what_was_aborted_before_the_commit_it_was_told_of() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(14);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches[..1]);
        keep(&mut world, link, told_from(producer_id, 2, 3));
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
        assert_eq!(markers(&world, no), [ControlRecord::Abort]);
    }
}

/// The owner, promoted by now, tells what it decided in an earlier reign: its whole history counts,
/// in whatever order the replica learns of it.
#[test]
fn fault_11_what_the_owner_tells_of_an_earlier_reign_counts() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(17);
        let (link, no) = world.replica();
        world.change(told_topic(link, Term { number: 2, id: TermId(9) }, 9)).unwrap();
        keep(&mut world, link, told(producer_id, 6));
        carry(&mut world, link, &batches);
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
        assert_eq!(markers(&world, no).last(), Some(&ControlRecord::Commit));
    }
}

#[test]
fn what_an_earlier_reign_has_decided_and_not_sent_is_void_in_the_next() {
    for crashes in [false, true] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(11);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches);
        keep(&mut world, link, told(producer_id, 8));
        let first = LineageEntry {
            leader_epoch: 0,
            start_offset: 0,
            term_id: TERM.id,
            owner: SOURCE,
            markers: 0,
        };
        let next = LineageEntry { leader_epoch: 1, start_offset: 6, term_id: TermId(9), ..first };
        // A link tells who owns a topic before it brings records of it.
        world.change(told_topic(link, Term { number: 2, id: TermId(9) }, 9)).unwrap();
        let begun = ReplicaAppend { lineage: vec![first, next], ..append(link, Vec::new()) };
        send(&mut world, begun).unwrap();
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
        let last = world.read_all(no).pop().unwrap();
        assert_eq!(control_of(&last).unwrap(), Some(ControlRecord::Abort));
    }
}

/// Nobody will ever write its marker: whoever reigns next never had it, as when retention took it before
/// it was sent there.
#[test]
fn fault_11_what_a_successor_never_had_ends_where_its_reign_begins() {
    for (markers, crashes) in [(0, false), (0, true), (1, false), (1, true)] {
        let (_, producer_id, batches) = history();
        let mut world = World::new(18);
        let (link, no) = world.replica();
        carry(&mut world, link, &batches);
        let first = append(link, Vec::new()).lineage[0];
        let (term_id, owner) = (TermId(9), StreamId::from_random(77));
        let next = LineageEntry { leader_epoch: 1, start_offset: 6, term_id, owner, markers };
        let of_next = |mut batch: ReplicaBatch| {
            let mut bytes = batch.bytes.to_vec();
            patch_leader_epoch(&mut bytes, 1);
            batch.bytes = bytes.into();
            ReplicaAppend { lineage: vec![first, next], ..append(link, vec![batch]) }
        };
        // A reign is told although nothing was written in it.
        send(&mut world, ReplicaAppend { batches: Vec::new(), ..of_next(at(6, 1, "x")) }).unwrap();
        let crash = |world: &mut World| {
            if crashes {
                world.crash(CrashPolicy::LoseAll);
            }
        };
        crash(&mut world);
        // What is still to come may be the marker of this one, or of another.
        let expected = if markers == 0 { 6 } else { 4 };
        assert_eq!(stable(&world, no), (expected, 6), "{markers}");
        send(&mut world, of_next(at(6, 2, "of the next reign"))).unwrap();
        crash(&mut world);
        assert_eq!(stable(&world, no), (8, 8), "{markers}");
        let partition = world.engine.partition(no).unwrap();
        let skipped = AbortedRange { producer_id, first_offset: 4, marker: 5 };
        assert_eq!(partition.aborted_between(2, 8), [skipped]);
        assert_eq!(partition.aborted_between(6, 8), [], "no marker would end the skipping");
    }
}

#[test]
fn replicas_are_to_hear_of_commits_with_several_markers() {
    let mut owned = Owned::new(12);
    let alone = owned.open("alone");
    owned.end(&alone, true).unwrap();
    assert_eq!(owned.world.engine.commits_to_tell(0).0, [], "there is no replica");
    let (stream, replica) = (owned.stream, place());
    let (replica_id, settings, paused, setup) = (Some(REPLICA), Default::default(), false, None);
    let add = Command::AddReplica { stream, replica, replica_id, settings, paused, setup };
    owned.world.change(add).unwrap();
    let single = owned.begin("single");
    owned.add(&single, &[0, 1]).unwrap();
    owned.send(&single, 0, 0).unwrap();
    owned.end(&single, true).unwrap();
    let aborted = owned.open("aborted");
    owned.end(&aborted, false).unwrap();
    assert_eq!(owned.world.engine.commits_to_tell(0).0, [], "a marker alone decides");
    let producer = owned.open("t");
    owned.end(&producer, true).unwrap();
    let (told, next) = owned.world.engine.commits_to_tell(0);
    let marker = |(partition, first_offset, offset)| LinkMarker {
        stream,
        topic: owned.topic,
        partition,
        offset,
        first_offset,
    };
    let markers: Vec<LinkMarker> = [(0, 6, 7), (1, 4, 5), (2, 4, 5)].map(marker).to_vec();
    assert_eq!((told.len(), &told[0].markers), (1, &markers));
    assert_eq!((told[0].producer_id, next), (producer.producer_id, 1));
    assert_eq!(owned.world.engine.commits_to_tell(next), (vec![], next));
    owned.world.crash(CrashPolicy::LoseAll);
    let (again, _) = owned.world.engine.commits_to_tell(0);
    assert!(again.contains(&told[0]), "the last of each is known after a start");
}

#[test]
fn what_an_import_brings_is_left_to_it_and_ends_by_its_marker() {
    let mut owned = Owned::new(13);
    let stranger = TransactionalProducer { id: "x".parse().unwrap(), producer_id: 77, epoch: 0 };
    import_open(&mut owned, &stranger);
    // As it is where a stream is restored in the cluster that it was exported from.
    let mut owned = Owned::new(15);
    let known = owned.begin("x");
    import_open(&mut owned, &known);
}

fn import_open(owned: &mut Owned, stranger: &TransactionalProducer) {
    let no = owned.partitions[0];
    let append = Append { partition: no, batch: part(stranger, 0, "imported") };
    let engine = owned.world.engine.clone();
    let kept = append.clone();
    owned.world.run(async move { engine.append_kept(vec![kept], Ack::Durable).await }).unwrap();
    assert_eq!(kind(owned.send(stranger, 0, 1)), ErrorKind::InvalidTransaction);
    owned.settle();
    owned.world.crash(CrashPolicy::LoseAll);
    owned.settle();
    assert_eq!(owned.stable(0), (0, 1), "its marker is still to come");
    let (producer_id, epoch) = (stranger.producer_id, stranger.epoch);
    owned.world.append(no, end_marker(producer_id, epoch, true, 0, START_MS)).unwrap();
    assert_eq!(owned.stable(0), (2, 2));
}
