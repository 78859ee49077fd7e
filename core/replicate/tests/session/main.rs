//! One session between two logs in memory: what it carries, how it stops, what it never does.

mod model;
mod reigns;

use mainstem_link::{
    Code, Credit, CursorItem, CursorVersion, FEATURE_FEEDERS, Feed, Frame, MarkerItem, Mode,
    PartitionItem, TombstoneItem, TransactionDecision, Welcome,
};
use mainstem_replicate::{PartitionView, Sender, SenderAction, SenderSettings, SourceBatch};
use mainstem_types::limits::{
    BATCH_BYTES_MAX, LINK_CREDIT_BYTES, LINK_FRAME_BYTES_MAX, LINK_SILENCE_MS_MAX,
};
use mainstem_types::{CatalogSeq, Lineage, LineageEntry, OriginTopicId, TermId};
use model::{SOURCE, TERM, World, topic};

fn cursor(id: u128, offset: i64, version: u64) -> CursorItem {
    CursorItem {
        group: "g".into(),
        origin: OriginTopicId(id),
        partition: 0,
        offset,
        leader_epoch: 0,
        metadata: String::new(),
        commit_ms: 0,
        version,
        term: TermId(7),
    }
}

#[test]
fn topics_come_before_their_data_and_all_of_it_arrives() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 3).with_topic(2, 1);
    for n in 0..50 {
        world.log(1, n % 3).push(2, &format!("batch {n}"));
    }
    world.log(2, 0).push(1, "alone");
    world.run();
    assert_eq!(world.source, world.replica);
    assert_eq!(world.applied, ["t1 3", "t2 1"]);
    assert_eq!(world.closed, None);
    world.log(1, 0).push(5, "later");
    world.run();
    assert_eq!(world.source, world.replica);
    assert!(world.sender.acked_ends().all(|(o, p, end)| world.source[&(o, p)].end() == end));
}

#[test]
fn fault_04_a_clean_link_sends_every_byte_once_also_after_a_reconnect() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 2);
    let mut data = 0;
    for n in 0..2_000 {
        let text = format!("a batch of some length, number {n}");
        data += text.len();
        world.log(1, n % 2).push(1, &text);
    }
    world.run();
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.payload_bytes, data, "bytes on the wire are the bytes of the data");
    assert_eq!(world.source, world.replica);
}

#[test]
fn fault_02_a_tail_is_not_taken_when_its_head_was_lost() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    for n in 0..30 {
        world.log(1, 0).push(1, &"x".repeat(300_000 + n));
    }
    world.lose = Some(2);
    world.run();
    assert_eq!(world.source, world.replica, "the refused tail was sent again, in order");
    assert!(world.sender.faults().is_empty());
}

#[test]
fn fault_06_what_retention_took_is_a_declared_gap() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1).with_topic(2, 1);
    for n in 0..10 {
        world.log(1, 0).push(3, &format!("{n}"));
        world.log(2, 0).push(3, &format!("{n}"));
    }
    world.log(1, 0).trim(15);
    world.log(2, 0).trim(30);
    world.log(2, 0).start = 30;
    world.run();
    assert_eq!(
        world.replica[&(OriginTopicId(1), 0)].batches,
        world.source[&(OriginTopicId(1), 0)].batches
    );
    assert_eq!(world.replica[&(OriginTopicId(2), 0)].end(), 30, "all of it is a gap");
}

fn commit(producer_id: i64, markers: &[(u128, u32, i64)]) -> TransactionDecision {
    let item = |(id, partition, offset): &(u128, u32, i64)| MarkerItem {
        origin: OriginTopicId(*id),
        partition: *partition,
        offset: *offset,
        first_offset: offset - 1,
    };
    let (producer_epoch, committed, decided_ms) = (0, true, 5);
    let markers = markers.iter().map(item).collect();
    TransactionDecision { producer_id, producer_epoch, committed, decided_ms, markers }
}

#[test]
fn a_commit_is_told_before_any_of_its_markers_and_only_until_they_are_there() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 2).with_topic(2, 1);
    for (id, partition) in [(1, 0), (1, 1), (2, 0)] {
        world.log(id, partition).push(1, "records");
        world.log(id, partition).push(1, "marker");
    }
    let first = commit(7, &[(1, 0, 1), (1, 1, 1), (2, 0, 1)]);
    world.sender.handle_decisions([first.clone()]);
    assert_eq!(world.told, [], "there is no session yet");
    world.run();
    assert_eq!(world.told, std::slice::from_ref(&first));
    assert_eq!(world.source, world.replica);
    world.reconnect(Mode::Replicate);
    let unknown = commit(8, &[(3, 0, 0)]);
    world.sender.handle_decisions([first.clone(), unknown.clone()]);
    world.run();
    assert_eq!(world.told, std::slice::from_ref(&first), "all its markers are there");
    world.log(1, 0).push(1, "records");
    world.log(1, 0).push(1, "marker");
    let (many, offset) = (3_000, 3);
    let second = commit(7, &vec![(1, 0, offset); many]);
    world.sender.handle_decisions([second]);
    world = world.with_topic(3, 1);
    world.log(3, 0).push(1, "marker");
    world.seq = CatalogSeq(2);
    world.run();
    let markers: Vec<usize> = world.told.iter().map(|told| told.markers.len()).collect();
    assert_eq!(markers, [3, 1024, 1024, 952, 1], "a list has a limit, and a topic comes first");
    assert_eq!(world.told[4], unknown);
    assert_eq!(world.source, world.replica);
}

#[test]
fn a_commit_is_told_once_also_where_one_of_its_topics_never_comes() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(1, "records");
    world.run();
    // A replica that lags: the marker is not there yet.
    world.sender.handle_decisions([commit(7, &[(1, 0, 5), (9, 0, 5)])]);
    world.run();
    let told = [commit(7, &[(1, 0, 5)])];
    assert_eq!(world.told, told, "of the topic that is there");
    for seq in 2..5 {
        world.log(1, 0).push(1, "records");
        world.seq = CatalogSeq(seq);
        world.run();
        assert_eq!(world.told, told);
    }
}

#[test]
fn of_a_commit_that_is_known_in_part_each_marker_is_told_once() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(1, "records");
    world.sender.handle_decisions([commit(7, &[(1, 0, 1), (2, 0, 1)])]);
    world.run();
    assert_eq!(world.told, [commit(7, &[(1, 0, 1)])], "the other topic is not told yet");
    world = world.with_topic(2, 1);
    world.log(2, 0).push(1, "records");
    world.seq = CatalogSeq(2);
    world.run();
    assert_eq!(world.told[1..], [commit(7, &[(2, 0, 1)])]);
}

#[test]
fn a_diverged_topic_stops_alone_and_says_so() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1).with_topic(2, 1);
    world.log(1, 0).push(5, "ours");
    world.log(2, 0).push(5, "fine");
    world.run();
    // The replica now holds offsets that another term wrote.
    let log = world.replica.get_mut(&(OriginTopicId(1), 0)).unwrap();
    let theirs = LineageEntry {
        leader_epoch: 1,
        start_offset: 5,
        term_id: TermId(99),
        owner: SOURCE,
        markers: 0,
    };
    log.lineage.push(theirs);
    log.push(2, "rival");
    world.log(1, 0).push(4, "ours too");
    world.log(2, 0).push(1, "more");
    world.reconnect(Mode::Replicate);
    world.run();
    let faults = world.sender.faults();
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].origin, faults[0].code), (OriginTopicId(1), Code::Diverged));
    assert_eq!(world.receiver.faults().len(), 1, "the replica shows it as well");
    assert_eq!(world.replica[&(OriginTopicId(2), 0)].end(), 6, "the other topic flows");
}

#[test]
fn i3_a_source_behind_its_replica_is_refused_by_name() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.run();
    world.log(1, 0).batches.clear();
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.sender.faults()[0].code, Code::SourceWentBackwards);
}

#[test]
fn a_conflict_stops_one_topic_until_the_source_tells_it_anew() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1).with_topic(2, 1);
    world.conflicts.push(OriginTopicId(1));
    world.log(1, 0).push(1, "a");
    world.log(2, 0).push(1, "b");
    world.run();
    assert_eq!(world.sender.faults()[0].code, Code::Conflict);
    assert_eq!(world.replica.len(), 1);
    // It was cured there: this session finds out by itself.
    world.conflicts.clear();
    for beat in 1..=5 {
        world.sender.handle_time(beat * 1_000, 0);
        world.receiver.handle_time(beat * 1_000, 0);
    }
    world.run();
    assert_eq!(world.source, world.replica);
    assert!(world.sender.faults().is_empty() && world.receiver.faults().is_empty());
}

#[test]
fn a_conflict_that_was_cured_between_two_sessions_is_told_again() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.conflicts.push(OriginTopicId(1));
    world.log(1, 0).push(1, "a");
    world.run();
    assert!(world.replica.is_empty());
    // The next session tells the topic again, though its sequence is old.
    world.conflicts.clear();
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.source, world.replica);
}

#[test]
fn fault_13_a_topic_made_anew_under_its_old_name_is_another_topic() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(3, "old");
    world.run();
    world.topics = vec![topic(9, "t1", 1, 3)];
    world.tombstones = vec![TombstoneItem {
        origin: OriginTopicId(1),
        name: "t1".parse().unwrap(),
        seq: CatalogSeq(2),
        owner_seq: CatalogSeq(2),
        term: None,
    }];
    world.seq = CatalogSeq(3);
    world.source.clear();
    world.source.insert((OriginTopicId(9), 0), Default::default());
    world.log(9, 0).push(2, "new");
    world.run();
    assert_eq!(world.applied, ["t1 1", "delete t1", "t1 1"]);
    assert_eq!(world.source, world.replica);
    assert_eq!(world.applied_seq, CatalogSeq(3));
}

#[test]
fn what_began_at_the_replica_is_not_sent_back() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1).with_topic(2, 1);
    world.topics[1].owner = model::REPLICA;
    world.log(1, 0).push(1, "ours");
    world.log(2, 0).push(1, "theirs");
    world.run();
    assert_eq!(world.applied, ["t1 1"]);
    assert_eq!(world.replica.len(), 1);
}

#[test]
fn i4_cursors_follow_their_data_and_only_news_is_sent() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.sender.handle_cursors([cursor(1, 8, 1)]);
    world.tell_source();
    world.sender.handle_cursors([cursor(1, 3, 2)]);
    world.run();
    assert_eq!(world.kept.iter().map(|c| c.offset).collect::<Vec<_>>(), [3]);
    world.sender.handle_cursors([cursor(1, 3, 2), cursor(1, 4, 1)]);
    world.run();
    assert_eq!(world.kept.len(), 1, "an older version is not sent");
    world.sender.handle_cursors([cursor(1, 5, 3)]);
    world.run();
    assert_eq!(world.kept.last().unwrap().offset, 5);
}

#[test]
fn a_copy_ends_at_what_was_there_and_a_later_session_goes_on() {
    let mut world = World::new(Mode::Copy).with_topic(1, 2);
    for n in 0..100 {
        world.log(1, n % 2).push(1, "copied");
    }
    world.run();
    assert_eq!(world.closed.as_ref().unwrap().code, Code::Finished);
    assert_eq!(world.source, world.replica);
    assert_eq!(world.sender.copy_progress().percent(), 100);
    let before = world.payload_bytes;
    world.log(1, 0).push(1, "new");
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.payload_bytes - before, 3);
    assert_eq!(world.source, world.replica);
}

#[test]
fn an_empty_stream_is_copied_at_once() {
    let mut world = World::new(Mode::Copy);
    world.run();
    assert_eq!(world.closed.unwrap().code, Code::Finished);
}

#[test]
fn credit_bounds_what_is_under_way() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    for _ in 0..100 {
        world.log(1, 0).push(1, &"x".repeat(1_000));
    }
    world.tell_source();
    let fresh = Sender::new(SenderSettings::default(), model::hello(Mode::Replicate), 0);
    let mut sender = std::mem::replace(&mut world.sender, fresh);
    sender.handle_frame(
        Frame::Welcome(Welcome {
            version: 1,
            features: 0,
            cluster_id: mainstem_types::ClusterId(2),
            cluster_name: "b".parse().unwrap(),
            producer_prefix: 2,
            node_id: 2,
            replica_id: model::REPLICA,
            link_epoch: mainstem_types::LinkEpoch(1),
            applied_seq: CatalogSeq(0),
            term: model::TERM,
            credit_bytes: 10_000,
            partitions: Vec::new(),
            cursors: Vec::new(),
            holds: false,
            more: false,
            terms: Vec::new(),
        }),
        0,
    );
    let log = world.log(1, 0).clone();
    let (mut sent, mut next) = (0, 0);
    while let Some(action) = sender.poll_action() {
        match action {
            SenderAction::Read(request) => {
                let (base, end, bytes) = log.batches[next].clone();
                let batch =
                    SourceBatch { base_offset: base, next_offset: end, arrival_ms: 0, bytes };
                next += 1;
                sender.handle_read(request, 0, vec![batch]);
            }
            SenderAction::Send(Frame::Batches(batches)) => sent += batches.payload_bytes(),
            _ => {}
        }
    }
    assert_eq!(sent, 10_000, "and not a byte more until credit returns");
}

#[test]
fn a_rate_holds_a_session_back_and_lets_it_go_on() {
    const RATE: u64 = 100_000;
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    let settings = SenderSettings { rate_bytes_per_s: RATE, ..SenderSettings::default() };
    world.sender = Sender::new(settings, model::hello(Mode::Replicate), 0);
    for _ in 0..60 {
        world.log(1, 0).push(1, &"x".repeat(10_000));
    }
    let mut now_ms = 0;
    while world.source != world.replica {
        world.run();
        let most = RATE * now_ms / 1000 + 2 * (RATE / 5);
        assert!(world.payload_bytes as u64 <= most, "{} by {now_ms}", world.payload_bytes);
        let next_ms = world.sender.next_timeout_ms();
        assert!(now_ms < next_ms && next_ms < 10_000, "it says when it goes on");
        now_ms = next_ms;
        world.receiver.handle_time(now_ms, 0);
        world.sender.handle_time(now_ms, 0);
    }
    assert!(now_ms >= 5_000, "600 kB at 100 kB/s took {now_ms} ms");
}

#[test]
fn silence_ends_a_session_on_both_sides() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.run();
    world.sender.handle_time(LINK_SILENCE_MS_MAX, 0);
    world.receiver.handle_time(LINK_SILENCE_MS_MAX, 0);
    world.run();
    assert_eq!(world.closed.unwrap().code, Code::Silent);
    assert!(!world.receiver.is_open());
}

#[test]
fn fault_09_equal_epochs_of_two_terms_are_not_taken_for_one() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.run();
    world.log(1, 0).lineage[0].term_id = TermId(1234);
    world.log(1, 0).push(5, "y");
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.sender.faults()[0].code, Code::Diverged);
    assert_eq!(world.replica[&(OriginTopicId(1), 0)].end(), 5);
}

/// Answers a Hello as a replica would that holds `partitions` and `cursors`.
fn welcome(partitions: Vec<PartitionItem>, cursors: Vec<CursorVersion>) -> Frame {
    Frame::Welcome(Welcome {
        version: 1,
        features: 0,
        cluster_id: mainstem_types::ClusterId(2),
        cluster_name: "b".parse().unwrap(),
        producer_prefix: 2,
        node_id: 2,
        replica_id: model::REPLICA,
        link_epoch: mainstem_types::LinkEpoch(1),
        applied_seq: CatalogSeq(0),
        term: model::TERM,
        credit_bytes: LINK_CREDIT_BYTES,
        partitions,
        cursors,
        more: false,
        holds: false,
        terms: Vec::new(),
    })
}

/// What is sent of watermarks until there is nothing to do.
fn watermarks(world: &mut World) -> Vec<i64> {
    let sent = std::iter::from_fn(|| world.sender.poll_action());
    let sent = sent.filter_map(|action| match action {
        SenderAction::Send(Frame::HighWatermarks(marks)) => Some(marks.ends),
        _ => None,
    });
    sent.flatten().map(|end| end.offset).collect()
}

#[test]
fn a_link_that_stands_aside_says_nothing_of_watermarks_until_it_feeds() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.topics[0].owner = mainstem_types::StreamId(0x50);
    world.log(1, 0).push(5, "x");
    world.tell_source();
    let Frame::Welcome(welcome) = welcome(Vec::new(), Vec::new()) else { unreachable!() };
    let welcome = Welcome { features: FEATURE_FEEDERS, ..welcome };
    world.sender.handle_frame(welcome.into(), 0);
    let lineage = Lineage::from_entries(world.source[&(OriginTopicId(1), 0)].lineage.clone());
    let view = PartitionView {
        log_start: 0,
        durable_end: 5,
        trimmed: 0,
        lineage: lineage.unwrap(),
        watermark: Some(3),
    };
    world.sender.handle_partition(OriginTopicId(1), 0, view);
    assert_eq!(watermarks(&mut world), []);
    let feed = Feed { feed: vec![OriginTopicId(1)], ..Feed::default() };
    world.sender.handle_frame(feed.into(), 0);
    assert_eq!(watermarks(&mut world), [3]);
}

#[test]
fn large_batches_of_many_partitions_never_pass_what_the_receiver_bears() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 8);
    world.tell_source();
    let sender = &mut world.sender;
    sender.handle_frame(welcome(Vec::new(), Vec::new()), 0);
    let lineage = Lineage::from_entries(world.source[&(OriginTopicId(1), 0)].lineage.clone());
    for partition in 0..8 {
        let lineage = lineage.clone().unwrap();
        let view =
            PartitionView { log_start: 0, durable_end: 5, trimmed: 0, lineage, watermark: None };
        sender.handle_partition(OriginTopicId(1), partition, view);
    }
    let large = bytes::Bytes::from(vec![0; BATCH_BYTES_MAX]);
    let mut sent = 0;
    // The answers come together, as they do from a disk that is busy.
    loop {
        let mut reads = Vec::new();
        while let Some(action) = sender.poll_action() {
            match action {
                SenderAction::Read(request) => reads.push(request),
                SenderAction::Send(Frame::Batches(batches)) => sent += batches.payload_bytes(),
                _ => {}
            }
        }
        if reads.is_empty() {
            break;
        }
        for request in reads {
            let (base_offset, next_offset) = (request.from, request.from + 1);
            let bytes = large.clone();
            let batch = SourceBatch { base_offset, next_offset, arrival_ms: 0, bytes };
            sender.handle_read(request, 0, vec![batch]);
        }
    }
    assert!(sent > 0);
    let borne = LINK_CREDIT_BYTES as usize + LINK_FRAME_BYTES_MAX;
    assert!(sent <= borne, "{sent} bytes are under way; the receiver closes above {borne}");
    sender.handle_frame(Credit { bytes: sent as u64 }.into(), 0);
    assert!(
        std::iter::from_fn(|| sender.poll_action()).any(|a| matches!(a, SenderAction::Read(_))),
        "what was put off is read again"
    );
}

#[test]
fn a_read_that_a_deletion_overtook_is_no_fault() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(3, "old");
    world.tell_source();
    world.sender.handle_frame(welcome(Vec::new(), Vec::new()), 0);
    let read = std::iter::from_fn(|| world.sender.poll_action()).find_map(|action| match action {
        SenderAction::Read(request) => Some(request),
        _ => None,
    });
    let stone = TombstoneItem {
        origin: OriginTopicId(1),
        name: "t1".parse().unwrap(),
        seq: CatalogSeq(2),
        owner_seq: CatalogSeq(2),
        term: None,
    };
    world.sender.handle_catalog(CatalogSeq(2), Vec::new(), vec![stone]);
    world.sender.handle_read_failed(read.unwrap(), Code::Corrupt, "gone".into());
    assert_eq!(world.sender.faults(), []);
}

#[test]
fn what_stopped_is_forgotten_with_its_topic_on_both_sides() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.conflicts.push(OriginTopicId(1));
    world.run();
    assert_eq!((world.sender.faults().len(), world.receiver.faults().len()), (1, 1));
    world.topics.clear();
    world.source.clear();
    world.tombstones = vec![TombstoneItem {
        origin: OriginTopicId(1),
        name: "t1".parse().unwrap(),
        seq: CatalogSeq(2),
        owner_seq: CatalogSeq(2),
        term: None,
    }];
    world.seq = CatalogSeq(2);
    world.run();
    assert_eq!((world.sender.faults(), world.receiver.faults()), (vec![], vec![]));
}

#[test]
fn a_stopped_topic_that_changed_is_tried_again_in_the_same_session() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.conflicts.push(OriginTopicId(1));
    world.log(1, 0).push(3, "x");
    world.run();
    world.conflicts.clear();
    world.topics[0].seq = CatalogSeq(2);
    world.seq = CatalogSeq(2);
    world.run();
    assert_eq!(world.source, world.replica);
    assert_eq!(world.sender.faults(), []);
}

#[test]
fn what_the_replica_owns_is_not_pending() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1).with_topic(2, 1);
    world.topics[1].owner = model::REPLICA;
    world.log(1, 0).push(1, "ours");
    world.log(2, 0).push(1, "theirs");
    world.run();
    let ends: Vec<_> = world.sender.acked_ends().collect();
    assert_eq!(ends, [(OriginTopicId(1), 0, 1)]);
}

#[test]
fn fault_24_a_relay_behind_another_way_waits_and_accuses_nobody() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    let owner = mainstem_types::StreamId(0x50);
    world.topics[0].owner = owner;
    world.log(1, 0).push(3, "x");
    let held = PartitionItem {
        origin: OriginTopicId(1),
        partition: 0,
        log_start: 0,
        end: 5,
        lineage: world.log(1, 0).lineage.clone(),
        trimmed: None,
    };
    world.tell_source();
    world.sender.handle_frame(welcome(vec![held], Vec::new()), 0);
    while let Some(action) = world.sender.poll_action() {
        assert!(!matches!(action, SenderAction::Read(_)), "it has all that we have");
    }
    assert_eq!(world.sender.faults(), []);
    world.log(1, 0).push(4, "y");
    world.tell_source();
    let read = std::iter::from_fn(|| world.sender.poll_action()).find_map(|action| match action {
        SenderAction::Read(request) => Some(request.from),
        _ => None,
    });
    assert_eq!(read, Some(5), "past its end the relay feeds it");
}

#[test]
fn a_deleted_cursor_is_told_once_and_may_come_again() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.tell_source();
    let known = |group: &str| CursorVersion {
        group: group.into(),
        origin: OriginTopicId(1),
        partition: 0,
        version: 8,
        term: TermId(7),
    };
    world.sender.handle_frame(welcome(Vec::new(), vec![known("g")]), 0);
    let cursors = |world: &mut World, all: Vec<CursorItem>| {
        world.sender.handle_cursors(all);
        let mut sent = Vec::new();
        while let Some(action) = world.sender.poll_action() {
            match action {
                SenderAction::Send(Frame::Cursors(c)) => sent.extend(c.cursors),
                SenderAction::Read(request) => {
                    let bytes = bytes::Bytes::from_static(b"x");
                    let batch =
                        SourceBatch { base_offset: 0, next_offset: 5, arrival_ms: 0, bytes };
                    world.sender.handle_read(request, 0, vec![batch]);
                }
                _ => {}
            }
        }
        sent.into_iter().map(|c| (c.group, c.offset)).collect::<Vec<_>>()
    };
    assert_eq!(cursors(&mut world, vec![cursor(1, 3, 8)]), []);
    assert_eq!(cursors(&mut world, vec![cursor(1, 4, 10)]), [("g".to_owned(), 4)]);
    assert_eq!(cursors(&mut world, vec![cursor(1, -1, 12)]), [("g".to_owned(), -1)]);
    assert_eq!(cursors(&mut world, vec![cursor(1, -1, 12), cursor(1, 4, 10)]), []);
    assert_eq!(cursors(&mut world, vec![cursor(1, 2, 14)]), [("g".to_owned(), 2)]);
}

#[test]
fn fault_06_a_trim_needs_no_new_data_and_is_told_once() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    (0..10).for_each(|n| world.log(1, 0).push(3, &format!("{n}")));
    world.run();
    world.log(1, 0).delete(16);
    world.run();
    assert_eq!(world.source, world.replica, "in the session");
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.trims, 1, "what the replica knows is not told again");
    world.log(1, 0).delete(30);
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.source, world.replica, "all of it, between two sessions");
}

#[test]
fn fault_06_a_trim_waits_for_what_the_replica_has_not_and_keeps_what_is_live() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    (0..4).for_each(|n| world.log(1, 0).push(5, &format!("{n}")));
    world.run();
    world.reconnect(Mode::Replicate);
    (4..10).for_each(|n| world.log(1, 0).push(5, &format!("{n}")));
    // Within a batch, above the replica's end; retention went as far as another one.
    world.log(1, 0).delete(32);
    world.run();
    assert_eq!(world.source, world.replica, "the model refuses a trim above the replica's end");
    assert_eq!(world.replica[&(OriginTopicId(1), 0)].batches[0].0, 30, "the batch is there whole");
}

#[test]
fn what_retention_takes_at_the_source_is_not_taken_at_the_replica() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    (0..10).for_each(|n| world.log(1, 0).push(3, &format!("{n}")));
    world.run();
    world.log(1, 0).trim(15);
    world.run();
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!((world.trims, world.replica[&(OriginTopicId(1), 0)].batches.len()), (0, 10));
}

#[test]
fn a_watermark_comes_before_the_batches_that_it_holds_back() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 2);
    let key = (OriginTopicId(1), 0);
    world.log(1, 0).push(5, "shown");
    world.run();
    assert!(world.held.is_empty(), "a source that holds nothing back says nothing");
    world.watermarks.insert(key, 5);
    world.log(1, 0).push(3, "held back");
    world.run();
    assert_eq!(world.held, [(key, 5)].into());
    world.watermarks.insert(key, 8);
    world.run();
    assert_eq!(world.held, [(key, 8)].into());
    // In a new session only what the replica may hold is told of, here all of it.
    world.watermarks.remove(&key);
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.held[&key], i64::MAX);
    world.reconnect(Mode::Replicate);
    world.held.clear();
    world.run();
    assert!(world.held.is_empty());
}

#[test]
fn the_source_learns_what_is_durable_at_the_replica() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 2);
    world.log(1, 0).push(5, "a");
    world.run();
    let first: Vec<_> = world.acked[0].iter().map(|end| (end.1, end.2)).collect();
    assert_eq!(first, [(0, 0), (1, 0)], "a session begins with all of it");
    assert_eq!(world.acked.last().unwrap().last().unwrap().2, 5);
    world.acked.clear();
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.acked, [[(OriginTopicId(1), 0, 5), (OriginTopicId(1), 1, 0)]]);
    // What another owner wrote there says nothing of ours.
    world.acked.clear();
    world.log(1, 0).lineage[0].term_id = TermId(99);
    world.reconnect(Mode::Replicate);
    world.run();
    assert_eq!(world.acked, [[(OriginTopicId(1), 1, 0)]]);
    world.acked.clear();
    world.reconnect(Mode::Copy);
    world.run();
    assert!(world.acked.is_empty(), "a copy keeps nobody waiting");
}

#[test]
fn what_an_owner_of_before_has_added_is_added_here_whether_or_not_it_was_written_to() {
    let entry = |term_id| LineageEntry {
        leader_epoch: 0,
        start_offset: 0,
        term_id,
        owner: SOURCE,
        markers: 0,
    };
    let cases =
        [(Vec::new(), true), (vec![entry(TermId(99))], true), (vec![entry(TERM.id)], false)];
    for (lineage, expected) in cases {
        let mut world = World::new(Mode::Replicate).with_topic(1, 1);
        world.tell_source();
        let origin = OriginTopicId(1);
        let added =
            PartitionItem { origin, partition: 1, log_start: 0, end: 0, lineage, trimmed: None };
        world.sender.handle_frame(welcome(vec![added], Vec::new()), 0);
        let grow = std::iter::from_fn(|| world.sender.poll_action())
            .find(|action| matches!(action, SenderAction::Grow(..)));
        assert_eq!(grow, expected.then_some(SenderAction::Grow(origin, 2)));
    }
}

#[test]
fn fault_05_nothing_that_the_source_can_still_lose_is_sent() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(3, "durable");
    world.tell_source();
    let sender = &mut world.sender;
    sender.handle_frame(welcome(Vec::new(), Vec::new()), 0);
    let batch = |base_offset, next_offset| SourceBatch {
        base_offset,
        next_offset,
        arrival_ms: 0,
        bytes: bytes::Bytes::from_static(b"x"),
    };
    let mut sent_to = 0;
    while let Some(action) = sender.poll_action() {
        match action {
            // The log shows a batch that was written and is not yet synced.
            SenderAction::Read(request) => {
                sender.handle_read(request, 0, vec![batch(0, 3), batch(3, 5)]);
            }
            SenderAction::Send(Frame::Batches(batches)) => sent_to = batches.to,
            _ => {}
        }
    }
    assert_eq!(sent_to, 3, "I3");
}

#[test]
fn fault_22_a_damaged_batch_stops_its_partition_and_no_other() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 2).with_topic(2, 1);
    world.damaged.push((OriginTopicId(1), 0));
    for (id, partition) in [(1, 0), (1, 1), (2, 0)] {
        (0..5).for_each(|n| world.log(id, partition).push(2, &format!("{n}")));
    }
    world.run();
    let faults = world.sender.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!((faults[0].partition, faults[0].code), (Some(0), Code::Corrupt));
    for key in [(OriginTopicId(1), 1), (OriginTopicId(2), 0)] {
        assert_eq!(world.source[&key].batches, world.replica[&key].batches);
    }
    assert_eq!(world.closed, None, "and the session stands");
}

#[test]
fn what_retention_took_of_a_compacted_source_is_told_by_itself() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.tell_source();
    world.sender.handle_frame(welcome(Vec::new(), Vec::new()), 0);
    let lineage = Lineage::from_entries(world.source[&(OriginTopicId(1), 0)].lineage.clone());
    let view = PartitionView {
        log_start: 0,
        durable_end: 900,
        trimmed: 0,
        lineage: lineage.unwrap(),
        watermark: None,
    };
    world.sender.handle_partition(OriginTopicId(1), 0, view);
    let batch = |base_offset, next_offset| SourceBatch {
        base_offset,
        next_offset,
        arrival_ms: 0,
        bytes: bytes::Bytes::from_static(b"as it is"),
    };
    let mut reads = [vec![batch(120, 130), batch(300, 310)], vec![batch(800, 810)]].into_iter();
    let mut sent = Vec::new();
    while let Some(action) = world.sender.poll_action() {
        match action {
            SenderAction::Read(request) => {
                let Some(batches) = reads.next() else { break };
                // Retention took what is below 100, compaction what else is missing below 500.
                world.sender.handle_kept(&request, 100, 500, []);
                world.sender.handle_read(request, 100, batches);
            }
            SenderAction::Send(Frame::Batches(b)) => sent.push((b.gap_from, b.from, b.compacted)),
            _ => {}
        }
    }
    let gap = Some;
    assert_eq!(
        sent,
        [(gap(0), 100, 0), (gap(100), 120, 500), (gap(130), 300, 500), (gap(310), 800, 500)],
        "what retention took is no compaction, and what compaction took did not expire"
    );
}
