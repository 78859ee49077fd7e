//! One stream's life, by commands.

mod world;

use mainstem_catalog::{Command, ReplicaSettings, ResolvedTopic, StreamSettings};
use mainstem_types::{CatalogSeq, ErrorKind, StreamId};
use world::{Story, place};

#[test]
fn a_kafka_name_has_one_meaning() {
    let mut story = Story::new();
    let a = story.stream("/a");
    story.topic(a, "b.c").unwrap();
    let settings = StreamSettings::default();
    for path in ["/a.b", "/a/b"] {
        let path = path.parse().unwrap();
        let refused =
            story.run(&Command::CreateStream { path, id: None, settings: settings.clone() });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Policy);
    }
    let nested = story.stream("/a/x");
    assert_eq!(story.topic(a, "x.y").unwrap_err().kind(), ErrorKind::Policy);
    story.topic(nested, "y").unwrap();
    let meaning = |name| match story.catalog.resolve(name) {
        Some((stream, ResolvedTopic::Existing(topic))) => format!("{}:{}", stream.path, topic.name),
        Some((stream, ResolvedTopic::Missing(name))) => format!("{} lacks {name}", stream.path),
        None => "nothing".to_owned(),
    };
    assert_eq!(meaning("a.b.c"), "/a:b.c");
    assert_eq!(meaning("a.x.y"), "/a/x:y");
    assert_eq!(meaning("a.x.z"), "/a/x lacks z");
    assert_eq!(meaning("/a:b.c"), "/a:b.c");
    assert_eq!(meaning("/mapr/newyork/a/x:y"), "/a/x:y");
    assert_eq!(meaning("/mapr/elsewhere/a/x:y"), "nothing");
    assert_eq!(meaning("b"), "nothing");
}

#[test]
fn a_link_is_opened_only_where_both_halves_stand() {
    let mut story = Story::new();
    let stream = story.stream("/activity");
    let source = place("/mapr/sanfrancisco/activity");
    let source_id = StreamId(99);
    let open =
        Command::OpenLink { stream, source: source.clone(), source_id, source_seq: CatalogSeq(1) };
    let refused = story.run(&open).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.message().contains("upstream add -path /mapr/newyork/activity"), "{refused}");

    let add = Command::AddUpstream { stream, upstream: source.clone(), stream_id: None };
    story.run(&add).unwrap();
    story.run(&open).unwrap();
    let epoch = story.catalog.stream(stream).unwrap().upstreams[0].link_epoch;
    let check = |story: &Story| {
        story.catalog.stream(stream).unwrap().check_link(source_id, epoch).map(|_| ())
    };
    check(&story).unwrap();
    story.run(&open).unwrap();
    assert_eq!(check(&story).unwrap_err().kind(), ErrorKind::Fenced);
    story.run(&Command::RemoveUpstream { stream, upstream: source }).unwrap();
    story.run(&add).unwrap();
    story.run(&open).unwrap();
    assert_eq!(check(&story).unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn the_65th_replica_and_the_stream_itself_are_refused() {
    let mut story = Story::new();
    let stream = story.stream("/a");
    let mut add = |text: String| {
        story.run(&Command::AddReplica {
            stream,
            replica: place(&text),
            replica_id: None,
            settings: ReplicaSettings::default(),
            paused: false,
            setup: None,
        })
    };
    assert_eq!(add("/mapr/newyork/a".into()).unwrap_err().kind(), ErrorKind::Invalid);
    for slot in 0..64 {
        add(format!("/mapr/x/a{slot}")).unwrap();
    }
    assert_eq!(add("/mapr/x/a7".into()).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(add("/mapr/x/a64".into()).unwrap_err().kind(), ErrorKind::Limit);
}
