//! One session where owners change: what either side may not know of the other any more.

use mainstem_link::{
    Ack, Code, CursorItem, CursorVersion, FEATURE_FEEDERS, Feed, Frame, Heartbeat, Mode,
    PartitionItem, TermItem, Terms, Welcome,
};
use mainstem_replicate::{Closing, ReceiverAction, SenderAction, SourceBatch};
use mainstem_types::limits::LINK_CREDIT_BYTES;
use mainstem_types::{
    CatalogSeq, ClusterId, LineageEntry, LinkEpoch, OriginTopicId, StreamId, Term, TermId,
};

use crate::model::{self, World};

const TOPIC: OriginTopicId = OriginTopicId(1);

/// What a replica answers that holds nothing but a cursor of this version.
fn welcome(version: u64, term: Term) -> Welcome {
    let group = "g".to_owned();
    Welcome {
        version: 1,
        features: FEATURE_FEEDERS,
        cluster_id: ClusterId(2),
        cluster_name: "b".parse().unwrap(),
        producer_prefix: 2,
        node_id: 2,
        replica_id: model::REPLICA,
        link_epoch: LinkEpoch(1),
        applied_seq: CatalogSeq(0),
        term,
        credit_bytes: LINK_CREDIT_BYTES,
        partitions: Vec::new(),
        cursors: vec![CursorVersion {
            group,
            origin: TOPIC,
            partition: 0,
            version,
            term: TermId(7),
        }],
        more: false,
        holds: false,
        terms: Vec::new(),
    }
}

#[test]
fn a_cut_by_another_link_has_the_source_say_hello_again() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 2);
    world.log(1, 0).push(5, "x");
    world.log(1, 1).push(3, "y");
    world.run();
    let mut closing = |ends: [i64; 2]| {
        world.receiver.handle_cut(|_, partition| Some(ends[partition as usize]));
        let mut closing = None;
        while let Some(action) = world.receiver.poll_action() {
            if let ReceiverAction::Close(Closing { code, .. }) = action {
                closing = Some(code);
            }
        }
        closing
    };
    assert_eq!(closing([5, 9]), None, "something else was cut");
    assert_eq!(closing([5, 2]), Some(Code::Fenced));
}

#[test]
fn a_replica_may_choose_its_feeder_and_tell_terms_before_what_it_told_is_durable() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.tell_source();
    let (higher, highest) = (Term { number: 8, id: TermId(8) }, Term { number: 9, id: TermId(9) });
    world.sender.handle_frame(welcome(0, higher).into(), 0);
    let feed = Feed { feed: vec![TOPIC], ..Feed::default() };
    world.sender.handle_frame(feed.into(), 0);
    let ack = Ack { ends: Vec::new(), applied_seq: CatalogSeq(0), term: Some(highest) };
    world.sender.handle_frame(ack.into(), 0);
    let mut met = Vec::new();
    while let Some(action) = world.sender.poll_action() {
        match action {
            SenderAction::Meet(seen, _) => met.push(seen),
            SenderAction::Close(closing) => panic!("{closing:?}"),
            SenderAction::Read(_) => panic!("under a term that is not the highest"),
            _ => {}
        }
    }
    assert_eq!(met, [higher, highest]);
    world.sender.handle_met();
    assert!(!world.sender.is_open(), "the higher one is not durable");
    world.sender.handle_met();
    let reads = std::iter::from_fn(|| world.sender.poll_action());
    assert!(reads.into_iter().any(|action| matches!(action, SenderAction::Read(_))));
}

#[test]
fn a_cursor_that_was_set_back_on_both_sides_is_told_again() {
    for (theirs, is_sent) in [(7, true), (8, false)] {
        let mut world = World::new(Mode::Replicate).with_topic(1, 1);
        world.tell_source();
        world.sender.handle_frame(welcome(theirs, model::TERM).into(), 0);
        let cursor = CursorItem {
            group: "g".into(),
            origin: TOPIC,
            partition: 0,
            offset: 0,
            leader_epoch: -1,
            metadata: String::new(),
            commit_ms: 0,
            version: theirs,
            term: TermId(7),
        };
        world.sender.handle_cursors([cursor]);
        let sent = std::iter::from_fn(|| world.sender.poll_action())
            .any(|action| matches!(action, SenderAction::Send(Frame::Cursors(_))));
        assert_eq!(sent, is_sent, "version {theirs}");
    }
}

#[test]
fn a_reign_is_told_before_anything_is_written_in_it_and_again_with_the_first_data() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.run();
    let first = world.log(1, 0).lineage[0];
    let next = LineageEntry { leader_epoch: 1, start_offset: 5, term_id: TermId(9), ..first };
    world.log(1, 0).lineage.push(next);
    world.run();
    assert_eq!(world.source, world.replica, "with both reigns");
    world.log(1, 0).push(2, "y");
    world.tell_source();
    let mut told = Vec::new();
    while let Some(action) = world.sender.poll_action() {
        match action {
            SenderAction::Read(request) => {
                let bytes = bytes::Bytes::from_static(b"y");
                let batch = SourceBatch { base_offset: 5, next_offset: 7, arrival_ms: 0, bytes };
                world.sender.handle_read(request, 0, vec![batch]);
            }
            SenderAction::Send(Frame::Batches(batches)) => told.push(batches.lineage.len()),
            _ => {}
        }
    }
    assert_eq!(told, [2], "what was told alone may have been dropped");
}

/// Two were promoted, and the replica is the one that is to go on: we have yet to tell the other.
#[test]
fn a_higher_term_of_what_the_replica_owns_is_met() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.topics[0].owner = model::REPLICA;
    let before = world.topics[0].term;
    world.tell_source();
    world.sender.handle_frame(welcome(0, before).into(), 0);
    while let Some(action) = world.sender.poll_action() {
        assert!(!matches!(action, SenderAction::Meet(..)), "nothing new");
    }
    let term = Term { number: before.number + 1, id: TermId(9) };
    let renewed = TermItem { origin: TOPIC, owner: model::REPLICA, term };
    for is_news in [true, false] {
        world.sender.handle_frame(Terms { terms: vec![renewed.clone()] }.into(), 0);
        let met =
            std::iter::from_fn(|| world.sender.poll_action()).find_map(|action| match action {
                SenderAction::Meet(_, met) => Some(met),
                _ => None,
            });
        assert_eq!(met, is_news.then(|| vec![renewed.clone()]));
    }
}

/// One of the two was restored from an older copy and written to since.
#[test]
fn two_histories_of_one_reign_stop_and_say_what_to_do() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    let term = Term { number: 2, ..world.topics[0].term };
    world.topics[0].term = term;
    world.log(1, 0).push(5, "x");
    let lineage = world.log(1, 0).lineage.clone();
    let (origin, partition, log_start, end, trimmed) = (TOPIC, 0, 0, 3, None);
    let held = PartitionItem { origin, partition, log_start, end, lineage, trimmed };
    world.tell_source();
    let welcomed = Welcome { partitions: vec![held], ..welcome(0, term) };
    world.sender.handle_frame(welcomed.into(), 0);
    while let Some(action) = world.sender.poll_action() {
        match action {
            SenderAction::Meet(..) => world.sender.handle_met(),
            SenderAction::Read(request) => {
                let (bytes, arrival_ms) = (bytes::Bytes::from_static(b"x"), 0);
                let batch = SourceBatch { base_offset: 0, next_offset: 5, arrival_ms, bytes };
                world.sender.handle_read(request, 0, vec![batch]);
            }
            SenderAction::Close(closing) => panic!("nothing new would be heard: {closing:?}"),
            _ => {}
        }
    }
    let faults = world.sender.faults();
    assert_eq!(faults[0].code, Code::Diverged);
    assert!(faults[0].message.contains("set it up anew"), "{faults:?}");
}

/// An owner of before is now to pass the topic on, and the replica has joined its successor's history.
#[test]
fn what_the_owner_may_have_left_is_not_passed_on() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    let term = Term { number: 9, id: TermId(9) };
    (world.topics[0].owner, world.topics[0].term) = (StreamId(0x50), term);
    world.log(1, 0).push(3, "x");
    let ours = world.log(1, 0).lineage[0];
    let other = LineageEntry { term_id: TermId(6), ..ours };
    let next = LineageEntry { leader_epoch: 2, start_offset: 3, term_id: TermId(9), ..ours };
    let held = PartitionItem {
        origin: TOPIC,
        partition: 0,
        log_start: 0,
        end: 0,
        lineage: vec![other],
        trimmed: None,
    };
    world.tell_source();
    let welcomed = Welcome { features: 0, partitions: vec![held], ..welcome(0, term) };
    world.sender.handle_frame(welcomed.into(), 0);
    while let Some(action) = world.sender.poll_action() {
        match action {
            SenderAction::Meet(..) => world.sender.handle_met(),
            SenderAction::Read(_) => panic!("it is not the history of the replica"),
            _ => {}
        }
    }
    assert_eq!(world.sender.faults(), []);
    // Ours is the owner's after all.
    world.log(1, 0).lineage.push(next);
    world.tell_source();
    let mut actions = std::iter::from_fn(|| world.sender.poll_action());
    assert!(actions.any(|action| matches!(action, SenderAction::Send(Frame::Rejoin(_)))));
}

#[test]
fn what_is_told_of_a_topic_that_passed_on_is_older_than_what_its_owner_says() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.tell_source();
    let higher = Term { number: 8, id: TermId(8) };
    world.sender.handle_frame(welcome(0, higher).into(), 0);
    let passed = TermItem { origin: TOPIC, owner: StreamId(77), term: higher };
    world.sender.handle_frame(Terms { terms: vec![passed] }.into(), 0);
    let mut told = Vec::new();
    while let Some(action) = world.sender.poll_action() {
        match action {
            // The catalog says so later.
            SenderAction::Meet(..) => world.sender.handle_met(),
            SenderAction::Send(Frame::Topics(topics)) => told.extend(topics.topics),
            _ => {}
        }
    }
    let told: Vec<_> = told.iter().map(|item| (item.owner, item.term, item.owner_seq)).collect();
    assert_eq!(told, [(StreamId(77), higher, CatalogSeq(0))]);
}

#[test]
fn i6_batches_that_have_not_left_stay_here_once_the_agreement_is_gone() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.tell_source();
    world.sender.handle_frame(welcome(0, model::TERM).into(), 0);
    world.sender.handle_frame(Feed { feed: vec![TOPIC], ..Feed::default() }.into(), 0);
    let reads: Vec<_> = std::iter::from_fn(|| world.sender.poll_action())
        .filter_map(|action| match action {
            SenderAction::Read(request) => Some(request),
            _ => None,
        })
        .collect();
    let (base_offset, next_offset, bytes) = world.log(1, 0).batches[0].clone();
    let batch = SourceBatch { base_offset, next_offset, arrival_ms: 0, bytes };
    for request in reads {
        world.sender.handle_read(request, 0, vec![batch.clone()]);
    }
    world.sender.stop(Code::Removed, "the agreement was taken away");
    let left: Vec<_> = std::iter::from_fn(|| world.sender.poll_action()).collect();
    let is_batch = |action: &SenderAction| matches!(action, SenderAction::Send(Frame::Batches(_)));
    assert!(!left.is_empty() && !left.iter().any(is_batch), "{left:?}");
}

#[test]
fn partitions_that_an_owner_of_before_added_are_asked_for_until_they_are_there() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.tell_source();
    let lineage = vec![LineageEntry {
        leader_epoch: 3,
        start_offset: 0,
        term_id: TermId(77),
        owner: StreamId(77),
        markers: 0,
    }];
    let (log_start, end, trimmed) = (0, 0, None);
    let added = PartitionItem { origin: TOPIC, partition: 1, log_start, end, lineage, trimmed };
    let welcome = Welcome { partitions: vec![added], ..welcome(0, model::TERM) };
    world.sender.handle_frame(welcome.into(), 0);
    let asked = |world: &mut World| {
        let actions = std::iter::from_fn(|| world.sender.poll_action());
        let grow = |action| match action {
            SenderAction::Grow(topic, partitions) => Some((topic, partitions)),
            _ => None,
        };
        actions.filter_map(grow).collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut world), [(TOPIC, 2)]);
    assert_eq!(asked(&mut world), [], "while it may be on its way");
    // It was refused, since a topic was being handed over, and the catalog has changed.
    world.tell_source();
    assert_eq!(asked(&mut world), [(TOPIC, 2)]);
    let mut world = world.with_topic(1, 2);
    world.tell_source();
    assert_eq!(asked(&mut world), []);
}

#[test]
fn damage_is_told_to_a_link_that_has_the_topic() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.log(1, 0).push(5, "x");
    world.run();
    world.receiver.handle_damaged(OriginTopicId(3), 0, "not of this link");
    assert!(world.receiver.faults().is_empty());
    world.receiver.handle_damaged(TOPIC, 0, "of this one");
    assert_eq!(world.receiver.faults().len(), 1);
}

#[test]
fn a_replica_that_has_nothing_to_acknowledge_says_so_by_its_heartbeat() {
    let mut world = World::new(Mode::Replicate).with_topic(1, 1);
    world.run();
    world.sender.handle_frame(Heartbeat::default().into(), 0);
    let acked: Vec<_> = std::iter::from_fn(|| world.sender.poll_action())
        .filter(|action| matches!(action, SenderAction::Acked(ends) if ends.is_empty()))
        .collect();
    assert_eq!(acked.len(), 1);
}
