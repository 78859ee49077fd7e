//! What a link may bring: exactly what follows, under a standing agreement (I2, I5, I6).

use crate::world::{REPLICA, SOURCE, START_MS, TERM, TOPIC, World, batch, place, told_topic};
use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{CursorCommit, LinkName, ReplicaAppend, ReplicaBatch};
use mainstem_env::CrashPolicy;
use mainstem_group::{CursorKey, CursorValue};
use mainstem_record::{patch_base_offset, patch_leader_epoch};
use mainstem_types::{Error, ErrorKind, LineageEntry};

pub(crate) fn at(base_offset: i64, count: i64, mark: &str) -> ReplicaBatch {
    let mut bytes = batch(count, None, mark).to_vec();
    patch_base_offset(&mut bytes, base_offset);
    patch_leader_epoch(&mut bytes, 0);
    ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }
}

pub(crate) fn append(link: LinkName, batches: Vec<ReplicaBatch>) -> ReplicaAppend {
    let entry = LineageEntry {
        leader_epoch: 0,
        start_offset: 0,
        term_id: TERM.id,
        owner: SOURCE,
        markers: 0,
    };
    ReplicaAppend {
        link,
        topic: TOPIC,
        partition: 0,
        lineage: vec![entry],
        gap_to: None,
        compacted: 0,
        compacted_in: TERM.number,
        batches,
    }
}

pub(crate) fn send(world: &mut World, append: ReplicaAppend) -> Result<i64, Error> {
    let engine = world.engine.clone();
    world.run(async move { engine.append_replica(append).await?.await? })
}

/// Batches of so many records at these offsets, as a link brings them.
pub(crate) fn send_batches(world: &mut World, link: LinkName, batches: &[(i64, i64)]) {
    let batches = batches.iter().map(|(base, count)| at(*base, *count, "x")).collect();
    send(world, append(link, batches)).unwrap();
}

#[test]
fn i2_batches_are_taken_exactly_at_the_end_and_kept_byte_for_byte() {
    let mut world = World::new(1);
    let (link, no) = world.replica();
    let batches = vec![at(0, 3, "x"), at(3, 2, "y")];
    assert_eq!(send(&mut world, append(link, batches.clone())), Ok(5));
    let error = send(&mut world, append(link, vec![at(7, 1, "z")])).unwrap_err();
    assert_eq!((error.kind(), error.expected_offset()), (ErrorKind::Misaligned, Some(5)));
    world.crash(CrashPolicy::LoseAll);
    let sent: Vec<_> = batches.into_iter().map(|batch| batch.bytes).collect();
    assert_eq!(world.read_all(no), sent);
}

#[test]
fn fault_03_a_misaligned_append_is_an_error_that_names_the_expected_offset() {
    let mut world = World::new(41);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 3, "x")])).unwrap();
    for batches in [vec![at(4, 1, "z")], vec![at(3, 2, "y"), at(6, 1, "z")]] {
        let before = world.engine.partition(no).unwrap().durable_end();
        let gone_on = batches.len() > 1;
        let error = send(&mut world, append(link, batches)).unwrap_err();
        let end = world.engine.partition(no).unwrap().durable_end();
        assert_eq!((error.kind(), error.expected_offset()), (ErrorKind::Misaligned, Some(end)));
        assert_eq!(end, if gone_on { 5 } else { before }, "what fits before it is kept");
    }
}

#[test]
fn fault_15_neither_a_late_create_nor_late_data_brings_a_deleted_topic_back() {
    let mut world = World::new(42);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 3, "x")])).unwrap();
    let stone = Command::ApplyTombstone {
        stream: REPLICA,
        upstream: SOURCE,
        link_epoch: link.link_epoch,
        origin: TOPIC,
        owner_seq: mainstem_types::CatalogSeq(2),
        term: Some(TERM.number),
        source_seq: mainstem_types::CatalogSeq(2),
    };
    world.change(stone).unwrap();
    for late in [1, 3] {
        world.change(told_topic(link, TERM, late)).unwrap();
        world.crash(CrashPolicy::LoseAll);
        assert!(world.engine.catalog().stream(REPLICA).unwrap().topics.is_empty());
    }
    let error = send(&mut world, append(link, vec![at(3, 1, "late")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(world.engine.partition(no).is_none());
}

#[test]
fn what_is_here_already_is_dropped_and_what_differs_is_a_divergence() {
    let mut world = World::new(2);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 3, "x"), at(3, 2, "y")])).unwrap();
    assert_eq!(send(&mut world, append(link, vec![at(3, 2, "y"), at(5, 1, "z")])), Ok(6));
    let error = send(&mut world, append(link, vec![at(3, 2, "rival")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
    let error = send(&mut world, append(link, vec![at(4, 3, "across")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
    let rival = LineageEntry {
        leader_epoch: 0,
        start_offset: 0,
        term_id: mainstem_types::TermId(1),
        owner: SOURCE,
        markers: 0,
    };
    let other_past = ReplicaAppend { lineage: vec![rival], ..append(link, vec![at(6, 1, "z")]) };
    assert_eq!(send(&mut world, other_past).unwrap_err().kind(), ErrorKind::Diverged);
    assert_eq!(world.read_all(no).len(), 3);
}

#[test]
fn versions_of_cursors_rise_also_when_the_highest_was_deleted() {
    let mut world = World::new(22);
    let no = world.owned("/s", StreamSettings::default());
    let home = world.engine.catalog().partition(no).unwrap();
    let key = CursorKey {
        stream: home.stream,
        group: "g".parse().unwrap(),
        topic: home.topic,
        partition: 0,
    };
    let commit = |world: &mut World| {
        let (engine, key) = (world.engine.clone(), key.clone());
        let commit =
            CursorCommit { key: key.clone(), offset: 0, leader_epoch: 0, metadata: "".into() };
        world.run(engine.commit_cursors(vec![commit])).unwrap();
        engine.cursor(&key).unwrap().local.unwrap().version
    };
    commit(&mut world);
    let highest = commit(&mut world);
    let engine = world.engine.clone();
    world.run(engine.delete_cursors(vec![key.clone()])).unwrap();
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
    world.crash(CrashPolicy::LoseAll);
    assert!(commit(&mut world) > highest);
}

#[test]
fn i6_an_older_hello_and_a_removed_agreement_are_fenced() {
    let mut world = World::new(3);
    let (old, no) = world.replica();
    let new = world.hello();
    let error = send(&mut world, append(old, vec![at(0, 1, "x")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(send(&mut world, append(new, vec![at(0, 1, "x")])), Ok(1));
    world.change(Command::RemoveUpstream { stream: REPLICA, upstream: place() }).unwrap();
    let error = send(&mut world, append(new, vec![at(1, 1, "y")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(world.read_all(no).len(), 1);
}

/// Else the next reign, which begins where the log ends, would begin below it.
#[test]
fn an_epoch_that_begins_beyond_what_comes_with_it_is_refused() {
    let mut world = World::new(46);
    let (link, no) = world.replica();
    send_batches(&mut world, link, &[(0, 3)]);
    let first = append(link, Vec::new()).lineage[0];
    let beyond = LineageEntry { leader_epoch: 1, start_offset: 1_000, ..first };
    let sent = ReplicaAppend { lineage: vec![first, beyond], ..append(link, Vec::new()) };
    assert_eq!(send(&mut world, sent).unwrap_err().kind(), ErrorKind::Corrupt);
    world.change(Command::FailOver { stream: REPLICA, upstream: None }).unwrap();
    assert_eq!(world.append(no, batch(1, None, "own")).unwrap().base_offset, 3);
}

#[test]
fn i5_a_local_producer_is_refused_and_changes_nothing() {
    let mut world = World::new(4);
    let (_, no) = world.replica();
    let error = world.append(no, batch(1, None, "intruder")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert!(error.message().contains("/mapr/there/original"), "{error}");
    assert_eq!(world.engine.partition(no).unwrap().durable_end(), 0);
}

#[test]
fn i8_a_gap_at_the_source_is_a_gap_here() {
    let mut world = World::new(5);
    let (link, no) = world.replica();
    let first =
        ReplicaAppend { gap_to: Some(100), compacted: 0, ..append(link, vec![at(100, 2, "x")]) };
    assert_eq!(send(&mut world, first), Ok(102));
    let later =
        ReplicaAppend { gap_to: Some(110), compacted: 0, ..append(link, vec![at(110, 2, "y")]) };
    assert_eq!(send(&mut world, later), Ok(112));
    world.crash(CrashPolicy::LoseAll);
    let partition = world.engine.partition(no).unwrap();
    assert_eq!((partition.log_start(), partition.durable_end()), (100, 112));
    let found: Vec<_> =
        partition.read(102, usize::MAX).unwrap().iter().map(|b| b.base_offset).collect();
    assert_eq!(found, [110]);
}

#[test]
fn a_feeder_that_kept_more_than_the_last_one_brings_no_divergence() {
    let mut world = World::new(10);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 5, "x")])).unwrap();
    let gap =
        ReplicaAppend { gap_to: Some(10), compacted: 0, ..append(link, vec![at(10, 2, "z")]) };
    send(&mut world, gap).unwrap();
    // The next feeder still has what the last one had lost.
    let again = vec![at(0, 5, "x"), at(5, 3, "y"), at(8, 2, "y"), at(10, 2, "z"), at(12, 1, "w")];
    assert_eq!(send(&mut world, append(link, again)), Ok(13));
    assert_eq!(world.read_all(no).len(), 3, "what is a gap stays one");
    let error = send(&mut world, append(link, vec![at(8, 3, "across")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
}

#[test]
fn fault_22_a_damaged_batch_is_refused_before_it_is_queued() {
    let mut world = World::new(6);
    let (link, no) = world.replica();
    let mut damaged = at(0, 3, "x");
    let mut bytes = damaged.bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    damaged.bytes = bytes.into();
    let error = send(&mut world, append(link, vec![damaged])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(world.engine.partition(no).unwrap().durable_end(), 0);
}

#[test]
fn a_full_disk_stops_links_and_not_cursors_and_trims() {
    let mut world = World::new(7);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 3, "x")])).unwrap();
    world.disk.set_capacity_bytes(512 * 1024 * 1024);
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
    let error = send(&mut world, append(link, vec![at(3, 1, "y")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    let (engine, key) = (world.engine.clone(), cursor_key());
    let value = CursorValue {
        offset: 2,
        leader_epoch: 0,
        metadata: String::new(),
        commit_ms: START_MS,
        version: 1,
        term: TERM.id,
    };
    let cursors = vec![(key.clone(), value.clone())];
    world.run(async move { engine.apply_cursors(link, cursors).await.unwrap() });
    assert_eq!(world.engine.cursor(&key).unwrap().replicated, Some(value));
    let engine = world.engine.clone();
    world.run(async move { engine.trim_replica(link, vec![(no, 3)]).await.unwrap() });
    assert_eq!(world.engine.partition(no).unwrap().log_start(), 3);
    world.disk.set_capacity_bytes(u64::MAX);
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
    assert_eq!(send(&mut world, append(link, vec![at(3, 1, "y")])), Ok(4));
}

fn cursor_key() -> CursorKey {
    CursorKey { stream: REPLICA, group: "g".parse().unwrap(), topic: TOPIC, partition: 0 }
}

#[test]
fn two_feeders_may_bring_the_same_batch_within_one_group() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    let mut world = World::new(9);
    let (link, no) = world.replica();
    let engine = world.engine.clone();
    let twice = async move {
        let first = engine.append_replica(append(link, vec![at(0, 3, "x")])).await.unwrap();
        let second = engine.append_replica(append(link, vec![at(0, 3, "x")])).await.unwrap();
        let rival = engine.append_replica(append(link, vec![at(0, 3, "rival")])).await.unwrap();
        (first.await.unwrap(), second.await.unwrap(), rival.await.unwrap())
    };
    let mut twice = pin!(twice);
    let mut context = Context::from_waker(Waker::noop());
    assert!(twice.as_mut().poll(&mut context).is_pending(), "all three wait for one step");
    world.sequencer.step().unwrap();
    let Poll::Ready((first, second, rival)) = twice.as_mut().poll(&mut context) else {
        panic!("one step answers all that was queued before it");
    };
    assert_eq!((first, second), (Ok(3), Ok(3)));
    assert_eq!(rival.unwrap_err().kind(), ErrorKind::Diverged);
    assert_eq!(world.read_all(no).len(), 1);
}
