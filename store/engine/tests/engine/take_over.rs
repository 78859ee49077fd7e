//! The end of a copy, and of a hand-over: the destination goes on where the source was copied to
//! or has ended, as the owner.

use std::future::Future;

use mainstem_catalog::{Command, GrantId, StreamSettings};
use mainstem_engine::{LinkName, ReplicaAppend, ReplicaBatch};
use mainstem_env::CrashPolicy;
use mainstem_record::{BatchHeader, patch_base_offset, patch_leader_epoch};
use mainstem_types::{Error, ErrorKind, LineageEntry, PartitionNo, StreamId, Term, TermId};

use crate::world::{REPLICA, SOURCE, START_MS, TERM, TOPIC, World, batch, place, told_topic};

const GRANT: GrantId = GrantId::from_bytes([7; 16]);
const PRODUCER: i64 = 5;
const FIRST: LineageEntry =
    LineageEntry { leader_epoch: 0, start_offset: 0, term_id: TERM.id, owner: SOURCE, markers: 0 };

/// A copy under way: stream, agreement and the topic by the link.
fn begin(world: &mut World) -> (LinkName, PartitionNo) {
    let issue = Command::IssueGrant {
        grant: GRANT,
        replica_path: "/copy".parse().unwrap(),
        replica_id: REPLICA,
        source: place(),
        source_id: SOURCE,
        multimaster: false,
        use_existing: false,
        copy: true,
        expires_ms: i64::MAX,
    };
    let settings = StreamSettings::default();
    let create = Command::CreateByGrant { grant: GRANT, replica_id: REPLICA, settings };
    let add = Command::AddUpstreamByGrant { grant: GRANT, replica_id: REPLICA };
    for step in [issue, create, add] {
        world.change(step).unwrap();
    }
    let link = world.hello();
    world.change(told_topic(link, TERM, 1)).unwrap();
    let catalog = world.engine.catalog();
    let topic = catalog.stream(REPLICA).unwrap().topic_by_origin(TOPIC).unwrap().clone();
    (link, topic.partitions[0])
}

fn take_over() -> Command {
    Command::TakeOverByGrant { grant: GRANT, replica_id: REPLICA, topics: Vec::new(), more: false }
}

fn send(world: &mut World, link: LinkName, base: i64, sequence: i32) -> Result<i64, Error> {
    let mut bytes = batch(3, Some((PRODUCER, sequence)), "copied").to_vec();
    patch_base_offset(&mut bytes, base);
    patch_leader_epoch(&mut bytes, 0);
    let batches = vec![ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }];
    let append = ReplicaAppend {
        link,
        topic: TOPIC,
        partition: 0,
        lineage: vec![FIRST],
        gap_to: None,
        compacted: 0,
        compacted_in: 0,
        batches,
    };
    let engine = world.engine.clone();
    world.run(async move { engine.append_replica(append).await?.await? })
}

/// The lineage's entries as (epoch, start, owner), and that the newest is in the topic's term.
fn reigns(world: &World, no: PartitionNo) -> Vec<(i32, i64, StreamId)> {
    let lineage = world.engine.partition(no).unwrap().lineage();
    let catalog = world.engine.catalog();
    let owner = catalog.stream(REPLICA).unwrap().topic_by_origin(TOPIC).unwrap().owner;
    let newest = lineage.last().unwrap();
    assert_eq!((newest.term_id, newest.owner), (owner.term.id, owner.stream));
    lineage.entries().iter().map(|e| (e.leader_epoch, e.start_offset, e.owner)).collect()
}

#[test]
fn clients_go_on_at_the_copied_end_and_what_was_copied_stays_as_it_was() {
    let mut world = World::new(1);
    let (link, no) = begin(&mut world);
    send(&mut world, link, 0, 0).unwrap();
    assert_eq!(send(&mut world, link, 3, 3), Ok(6));
    let copied = world.read_all(no);
    let refused = world.append(no, batch(1, None, "early")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Policy);
    world.change(take_over()).unwrap();
    assert_eq!(reigns(&world, no), [(0, 0, SOURCE), (1, 6, REPLICA)]);
    assert_eq!(world.append(no, batch(2, None, "own")).unwrap().base_offset, 6);
    let late = send(&mut world, link, 8, 6).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Fenced, "the agreement is gone");
    for _ in 0..2 {
        assert_eq!(world.read_all(no)[..2], copied, "byte for byte");
        let own = BatchHeader::decode(&world.read_all(no)[2]).unwrap();
        assert_eq!((own.base_offset, own.leader_epoch), (6, 1));
        assert_eq!(reigns(&world, no), [(0, 0, SOURCE), (1, 6, REPLICA)]);
        assert!(world.engine.catalog().stream(REPLICA).unwrap().upstreams.is_empty());
        world.crash(CrashPolicy::LoseAll);
    }
    assert_eq!(world.append(no, batch(1, None, "later")).unwrap().base_offset, 8);
    world.change(take_over()).unwrap();
    assert_eq!(reigns(&world, no).len(), 2, "asked again, it is done already");
}

#[test]
fn producers_of_the_source_may_go_on_here_and_a_gap_asks_them_for_a_new_epoch() {
    for crashes in [false, true] {
        let mut world = World::new(2);
        let (link, no) = begin(&mut world);
        send(&mut world, link, 0, 0).unwrap();
        world.change(take_over()).unwrap();
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        let again = world.append(no, batch(3, Some((PRODUCER, 0)), "copied")).unwrap();
        assert_eq!(again.base_offset, 0, "it was copied");
        let gap = world.append(no, batch(1, Some((PRODUCER, 9)), "gap")).unwrap_err();
        assert_eq!(gap.kind(), ErrorKind::UnknownProducerId);
        let next = world.append(no, batch(1, Some((PRODUCER, 3)), "next")).unwrap();
        assert_eq!(next.base_offset, 3);
    }
}

#[test]
fn a_take_over_that_a_crash_cuts_is_finished_when_asked_again() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let (link, no) = begin(&mut world);
        send(&mut world, link, 0, 0).unwrap();
        let copied = world.read_all(no);
        world.disk.die_after(seed % 6);
        let engine = world.engine.clone();
        let waiting = engine.change(take_over());
        let mut waiting = std::pin::pin!(waiting);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = waiting.as_mut().poll(&mut context);
        let _ = world.sequencer.step();
        world.crash(CrashPolicy::Seeded);
        world.change(take_over()).unwrap();
        assert_eq!(reigns(&world, no), [(0, 0, SOURCE), (1, 3, REPLICA)], "seed {seed}");
        assert_eq!(world.read_all(no), copied, "seed {seed}");
        assert_eq!(world.append(no, batch(1, None, "own")).unwrap().base_offset, 3);
    }
}

#[test]
fn a_hand_over_begins_exactly_where_the_owner_has_ended() {
    let mut world = World::new(5);
    let (link, no) = world.replica();
    assert_eq!(send(&mut world, link, 0, 0), Ok(3));
    let term = Term { number: 2, id: TermId(700) };
    let accept = |brought: Option<i64>| Command::AcceptHandover {
        stream: REPLICA,
        upstream: SOURCE,
        link_epoch: link.link_epoch,
        term,
        ends: brought.map(|end| ((TOPIC, 0), end)).into_iter().collect(),
    };
    // Less than is here: another link brought more, or an earlier reign had written it. More than
    // is here: what was brought is not durable yet. Both are to be compared with the owner's anew.
    for brought in [None, Some(0), Some(2), Some(4)] {
        let refused = world.change(accept(brought)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Retry, "{brought:?}");
        assert_eq!(reigns(&world, no), [(0, 0, SOURCE)], "{brought:?}");
    }
    world.change(accept(Some(3))).unwrap();
    assert_eq!(reigns(&world, no), [(0, 0, SOURCE), (1, 3, REPLICA)]);
    assert_eq!(world.append(no, batch(1, None, "own")).unwrap().base_offset, 3);
    world.change(accept(Some(3))).expect("asked again, it is done already");
}
