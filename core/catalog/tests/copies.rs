//! What a copy may do to its destination, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::collections::BTreeMap;

use mainstem_catalog::{Command, Event, GrantId, Owner, StreamSettings};
use mainstem_types::{
    CatalogSeq, Error, ErrorKind, LinkEpoch, OriginTopicId, StreamId, Term, TermId, TimestampType,
    TopicName,
};
use world::{Story, place};

const GRANT: GrantId = GrantId::from_bytes([3; 16]);
const OTHER_GRANT: GrantId = GrantId::from_bytes([4; 16]);
const SOURCE: StreamId = StreamId(0x50);
const FARTHER: StreamId = StreamId(0x51);
const TO: StreamId = StreamId(0x99);
const SOURCE_PLACE: &str = "/mapr/sanfrancisco/activity";

fn issue(grant: GrantId, replica_id: StreamId, use_existing: bool) -> Command {
    Command::IssueGrant {
        grant,
        replica_path: "/copy".parse().unwrap(),
        replica_id,
        source: place(SOURCE_PLACE),
        source_id: SOURCE,
        multimaster: false,
        use_existing,
        copy: true,
        expires_ms: 2000,
    }
}

/// Grant, stream and agreement.
fn begun(grant: GrantId) -> Story {
    let mut story = Story::new();
    story.run(&issue(grant, TO, false)).unwrap();
    let settings = StreamSettings::default();
    story.run(&Command::CreateByGrant { grant, replica_id: TO, settings }).unwrap();
    story.run(&Command::AddUpstreamByGrant { grant, replica_id: TO }).unwrap();
    story
}

/// The link brings a topic, whoever owns it.
fn bring(story: &mut Story, origin: u128, name: &str, owner: StreamId, term: u64) {
    let link_epoch: LinkEpoch = story.see(TO).upstream_by_id(SOURCE).unwrap().link_epoch;
    story
        .run(&Command::ApplyTopic {
            stream: TO,
            upstream: SOURCE,
            link_epoch,
            origin: OriginTopicId(origin),
            name: name.parse().unwrap(),
            partitions: 2,
            timestamp_type: TimestampType::CreateTime,
            config: BTreeMap::new(),
            owner: Owner { stream: owner, term: Term { number: term, id: TermId(7) } },
            owner_seq: CatalogSeq(1),
            source_seq: CatalogSeq(0),
            created_ms: 0,
        })
        .unwrap();
}

fn take_over(grant: GrantId, topics: &[u128], more: bool) -> Command {
    let topics = topics.iter().map(|origin| OriginTopicId(*origin)).collect();
    Command::TakeOverByGrant { grant, replica_id: TO, topics, more }
}

fn owner(story: &Story, origin: u128) -> Owner {
    story.see(TO).topic_by_origin(OriginTopicId(origin)).unwrap().owner
}

fn check(story: &Story, origin: u128, name: &str) -> Result<usize, Error> {
    let name: TopicName = name.parse().unwrap();
    let topics = [(OriginTopicId(origin), &name)];
    story.catalog.check_copy(GRANT, TO, topics).map(|here| here.len())
}

#[test]
fn a_take_over_makes_topics_the_destinations_own_and_ends_the_agreement() {
    let mut story = begun(GRANT);
    assert!(!story.see(TO).may_autocreate(), "no rivals while it is copied to");
    bring(&mut story, 1, "own", SOURCE, 5);
    bring(&mut story, 2, "passed-on", FARTHER, 9);
    bring(&mut story, 3, "not-named", FARTHER, 1);
    story.now_ms = 9_999; // It took longer than the grant was to live.
    story.run(&take_over(GRANT, &[2], true)).unwrap();
    assert_eq!(story.see(TO).upstreams.len(), 1, "more is to come");
    assert_eq!((owner(&story, 1).stream, owner(&story, 2).stream), (TO, TO));
    story.run(&take_over(GRANT, &[], false)).unwrap();
    assert!(story.see(TO).upstreams.is_empty());
    assert_eq!(owner(&story, 3).stream, FARTHER);
    let numbers = (owner(&story, 1).term.number, owner(&story, 2).term.number);
    assert_eq!(numbers, (5, 9), "nobody was promoted");
    assert_eq!(story.see(TO).term, owner(&story, 2).term);
    assert_eq!(story.run(&take_over(GRANT, &[], false)).unwrap(), [], "it is done already");
    assert_eq!(check(&story, 1, "own"), Ok(1));
    let topic = story.see(TO).topic_by_origin(OriginTopicId(1)).unwrap().clone();
    story.see(TO).check_local_write(&topic).unwrap();
    // What the source does afterwards, such as forgetting its half, deletes nothing here.
    story.run(&Command::RollbackByGrant { grant: GRANT, replica_id: TO }).unwrap();
    assert_eq!(story.see(TO).topics.len(), 3);
    let again = Command::AddUpstreamByGrant { grant: GRANT, replica_id: TO };
    assert_eq!(story.run(&again).unwrap_err().kind(), ErrorKind::Denied, "used up");
}

#[test]
fn a_copy_takes_nothing_from_the_term_of_what_was_here_before() {
    let mut story = begun(GRANT);
    story.topic(TO, "mine").unwrap();
    story.run(&Command::Renew { stream: TO }).unwrap();
    let ours = story.see(TO).term;
    bring(&mut story, 1, "theirs", SOURCE, ours.number - 1);
    story.run(&take_over(GRANT, &[], false)).unwrap();
    assert_eq!((owner(&story, 1).stream, owner(&story, 1).term.number), (TO, ours.number - 1));
    assert_eq!(story.see(TO).term, ours);
}

#[test]
fn even_an_empty_stream_that_was_copied_stays() {
    let mut story = begun(GRANT);
    story.run(&take_over(GRANT, &[], false)).unwrap();
    story.run(&Command::RollbackByGrant { grant: GRANT, replica_id: TO }).unwrap();
    assert!(story.see(TO).topics.is_empty());
}

#[test]
fn a_conflict_is_seen_before_anything_is_changed() {
    let mut story = begun(GRANT);
    story.topic(TO, "mine").unwrap();
    assert_eq!(check(&story, 1, "new"), Ok(0));
    let rival = check(&story, 1, "mine").unwrap_err();
    assert_eq!(rival.kind(), ErrorKind::Policy);
    assert!(rival.message().contains("Nothing was changed"), "{rival}");
    bring(&mut story, 2, "theirs", FARTHER, 1);
    assert_eq!(check(&story, 2, "theirs"), Ok(0), "the copy itself brought it");
    let upstream = place("/mapr/boston/x");
    story.run(&Command::AddUpstream { stream: TO, upstream, stream_id: None }).unwrap();
    assert_eq!(check(&story, 2, "theirs").unwrap_err().kind(), ErrorKind::Policy);
}

#[test]
fn a_given_up_copy_keeps_what_came_and_the_next_goes_on() {
    let rollback = |grant| Command::RollbackByGrant { grant, replica_id: TO };
    let mut story = begun(GRANT);
    story.run(&rollback(GRANT)).unwrap();
    assert!(story.catalog.stream(TO).is_none(), "made for nothing");

    let mut story = begun(GRANT);
    bring(&mut story, 1, "t", SOURCE, 1);
    story.run(&rollback(GRANT)).unwrap();
    assert!(story.see(TO).upstreams.is_empty(), "no half agreement is left");
    story.run(&issue(OTHER_GRANT, TO, true)).unwrap();
    let add = Command::AddUpstreamByGrant { grant: OTHER_GRANT, replica_id: TO };
    story.run(&add).unwrap();
    // Its source forgot it; a third takes on what it left.
    story.run(&issue(GRANT, TO, true)).unwrap();
    let before = story.see(TO).upstreams[0].link_epoch;
    story.run(&Command::AddUpstreamByGrant { grant: GRANT, replica_id: TO }).unwrap();
    assert!(story.see(TO).upstreams[0].link_epoch > before, "older sessions are fenced");
    assert_eq!(story.run(&take_over(OTHER_GRANT, &[], false)).unwrap(), []);
    assert!(
        story
            .run(&rollback(OTHER_GRANT))
            .unwrap()
            .iter()
            .all(|event| { matches!(event, Event::GrantDropped { .. }) })
    );
    story.run(&take_over(GRANT, &[], false)).unwrap();
    assert_eq!(owner(&story, 1).stream, TO);
}

#[test]
fn a_lasting_agreement_is_neither_copied_under_nor_taken_over() {
    let mut story = Story::new();
    let stream = story.stream("/copy");
    let upstream = place(SOURCE_PLACE);
    story.run(&Command::AddUpstream { stream, upstream, stream_id: Some(SOURCE) }).unwrap();
    let refused = story.run(&issue(GRANT, stream, true)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);
    assert!(refused.message().contains("replica add"), "{refused}");

    let mut story = Story::new();
    let autosetup = Command::IssueGrant {
        grant: GRANT,
        replica_path: "/copy".parse().unwrap(),
        replica_id: TO,
        source: place(SOURCE_PLACE),
        source_id: SOURCE,
        multimaster: false,
        use_existing: false,
        copy: false,
        expires_ms: 2000,
    };
    story.run(&autosetup).unwrap();
    let refused = story.run(&take_over(GRANT, &[], false)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
}
