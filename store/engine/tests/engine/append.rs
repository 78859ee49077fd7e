//! What a producer is told is true, and what is refused changes nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::world::{World, batch};
use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{Ack, Append, CursorCommit};
use mainstem_env::{CrashPolicy, Disk};
use mainstem_group::CursorKey;
use mainstem_record::BatchHeader;
use mainstem_types::ErrorKind;

#[test]
fn offsets_continue_and_batches_are_read_back_as_sent() {
    let mut world = World::new(1);
    let no = world.owned("/a", StreamSettings::default());
    assert_eq!(world.append(no, batch(3, None, "x")).unwrap().base_offset, 0);
    assert_eq!(world.append(no, batch(2, None, "y")).unwrap().base_offset, 3);
    let read = world.read_all(no);
    let first = BatchHeader::decode(&read[0]).unwrap();
    let second = BatchHeader::decode(&read[1]).unwrap();
    assert_eq!((first.base_offset, second.base_offset, second.next_offset()), (0, 3, 5));
    assert_eq!(read[1][21..], batch(2, None, "y")[21..], "only offset and epoch were stamped");
}

#[test]
fn i1_nothing_shows_before_it_is_durable_and_written_is_told_earlier() {
    let mut world = World::new(2);
    let no = world.owned("/a", StreamSettings::default());
    let subscription = world.engine.subscribe();
    subscription.add(&world.engine.partition(no).unwrap());
    world.disk.fail_next_sync();
    let (engine, append) =
        (world.engine.clone(), Append { partition: no, batch: batch(1, None, "x") });
    let mut answer = pin!(async move { engine.append(vec![append], Ack::Durable).await?.await });
    let mut context = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut context).is_pending());
    assert!(world.sequencer.step().is_err(), "a failed sync ends the sequencer");
    assert_eq!(world.engine.partition(no).unwrap().durable_end(), 0);
    assert_eq!(subscription.take(), None);
    let told = answer.as_mut().poll(&mut context);
    assert!(matches!(told, Poll::Ready(Err(_))), "the producer is told that nothing is known");
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(world.append(no, batch(1, None, "x")).unwrap().base_offset, 0);
}

#[test]
fn a_batch_sent_twice_is_stored_once_also_across_a_crash() {
    let mut world = World::new(3);
    let no = world.owned("/a", StreamSettings::default());
    assert_eq!(world.append(no, batch(3, Some((9, 0)), "x")).unwrap().base_offset, 0);
    assert_eq!(world.append(no, batch(3, Some((9, 0)), "x")).unwrap().base_offset, 0);
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(world.append(no, batch(3, Some((9, 0)), "x")).unwrap().base_offset, 0);
    let error = world.append(no, batch(1, Some((9, 7)), "gap")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfOrderSequence);
    assert_eq!(world.append(no, batch(1, Some((9, 3)), "y")).unwrap().base_offset, 3);
}

#[test]
fn expiry_counts_from_arrival_and_keeps_the_end() {
    let mut world = World::new(4);
    let settings = StreamSettings { ttl_seconds: 10, ..StreamSettings::default() };
    let no = world.owned("/a", settings);
    world.append(no, batch(3, None, "old")).unwrap();
    world.clock.advance_ms(8_000);
    world.append(no, batch(2, None, "new")).unwrap();
    world.clock.advance_ms(4_000);
    world.sequencer.step().unwrap();
    let partition = world.engine.partition(no).unwrap();
    assert_eq!((partition.log_start(), partition.durable_end()), (3, 5));
    assert_eq!(partition.read(0, 100).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
    world.clock.advance_ms(60_000);
    world.sequencer.step().unwrap();
    world.crash(CrashPolicy::LoseAll);
    let partition = world.engine.partition(no).unwrap();
    assert_eq!((partition.log_start(), partition.durable_end()), (5, 5));
    assert_eq!(world.append(no, batch(1, None, "z")).unwrap().base_offset, 5);
}

#[test]
fn deleted_records_and_topics_are_gone_after_a_crash_too() {
    let mut world = World::new(5);
    let no = world.owned("/a", StreamSettings::default());
    world.append(no, batch(3, None, "x")).unwrap();
    world.append(no, batch(3, None, "y")).unwrap();
    let engine = world.engine.clone();
    assert_eq!(world.run(async move { engine.trim(no, 3).await.unwrap() }), 3);
    let engine = world.engine.clone();
    let error = world.run(async move { engine.trim(no, 7).await.unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(world.read_all(no).len(), 1);
    let catalog = world.engine.catalog();
    let stream = catalog.streams().next().unwrap();
    let topic = stream.topics.values().next().unwrap().origin;
    world.change(Command::DeleteTopic { stream: stream.id, topic }).unwrap();
    assert!(world.engine.partition(no).is_none());
    world.crash(CrashPolicy::LoseAll);
    assert!(world.engine.partition(no).is_none());
    let error = world.append(no, batch(1, None, "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_full_disk_refuses_batches_and_still_takes_deletes() {
    let mut world = World::new(6);
    let no = world.owned("/a", StreamSettings::default());
    world.append(no, batch(3, None, "x")).unwrap();
    world.disk.set_capacity_bytes(512 * 1024 * 1024);
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
    let error = world.append(no, batch(1, None, "y")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    let engine = world.engine.clone();
    assert_eq!(world.run(async move { engine.trim(no, 3).await.unwrap() }), 3);
    world.disk.set_capacity_bytes(u64::MAX);
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
    assert_eq!(world.append(no, batch(1, None, "y")).unwrap().base_offset, 3);
}

/// Sets the capacity so that this many bytes can still be written.
fn leave_room(world: &World, bytes: u64) {
    world.disk.set_capacity_bytes(u64::MAX);
    let used = u64::MAX - world.disk.free_bytes().unwrap();
    world.disk.set_capacity_bytes(used + bytes);
}

#[test]
fn a_disk_that_fills_up_at_once_refuses_batches_and_loses_nothing() {
    for seed in 0..40 {
        let mut world = World::with(seed, |settings| settings.disk_free_bytes_min = 0);
        let no = world.owned("/a", StreamSettings::default());
        leave_room(&world, world.below(80_000));
        let (mut taken, mut refused) = (0, 0);
        while refused < 5 {
            let bytes = batch(1, Some((9, taken)), &"x".repeat(2_000));
            match world.append(no, bytes) {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, i64::from(taken));
                    taken += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Storage, "seed {seed}: {error}");
                    refused += 1;
                }
            }
            if world.below(3) == 0 {
                // Expiry and view have their turn on a full disk, too.
                world.clock.advance_ms(1_100);
            }
        }
        assert_eq!(world.read_all(no).len(), usize::try_from(taken).unwrap(), "seed {seed}");
        if world.below(2) == 0 {
            world.disk.set_capacity_bytes(u64::MAX);
            world.crash(CrashPolicy::Seeded);
            assert_eq!(world.read_all(no).len(), usize::try_from(taken).unwrap(), "seed {seed}");
        }
        world.disk.set_capacity_bytes(u64::MAX);
        let bytes = batch(1, Some((9, taken)), "there is room again");
        assert_eq!(world.append(no, bytes).unwrap().base_offset, i64::from(taken), "seed {seed}");
        world.crash(CrashPolicy::LoseAll);
        assert_eq!(world.read_all(no).len(), usize::try_from(taken + 1).unwrap());
    }
}

#[test]
fn on_a_full_disk_everything_is_refused_and_deleting_makes_room() {
    let mut world = World::with(8, |settings| settings.disk_free_bytes_min = 0);
    let no = world.owned("/a", StreamSettings::default());
    leave_room(&world, 100_000);
    let bytes = batch(1, None, &"x".repeat(2_000));
    while world.append(no, bytes.clone()).is_ok() {}
    // What is left of the last segment serves small things for a while.
    let catalog = world.engine.catalog();
    let stream = catalog.streams().next().unwrap().id;
    let name = |at: i32| format!("t{at}").parse().unwrap();
    let mut made = 0;
    let error = loop {
        let create = Command::CreateTopic {
            stream,
            name: name(made),
            partitions: Some(100),
            timestamp_type: None,
            config: Default::default(),
        };
        match world.change(create) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(world.engine.catalog().streams().next().unwrap().topics.len(), 1 + made as usize);
    leave_room(&world, 50_000);
    let (engine, end) = (world.engine.clone(), world.engine.partition(no).unwrap().durable_end());
    assert_eq!(world.run(async move { engine.trim(no, end).await.unwrap() }), end);
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
    world.append(no, bytes).unwrap();
}

#[test]
fn cursors_are_durable_and_told() {
    let mut world = World::new(7);
    let no = world.owned("/a", StreamSettings::default());
    let partition = world.engine.partition(no).unwrap();
    let key = CursorKey {
        stream: partition.stream,
        group: "g".parse().unwrap(),
        topic: partition.topic,
        partition: 0,
    };
    let subscription = world.engine.subscribe();
    world.engine.watch_cursors(partition.stream, &subscription);
    for offset in [1, 2] {
        let commit =
            CursorCommit { key: key.clone(), offset, leader_epoch: -1, metadata: "m".into() };
        let engine = world.engine.clone();
        world.run(async move { engine.commit_cursors(vec![commit]).await.unwrap() });
    }
    assert!(subscription.take_cursors());
    let before = world.engine.cursor(&key).unwrap().local.unwrap();
    assert_eq!((before.offset, before.metadata.as_str()), (2, "m"));
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(world.engine.cursor(&key).unwrap().local.unwrap(), before);
    let engine = world.engine.clone();
    let gone = key.clone();
    world.run(async move { engine.delete_cursors(vec![gone]).await.unwrap() });
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(world.engine.cursor(&key), None);
    // Replicas hear of it for a month.
    let kept = |world: &World| world.engine.cursors_and_deletions(partition.stream).len();
    assert_eq!((kept(&world), world.engine.cursors(partition.stream).len()), (1, 0));
    for hours in [30 * 24 - 1, 2] {
        assert_eq!(kept(&world), 1);
        world.clock.advance_ms(hours * 3_600_000);
        world.sequencer.step().unwrap();
    }
    assert_eq!(kept(&world), 0);
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(kept(&world), 0);
    assert!(Arc::strong_count(&subscription) == 1);
}
