//! What a partition remembers of offsets that hold nothing, through crashes and from a view.

use crate::replica::{append, at, send};
use crate::world::{REPLICA, START_MS, World, batch};
use mainstem_catalog::StreamSettings;
use mainstem_engine::{Gap, LinkName, Marks, ReplicaAppend};
use mainstem_env::CrashPolicy;
use mainstem_types::{Error, ErrorKind, PartitionNo};

/// Comes back twice: from the log, and from the view with little of the log.
fn assert_marks(world: &mut World, no: PartitionNo, log_start: i64, expected: &Marks) {
    for from_view in [false, true] {
        if from_view {
            world.clock.advance_ms(3_000);
            world.sequencer.step().unwrap();
        }
        world.crash(CrashPolicy::LoseAll);
        let partition = world.engine.partition(no).unwrap();
        assert_eq!((partition.log_start(), &*partition.marks()), (log_start, expected));
    }
}

fn trim(world: &mut World, no: PartitionNo, to: i64) -> i64 {
    let engine = world.engine.clone();
    world.run(async move { engine.trim(no, to).await.unwrap() })
}

fn trim_replica(world: &mut World, link: LinkName, no: PartitionNo, to: i64) -> Result<(), Error> {
    let engine = world.engine.clone();
    world.run(async move { engine.trim_replica(link, vec![(no, to)]).await })
}

#[test]
fn fault_06_what_the_owner_deletes_is_told_apart_from_what_retention_takes() {
    let mut world = World::new(31);
    let settings = StreamSettings { ttl_seconds: 3_600, ..StreamSettings::default() };
    let no = world.owned("/s", settings);
    for n in 0..3 {
        world.append(no, batch(5, None, &format!("{n}"))).unwrap();
    }
    assert_eq!(trim(&mut world, no, 7), 7, "within a batch");
    assert_marks(&mut world, no, 7, &Marks { trimmed: 7, ..Marks::default() });
    world.clock.advance_ms(7_200_000);
    world.sequencer.step().unwrap();
    assert_marks(&mut world, no, 15, &Marks { trimmed: 7, ..Marks::default() });
    assert_eq!(trim(&mut world, no, 11), 15, "retention was there before");
    assert_marks(&mut world, no, 15, &Marks { trimmed: 11, ..Marks::default() });
}

#[test]
fn a_carried_trim_is_cut_to_the_end_and_needs_a_standing_link() {
    let mut world = World::new(32);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 3, "x"), at(3, 3, "y")])).unwrap();
    trim_replica(&mut world, link, no, 4).unwrap();
    assert_marks(&mut world, no, 4, &Marks { trimmed: 4, ..Marks::default() });
    trim_replica(&mut world, link, no, 50).unwrap();
    assert_marks(&mut world, no, 6, &Marks { trimmed: 6, ..Marks::default() });
    assert_eq!(send(&mut world, append(link, vec![at(6, 2, "z")])), Ok(8), "and nothing beyond");
    world.hello();
    let error = trim_replica(&mut world, link, no, 7).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

#[test]
fn i5_a_link_trims_nothing_that_is_owned_here_or_lies_elsewhere() {
    let mut world = World::new(33);
    let (link, _) = world.replica();
    let mut owned = vec![world.owned("/other", StreamSettings::default())];
    world
        .change(mainstem_catalog::Command::CreateTopic {
            stream: REPLICA,
            name: "ours".parse().unwrap(),
            partitions: Some(1),
            timestamp_type: None,
            config: Default::default(),
        })
        .unwrap();
    let catalog = world.engine.catalog();
    let ours = catalog.stream(REPLICA).unwrap().topic(&"ours".parse().unwrap()).unwrap().clone();
    owned.push(ours.partitions[0]);
    for no in owned {
        world.append(no, batch(5, None, "x")).unwrap();
        trim_replica(&mut world, link, no, 3).unwrap();
        let partition = world.engine.partition(no).unwrap();
        assert_eq!((partition.log_start(), partition.marks().trimmed), (0, 0));
    }
}

#[test]
fn i8_a_gap_is_remembered_until_the_owner_deletes_past_it() {
    let mut world = World::new(34);
    let (link, no) = world.replica();
    send(&mut world, append(link, vec![at(0, 3, "x")])).unwrap();
    world.clock.advance_ms(5_000);
    let after = ReplicaAppend { gap_to: Some(40), ..append(link, vec![at(40, 2, "y")]) };
    send(&mut world, after).unwrap();
    let gap = Gap { from: 3, to: 40, at_ms: START_MS + 5_000 };
    assert_marks(&mut world, no, 0, &Marks { gaps: vec![gap], ..Marks::default() });
    trim_replica(&mut world, link, no, 41).unwrap();
    assert_marks(&mut world, no, 41, &Marks { trimmed: 41, ..Marks::default() });
}
