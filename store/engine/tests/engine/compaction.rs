//! Log compaction: what is left, that it survives crashes, and that a link gets on over it (I2).

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use mainstem_catalog::{Command, StreamPatch, StreamSettings};
use mainstem_engine::{
    Cleaner, CleanerSettings, Cleaning, Engine, LinkName, ReplicaAppend, ReplicaBatch,
};
use mainstem_env::{CrashPolicy, Env};
use mainstem_record::{
    BatchBuilder, BatchHeader, Record, end_marker, patch_base_offset, patch_leader_epoch, records,
};
use mainstem_types::{ErrorKind, PartitionNo};

use crate::replica::{append, at, send};
use crate::world::{START_MS, World};

/// Small steps, so that every pass has many.
const CLEANER: CleanerSettings =
    CleanerSettings { interval_ms: 0, pass_interval_ms: 0, map_bytes: 1 << 20, step_bytes: 8_000 };

fn cleaner(world: &World, settings: CleanerSettings) -> Cleaner {
    let env = Env { clock: world.clock.clone(), random: world.random.clone() };
    world.engine.cleaner(env, settings)
}

/// Compacts until nothing is due.
fn clean(world: &mut World) {
    clean_with(world, CLEANER);
}

fn clean_with(world: &mut World, settings: CleanerSettings) {
    let mut cleaner = cleaner(world, settings);
    step_until_idle(world, &mut cleaner);
}

fn step_until_idle(world: &mut World, cleaner: &mut Cleaner) {
    for _ in 0..10_000 {
        match cleaner.step() {
            Cleaning::Idle => return,
            Cleaning::Worked => {}
            Cleaning::Waiting => drop(world.sequencer.step().unwrap()),
            Cleaning::Closed => panic!("the engine is open"),
        }
    }
    panic!("compaction does not come to an end");
}

fn compacted() -> StreamSettings {
    StreamSettings { compact: true, ..StreamSettings::default() }
}

/// A batch that gives these keys this value, padded.
fn batch(keys: &[&str], value: Option<&str>) -> Bytes {
    let mut builder = BatchBuilder::new();
    for key in keys {
        let value = value.map(|value| format!("{value}{}", " ".repeat(600)));
        builder.push(START_MS, Some(key.as_bytes()), value.as_deref().map(str::as_bytes));
    }
    builder.build().freeze()
}

fn all_records(world: &World, no: PartitionNo) -> Vec<Record> {
    let batches = world.read_all(no);
    let read = |batch: &Bytes| records(batch, 1 << 20).unwrap().map(Result::unwrap).collect();
    batches.iter().flat_map(|batch: &Bytes| -> Vec<Record> { read(batch) }).collect()
}

/// The newest record of each key.
fn newest(records: &[Record]) -> BTreeMap<Bytes, Record> {
    records.iter().map(|record| (record.key.clone().unwrap(), record.clone())).collect()
}

/// Writes two hundred batches over a dozen keys.
fn fill(world: &mut World, no: PartitionNo) {
    for at in 0..200 {
        let keys = [format!("k{}", world.below(12)), format!("k{}", world.below(12))];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        world.append(no, batch(&keys, Some(&format!("v{at}")))).unwrap();
    }
}

#[test]
fn the_newest_value_of_each_key_is_left_and_the_disk_gets_its_room_back() {
    let mut world = World::new(1);
    let no = world.owned("/a", compacted());
    fill(&mut world, no);
    let before = all_records(&world, no);
    let stored = world.engine.log_stats();
    clean(&mut world);
    let after = all_records(&world, no);
    assert_eq!(newest(&after), newest(&before));
    assert!(after.len() <= 12 + 2, "the newest batch stays as it is: {}", after.len());
    assert!(after.iter().all(|record| before.contains(record)), "offsets and bytes stay");
    let partition = world.engine.partition(no).unwrap();
    assert_eq!((partition.log_start(), partition.durable_end()), (0, 400));
    let marks = partition.marks();
    assert_eq!((marks.compacted, marks.cleaned), (398, 398));
    let (gone, bytes) = partition.removed_by_compaction();
    assert_eq!(gone as usize, before.len() - after.len());
    assert!(bytes > 100_000, "{bytes}");
    // The view catches up, and segments without live batches go.
    for _ in 0..4 {
        world.append(no, batch(&["k0"], Some("more"))).unwrap();
        world.clock.advance_ms(2_000);
        world.sequencer.step().unwrap();
    }
    let now = world.engine.log_stats();
    assert!(stored.segments == 0 || now.segments <= 3, "{now:?}");
    assert!(now.live_bytes < 60_000, "{now:?}");
}

#[test]
fn what_stands_in_the_place_of_others_is_read_after_any_crash() {
    let mut world = World::new(2);
    let no = world.owned("/a", compacted());
    fill(&mut world, no);
    clean(&mut world);
    let after = world.read_all(no);
    let marks = world.engine.partition(no).unwrap().marks();
    for policy in [CrashPolicy::KeepAll, CrashPolicy::LoseAll, CrashPolicy::Seeded] {
        world.crash(policy);
        assert_eq!(world.read_all(no), after);
        assert_eq!(world.engine.partition(no).unwrap().marks(), marks);
    }
    world.crash(CrashPolicy::LoseAll);
    fill(&mut world, no);
    clean(&mut world);
    assert!(all_records(&world, no).len() <= 14);
}

#[test]
fn i8_a_crash_at_any_write_leaves_the_old_or_the_new() {
    for dies_after in 1..80 {
        let mut world = World::new(100 + dies_after);
        let no = world.owned("/a", compacted());
        fill(&mut world, no);
        let before = all_records(&world, no);
        world.disk.die_after(dies_after);
        let mut cleaner = cleaner(&world, CLEANER);
        for _ in 0..2_000 {
            match cleaner.step() {
                Cleaning::Idle | Cleaning::Closed => break,
                Cleaning::Worked => {}
                Cleaning::Waiting if world.sequencer.step().is_err() => break,
                Cleaning::Waiting => {}
            }
        }
        world.crash(CrashPolicy::Seeded);
        let after = all_records(&world, no);
        assert_eq!(newest(&after), newest(&before), "died after {dies_after}");
        assert!(after.iter().all(|record| before.contains(record)), "died after {dies_after}");
        assert_eq!(world.engine.partition(no).unwrap().durable_end(), 400);
        // And it goes on.
        clean(&mut world);
        let after = all_records(&world, no);
        assert_eq!(newest(&after), newest(&before), "died after {dies_after}");
        assert!(after.len() <= 14, "died after {dies_after}: {}", after.len());
    }
}

#[test]
fn a_small_map_takes_several_passes() {
    let mut world = World::new(3);
    let no = world.owned("/a", compacted());
    fill(&mut world, no);
    let before = all_records(&world, no);
    clean_with(&mut world, CleanerSettings { map_bytes: 3 * 48, ..CLEANER });
    let after = all_records(&world, no);
    assert_eq!(newest(&after), newest(&before));
    assert!(after.len() <= 14, "{}", after.len());
}

#[test]
fn a_deletion_is_kept_for_its_time_and_young_records_are_left_alone() {
    let mut world = World::new(4);
    let settings = StreamSettings {
        min_compaction_lag_ms: 10_000,
        delete_retention_ms: 60_000,
        ..compacted()
    };
    let no = world.owned("/a", settings);
    world.append(no, batch(&["a"], Some("1"))).unwrap();
    world.append(no, batch(&["b"], Some("1"))).unwrap();
    world.append(no, batch(&["a"], None)).unwrap();
    world.append(no, batch(&["c"], Some("last"))).unwrap();
    let offsets = |world: &World| -> Vec<i64> {
        all_records(world, no).iter().map(|record| record.offset).collect()
    };
    let mut cleaner = cleaner(&world, CLEANER);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(offsets(&world), [0, 1, 2, 3], "all are young");
    world.clock.advance_ms(10_001);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(offsets(&world), [1, 2, 3], "the deletion stays, what it deletes is gone");
    world.clock.advance_ms(59_000);
    world.append(no, batch(&["c"], Some("again"))).unwrap();
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(offsets(&world), [1, 2, 3, 4]);
    world.clock.advance_ms(20_000);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(offsets(&world), [1, 3, 4], "its time is over");
    // After a restart nobody knows of tombstones that wait, and so all are looked at in time.
    world.append(no, batch(&["c", "c", "c"], Some("more"))).unwrap();
    world.append(no, batch(&["b"], None)).unwrap();
    world.append(no, batch(&["d"], Some("end"))).unwrap();
    world.clock.advance_ms(10_001);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(offsets(&world), [7, 8, 9]);
    world.crash(CrashPolicy::LoseAll);
    let mut cleaner = self::cleaner(&world, CLEANER);
    step_until_idle(&mut world, &mut cleaner);
    world.clock.advance_ms(60_001);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(offsets(&world), [7, 9]);
    let start = world.engine.partition(no).unwrap().log_start();
    assert_eq!(start, 0, "where compaction left nothing, nothing expires");
}

/// The partition of another topic, of this policy, in the only stream; made after `last`.
fn one_more(world: &mut World, last: PartitionNo, policy: &str) -> PartitionNo {
    let stream = world.engine.catalog().streams().next().unwrap().id;
    let create = Command::CreateTopic {
        stream,
        name: "compacted".parse().unwrap(),
        partitions: Some(1),
        timestamp_type: None,
        config: [("cleanup.policy".to_owned(), policy.to_owned())].into(),
    };
    world.change(create).unwrap();
    PartitionNo(last.0 + 1)
}

#[test]
fn what_is_only_compacted_does_not_expire() {
    const WEEKS_MS: u64 = 30 * 24 * 3_600_000;
    for (policy, left) in [("compact", 2), ("compact,delete", 0)] {
        let mut world = World::new(10);
        let settings = StreamSettings { ttl_seconds: 604_800, ..StreamSettings::default() };
        let first = world.owned("/a", settings);
        let no = one_more(&mut world, first, policy);
        for value in ["old", "new"] {
            world.append(first, batch(&["k"], Some(value))).unwrap();
            world.append(no, batch(&["k"], Some(value))).unwrap();
        }
        world.append(no, batch(&["z"], Some("end"))).unwrap();
        clean(&mut world);
        world.clock.advance_ms(WEEKS_MS);
        world.sequencer.step().unwrap();
        world.sequencer.step().unwrap();
        assert_eq!(all_records(&world, first), []);
        assert_eq!(all_records(&world, no).len(), left, "{policy}");
    }
}

#[test]
fn a_repetition_is_known_although_its_batch_was_compacted() {
    let mut world = World::new(5);
    let no = world.owned("/a", compacted());
    let produced = |sequence: i32, value: &str| {
        let mut builder = BatchBuilder::new().producer(9, 0, sequence);
        builder.push(START_MS, Some(b"k"), Some(value.as_bytes()));
        builder.build().freeze()
    };
    world.append(no, produced(0, "old")).unwrap();
    world.append(no, batch(&["k"], Some("new"))).unwrap();
    world.append(no, batch(&["z"], Some("end"))).unwrap();
    clean(&mut world);
    let first = BatchHeader::decode(&world.read_all(no)[0]).unwrap();
    assert_eq!((first.record_count, first.producer_id, first.last_sequence()), (0, 9, 0));
    world.crash(CrashPolicy::LoseAll);
    let again = world.append(no, produced(0, "old")).unwrap();
    assert_eq!(again.base_offset, 0);
    assert_eq!(world.append(no, produced(1, "next")).unwrap().base_offset, 3);
}

#[test]
fn what_was_trimmed_meanwhile_does_not_come_back() {
    let mut world = World::new(6);
    let no = world.owned("/a", compacted());
    fill(&mut world, no);
    let mut cleaner = cleaner(&world, CLEANER);
    // Up to where a rewritten row waits in the queue.
    for _ in 0..120 {
        if cleaner.step() == Cleaning::Waiting {
            world.sequencer.step().unwrap();
        }
        let engine: Engine = world.engine.clone();
        if engine.partition(no).unwrap().removed_by_compaction().0 > 0 {
            break;
        }
    }
    let engine = world.engine.clone();
    world.run(async move { engine.trim(no, 300).await }).unwrap();
    for _ in 0..50 {
        if cleaner.step() == Cleaning::Waiting {
            world.sequencer.step().unwrap();
        }
    }
    let before = all_records(&world, no);
    assert!(before.iter().all(|record| record.offset >= 300), "nothing trimmed came back");
    clean(&mut world);
    assert_eq!(newest(&all_records(&world, no)), newest(&before));
    world.crash(CrashPolicy::LoseAll);
    assert_eq!(newest(&all_records(&world, no)), newest(&before));
}

#[test]
fn only_who_says_so_is_compacted() {
    let mut world = World::new(7);
    let no = world.owned("/a", StreamSettings::default());
    fill(&mut world, no);
    let before = world.read_all(no);
    clean(&mut world);
    assert_eq!(world.read_all(no), before);
    let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
    world.change(Command::EditStream { path: "/a".parse().unwrap(), patch }).unwrap();
    clean(&mut world);
    assert!(all_records(&world, no).len() <= 14);
}

/// A batch at an offset with these keys; some left out, as compaction does.
fn part(base: i64, keys: &[Option<&str>], value: &str) -> ReplicaBatch {
    let mut builder = BatchBuilder::new().base_offset(base).leader_epoch(0);
    for key in keys {
        match key {
            Some(key) => builder.push(START_MS, Some(key.as_bytes()), Some(value.as_bytes())),
            None => builder.skip_offsets(1),
        }
    }
    ReplicaBatch { arrival_ms: START_MS, bytes: builder.build().freeze() }
}

#[test]
fn i2_a_batch_that_either_side_compacted_is_the_same_if_its_records_are() {
    let mut world = World::new(8);
    let (link, no) = world.replica();
    let take = |world: &mut World, batches| send(world, append(link, batches));
    let (whole, left) = ([Some("a"), Some("b"), Some("c")], [None, Some("b"), None]);
    assert_eq!(take(&mut world, vec![part(0, &whole, "v"), part(3, &left, "v")]).unwrap(), 6);
    // The source has compacted the first since, and another feeder never the second.
    assert_eq!(take(&mut world, vec![part(0, &left, "v"), part(3, &whole, "v")]).unwrap(), 6);
    let none = [None, None, None];
    assert_eq!(take(&mut world, vec![part(0, &none, "v")]).unwrap(), 6);
    // What both hold must still be the same, and a whole batch is not another whole one.
    for wrong in [part(0, &left, "w"), part(3, &whole, "w"), part(0, &whole, "w")] {
        let error = take(&mut world, vec![wrong]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Diverged);
    }
    assert_eq!(world.read_all(no).len(), 2);
}

#[test]
fn a_replica_knows_what_its_source_compacted() {
    let mut world = World::new(9);
    let (link, no) = world.replica();
    let first = ReplicaAppend { compacted: 500, ..append(link, vec![at(0, 2, "x")]) };
    send(&mut world, first).unwrap();
    let gap = append(link, vec![at(100, 2, "y")]);
    send(&mut world, ReplicaAppend { gap_to: Some(100), compacted: 500, ..gap }).unwrap();
    let lost = append(link, vec![at(700, 2, "z")]);
    send(&mut world, ReplicaAppend { gap_to: Some(700), compacted: 500, ..lost }).unwrap();
    let check = |world: &World| {
        let marks = world.engine.partition(no).unwrap().marks();
        assert_eq!((marks.compacted, marks.cleaned), (500, 0));
        let gaps: Vec<_> = marks.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(gaps, [(102, 700)], "what compaction took is not lost");
    };
    check(&world);
    world.crash(CrashPolicy::LoseAll);
    check(&world);
}

/// A replica in whose log each frame is a group of its own.
fn replica_in_small_groups(seed: u64) -> (World, LinkName, PartitionNo) {
    let mut world = World::with(seed, |settings| {
        settings.log.group_bytes_max = 128;
        settings.log.segment_bytes = 1024 * 1024;
    });
    let (link, no) = world.replica();
    (world, link, no)
}

#[test]
fn i2_a_crash_at_any_write_leaves_no_compacted_batch_that_is_not_known_as_one() {
    let mut kept = BTreeMap::new();
    for dies_after in 0..9 {
        let (mut world, link, no) = replica_in_small_groups(200 + dies_after);
        let left = [None, Some("b"), None];
        let batches = (0..4).map(|n| part(n * 3, &left, "v")).collect();
        world.disk.die_after(dies_after);
        let engine = world.engine.clone();
        let append = ReplicaAppend { compacted: 10, ..append(link, batches) };
        let mut appending = pin!(engine.append_replica(append));
        let queued = appending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(queued.is_ready());
        let is_done = world.sequencer.step().is_ok();
        world.crash(CrashPolicy::KeepAll);
        let partition = world.engine.partition(no).unwrap();
        let (end, compacted) = (partition.durable_end(), partition.marks().compacted);
        assert!(end == 0 || compacted == 10, "died after {dies_after}: {compacted} of {end}");
        assert!(!is_done || end == 12);
        kept.insert(end, compacted);
    }
    assert_eq!(kept.into_keys().collect::<Vec<_>>(), [0, 3, 6, 9, 12], "it died everywhere");
}

#[test]
fn a_replica_knows_what_its_source_compacted_although_a_later_batch_is_refused() {
    let mut world = World::new(14);
    let (link, no) = world.replica();
    let left = [None, Some("b"), None];
    let batches = vec![part(0, &left, "v"), part(4, &left, "v")];
    let error = send(&mut world, ReplicaAppend { compacted: 9, ..append(link, batches) });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Misaligned);
    for _ in 0..2 {
        let partition = world.engine.partition(no).unwrap();
        assert_eq!((partition.durable_end(), partition.marks().compacted), (3, 7));
        world.crash(CrashPolicy::LoseAll);
    }
}

#[test]
fn where_a_log_ends_in_a_gap_all_waits_for_the_next_batch() {
    let mut world = World::new(11);
    let (link, no) = world.replica();
    let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
    world.change(Command::EditStream { path: "/copy".parse().unwrap(), patch }).unwrap();
    let batches = vec![part(0, &[Some("a")], "old"), part(1, &[Some("a")], "new")];
    send(&mut world, append(link, batches)).unwrap();
    let gap = ReplicaAppend { gap_to: Some(9), compacted: 9, ..append(link, Vec::new()) };
    assert_eq!(send(&mut world, gap), Ok(9));
    clean(&mut world);
    let records = world.engine.partition(no).unwrap().size().unwrap().1;
    assert_eq!(records, 2, "readers get on to the end by the newest batch");
    send(&mut world, append(link, vec![part(9, &[Some("b")], "v")])).unwrap();
    clean(&mut world);
    let left: Vec<i64> = all_records(&world, no).iter().map(|record| record.offset).collect();
    assert_eq!(left, [1, 9]);
}

#[test]
fn a_tombstone_stays_while_an_older_record_of_its_key_is_in_a_transaction() {
    let mut world = World::new(12);
    let (link, no) = world.replica();
    let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
    world.change(Command::EditStream { path: "/copy".parse().unwrap(), patch }).unwrap();
    // So large that what follows is of another row.
    let mut builder = BatchBuilder::new().leader_epoch(0).producer(9, 0, 0).transactional();
    builder.push(START_MS, Some(b"k"), Some(&[7; 9_000]));
    let mut batches = vec![builder.build().freeze(), end_marker(9, 0, true, 0, START_MS)];
    for (key, value) in [("k", None), ("z", Some("end"))] {
        batches.push(batch(&[key], value));
    }
    let at = |(base, batch): (i64, Bytes)| {
        let mut bytes = batch.to_vec();
        patch_base_offset(&mut bytes, base);
        patch_leader_epoch(&mut bytes, 0);
        ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }
    };
    let batches = (0..).zip(batches).map(at).collect();
    send(&mut world, append(link, batches)).unwrap();
    let mut cleaner = cleaner(&world, CLEANER);
    for _ in 0..2 {
        step_until_idle(&mut world, &mut cleaner);
        world.clock.advance_ms(2 * 24 * 3_600_000);
    }
    let left: Vec<i64> = all_records(&world, no).iter().map(|record| record.offset).collect();
    assert_eq!(left, [0, 1, 2, 3]);
    let header = BatchHeader::decode(&world.read_all(no)[2]).unwrap();
    assert!(header.attributes.has_delete_horizon(), "its time was noted, and is over");
}

#[test]
fn a_partition_comes_to_rest_once_its_tombstones_are_gone() {
    let mut world = World::new(13);
    let settings = StreamSettings { delete_retention_ms: 60_000, ..compacted() };
    let no = world.owned("/a", settings);
    let mut mixed = BatchBuilder::new();
    mixed.push(START_MS, Some(b"live"), Some(b"v"));
    mixed.push(START_MS, Some(b"deleted"), None);
    world.append(no, mixed.build().freeze()).unwrap();
    world.append(no, batch(&["z"], Some("end"))).unwrap();
    let mut cleaner = cleaner(&world, CLEANER);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(all_records(&world, no).len(), 3);
    world.clock.advance_ms(60_001);
    step_until_idle(&mut world, &mut cleaner);
    let left: Vec<i64> = all_records(&world, no).iter().map(|record| record.offset).collect();
    assert_eq!(left, [0, 2]);
    assert_eq!(cleaner.step(), Cleaning::Idle, "it is not read again for ever");
}

#[test]
fn where_nothing_has_come_a_look_reads_no_batch() {
    let mut world = World::new(15);
    let other = world.owned("/a", StreamSettings::default());
    let no = one_more(&mut world, other, "compact");
    fill(&mut world, no);
    let mut cleaner = cleaner(&world, CLEANER);
    step_until_idle(&mut world, &mut cleaner);
    // What is newest is no longer in memory.
    fill(&mut world, other);
    assert!(world.engine.partition(no).unwrap().read_tail(399, 1).is_none());
    world.disk.fail_next_read();
    assert_eq!(cleaner.step(), Cleaning::Idle);
    let read = world.engine.partition(no).unwrap().read(399, 1);
    assert!(read.is_err(), "the first read since, which was to fail");
    // Where something has come it looks again.
    fill(&mut world, no);
    step_until_idle(&mut world, &mut cleaner);
    assert_eq!(world.engine.partition(no).unwrap().marks().cleaned, 798);
}
