//! Bytes that change behind the log's back: damage is told from a torn tail, is attributed, and
//! stops nobody else.

#![allow(clippy::unwrap_used, reason = "tests")]

mod model;

use std::sync::Arc;

use bytes::Bytes;
use mainstem_env::{CrashPolicy, Disk, Random, SeededRandom, SimDisk};
use mainstem_log::{CommitLog, Frame, FrameKind, LocalLog, LogError, Position, Recovered};
use mainstem_types::PartitionNo;
use model::{World, small_settings};

#[test]
fn i8_one_flipped_bit_hurts_one_partition_at_most_and_never_lies() {
    let (mut harmless, mut hurt) = (0, 0);
    for seed in 0..800 {
        let mut world = World::new(seed);
        world.run_quietly(25).unwrap();
        let names = world.disk.list().unwrap();
        let segments: Vec<&String> =
            names.iter().filter(|name| name.ends_with(".segment")).collect();
        let pick = usize::try_from(world.random.below(segments.len() as u64)).unwrap();
        let length = world.disk.contents(segments[pick]).unwrap().len() as u64;
        let at = world.random.below(length);
        assert!(world.disk.flip_byte(segments[pick], at));
        match world.reopen_damaged() {
            Ok(0) => harmless += 1,
            Ok(1) => hurt += 1,
            Ok(many) => panic!("seed {seed}: {many} partitions out of service for one bit"),
            Err(error) => panic!("seed {seed}, {} byte {at}: {error}", segments[pick]),
        }
    }
    assert!(harmless > 50 && hurt > 50, "{harmless} harmless, {hurt} hurt");
}

#[test]
fn i8_whatever_is_left_of_the_files_nothing_is_made_up() {
    for seed in 0..600 {
        let mut world = World::new(seed);
        world.run_quietly(20).unwrap();
        let names = world.disk.list().unwrap();
        for name in names.iter().filter(|name| name.ends_with(".segment")) {
            let length = world.disk.contents(name).unwrap().len() as u64;
            match world.random.below(4) {
                0 => world.disk.remove(name).unwrap(),
                1 => {
                    let cut = world.random.below(length + 1);
                    world.disk.open(name).unwrap().set_len(cut).unwrap();
                }
                _ => {
                    // A whole sector of something else, from the same disk.
                    let from = world.random.below(length / 512) * 512;
                    let to = world.random.below(length / 512) * 512;
                    let mut sector = [0; 512];
                    let file = world.disk.open(name).unwrap();
                    file.read_at(from, &mut sector).unwrap();
                    file.write_at(to, &[std::io::IoSlice::new(&sector)]).unwrap();
                }
            }
        }
        if let Err(error) = world.reopen_ruined() {
            panic!("seed {seed}: {error}");
        }
    }
}

/// A batch of one record.
fn batch(partition: u64, base: i64, fill: u8) -> Frame {
    Frame {
        next_offset: base + 1,
        record_count: 1,
        payload: Bytes::from(vec![fill; 1000]),
        ..Frame::at(FrameKind::Batch, PartitionNo(partition), base)
    }
}

fn open(disk: &SimDisk) -> (LocalLog, Recovered, Vec<Frame>) {
    let mut replayed = Vec::new();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut replay = |_, frame| {
        replayed.push(frame);
        Ok(())
    };
    let lock = mainstem_log::lock(&*disk).unwrap();
    let (settings, random) = (small_settings(), SeededRandom::new(1));
    let opened = LocalLog::open(disk, lock, &random, settings, Position::START, &mut replay);
    let (log, recovered) = opened.unwrap();
    (log, recovered, replayed)
}

/// Three groups in one segment, each synced: partitions 1, 2 and 3; then 1 and 2; then 1.
fn three_groups(disk: &SimDisk) -> String {
    let (mut log, ..) = open(disk);
    for frames in [
        vec![batch(1, 0, 1), batch(2, 0, 2), batch(3, 0, 3)],
        vec![batch(1, 1, 4), batch(2, 1, 5)],
        vec![batch(1, 2, 6)],
    ] {
        log.write(frames).unwrap();
        log.sync().unwrap();
    }
    let names = disk.list().unwrap();
    names.into_iter().find(|name| name.ends_with(".segment")).unwrap()
}

/// Flips bytes, opens again, and returns who is out of service and what was replayed.
fn damage(disk: &SimDisk, name: &str, bytes: &[u64]) -> (Vec<u64>, Vec<Frame>) {
    for at in bytes {
        assert!(disk.flip_byte(name, *at));
    }
    disk.crash(CrashPolicy::KeepAll);
    let (log, recovered, replayed) = open(disk);
    drop(log);
    let named = recovered.quarantined.iter().map(|quarantine| quarantine.partition.0).collect();
    // What was found is remembered.
    disk.crash(CrashPolicy::LoseAll);
    let (_log, again, _) = open(disk);
    let whose = |recovered: &Recovered| -> Vec<PartitionNo> {
        recovered.quarantined.iter().map(|quarantine| quarantine.partition).collect()
    };
    assert_eq!(whose(&recovered), whose(&again));
    (named, replayed)
}

#[test]
fn damage_to_the_last_group_is_a_torn_tail() {
    let disk = SimDisk::new(1);
    let name = three_groups(&disk);
    // The third group begins at byte 8192 and no later group says that it was durable.
    let (named, replayed) = damage(&disk, &name, &[8192 + 500]);
    assert!(named.is_empty());
    assert_eq!(replayed.len(), 5);
}

#[test]
fn damage_below_a_stated_durable_position_is_corruption_of_those_who_lost() {
    let disk = SimDisk::new(1);
    let name = three_groups(&disk);
    // In the payload of the second frame of the first group, which is partition 2's.
    let (named, replayed) = damage(&disk, &name, &[64 + 1088 + 200]);
    assert_eq!(named, [2]);
    assert_eq!(replayed.len(), 5);
}

#[test]
fn a_lost_frame_header_is_attributed_by_the_directory() {
    let disk = SimDisk::new(1);
    let name = three_groups(&disk);
    // Partition 3 has no later batch whose offset would show the hole.
    let (named, _) = damage(&disk, &name, &[64 + 2 * 1088 + 10]);
    assert_eq!(named, [3]);
}

#[test]
fn a_lost_group_header_costs_nobody_anything() {
    let disk = SimDisk::new(1);
    let name = three_groups(&disk);
    let (named, replayed) = damage(&disk, &name, &[20, 4096 + 20]);
    assert!(named.is_empty());
    assert_eq!(replayed.len(), 6);
}

#[test]
fn what_cannot_be_attributed_stops_those_who_cannot_prove_that_they_are_whole() {
    let disk = SimDisk::new(1);
    let name = three_groups(&disk);
    // The header of the first group's last frame, and its directory.
    let (named, _) = damage(&disk, &name, &[64 + 2 * 1088 + 10, 4096 - 10]);
    // 1 and 2 go on where they ended; 3 is not known at all, but node-wide frames may be lost.
    assert_eq!(named, [0]);
}

#[test]
fn a_damaged_index_is_rebuilt_from_the_batches() {
    let mut world = World::new(5);
    world.run_quietly(60).unwrap();
    let names = world.disk.list().unwrap();
    let sealed = names.iter().find(|name| name.ends_with(".segment")).unwrap();
    let bytes = world.disk.contents(sealed).unwrap();
    let tail = &bytes[bytes.len() - 80..];
    assert_eq!(&tail[..8], b"MSFOOTER");
    let groups_end = u32::from_le_bytes(tail[44..48].try_into().unwrap());
    assert!(world.disk.flip_byte(sealed, u64::from(groups_end) + 10));
    assert_eq!(world.reopen_damaged(), Ok(0));
}

#[test]
fn a_missing_segment_is_a_hole_with_a_name() {
    let mut world = World::new(3);
    world.run_quietly(60).unwrap();
    let names = world.disk.list().unwrap();
    let first = names.iter().find(|name| name.ends_with(".segment")).unwrap();
    world.disk.remove(first).unwrap();
    assert!(world.reopen_damaged().unwrap() > 0);
}

#[test]
fn after_a_failed_sync_every_call_fails() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk);
    log.write(vec![batch(1, 0, 1)]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(log.sync(), Err(LogError::Disk { .. })));
    assert!(matches!(log.sync(), Err(LogError::Closed)));
    assert!(matches!(log.write(vec![batch(1, 1, 1)]), Err(LogError::Closed)));
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_when_there_is_room() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk);
    disk.set_capacity_bytes(200_000);
    let mut next = 0;
    let refused = loop {
        match log.write(vec![batch(1, next, 1)]) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
        log.sync().unwrap();
    };
    assert!(matches!(refused, LogError::Full), "{refused}");
    assert_eq!(log.reader().bounds(PartitionNo(1)).unwrap().end, next);
    disk.set_capacity_bytes(u64::MAX);
    log.write(vec![batch(1, next, 1)]).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.crash(CrashPolicy::LoseAll);
    let (log, ..) = open(&disk);
    assert_eq!(log.reader().bounds(PartitionNo(1)).unwrap().end, next + 1);
}

#[test]
fn a_second_opening_is_refused_while_the_first_lives() {
    let disk = SimDisk::new(1);
    let held = open(&disk);
    assert!(matches!(mainstem_log::lock(&disk).map(|_| ()), Err(LogError::Locked)));
    drop(held);
    mainstem_log::lock(&disk).unwrap();
}
