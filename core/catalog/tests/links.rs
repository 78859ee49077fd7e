//! What a link and an autosetup may do to a replica's catalog.

mod world;

use std::collections::BTreeMap;

use mainstem_catalog::{
    Command, GrantId, NewSetup, Owner, ReplicaSettings, SetupKind, SetupStep, StreamSettings,
};
use mainstem_types::{
    CatalogSeq, Error, ErrorKind, JobId, LinkEpoch, OriginTopicId, StreamId, Term, TermId,
    TimestampType,
};
use world::{Story, place};

const SOURCE: StreamId = StreamId(0x50);
const SOURCE_PLACE: &str = "/mapr/sanfrancisco/activity";
const TOPIC: OriginTopicId = OriginTopicId(0x70);

/// A replica with one upstream and an open link.
struct Replica {
    story: Story,
    stream: StreamId,
    epoch: LinkEpoch,
}

/// A topic as the source tells it.
#[derive(Clone, Copy)]
struct Told {
    origin: OriginTopicId,
    name: &'static str,
    partitions: u32,
    seq: u64,
    term: u64,
}

const TOLD: Told = Told { origin: TOPIC, name: "clicks", partitions: 2, seq: 1, term: 1 };

impl Replica {
    fn new() -> Self {
        let mut story = Story::new();
        let stream = story.stream("/activity");
        let upstream = place(SOURCE_PLACE);
        story.run(&Command::AddUpstream { stream, upstream, stream_id: Some(SOURCE) }).unwrap();
        let mut replica = Self { story, stream, epoch: LinkEpoch(0) };
        replica.open(0).unwrap();
        replica
    }

    fn open(&mut self, source_seq: u64) -> Result<(), Error> {
        self.story.run(&Command::OpenLink {
            stream: self.stream,
            source: place(SOURCE_PLACE),
            source_id: SOURCE,
            source_seq: CatalogSeq(source_seq),
        })?;
        self.epoch = self.story.see(self.stream).upstreams[0].link_epoch;
        Ok(())
    }

    /// Whether it changed anything but the position.
    fn tell(&mut self, told: Told) -> Result<bool, Error> {
        let seq = self.story.see(self.stream).catalog_seq;
        self.story.run(&Command::ApplyTopic {
            stream: self.stream,
            upstream: SOURCE,
            link_epoch: self.epoch,
            origin: told.origin,
            name: told.name.parse().unwrap(),
            partitions: told.partitions,
            timestamp_type: TimestampType::CreateTime,
            config: BTreeMap::new(),
            owner: Owner {
                stream: SOURCE,
                term: Term { number: told.term, id: TermId(told.term.into()) },
            },
            owner_seq: CatalogSeq(told.seq),
            source_seq: CatalogSeq(told.seq),
            created_ms: 5,
        })?;
        Ok(self.story.see(self.stream).catalog_seq > seq)
    }

    fn tell_deleted(&mut self, origin: OriginTopicId, seq: u64) -> Result<(), Error> {
        self.story
            .run(&Command::ApplyTombstone {
                stream: self.stream,
                upstream: SOURCE,
                link_epoch: self.epoch,
                origin,
                owner_seq: CatalogSeq(seq),
                term: Some(1),
                source_seq: CatalogSeq(seq),
            })
            .map(|_| ())
    }

    fn partitions(&self) -> u32 {
        self.story.see(self.stream).topic_by_origin(TOPIC).unwrap().partition_count()
    }
}

#[test]
fn topics_come_grow_and_go_whatever_is_repeated() {
    let mut replica = Replica::new();
    assert!(replica.tell(TOLD).unwrap());
    assert!(!replica.tell(TOLD).unwrap(), "told twice, done once");
    assert!(replica.tell(Told { partitions: 5, seq: 2, ..TOLD }).unwrap());
    assert!(!replica.tell(TOLD).unwrap(), "an older state is not gone back to");
    assert_eq!(replica.partitions(), 5);
    assert_eq!(replica.story.see(replica.stream).upstreams[0].applied_seq, CatalogSeq(2));

    replica.tell_deleted(TOPIC, 3).unwrap();
    replica.tell_deleted(TOPIC, 3).unwrap();
    assert!(replica.story.see(replica.stream).topics.is_empty());
    assert!(!replica.tell(Told { seq: 4, ..TOLD }).unwrap(), "a late create brings nothing back");
    let reborn = Told { origin: OriginTopicId(0x71), seq: 5, ..TOLD };
    assert!(replica.tell(reborn).unwrap(), "an unrelated topic of the same name");
}

#[test]
fn fault_24_i5_the_second_owner_of_a_name_is_refused() {
    let mut replica = Replica::new();
    replica.story.topic(replica.stream, "mine").unwrap();
    let rival = replica.tell(Told { name: "mine", ..TOLD }).unwrap_err();
    assert_eq!(rival.kind(), ErrorKind::Policy);
    assert!(rival.message().contains("belongs to /mapr/newyork/activity, and"), "{rival}");
    assert!(replica.tell(Told { seq: 2, ..TOLD }).unwrap(), "the others flow");

    let topic = replica.story.see(replica.stream).topic_by_origin(TOPIC).unwrap().clone();
    let stream = replica.story.see(replica.stream).clone();
    let refused = stream.check_local_write(&topic).unwrap_err();
    assert!(refused.message().contains("replicated from /mapr/sanfrancisco/activity"), "{refused}");
    let delete = Command::DeleteTopic { stream: stream.id, topic: TOPIC };
    assert_eq!(replica.story.run(&delete).unwrap_err().kind(), ErrorKind::Policy);
    assert!(!stream.may_autocreate(), "an early consumer brings no rival into being");
}

#[test]
fn a_name_that_is_ambiguous_here_stops_that_topic_only() {
    let mut replica = Replica::new();
    replica.story.stream("/activity/x");
    let refused = replica.tell(Told { name: "x.y", ..TOLD }).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Policy);
    assert!(replica.tell(TOLD).unwrap());
}

#[test]
fn i6_nothing_is_taken_under_an_agreement_that_has_ended() {
    let mut replica = Replica::new();
    replica.tell(Told { seq: 7, ..TOLD }).unwrap();
    let stale = replica.epoch;
    replica.open(7).unwrap();
    let fresh = std::mem::replace(&mut replica.epoch, stale);
    assert_eq!(replica.tell(TOLD).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(replica.tell_deleted(TOPIC, 9).unwrap_err().kind(), ErrorKind::Fenced);
    replica.epoch = fresh;
    let backwards = replica.open(6).unwrap_err();
    assert!(backwards.message().starts_with("source went backwards"), "{backwards}");
    // Whose topics were taken over is to hear of that, however old the state it was restored from.
    let mut promoted = Replica { story: Story::new(), ..replica };
    promoted.story.catalog = replica.story.catalog.clone();
    promoted.story.run(&Command::FailOver { stream: replica.stream, upstream: None }).unwrap();
    promoted.open(6).unwrap();
    let upstream = promoted.story.see(replica.stream).upstream_by_id(SOURCE).unwrap();
    assert_eq!(upstream.applied_seq, CatalogSeq(6));

    let upstream = place(SOURCE_PLACE);
    replica.story.run(&Command::RemoveUpstream { stream: replica.stream, upstream }).unwrap();
    assert_eq!(replica.tell(TOLD).unwrap_err().kind(), ErrorKind::Fenced);
    let refused = replica.open(7).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    // Its topics stay, read-only, until somebody deletes them or fails over.
    let topic = replica.story.see(replica.stream).topic_by_origin(TOPIC).unwrap().clone();
    assert!(replica.story.see(replica.stream).check_local_write(&topic).is_err());
    // So they are under another agreement that does not bring them.
    let stream = replica.stream;
    let upstream = place("/mapr/boston/x");
    let stray = |replica: &Replica| replica.story.see(stream).stray_topic().is_some();
    assert!(stray(&replica));
    let delete = Command::DeleteTopic { stream, topic: TOPIC };
    let add = Command::AddUpstream { stream, upstream: upstream.clone(), stream_id: None };
    replica.story.run(&add).unwrap();
    assert!(!stray(&replica), "it may be who owns them");
    assert_eq!(replica.story.run(&delete).unwrap_err().kind(), ErrorKind::Policy);
    replica.story.run(&Command::RemoveUpstream { stream, upstream: upstream.clone() }).unwrap();
    let add = Command::AddUpstream { stream, upstream, stream_id: Some(StreamId(0x99)) };
    replica.story.run(&add).unwrap();
    assert!(stray(&replica));
    replica.story.run(&delete).unwrap();
}

#[test]
fn a_replica_inside_one_cluster_has_kafka_ids_of_its_own() {
    let mut story = Story::new();
    let (from, to) = (story.stream("/a"), story.stream("/b"));
    story.topic(from, "t").unwrap();
    let upstream = place("/mapr/newyork/a");
    story.run(&Command::AddUpstream { stream: to, upstream, stream_id: Some(from) }).unwrap();
    let topic = story.see(from).topics.values().next().unwrap().clone();
    let apply = Command::ApplyTopic {
        stream: to,
        upstream: from,
        link_epoch: story.see(to).upstreams[0].link_epoch,
        origin: topic.origin,
        name: topic.name.clone(),
        partitions: 3,
        timestamp_type: topic.timestamp_type,
        config: BTreeMap::new(),
        owner: topic.owner,
        owner_seq: topic.owner_seq,
        source_seq: topic.changed_seq,
        created_ms: topic.created_ms,
    };
    story.run(&apply).unwrap();
    let copy = story.see(to).topic_by_origin(topic.origin).unwrap();
    assert_ne!(copy.kafka_id, topic.kafka_id);
    assert_eq!(story.catalog.topic_by_kafka_id(copy.kafka_id).unwrap().0.id, to);
}

#[test]
fn i6_another_cluster_opens_nothing_by_knowing_a_uuid() {
    let mut replica = Replica::new();
    let before = replica.epoch;
    let hello = |source: &str| Command::OpenLink {
        stream: replica.stream,
        source: place(source),
        source_id: SOURCE,
        source_seq: CatalogSeq(0),
    };
    let (thief, moved) = (hello("/mapr/elsewhere/activity"), hello("/mapr/sanfrancisco/renamed"));
    assert_eq!(replica.story.run(&thief).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(replica.story.see(replica.stream).upstreams[0].link_epoch, before);
    replica.story.run(&moved).unwrap();
}

const GRANT: GrantId = GrantId::from_bytes([3; 16]);
const CHOSEN: StreamId = StreamId(0x99);

fn issue(path: &str, use_existing: bool) -> Command {
    Command::IssueGrant {
        grant: GRANT,
        replica_path: path.parse().unwrap(),
        replica_id: CHOSEN,
        source: place(SOURCE_PLACE),
        source_id: SOURCE,
        multimaster: true,
        use_existing,
        copy: false,
        expires_ms: 2000,
    }
}

fn create() -> Command {
    let settings = StreamSettings { ttl_seconds: 5, ..StreamSettings::default() };
    Command::CreateByGrant { grant: GRANT, replica_id: CHOSEN, settings }
}

#[test]
fn a_grant_makes_one_stream_and_may_be_shown_again() {
    let mut story = Story::new();
    assert_eq!(story.run(&create()).unwrap_err().kind(), ErrorKind::Denied);
    story.run(&issue("/copy", false)).unwrap();
    let other = Command::AddUpstreamByGrant { grant: GRANT, replica_id: StreamId(1) };
    assert_eq!(story.run(&other).unwrap_err().kind(), ErrorKind::Denied);
    let settings = ReplicaSettings::default();
    let steps = [
        create(),
        Command::AddUpstreamByGrant { grant: GRANT, replica_id: CHOSEN },
        Command::AddReplicaByGrant { grant: GRANT, replica_id: CHOSEN, settings },
    ];
    for step in &steps {
        assert!(!story.run(step).unwrap().is_empty());
        assert!(story.run(step).unwrap().is_empty(), "done already");
    }
    story.now_ms = 5000;
    for step in &steps {
        assert!(story.run(step).unwrap().is_empty(), "what is done can be confirmed later");
    }
    let stream = story.see(CHOSEN);
    assert_eq!((stream.path.as_str(), stream.settings.ttl_seconds), ("/copy", 5));
    assert!(stream.may_autocreate(), "both feed each other");
    assert_eq!(stream.upstreams[0].stream_id, Some(SOURCE));
}

#[test]
fn a_grant_does_not_touch_what_is_not_its_own() {
    let mut story = Story::new();
    story.run(&issue("/copy", false)).unwrap();
    let stranger = story.stream("/copy");
    let taken = story.run(&create()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Exists);
    let rollback = Command::RollbackByGrant { grant: GRANT, replica_id: CHOSEN };
    story.run(&rollback).unwrap();
    assert!(story.catalog.stream(stranger).is_some());
    assert!(story.catalog.grant(GRANT).is_none());

    let mut story = Story::new();
    story.run(&issue("/copy", false)).unwrap();
    story.now_ms = 2000;
    let late = story.run(&create()).unwrap_err();
    assert!(late.message().contains("expired"), "{late}");
}

#[test]
fn a_refused_setup_takes_back_only_what_nobody_touched() {
    let rollback = Command::RollbackByGrant { grant: GRANT, replica_id: CHOSEN };
    let mut story = Story::new();
    story.run(&issue("/copy", false)).unwrap();
    story.run(&create()).unwrap();
    story.run(&rollback).unwrap();
    assert!(story.catalog.stream(CHOSEN).is_none());

    story.run(&issue("/copy", false)).unwrap();
    story.run(&create()).unwrap();
    story.topic(CHOSEN, "somebody-s").unwrap();
    story.run(&rollback).unwrap();
    assert!(story.catalog.stream(CHOSEN).is_some());

    let path = "/there".parse().unwrap();
    let settings = StreamSettings::default();
    let mut story = Story::new();
    story.run(&Command::CreateStream { path, id: Some(CHOSEN), settings }).unwrap();
    assert_eq!(story.run(&issue("/there", false)).unwrap_err().kind(), ErrorKind::Exists);
    story.run(&issue("/there", true)).unwrap();
    assert!(story.run(&create()).unwrap().is_empty(), "it was there before");
    story.run(&rollback).unwrap();
    assert!(story.catalog.stream(CHOSEN).is_some());
}

#[test]
fn tombstones_stay_until_every_replica_knows() {
    let mut story = Story::new();
    let stream = story.stream("/a");
    let mut add = |cluster: &str| {
        let replica = place(&format!("/mapr/{cluster}/a"));
        let add = Command::AddReplica {
            stream,
            replica: replica.clone(),
            replica_id: None,
            settings: ReplicaSettings::default(),
            paused: false,
            setup: None,
        };
        story.run(&add).unwrap();
        replica
    };
    let (one, two) = (add("one"), add("two"));
    story.topic(stream, "t").unwrap();
    let topic = story.see(stream).topics.values().next().unwrap().origin;
    story.run(&Command::DeleteTopic { stream, topic }).unwrap();
    let seq = story.see(stream).catalog_seq;
    let mut ack = |replica: &mainstem_catalog::Place| {
        let link_epoch = story.see(stream).replica(replica).unwrap().link_epoch;
        let replica = replica.clone();
        story.run(&Command::AckTombstones { stream, replica, link_epoch, seq }).unwrap();
        story.see(stream).tombstones.len()
    };
    assert_eq!(ack(&one), 1, "the other one does not know yet");
    assert_eq!(ack(&two), 0);
}

#[test]
fn a_job_that_was_replaced_moves_nothing() {
    let mut story = Story::new();
    let stream = story.stream("/a");
    let replica = place("/mapr/one/a");
    let setup = |job| NewSetup {
        job: JobId(job),
        kind: SetupKind::Copy,
        grant: None,
        multimaster: false,
        direct_copy: true,
        use_existing: true,
        reads: 0,
    };
    let add = Command::AddReplica {
        stream,
        replica: replica.clone(),
        replica_id: None,
        settings: ReplicaSettings::default(),
        paused: true,
        setup: Some(setup(1)),
    };
    story.run(&add).unwrap();
    assert!(story.see(stream).replicas[0].is_active(), "a copy runs although it is paused");
    let again = |job| Command::BeginSetup { stream, replica: replica.clone(), setup: setup(job) };
    assert!(story.run(&again(1)).unwrap().is_empty());
    assert_eq!(story.run(&again(2)).unwrap_err().kind(), ErrorKind::Retry);
    let advance = |job, step| Command::AdvanceSetup {
        stream,
        replica: replica.clone(),
        job: JobId(job),
        step,
        percent: 100,
        error: None,
    };
    story.run(&advance(1, SetupStep::Replicating)).unwrap();
    assert!(!story.see(stream).replicas[0].is_active());
    story.run(&again(2)).unwrap();
    let late = story.run(&advance(1, SetupStep::Replicating)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Fenced);
}

/// An old master has deleted a topic, and its successor was promoted before it heard of that.
#[test]
fn a_topic_outlives_a_deletion_of_a_lower_term() {
    let told = |replica: &mut Replica, number: u64| {
        let tell = Command::ApplyTopic {
            stream: replica.stream,
            upstream: SOURCE,
            link_epoch: replica.epoch,
            origin: TOPIC,
            name: "t".parse().unwrap(),
            partitions: 2,
            timestamp_type: TimestampType::CreateTime,
            config: BTreeMap::new(),
            owner: Owner { stream: SOURCE, term: Term { number, id: TermId(number.into()) } },
            owner_seq: CatalogSeq(1),
            source_seq: CatalogSeq(0),
            created_ms: 5,
        };
        replica.story.run(&tell)?;
        let stream = replica.story.see(replica.stream);
        Ok::<_, Error>(stream.topic_by_origin(TOPIC).map(|topic| topic.owner.term.number))
    };
    // The successor's word comes first: the deletion means nothing any more.
    let mut replica = Replica::new();
    assert_eq!(told(&mut replica, 1), Ok(Some(1)));
    assert_eq!(told(&mut replica, 2), Ok(Some(2)));
    replica.tell_deleted(TOPIC, 3).unwrap();
    assert_eq!(told(&mut replica, 2), Ok(Some(2)));
    // The deletion comes first: the topic comes back.
    let mut replica = Replica::new();
    assert_eq!(told(&mut replica, 1), Ok(Some(1)));
    replica.tell_deleted(TOPIC, 3).unwrap();
    assert_eq!(told(&mut replica, 1), Ok(None), "of the same term it stays deleted");
    assert_eq!(told(&mut replica, 2), Ok(Some(2)));
    assert!(replica.story.see(replica.stream).tombstones.is_empty());
    assert_eq!(told(&mut replica, 2), Ok(Some(2)));
}

/// A topic that an upstream passes on for another owner.
fn relay(replica: &mut Replica, upstream: StreamId, name: &str, seq: u64) -> Result<(), Error> {
    let link_epoch = replica.story.see(replica.stream).upstream_by_id(upstream).unwrap().link_epoch;
    let tell = Command::ApplyTopic {
        stream: replica.stream,
        upstream,
        link_epoch,
        origin: TOPIC,
        name: name.parse().unwrap(),
        partitions: 1,
        timestamp_type: TimestampType::CreateTime,
        config: BTreeMap::new(),
        owner: Owner { stream: StreamId(0x77), term: Term { number: 1, id: TermId(1) } },
        owner_seq: CatalogSeq(seq),
        source_seq: CatalogSeq(0),
        created_ms: 5,
    };
    replica.story.run(&tell).map(drop)
}

#[test]
fn a_deletion_is_remembered_while_anybody_could_bring_the_topic_back() {
    const OTHER: StreamId = StreamId(0x51);
    let mut replica = Replica::new();
    let stream = replica.stream;
    let upstream = place("/mapr/boston/activity");
    let add = Command::AddUpstream { stream, upstream: upstream.clone(), stream_id: Some(OTHER) };
    replica.story.run(&add).unwrap();
    relay(&mut replica, SOURCE, "t", 1).unwrap();
    relay(&mut replica, OTHER, "t", 1).unwrap();
    let stones = |replica: &Replica| replica.story.see(stream).tombstones.len();
    replica.tell_deleted(TOPIC, 2).unwrap();
    let advance = Command::AdvanceUpstream {
        stream,
        upstream: SOURCE,
        link_epoch: replica.epoch,
        source_seq: CatalogSeq(2),
    };
    replica.story.run(&advance).unwrap();
    assert_eq!(stones(&replica), 1, "the other relay still has it");
    relay(&mut replica, OTHER, "t", 1).unwrap();
    assert!(replica.story.see(stream).topic_by_origin(TOPIC).is_none(), "and cannot bring it back");
    replica.story.run(&Command::RemoveUpstream { stream, upstream }).unwrap();
    assert_eq!(stones(&replica), 1, "there is another upstream, which may be late");
}

#[test]
fn i5_a_second_owner_is_refused_until_one_of_the_two_is_renamed() {
    const MINE: &str = "clicks";
    let mut replica = Replica::new();
    let stream = replica.stream;
    replica.story.topic(stream, MINE).unwrap();
    let error = replica.tell(TOLD).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    for said in ["/mapr/newyork/activity", SOURCE_PLACE, "topic rename"] {
        assert!(error.message().contains(said), "{error}");
    }
    let topic = replica.story.see(stream).topic(&MINE.parse().unwrap()).unwrap().origin;
    let rename = |name: &str| Command::RenameTopic { stream, topic, name: name.parse().unwrap() };
    replica.story.run(&rename("clicks-here")).unwrap();
    assert!(replica.tell(TOLD).unwrap(), "the conflict is over");
    let taken = replica.story.run(&rename(MINE)).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Exists);
    let foreign = Command::RenameTopic { stream, topic: TOPIC, name: "x".parse().unwrap() };
    assert_eq!(replica.story.run(&foreign).unwrap_err().kind(), ErrorKind::Policy, "not ours");
    replica.tell(Told { name: "visits", seq: 2, ..TOLD }).unwrap();
    let names: Vec<String> =
        replica.story.see(stream).topics.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["clicks-here", "visits"], "the owner's new name follows");
}

#[test]
fn two_topics_of_one_owner_may_change_names() {
    let mut replica = Replica::new();
    let other = OriginTopicId(0x71);
    replica.tell(Told { name: "a", ..TOLD }).unwrap();
    replica.tell(Told { origin: other, name: "b", seq: 2, ..TOLD }).unwrap();
    replica.tell(Told { name: "b", seq: 4, ..TOLD }).unwrap();
    replica.tell(Told { origin: other, name: "a", seq: 5, ..TOLD }).unwrap();
    let stream = replica.story.see(replica.stream);
    let origin = |name: &str| stream.topic(&name.parse().unwrap()).unwrap().origin;
    assert_eq!((origin("a"), origin("b")), (other, TOPIC));
    assert_eq!(stream.topics.len(), 2);
}

#[test]
fn of_two_topics_with_one_name_the_one_told_late_gives_way() {
    let mut replica = Replica::new();
    let other = OriginTopicId(0x71);
    // The owner gave the name away with 5; a relay still tells it of the topic that had it with 3.
    replica.tell(Told { origin: other, name: "a", seq: 5, ..TOLD }).unwrap();
    replica.tell(Told { name: "a", seq: 3, ..TOLD }).unwrap();
    let named = |replica: &Replica, name: &str| {
        let stream = replica.story.see(replica.stream);
        stream.topic(&name.parse().unwrap()).map(|topic| topic.origin)
    };
    assert_eq!(named(&replica, "a"), Some(other));
    assert_eq!(replica.story.see(replica.stream).topics.len(), 2);
    replica.tell(Told { name: "b", seq: 4, ..TOLD }).unwrap();
    assert_eq!((named(&replica, "a"), named(&replica, "b")), (Some(other), Some(TOPIC)));
}
