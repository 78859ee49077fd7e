//! Any commands in any order: what is decided can be applied, what is kept tells all, and the
//! invariants hold after each.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use mainstem_catalog::{
    Catalog, Command, Event, GrantId, NewSetup, Owner, Place, ReplicaSettings, ResolvedTopic,
    SetupKind, SetupStep, StreamPatch, StreamSettings, TopicPatch,
};
use mainstem_types::{
    CatalogSeq, ClusterId, JobId, KafkaName, LinkEpoch, OriginTopicId, PartitionNo, StreamId, Term,
    TermId, TimestampType,
};
use proptest::prelude::*;

/// A wish in small numbers, which choose among what is there.
#[derive(Clone, Debug)]
struct Wish {
    kind: u8,
    a: u8,
    b: u8,
    c: u8,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish =
        (0_u8..27, 0_u8..8, 0_u8..8, 0_u8..8).prop_map(|(kind, a, b, c)| Wish { kind, a, b, c });
    prop::collection::vec(wish, 1..120)
}

const PATHS: [&str; 8] = ["/a", "/a.b", "/a/b", "/b", "/a/b/c", "/c", "/d", "/a.b/c"];
const TOPICS: [&str; 8] = ["t", "b", "b.c", "b.c.t", "c", "c.t", "u", "a.b.t"];
const CLUSTERS: [&str; 3] = ["here", "there", "yonder"];

fn pick<'a>(from: &[&'a str], n: u8) -> &'a str {
    from[usize::from(n) % from.len()]
}

fn place(a: u8, b: u8) -> Place {
    Place { cluster: pick(&CLUSTERS, a).parse().unwrap(), path: pick(&PATHS, b).parse().unwrap() }
}

/// The uuid that streams elsewhere have in this story.
fn foreign(b: u8) -> StreamId {
    StreamId(0xf000 + u128::from(b))
}

impl Wish {
    fn stream(&self, catalog: &Catalog) -> StreamId {
        let ids: Vec<StreamId> = catalog.streams().map(|stream| stream.id).collect();
        let chosen = ids.get(usize::from(self.a) % ids.len().max(1)).copied();
        chosen.unwrap_or(StreamId(0xdead))
    }

    fn topic(&self, catalog: &Catalog) -> OriginTopicId {
        let stream = catalog.stream(self.stream(catalog));
        let topic = stream.and_then(|stream| {
            stream.topics.values().nth(usize::from(self.b) % stream.topics.len().max(1)).cloned()
        });
        topic.map_or(OriginTopicId(0xdead), |topic| topic.origin)
    }

    fn replica(&self, catalog: &Catalog) -> Place {
        let stream = catalog.stream(self.stream(catalog));
        let listed = stream.and_then(|stream| {
            let nth = usize::from(self.b) % stream.replicas.len().max(1);
            stream.replicas.get(nth).map(|replica| replica.place.clone())
        });
        listed.unwrap_or_else(|| place(self.b, self.c))
    }

    /// An upstream's pinned uuid and epoch, mostly as it stands.
    fn link(&self, catalog: &Catalog) -> (StreamId, LinkEpoch) {
        let stream = catalog.stream(self.stream(catalog));
        let upstream = stream.and_then(|stream| {
            stream.upstreams.get(usize::from(self.b) % stream.upstreams.len().max(1)).cloned()
        });
        let stale = u64::from(self.c == 7);
        upstream.map_or((foreign(self.b), LinkEpoch(1)), |upstream| {
            let source = upstream.stream_id.unwrap_or(foreign(self.b));
            (source, LinkEpoch(upstream.link_epoch.0 - stale))
        })
    }

    fn command(&self, catalog: &Catalog) -> Command {
        match self.kind {
            0..=8 => self.stream_command(catalog),
            9..=17 => self.agreement_command(catalog),
            _ => self.other_command(catalog),
        }
    }

    fn stream_command(&self, catalog: &Catalog) -> Command {
        let stream = self.stream(catalog);
        let path = || pick(&PATHS, self.a).parse().unwrap();
        match self.kind {
            0 | 1 => Command::CreateStream {
                path: path(),
                id: None,
                settings: StreamSettings { is_changelog: self.b == 1, ..StreamSettings::default() },
            },
            2 => Command::EditStream {
                path: path(),
                patch: StreamPatch { ttl_seconds: Some(self.b.into()), ..StreamPatch::default() },
            },
            3 if self.b < 2 => Command::DeleteStream { path: path() },
            3..=5 => Command::CreateTopic {
                stream,
                name: pick(&TOPICS, self.b).parse().unwrap(),
                partitions: (self.c > 0).then(|| self.c.into()),
                timestamp_type: None,
                config: BTreeMap::new(),
            },
            6 | 7 => Command::EditTopic {
                stream,
                topic: self.topic(catalog),
                patch: TopicPatch { partitions: Some(self.c.into()), ..TopicPatch::default() },
            },
            8 if self.c > 3 => Command::RenameTopic {
                stream,
                topic: self.topic(catalog),
                name: pick(&TOPICS, self.c).parse().unwrap(),
            },
            _ => Command::DeleteTopic { stream, topic: self.topic(catalog) },
        }
    }

    fn agreement_command(&self, catalog: &Catalog) -> Command {
        let stream = self.stream(catalog);
        let listed = || self.replica(catalog);
        let job = JobId(self.c.into());
        let setup = NewSetup {
            job,
            kind: SetupKind::Copy,
            grant: None,
            multimaster: false,
            direct_copy: true,
            use_existing: false,
            reads: 0,
        };
        match self.kind {
            9 => Command::AddReplica {
                stream,
                replica: place(self.b, self.c),
                replica_id: (self.b > 3).then(|| foreign(self.b)),
                settings: ReplicaSettings::default(),
                paused: self.c == 1,
                setup: (self.c == 2).then_some(setup),
            },
            10 => Command::PauseReplica { stream, replica: listed() },
            11 => Command::ResumeReplica { stream, replica: listed() },
            12 => Command::RemoveReplica { stream, replica: listed() },
            13 => Command::BeginSetup { stream, replica: listed(), setup },
            14 => Command::AdvanceSetup {
                stream,
                replica: listed(),
                job,
                step: if self.b < 4 { SetupStep::CopyInProgress } else { SetupStep::Replicating },
                percent: self.b.into(),
                error: None,
            },
            15 => Command::RaiseReplicaEpoch { stream, replica: listed() },
            16 => {
                let epoch = catalog
                    .stream(stream)
                    .and_then(|stream| stream.replica(&listed()).map(|replica| replica.link_epoch));
                Command::AckTombstones {
                    stream,
                    replica: listed(),
                    link_epoch: epoch.unwrap_or_default(),
                    seq: CatalogSeq(u64::from(self.c) * 3),
                }
            }
            _ => Command::AddUpstream {
                stream,
                upstream: place(self.b, self.c),
                stream_id: (self.c > 3).then(|| foreign(self.c)),
            },
        }
    }

    fn other_command(&self, catalog: &Catalog) -> Command {
        let stream = self.stream(catalog);
        let (upstream, link_epoch) = self.link(catalog);
        let grant = GrantId::from_bytes([self.a; 16]);
        let replica_id = StreamId(0xab00 + u128::from(self.a));
        match self.kind {
            18 => Command::RemoveUpstream { stream, upstream: place(self.b, self.c) },
            19 | 20 => Command::OpenLink {
                stream,
                source: place(self.b, self.c),
                source_id: foreign(self.c),
                source_seq: CatalogSeq(u64::from(self.b)),
            },
            21 | 22 => Command::ApplyTopic {
                stream,
                upstream,
                link_epoch,
                origin: OriginTopicId(0x100 + u128::from(self.b % 3)),
                name: pick(&TOPICS, self.b).parse().unwrap(),
                partitions: u32::from(self.c) + 1,
                timestamp_type: TimestampType::CreateTime,
                config: BTreeMap::new(),
                owner: Owner {
                    // Also one who passes it on.
                    stream: if self.a > 4 { foreign(self.c % 3) } else { upstream },
                    term: Term { number: 1 + u64::from(self.a == 3), id: TermId(1) },
                },
                owner_seq: CatalogSeq(u64::from(self.c)),
                source_seq: CatalogSeq(u64::from(self.c)),
                created_ms: 0,
            },
            23 => Command::ApplyTombstone {
                stream,
                upstream,
                link_epoch,
                origin: OriginTopicId(0x100 + u128::from(self.b % 3)),
                owner_seq: CatalogSeq(9),
                term: (self.a != 2).then_some(1 + u64::from(self.a == 1)),
                source_seq: CatalogSeq(u64::from(self.c)),
            },
            24 => Command::IssueGrant {
                grant,
                replica_path: pick(&PATHS, self.b).parse().unwrap(),
                replica_id,
                source: place(1, self.c),
                source_id: foreign(self.c),
                multimaster: self.c > 3,
                use_existing: self.a % 2 == 1,
                copy: self.a > 3,
                expires_ms: i64::from(self.b) * 300,
            },
            25 => match self.c % 5 {
                0 => Command::RollbackByGrant { grant, replica_id },
                1 => Command::AddUpstreamByGrant { grant, replica_id },
                2 => Command::AddReplicaByGrant {
                    grant,
                    replica_id,
                    settings: ReplicaSettings::default(),
                },
                3 => Command::TakeOverByGrant {
                    grant,
                    replica_id,
                    topics: vec![OriginTopicId(0x100 + u128::from(self.b % 3))],
                    more: self.a.is_multiple_of(3),
                },
                _ => Command::CreateByGrant {
                    grant,
                    replica_id,
                    settings: StreamSettings::default(),
                },
            },
            _ => Command::ReserveProducerIds { count: 1 << (20 + u32::from(self.a % 5)) },
        }
    }
}

/// What must never come back, whatever happens.
#[derive(Default)]
struct Seen {
    partitions: BTreeSet<PartitionNo>,
    epochs: BTreeMap<StreamId, LinkEpoch>,
    seqs: BTreeMap<StreamId, CatalogSeq>,
}

impl Seen {
    fn check(&mut self, catalog: &Catalog) {
        let mut names = BTreeSet::new();
        for stream in catalog.streams() {
            let epoch = self.epochs.entry(stream.id).or_default();
            assert!(*epoch <= stream.link_epoch, "link epochs never go down");
            *epoch = stream.link_epoch;
            let seq = self.seqs.entry(stream.id).or_default();
            assert!(*seq <= stream.catalog_seq, "a stream's sequence never goes down");
            *seq = stream.catalog_seq;
            assert!(stream.replicas.is_sorted_by_key(|replica| replica.idx));
            assert!(stream.upstreams.is_sorted_by_key(|upstream| upstream.idx));
            for stone in stream.tombstones.values() {
                let listed = |id: &StreamId| stream.upstream_by_id(*id).is_some();
                assert!(stone.waits_for.iter().all(listed), "it waits for who is gone");
            }
            for topic in stream.topics.values() {
                let name = KafkaName::of(&stream.path, &topic.name).unwrap();
                let (home, found) = catalog.resolve(name.as_str()).unwrap();
                assert_eq!(home.id, stream.id, "{name} means another stream");
                assert_eq!(found, ResolvedTopic::Existing(topic.clone()));
                assert!(names.insert(name), "two topics of one Kafka name");
                assert!(!stream.tombstones.contains_key(&topic.origin), "a deleted topic lives");
                assert_eq!(stream.topic_by_origin(topic.origin), Some(topic));
                let (home, found) = catalog.topic_by_kafka_id(topic.kafka_id).unwrap();
                assert_eq!((home.id, found.origin), (stream.id, topic.origin));
                for (index, no) in (0..).zip(&topic.partitions) {
                    let home = catalog.partition(*no).unwrap();
                    assert_eq!((home.topic, home.index), (topic.origin, index));
                    assert_eq!(home.stream, stream.id);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn i5_whatever_is_asked_the_catalog_stays_whole(wishes in wishes()) {
        let mut catalog = Catalog::new();
        let mut replayed = Catalog::new();
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut seen = Seen::default();
        let ids = Cell::new(1_u128);
        let draw = || {
            ids.set(ids.get() + 1);
            ids.get() << 64 | ids.get()
        };
        let name = "here".parse().unwrap();
        let found = Command::FoundCluster { id: ClusterId(7), name, incarnation: 1 };
        let commands = wishes.iter().map(Some);
        for (now_ms, wish) in (0..).zip([None].into_iter().chain(commands)) {
            let command = wish.map_or_else(|| found.clone(), |wish| wish.command(&catalog));
            let Ok(events) = catalog.decide(&command, &draw, now_ms * 10) else { continue };
            for event in &events {
                let applied = catalog.apply(event);
                for no in &applied.partitions_added {
                    prop_assert!(seen.partitions.insert(*no), "partition numbers never come back");
                }
                for (no, _) in &applied.partitions_removed {
                    prop_assert!(catalog.partition(*no).is_none());
                }
                for key in &applied.rows {
                    match catalog.row(key) {
                        Some(value) => rows.insert(key.to_bytes(), value),
                        None => rows.remove(&key.to_bytes()),
                    };
                }
                replayed.apply(&Event::decode(&event.encode()).unwrap());
            }
            seen.check(&catalog);
        }
        prop_assert!(replayed == catalog, "the log tells all");
        let all: BTreeMap<Vec<u8>, Vec<u8>> = catalog
            .row_keys()
            .iter()
            .map(|key| (key.to_bytes(), catalog.row(key).unwrap()))
            .collect();
        prop_assert_eq!(&rows, &all, "every change names its rows");
        prop_assert!(Catalog::from_rows(rows).unwrap() == catalog, "the rows tell all");
    }
}
