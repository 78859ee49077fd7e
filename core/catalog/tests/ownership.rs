//! Fail-over, terms of others, and places for what is set aside.

mod world;

use std::collections::BTreeMap;

use mainstem_catalog::{Command, Event, Owner};
use mainstem_types::{
    CatalogSeq, Error, ErrorKind, OriginTopicId, StreamId, Term, TermId, TimestampType,
};
use world::{Story, place};

const SOURCE: StreamId = StreamId(0x50);
const OTHER: StreamId = StreamId(0x51);
const SOURCE_PLACE: &str = "/mapr/sanfrancisco/activity";
const OTHER_PLACE: &str = "/mapr/boston/activity";

const fn term(number: u64, id: u128) -> Term {
    Term { number, id: TermId(id) }
}

fn replicate(story: &mut Story, stream: StreamId, source: StreamId, origin: u128, seq: u64) {
    let upstream = story.see(stream).upstream_by_id(source).unwrap().clone();
    story
        .run(&Command::OpenLink {
            stream,
            source: upstream.place,
            source_id: source,
            source_seq: CatalogSeq(seq),
        })
        .unwrap();
    let owner = Owner { stream: source, term: term(1, source.0) };
    tell(story, stream, source, origin, owner).unwrap();
}

fn tell(
    story: &mut Story,
    stream: StreamId,
    source: StreamId,
    origin: u128,
    owner: Owner,
) -> Result<Vec<Event>, Error> {
    let link_epoch = story.see(stream).upstream_by_id(source).unwrap().link_epoch;
    story.run(&Command::ApplyTopic {
        stream,
        upstream: source,
        link_epoch,
        origin: OriginTopicId(origin),
        name: format!("t{origin}").parse().unwrap(),
        partitions: 2,
        timestamp_type: TimestampType::CreateTime,
        config: BTreeMap::new(),
        owner,
        owner_seq: CatalogSeq(1),
        source_seq: CatalogSeq(1),
        created_ms: 5,
    })
}

/// A replica of two streams with a topic of each.
fn replica() -> (Story, StreamId) {
    let mut story = Story::new();
    let stream = story.stream("/activity");
    for (id, at) in [(SOURCE, SOURCE_PLACE), (OTHER, OTHER_PLACE)] {
        let add = Command::AddUpstream { stream, upstream: place(at), stream_id: Some(id) };
        story.run(&add).unwrap();
    }
    replicate(&mut story, stream, SOURCE, 1, 1);
    replicate(&mut story, stream, OTHER, 2, 1);
    (story, stream)
}

fn owner(story: &Story, stream: StreamId, origin: u128) -> Owner {
    story.see(stream).topic_by_origin(OriginTopicId(origin)).unwrap().owner
}

#[test]
fn a_fail_over_is_one_change_above_all_terms_and_fences_the_link() {
    let (mut story, stream) = replica();
    let unclear = story.run(&Command::FailOver { stream, upstream: None }).unwrap_err();
    assert_eq!(unclear.kind(), ErrorKind::Invalid);
    story.run(&Command::MeetTerms { stream, seen: term(6, 9), terms: Vec::new() }).unwrap();
    let before = story.see(stream).upstream_by_id(SOURCE).unwrap().link_epoch;
    let promote = Command::FailOver { stream, upstream: Some(place(SOURCE_PLACE)) };
    let events = story.run(&promote).unwrap();
    let changes = events.iter().filter(|event| matches!(event, Event::OwnerChanged { .. }));
    assert_eq!((events.len(), changes.count()), (2, 1));
    assert_eq!(owner(&story, stream, 1).stream, stream);
    assert_eq!(owner(&story, stream, 1).term.number, 7, "above the highest that was heard of");
    assert_eq!(owner(&story, stream, 2).stream, OTHER, "the other upstream's stay its own");
    assert!(story.see(stream).upstream_by_id(SOURCE).unwrap().link_epoch > before);
    story.topic(stream, "new").unwrap();
    let new = story.see(stream).topic(&"new".parse().unwrap()).unwrap().clone();
    assert_eq!(new.owner.term.number, 7);
    let again = story.run(&promote).unwrap_err();
    assert!(again.message().contains("nothing to fail over"), "{again}");
}

/// Two were promoted in a term of one number, and one of them deleted a topic as its owner.
#[test]
fn who_goes_on_with_what_was_deleted_here_hears_of_it() {
    let (mut story, stream) = replica();
    let promote = Command::FailOver { stream, upstream: Some(place(SOURCE_PLACE)) };
    story.run(&promote).unwrap();
    let ours = owner(&story, stream, 1).term.number;
    story.run(&Command::DeleteTopic { stream, topic: OriginTopicId(1) }).unwrap();
    let claim = |owner, number| Owner { stream: owner, term: term(number, 77) };
    for number in [1, ours] {
        let refused = tell(&mut story, stream, OTHER, 1, claim(OTHER, number)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Policy);
        assert!(refused.message().contains("delete it there too"), "{refused}");
    }
    // A third one's word may be late, and says nothing of what its owner does.
    tell(&mut story, stream, OTHER, 1, claim(SOURCE, ours)).unwrap();
    assert!(story.see(stream).topic_by_origin(OriginTopicId(1)).is_none());
    tell(&mut story, stream, OTHER, 1, claim(OTHER, ours + 1)).unwrap();
    assert_eq!(owner(&story, stream, 1).stream, OTHER);
}

#[test]
fn i5_a_higher_term_takes_a_topic_and_an_equal_one_does_not() {
    let mut story = Story::new();
    let stream = story.stream("/activity");
    let upstream = place(SOURCE_PLACE);
    story.run(&Command::AddUpstream { stream, upstream, stream_id: Some(SOURCE) }).unwrap();
    story.topic(stream, "t").unwrap();
    let origin = story.see(stream).topics.values().next().unwrap().origin;
    let ours = owner(&story, stream, origin.0);
    let claim = |number| Owner { stream: SOURCE, term: term(number, 77) };
    let meet =
        |claimed| Command::MeetTerms { stream, seen: term(1, 1), terms: vec![(origin, claimed)] };
    assert!(story.run(&meet(claim(1))).unwrap().is_empty(), "two of one number: nobody guesses");
    let mine = Owner { stream, term: term(5, 5) };
    assert!(story.run(&meet(mine)).unwrap().is_empty(), "nobody gives this stream a term");
    story
        .run(&Command::OpenLink {
            stream,
            source: place(SOURCE_PLACE),
            source_id: SOURCE,
            source_seq: CatalogSeq(1),
        })
        .unwrap();
    let told = tell(&mut story, stream, SOURCE, origin.0, claim(1));
    assert_eq!(told.unwrap_err().kind(), ErrorKind::Policy);
    assert_eq!(owner(&story, stream, origin.0), ours);
    let mut other = Story::new();
    other.catalog = story.catalog.clone();
    story.run(&meet(claim(2))).unwrap();
    tell(&mut other, stream, SOURCE, origin.0, claim(2)).unwrap();
    for story in [&mut story, &mut other] {
        assert_eq!(owner(story, stream, origin.0), claim(2));
        assert_eq!(story.see(stream).highest_term().number, 2);
        let topic = story.see(stream).topic_by_origin(origin).unwrap().clone();
        let refused = story.see(stream).check_local_write(&topic).unwrap_err();
        assert!(refused.message().contains(SOURCE_PLACE), "{refused}");
    }
}

#[test]
fn what_is_set_aside_has_one_place_for_each_term_that_displaced_it() {
    let (mut story, stream) = replica();
    let make = Command::MakeAside {
        stream,
        topic: OriginTopicId(1),
        written_by: stream,
        written_in: TermId(3),
    };
    assert_eq!(story.run(&make).unwrap().len(), 1);
    assert!(story.run(&make).unwrap().is_empty(), "asked again, it is there");
    let aside = story.see(stream).topic(&"t1.setaside-1".parse().unwrap()).unwrap().clone();
    assert_eq!((aside.partition_count(), aside.owner.stream), (2, stream));
    assert!(story.see(stream).check_local_write(&aside).is_err());
    assert!(story.see(stream).carried_topics().all(|topic| topic.aside.is_none()));
    let other = Command::MakeAside {
        stream,
        topic: OriginTopicId(2),
        written_by: stream,
        written_in: TermId(3),
    };
    story.topic(stream, "t2.setaside-1").unwrap();
    story.run(&other).unwrap();
    let kept = story.see(stream).topics.values().filter(|topic| topic.aside.is_some()).count();
    assert_eq!(kept, 2, "a name that is taken is no hindrance");
}
