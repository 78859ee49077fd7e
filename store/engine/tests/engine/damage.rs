//! Damage stops one partition and says so (I8); what everything builds on must be whole.

use bytes::Bytes;
use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{CursorCommit, ReplicaAppend, ReplicaBatch};
use mainstem_env::{CrashPolicy, Disk};
use mainstem_group::CursorKey;
use mainstem_record::patch_leader_epoch;
use mainstem_types::{ErrorKind, LineageEntry, PartitionNo};

use crate::world::{SOURCE, START_MS, TERM, TOPIC, World, batch};

/// Inverts a bit of stored bytes, wherever the log holds them.
fn rot(world: &World, bytes: &[u8]) {
    let names = world.disk.list().unwrap();
    let mut found = 0;
    for name in names.iter().filter(|name| name.ends_with(".segment")) {
        let stored = world.disk.contents(name).unwrap();
        if let Some(at) = stored.windows(bytes.len()).position(|window| window == bytes) {
            assert!(world.disk.flip_byte(name, (at + bytes.len() / 2) as u64));
            found += 1;
        }
    }
    assert!(found > 0, "the bytes are stored");
}

/// Lets the view catch up with everything.
fn catch_up(world: &mut World) {
    world.clock.advance_ms(2_000);
    world.sequencer.step().unwrap();
}

fn assert_refuses_to_start(world: &mut World) {
    for _ in 0..3 {
        world.disk.crash(CrashPolicy::LoseAll);
        let error = world.try_open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("is damaged between bytes"), "{error}");
        assert!(error.message().contains("restore the data directory"), "{error}");
    }
}

#[test]
fn i8_a_node_that_lost_changes_of_its_catalog_does_not_start() {
    let mut world = World::new(1);
    world.owned("/doomed", StreamSettings::default());
    let no = world.owned("/later", StreamSettings::default());
    world.append(no, batch(1, None, "x")).unwrap();
    rot(&world, b"/doomed");
    assert_refuses_to_start(&mut world);
}

#[test]
fn i8_a_node_that_lost_cursors_does_not_start() {
    let mut world = World::new(2);
    let no = world.owned("/a", StreamSettings::default());
    catch_up(&mut world);
    commit(&mut world, no, "some words");
    world.append(no, batch(1, None, "x")).unwrap();
    rot(&world, b"some words");
    assert_refuses_to_start(&mut world);
}

#[test]
fn damage_to_what_the_view_holds_already_stops_nobody() {
    let mut world = World::new(3);
    let no = world.owned("/doomed", StreamSettings::default());
    commit(&mut world, no, "some words");
    catch_up(&mut world);
    world.append(no, batch(2, None, "x")).unwrap();
    world.append(no, batch(2, None, "y")).unwrap();
    rot(&world, b"/doomed");
    rot(&world, b"some words");
    for _ in 0..3 {
        world.crash(CrashPolicy::LoseAll);
        assert_eq!(world.read_all(no).len(), 2);
        let catalog = world.engine.catalog();
        assert_eq!(catalog.streams().next().unwrap().path.to_string(), "/doomed");
        assert_eq!(world.engine.cursors(catalog.streams().next().unwrap().id).len(), 1);
    }
    assert_eq!(world.append(no, batch(2, None, "z")).unwrap().base_offset, 4);
}

#[test]
fn i8_a_log_that_ends_before_its_view_does_not_start() {
    let mut world = World::new(7);
    let no = world.owned("/a", StreamSettings::default());
    world.append(no, batch(1, None, "x")).unwrap();
    catch_up(&mut world);
    let names = world.disk.list().unwrap();
    for name in names.iter().filter(|name| name.ends_with(".segment")) {
        world.disk.remove(name).unwrap();
    }
    world.disk.crash(CrashPolicy::KeepAll);
    for _ in 0..2 {
        let error = world.try_open().unwrap_err();
        assert!(error.message().contains("what was applied"), "{error}");
        world.disk.crash(CrashPolicy::LoseAll);
    }
}

fn commit(world: &mut World, no: PartitionNo, metadata: &str) {
    let partition = world.engine.partition(no).unwrap();
    let key = CursorKey {
        stream: partition.stream,
        group: "g".parse().unwrap(),
        topic: partition.topic,
        partition: 0,
    };
    let commit = CursorCommit { key, offset: 1, leader_epoch: -1, metadata: metadata.into() };
    let engine = world.engine.clone();
    world.run(async move { engine.commit_cursors(vec![commit]).await.unwrap() });
}

/// Two partitions with three batches each; the marks of the first one's are in the bytes.
fn two_partitions(seed: u64) -> (World, PartitionNo, PartitionNo) {
    let mut world = World::new(seed);
    let hurt = world.owned("/hurt", StreamSettings::default());
    let whole = world.owned("/whole", StreamSettings::default());
    for mark in ["first", "second", "third"] {
        world.append(hurt, batch(2, None, mark)).unwrap();
        world.append(whole, batch(2, None, mark)).unwrap();
    }
    (world, hurt, whole)
}

fn stored(world: &World, no: PartitionNo, at: usize) -> Bytes {
    world.read_all(no)[at].clone()
}

fn assert_out_of_service(world: &mut World, hurt: PartitionNo, whole: PartitionNo) {
    let error = world.engine.partition(hurt).unwrap().read(4, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("out of service"), "{error}");
    let error = world.append(hurt, batch(1, None, "more")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.message().contains("damaged"), "{error}");
    let before = world.read_all(whole).len();
    world.append(whole, batch(1, None, "more")).unwrap();
    assert_eq!(world.read_all(whole).len(), before + 1);
}

#[test]
fn i8_damage_found_by_recovery_stops_one_partition_for_good() {
    for place in 0..3 {
        let (mut world, hurt, whole) = two_partitions(4);
        let bytes = stored(&world, hurt, place);
        rot(&world, &bytes);
        world.append(whole, batch(1, None, "after")).unwrap();
        for _ in 0..3 {
            world.crash(CrashPolicy::LoseAll);
            assert_out_of_service(&mut world, hurt, whole);
            catch_up(&mut world);
            let health = world.engine.health();
            assert_eq!(health.damaged.len(), 1, "{health:?}");
            assert!(health.damaged[0].0 == hurt && health.damaged[0].1.contains("offset"));
            assert!(health.syncs.counts.iter().sum::<u64>() > 0 && !health.is_full);
        }
        let catalog = world.engine.catalog();
        let stream = catalog.stream_at(&"/hurt".parse().unwrap()).unwrap();
        world.change(Command::DeleteStream { path: stream.path.clone() }).unwrap();
        world.crash(CrashPolicy::LoseAll);
        assert!(world.engine.partition(hurt).is_none());
        assert_eq!(world.log_partitions(), 1);
    }
}

/// Reads from the disk, since newer batches have pushed the old ones out of memory.
fn push_out_of_memory(world: &mut World, no: PartitionNo) {
    let filler = "filler ".repeat(100);
    for _ in 0..60 {
        world.append(no, batch(2, None, &filler)).unwrap();
    }
}

#[test]
fn i8_damage_found_by_a_reader_stops_one_partition_for_good() {
    let (mut world, hurt, whole) = two_partitions(5);
    let bytes = stored(&world, hurt, 1);
    push_out_of_memory(&mut world, whole);
    rot(&world, &bytes);
    let partition = world.engine.partition(hurt).unwrap();
    assert_eq!(partition.read(0, usize::MAX).unwrap().len(), 1, "what is whole is served");
    let error = partition.read(2, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let subscription = world.engine.subscribe();
    subscription.add(&partition);
    world.sequencer.step().unwrap();
    assert_eq!(subscription.take(), Some(vec![hurt]), "those who wait are told");
    assert_out_of_service(&mut world, hurt, whole);
    world.crash(CrashPolicy::LoseAll);
    assert_out_of_service(&mut world, hurt, whole);
}

#[test]
fn i8_a_damaged_partition_of_a_replica_does_not_stop_its_link() {
    let mut world = World::new(8);
    let (link, no) = world.replica();
    let lineage = vec![LineageEntry {
        leader_epoch: 0,
        start_offset: 0,
        term_id: TERM.id,
        owner: SOURCE,
        markers: 0,
    }];
    let send = |world: &mut World, bytes: Bytes, lineage| {
        let batches = vec![ReplicaBatch { arrival_ms: START_MS, bytes }];
        let append = ReplicaAppend {
            link,
            topic: TOPIC,
            partition: 0,
            lineage,
            gap_to: None,
            compacted: 0,
            compacted_in: 0,
            batches,
        };
        let engine = world.engine.clone();
        world.run(async move { engine.append_replica(append).await?.await? })
    };
    let mut bytes = batch(1, None, "brought").to_vec();
    patch_leader_epoch(&mut bytes, 0);
    let bytes = Bytes::from(bytes);
    assert_eq!(send(&mut world, bytes.clone(), lineage), Ok(1));
    let other = world.owned("/other", StreamSettings::default());
    world.append(other, batch(1, None, "x")).unwrap();
    rot(&world, &bytes);
    world.crash(CrashPolicy::LoseAll);
    let error = send(&mut world, bytes, Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(world.engine.partition(no).unwrap().read(0, 1).is_err());
}

#[test]
fn a_read_that_fails_once_is_not_damage() {
    let (mut world, hurt, whole) = two_partitions(6);
    let bytes = stored(&world, hurt, 1);
    push_out_of_memory(&mut world, whole);
    let partition = world.engine.partition(hurt).unwrap();
    world.disk.fail_next_read();
    assert_eq!(partition.read(2, 1).unwrap_err().kind(), ErrorKind::Storage);
    world.sequencer.step().unwrap();
    assert_eq!(partition.read(2, 1).unwrap().len(), 1);
    // A bit that fell over on its way, and not on the disk.
    let damaged = |world: &World| rot(world, &bytes[..bytes.len() / 2]);
    damaged(&world);
    assert_eq!(partition.read(2, 1).unwrap_err().kind(), ErrorKind::Corrupt);
    let mut flipped = bytes[..bytes.len() / 2].to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    rot(&world, &flipped);
    world.sequencer.step().unwrap();
    assert_eq!(partition.read(2, 1).unwrap().len(), 1);
    world.append(hurt, batch(1, None, "more")).unwrap();
}
