//! What an old master has beyond its successor's history is set aside, and only then undone.

use std::collections::BTreeSet;
use std::future::Future;

use bytes::Bytes;
use mainstem_catalog::{Command, Owner, Place, StreamPatch};
use mainstem_engine::{
    CleanerSettings, Cleaning, CursorCommit, LinkName, Rejoin, ReplicaAppend, ReplicaBatch,
};
use mainstem_env::{CrashPolicy, Env};
use mainstem_group::CursorKey;
use mainstem_record::{BatchHeader, patch_base_offset, patch_leader_epoch};
use mainstem_types::{
    Error, ErrorKind, LineageEntry, OriginTopicId, PartitionNo, StreamId, Term, TermId,
};

use crate::replica::{append, at, send};
use crate::world::{SOURCE, START_MS, World, batch, place, told_topic};

const NEW_TERM: Term = Term { number: 2, id: TermId(401) };
const PRODUCER: i64 = 5;

/// An old master with ten batches, who has heard that a successor goes on after the first four.
struct Old {
    world: World,
    stream: StreamId,
    topic: OriginTopicId,
    no: PartitionNo,
    batches: Vec<Bytes>,
}

impl Old {
    fn new(seed: u64) -> Self {
        Self::on(World::new(seed))
    }

    fn on(mut world: World) -> Self {
        let no = world.owned("/s", Default::default());
        for sequence in 0..10 {
            let batch = batch(3, Some((PRODUCER, sequence * 3)), &"x".repeat(300));
            world.append(no, batch).unwrap();
        }
        let catalog = world.engine.catalog();
        let stream = catalog.streams().next().unwrap().clone();
        let topic = stream.topics.values().next().unwrap().origin;
        let mut old = Self { batches: world.read_all(no), world, stream: stream.id, topic, no };
        for (group, offset) in [("early", 6), ("late", 25)] {
            old.commit(group, offset);
        }
        let upstream = place();
        let add = Command::AddUpstream { stream: old.stream, upstream, stream_id: Some(SOURCE) };
        old.world.change(add).unwrap();
        old.meet();
        old
    }

    fn meet(&mut self) {
        let terms = vec![(self.topic, Owner { stream: SOURCE, term: NEW_TERM })];
        let meet = Command::MeetTerms { stream: self.stream, seen: NEW_TERM, terms };
        self.world.change(meet).unwrap();
    }

    fn key(&self, group: &str) -> CursorKey {
        let group = group.parse().unwrap();
        CursorKey { stream: self.stream, group, topic: self.topic, partition: 0 }
    }

    fn commit(&mut self, group: &str, offset: i64) {
        let key = self.key(group);
        let engine = self.world.engine.clone();
        let metadata = String::new();
        let commit = CursorCommit { key, offset, leader_epoch: 0, metadata };
        self.world.run(async move { engine.commit_cursors(vec![commit]).await }).unwrap();
    }

    fn hello(&mut self) -> LinkName {
        self.world
            .change(Command::OpenLink {
                stream: self.stream,
                source: place(),
                source_id: SOURCE,
                source_seq: Default::default(),
            })
            .unwrap();
        let catalog = self.world.engine.catalog();
        let upstream = catalog.stream(self.stream).unwrap().upstream_by_id(SOURCE).unwrap();
        let link_epoch = upstream.link_epoch;
        LinkName { stream: self.stream, upstream: SOURCE, link_epoch }
    }

    fn first(&self) -> LineageEntry {
        self.world.engine.partition(self.no).unwrap().lineage().entries()[0]
    }

    fn rejoin(&mut self, link: LinkName) -> Rejoin {
        let begun = entry(1, 12, NEW_TERM.id.0);
        let lineage = vec![self.first(), begun];
        Rejoin { link, topic: self.topic, partition: 0, lineage, source_end: 15 }
    }

    fn run_rejoin(&mut self) -> Result<i64, Error> {
        let link = self.hello();
        let rejoin = self.rejoin(link);
        let engine = self.world.engine.clone();
        self.world.run(async move { engine.rejoin(rejoin).await })
    }

    fn aside(&self) -> Option<PartitionNo> {
        self.asides().into_iter().next()
    }

    fn asides(&self) -> Vec<PartitionNo> {
        let catalog = self.world.engine.catalog();
        let stream = catalog.stream(self.stream).unwrap();
        let asides = stream.topics.values().filter(|topic| topic.aside.is_some());
        asides.filter_map(|topic| topic.partition(0)).collect()
    }

    /// Everything acknowledged is in the topic or set aside, once, byte for byte.
    fn check_rejoined(&self, note: &str) {
        assert_eq!(self.world.read_all(self.no), self.batches[..4], "{note}");
        let aside = self.aside().unwrap();
        assert_eq!(self.world.read_all(aside), self.batches[4..], "{note}");
        let kept = self.world.engine.partition(aside).unwrap();
        assert_eq!((kept.log_start(), kept.durable_end()), (12, 30), "{note}");
        assert_eq!(*kept.lineage().entries(), [self.first()], "{note}");
        let lineage = self.world.engine.partition(self.no).unwrap().lineage();
        let epochs: Vec<i32> = lineage.entries().iter().map(|e| e.leader_epoch).collect();
        assert_eq!(epochs, [0, 1], "{note}");
        for (group, offset) in [("early", 6), ("late", 12)] {
            let cursor = self.world.engine.cursor(&self.key(group)).unwrap();
            let value = cursor.effective(NEW_TERM.id, 100, 1).unwrap();
            assert_eq!(value.offset, offset, "I4: {group} {note}");
            assert_eq!(cursor.local.unwrap().offset, offset, "I4: {group} {note}");
        }
    }
}

#[test]
fn i8_what_the_new_owner_lacks_is_set_aside_before_it_is_undone() {
    let mut old = Old::new(1);
    let refused = old.world.append(old.no, batch(1, None, "late")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Policy, "I5");
    assert_eq!(old.run_rejoin(), Ok(12));
    old.check_rejoined("at once");
    assert_eq!(old.run_rejoin(), Ok(12), "asked again, nothing is left to do");
    let aside = old.aside().unwrap();
    assert!(old.world.append(aside, batch(1, None, "no")).is_err());
    old.world.crash(CrashPolicy::LoseAll);
    old.check_rejoined("after a crash");

    // The successor's records follow, and its producer is known by what is common.
    let link = old.hello();
    let mut bytes = batch(3, Some((PRODUCER, 12)), "of the successor").to_vec();
    patch_base_offset(&mut bytes, 12);
    patch_leader_epoch(&mut bytes, 1);
    let lineage = old.rejoin(link).lineage;
    let batches = vec![ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }];
    let append = ReplicaAppend {
        link,
        topic: old.topic,
        partition: 0,
        lineage,
        gap_to: None,
        compacted: 0,
        compacted_in: 0,
        batches,
    };
    let engine = old.world.engine.clone();
    let end = old.world.run(async move { engine.append_replica(append).await?.await? });
    assert_eq!(end, Ok(15));
    old.world.crash(CrashPolicy::Seeded);
    assert_eq!(old.world.read_all(old.no).len(), 5);
    assert_eq!(old.world.read_all(aside), old.batches[4..]);
}

#[test]
fn i8_crashes_amid_setting_aside_lose_and_double_nothing() {
    let mut cut_short = 0;
    for seed in 0..16 {
        let mut old = Old::new(seed);
        let link = old.hello();
        let rejoin = old.rejoin(link);
        old.world.disk.die_after(seed % 16);
        let engine = old.world.engine.clone();
        let mut waiting = std::pin::pin!(engine.rejoin(rejoin));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut done = false;
        for _ in 0..8 {
            done |= waiting.as_mut().poll(&mut context).is_ready();
            if done || old.world.sequencer.step().is_err() {
                break;
            }
        }
        cut_short += u32::from(!done);
        old.world.crash(CrashPolicy::Seeded);
        let all = old.world.read_all(old.no);
        assert!(all == old.batches || all == old.batches[..4], "seed {seed}");
        assert_eq!(old.run_rejoin(), Ok(12), "seed {seed}");
        old.check_rejoined(&format!("seed {seed}"));
    }
    assert!(cut_short > 4, "the crashes came too late: {cut_short}");
}

#[test]
fn i5_only_the_owners_history_displaces_another() {
    let mut old = Old::new(3);
    let link = old.hello();
    let good = old.rejoin(link);
    let stale = Rejoin { lineage: vec![good.lineage[0]], ..good.clone() };
    let rival = LineageEntry { term_id: TermId(999), ..good.lineage[1] };
    let foreign = Rejoin { lineage: vec![good.lineage[0], rival], ..good.clone() };
    let fenced = Rejoin {
        link: LinkName { link_epoch: mainstem_types::LinkEpoch(0), ..link },
        ..good.clone()
    };
    let cases =
        [(stale, ErrorKind::Diverged), (foreign, ErrorKind::Diverged), (fenced, ErrorKind::Fenced)];
    for (rejoin, kind) in cases {
        let engine = old.world.engine.clone();
        let refused = old.world.run(async move { engine.rejoin(rejoin).await }).unwrap_err();
        assert_eq!(refused.kind(), kind);
        assert_eq!(old.world.read_all(old.no), old.batches, "nothing was changed");
    }
    // An owner gives nothing away.
    let mut owner = Old::new(4);
    let failed = Command::FailOver { stream: owner.stream, upstream: None };
    owner.world.change(failed).unwrap();
    assert_eq!(owner.run_rejoin().unwrap_err().kind(), ErrorKind::Policy);
}

#[test]
fn i2_who_was_open_when_another_link_cut_a_partition_back_says_hello_again() {
    let mut old = Old::new(12);
    let third = StreamId(0x333);
    let other = Place { path: "/third".parse().unwrap(), ..place() };
    let add = Command::AddUpstream {
        stream: old.stream,
        upstream: other.clone(),
        stream_id: Some(third),
    };
    old.world.change(add).unwrap();
    let hello = |old: &mut Old| {
        let (stream, source) = (old.stream, other.clone());
        let open =
            Command::OpenLink { stream, source, source_id: third, source_seq: Default::default() };
        old.world.change(open).unwrap();
        let catalog = old.world.engine.catalog();
        let upstream = catalog.stream(stream).unwrap().upstream_by_id(third).unwrap();
        LinkName { stream, upstream: third, link_epoch: upstream.link_epoch }
    };
    let before = hello(&mut old);
    assert_eq!(old.run_rejoin(), Ok(12));
    // As it knew the partition, nothing has to be said of its history; epochs may be the same.
    let batches = |old: &Old| follow(old, before).batches;
    let append =
        ReplicaAppend { lineage: Vec::new(), batches: batches(&old), ..follow(&old, before) };
    let refused = send(&mut old.world, append).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    let engine = old.world.engine.clone();
    let trim = vec![(old.no, 6)];
    let refused = old.world.run(async move { engine.trim_replica(before, trim).await });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Fenced);
    let anew = hello(&mut old);
    let append = follow(&old, anew);
    assert_eq!(send(&mut old.world, append), Ok(15));
}

/// The new owner's history has nothing in common with ours, and what we had is set aside. Then a
/// relay that has not heard of the new owner brings `tail`, in the last epoch of `lineage`, and we
/// are to rejoin once more.
fn rejoin_with_another_tail(old: &mut Old, lineage: Vec<LineageEntry>) -> Result<i64, Error> {
    let link = old.hello();
    let (topic, partition) = (old.topic, 0);
    let begun = LineageEntry { term_id: NEW_TERM.id, ..entry(7, 40, 0) };
    let theirs = vec![entry(2, 0, 0xa), begun];
    let rejoin = Rejoin { link, topic, partition, lineage: theirs, source_end: 50 };
    let (engine, first) = (old.world.engine.clone(), rejoin.clone());
    assert_eq!(old.world.run(async move { engine.rejoin(first).await }), Ok(0));
    let mut bytes = batch(4, None, "of a third").to_vec();
    patch_leader_epoch(&mut bytes, lineage.last().unwrap().leader_epoch);
    let batches = vec![ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }];
    let append = append(link, batches);
    let append = ReplicaAppend { topic, partition, lineage, ..append };
    let engine = old.world.engine.clone();
    let appended = old.world.run(async move { engine.append_replica(append).await?.await? });
    assert_eq!(appended, Ok(4));
    let engine = old.world.engine.clone();
    old.world.run(async move { engine.rejoin(rejoin).await })
}

fn entry(leader_epoch: i32, start_offset: i64, term: u128) -> LineageEntry {
    LineageEntry { leader_epoch, start_offset, term_id: TermId(term), owner: SOURCE, markers: 0 }
}

#[test]
fn i8_a_tail_of_a_third_term_has_a_place_of_its_own() {
    let mut old = Old::new(9);
    let lineage = vec![entry(2, 0, 0xa), entry(3, 0, 0xb)];
    assert_eq!(rejoin_with_another_tail(&mut old, lineage), Ok(0));
    let kept: Vec<_> = old.asides().into_iter().map(|no| old.world.read_all(no)).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&old.batches), "what was set aside first is as it was");
    assert_eq!(kept.iter().map(Vec::len).sum::<usize>(), old.batches.len() + 1);
    assert_eq!(old.world.engine.partition(old.no).unwrap().durable_end(), 0);
}

#[test]
fn i8_another_tail_that_has_no_place_is_not_undone() {
    let mut old = Old::new(9);
    // Our own term once more, which wrote something else there: that cannot be.
    let ours = old.world.engine.partition(old.no).unwrap().lineage().last().unwrap().term_id;
    let again = LineageEntry { term_id: ours, ..entry(3, 0, 0) };
    let refused = rejoin_with_another_tail(&mut old, vec![entry(2, 0, 0xa), again]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Policy, "what Diverged stops is not tried again");
    assert!(refused.message().contains("setaside"), "{refused}");
    assert_eq!(old.world.engine.partition(old.no).unwrap().durable_end(), 4);
    assert_eq!(old.world.read_all(old.aside().unwrap()), old.batches);
}

#[test]
fn a_pass_of_compaction_ends_where_the_log_is_cut() {
    let mut old = Old::new(9);
    let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
    old.world.change(Command::EditStream { path: "/s".parse().unwrap(), patch }).unwrap();
    let settings = CleanerSettings {
        interval_ms: 0,
        pass_interval_ms: 0,
        step_bytes: 1_000,
        ..CleanerSettings::default()
    };
    let env = Env { clock: old.world.clock.clone(), random: old.world.random.clone() };
    let mut cleaner = old.world.engine.cleaner(env, settings);
    let mut step = |old: &mut Old| {
        if cleaner.step() == Cleaning::Waiting {
            old.world.sequencer.step().unwrap();
        }
    };
    while old.world.engine.removed_by_compaction().0 == 0 {
        step(&mut old);
    }
    let before = old.world.read_all(old.no);
    assert!(before.len() < 10 && before.len() > 6, "in the midst of a pass");
    assert_eq!(old.run_rejoin(), Ok(0), "what was taken for superseded comes anew");
    assert_eq!(old.world.read_all(old.no), Vec::<Bytes>::new());
    // Who had read what is gone commits where it was, after the cut.
    old.commit("reader", 30);
    assert_eq!(old.world.engine.cursor(&old.key("reader")).unwrap().local.unwrap().offset, 12);
    for policy in [CrashPolicy::KeepAll, CrashPolicy::LoseAll] {
        old.world.crash(policy);
        let partition = old.world.engine.partition(old.no).unwrap();
        assert_eq!((partition.durable_end(), partition.awaited_end()), (0, 12));
        for (group, offset) in [("early", 6), ("late", 12)] {
            let cursor = old.world.engine.cursor(&old.key(group)).unwrap();
            assert_eq!(cursor.local.unwrap().offset, offset, "{group} goes on where it was");
        }
    }
    let link = old.hello();
    let again = ReplicaAppend { lineage: vec![old.first()], ..follow(&old, link) };
    let batches = old.batches[..4].iter();
    let batches = batches.map(|bytes| ReplicaBatch { arrival_ms: 1, bytes: bytes.clone() });
    let again = ReplicaAppend { batches: batches.collect(), ..again };
    let engine = old.world.engine.clone();
    let end = old.world.run(async move { engine.append_replica(again).await?.await? });
    assert_eq!(end, Ok(12));
    // Other records follow, where the pass thinks to know what stands.
    let append = follow(&old, link);
    let engine = old.world.engine.clone();
    old.world.run(async move { engine.append_replica(append).await?.await? }).unwrap();
    for _ in 0..60 {
        step(&mut old);
    }
    let after = old.world.read_all(old.no);
    let last = BatchHeader::decode(after.last().unwrap()).unwrap();
    assert_eq!((last.base_offset, last.record_count, last.leader_epoch), (12, 3, 1));
    let aside = old.world.read_all(old.aside().unwrap());
    assert_eq!(aside, before, "all of it is kept until it has come, and is not compacted further");
    old.world.crash(CrashPolicy::LoseAll);
    assert_eq!(old.world.read_all(old.no), after);
    assert_eq!(old.world.read_all(old.aside().unwrap()), aside);
}

#[test]
fn i2_a_crash_amid_setting_aside_leaves_no_compacted_batch_that_is_not_known_as_one() {
    let mut ends = BTreeSet::new();
    for dies_after in 14..25 {
        // Each frame in a group of its own.
        let mut old = Old::on(World::with(dies_after, |settings| {
            settings.log.group_bytes_max = 128;
            settings.log.segment_bytes = 1024 * 1024;
        }));
        let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
        old.world.change(Command::EditStream { path: "/s".parse().unwrap(), patch }).unwrap();
        let settings =
            CleanerSettings { interval_ms: 0, pass_interval_ms: 0, ..CleanerSettings::default() };
        let env = Env { clock: old.world.clock.clone(), random: old.world.random.clone() };
        let mut cleaner = old.world.engine.cleaner(env, settings);
        while cleaner.step() != Cleaning::Idle {
            old.world.sequencer.step().unwrap();
        }
        let link = old.hello();
        let rejoin = old.rejoin(link);
        old.world.disk.die_after(dies_after);
        let engine = old.world.engine.clone();
        let mut waiting = std::pin::pin!(engine.rejoin(rejoin));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..8 {
            let is_done = waiting.as_mut().poll(&mut context).is_ready();
            if is_done || old.world.sequencer.step().is_err() {
                break;
            }
        }
        old.world.crash(CrashPolicy::KeepAll);
        let Some(aside) = old.aside() else { continue };
        let partition = old.world.engine.partition(aside).unwrap();
        let (end, compacted) = (partition.durable_end(), partition.marks().compacted);
        assert!(end <= 12 || compacted == 27, "died after {dies_after}: {compacted} of {end}");
        ends.insert(end);
    }
    assert!(ends.contains(&0) && ends.contains(&18) && ends.contains(&30), "{ends:?}");
}

/// A replica of a source that was compacted further ahead than what had come: another owner goes on
/// below, and what was superseded only by what that one lacks is to come from there.
#[test]
fn i8_a_replica_is_copied_anew_whose_source_was_compacted_beyond_what_another_reign_has() {
    for (compacted, begins, crashes, theirs, is_heard) in [
        (8, 6, false, 0, false),
        (8, 6, true, 0, false),
        (6, 6, false, 0, false),
        (8, 8, false, 0, false),
        (8, 8, true, 0, false),
        (8, 6, false, 7, false),
        (8, 8, false, 7, false),
        (6, 6, false, 7, false),
        // The other owner is heard of while the first one, who has not heard, still sends.
        (8, 6, false, 0, true),
        (8, 8, false, 0, true),
    ] {
        let mut world = World::new(91);
        let (link, no) = world.replica();
        if is_heard {
            world.change(told_topic(link, NEW_TERM, 9)).unwrap();
        }
        let first = ReplicaAppend { compacted, ..append(link, vec![at(0, 3, "a"), at(3, 3, "b")]) };
        send(&mut world, first).unwrap();
        if crashes {
            world.crash(CrashPolicy::LoseAll);
        }
        let mut batches = Vec::new();
        if begins == 8 {
            batches.push(at(6, 2, "c"));
        }
        world.change(told_topic(link, NEW_TERM, 9)).unwrap();
        // What is here already comes again, with how far the other owner is compacted.
        let known = append(link, vec![at(0, 3, "a")]);
        let compacted_in = NEW_TERM.number;
        let known = ReplicaAppend { compacted: theirs, compacted_in, ..known };
        send(&mut world, known).unwrap();
        let next = entry(1, begins, NEW_TERM.id.0);
        let mut again = append(link, batches);
        again.lineage.push(next);
        let taken = send(&mut world, again);
        let partition = world.engine.partition(no).unwrap();
        if compacted > begins {
            assert_eq!(taken.unwrap_err().expected_offset(), Some(0));
            assert_eq!((partition.durable_end(), partition.awaited_end()), (0, 6));
        } else {
            assert_eq!(taken, Ok(begins), "compacted to {compacted}, begins at {begins}");
        }
    }
}

/// Another link goes on, whose source is behind with terms and was compacted less far.
#[test]
fn i8_what_was_compacted_furthest_counts_until_it_has_come() {
    let mut world = World::new(92);
    let (link, no) = world.replica();
    world.change(told_topic(link, NEW_TERM, 9)).unwrap();
    for (compacted, compacted_in) in [(9, NEW_TERM.number), (8, NEW_TERM.number - 1)] {
        let batches = vec![at(0, 3, "a"), at(3, 3, "b")];
        let told = ReplicaAppend { compacted, compacted_in, ..append(link, batches) };
        send(&mut world, told).unwrap();
    }
    let next = Term { number: NEW_TERM.number + 1, id: TermId(402) };
    world.change(told_topic(link, next, 10)).unwrap();
    let mut begun = append(link, vec![at(6, 2, "c")]);
    begun.lineage.push(entry(1, 8, next.id.0));
    assert_eq!(send(&mut world, begun).unwrap_err().expected_offset(), Some(0));
    assert_eq!(world.engine.partition(no).unwrap().durable_end(), 0);
}

/// The successor's first batch after the cut.
fn follow(old: &Old, link: LinkName) -> ReplicaAppend {
    let begun = entry(1, 12, NEW_TERM.id.0);
    let mut bytes = batch(3, Some((PRODUCER, 12)), "of the successor").to_vec();
    patch_base_offset(&mut bytes, 12);
    patch_leader_epoch(&mut bytes, 1);
    ReplicaAppend {
        link,
        topic: old.topic,
        partition: 0,
        lineage: vec![old.first(), begun],
        gap_to: None,
        compacted: 0,
        compacted_in: 0,
        batches: vec![ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }],
    }
}
