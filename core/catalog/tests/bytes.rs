//! The bytes of events and rows: golden files, round trips, damage, and what a newer version may
//! have written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainstem_catalog::{
    Aside, Catalog, Event, Grant, GrantId, Handover, HandoverStep, Owner, Place, Replica,
    ReplicaSettings, RiskRange, RiskWindow, RowKey, Setup, SetupKind, SetupStep, StreamSettings,
    SyncPolicy, SyncState, SyncTimeoutMs, Tombstone, Undo, Upstream,
};
use mainstem_types::{
    CatalogSeq, ClusterId, JobId, KafkaTopicId, LinkEpoch, OriginTopicId, PartitionNo, StreamId,
    Term, TermId, TimestampType,
};

use proptest::prelude::*;

const STREAM: StreamId = StreamId(0x5);
const SOURCE: StreamId = StreamId(0x99);
const TOPIC: OriginTopicId = OriginTopicId(0x70);
const GRANT: GrantId = GrantId::from_bytes([7; 16]);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/catalog/v1")
}

fn place(cluster: &str) -> Place {
    Place { cluster: cluster.parse().unwrap(), path: "/apps/orders".parse().unwrap() }
}

fn term() -> Term {
    Term { number: 1, id: TermId(0x7e) }
}

fn config() -> BTreeMap<String, String> {
    BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())])
}

fn undo() -> Undo {
    Undo {
        job: JobId(0x10b),
        grant: GRANT,
        place: place("newyork"),
        replica_id: StreamId(0x6),
        stream: STREAM,
        since_ms: 1_700_000_000_000,
    }
}

fn replica() -> Replica {
    Replica {
        idx: 1,
        place: place("newyork"),
        replica_id: Some(StreamId(0x6)),
        settings: ReplicaSettings::default(),
        paused: true,
        link_epoch: LinkEpoch(1),
        acked_tombstone_seq: CatalogSeq(0),
        created_ms: 1_700_000_000_000,
        setup: Some(Setup {
            job: JobId(0x10b),
            kind: SetupKind::Autosetup,
            step: SetupStep::CopyInProgress,
            grant: Some(GRANT),
            multimaster: false,
            direct_copy: true,
            use_existing: false,
            percent: 40,
            error: Some("waiting".to_owned()),
            reads: 0,
        }),
        sync_state: SyncState::Async,
        windows: Vec::new(),
        handover: None,
    }
}

/// One event of each kind, in an order in which they can be applied.
fn events() -> Vec<(&'static str, Event)> {
    let owner = Owner { stream: STREAM, term: term() };
    let cluster = || "newyork".parse().unwrap();
    let topic = |first: u64, partitions, seq| Event::TopicCreated {
        stream: STREAM,
        origin: OriginTopicId(TOPIC.0 + u128::from(seq)),
        kafka_id: KafkaTopicId(TOPIC.0 + u128::from(seq)),
        name: format!("clicks-{seq}").parse().unwrap(),
        first_partition: PartitionNo(first),
        partitions,
        timestamp_type: TimestampType::CreateTime,
        config: config(),
        owner,
        seq: CatalogSeq(seq),
        owner_seq: CatalogSeq(seq),
        created_ms: 1_700_000_000_000,
    };
    let upstream = Upstream {
        idx: 1,
        place: place("boston"),
        stream_id: Some(SOURCE),
        link_epoch: LinkEpoch(2),
        applied_seq: CatalogSeq(3),
        created_ms: 1_700_000_000_000,
        copy: None,
    };
    let grant = Grant {
        id: GRANT,
        replica_path: "/copy".parse().unwrap(),
        replica_id: StreamId(0x8),
        source: place("boston"),
        source_id: SOURCE,
        multimaster: true,
        use_existing: false,
        expires_ms: 1_700_000_009_000,
        copy: false,
    };
    vec![
        (
            "00-ClusterFounded",
            Event::ClusterFounded {
                id: ClusterId(7),
                name: "sanfrancisco".parse().unwrap(),
                incarnation: u64::MAX,
            },
        ),
        (
            "01-StreamCreated",
            Event::StreamCreated {
                id: STREAM,
                path: "/apps/orders".parse().unwrap(),
                settings: StreamSettings::default(),
                term: term(),
                created_ms: 1_700_000_000_000,
            },
        ),
        (
            "02-StreamEdited",
            Event::StreamEdited {
                stream: STREAM,
                settings: StreamSettings { ttl_seconds: 0, ..StreamSettings::default() },
            },
        ),
        ("04-TopicCreated", topic(1, 3, 1)),
        (
            "05-TopicChanged",
            Event::TopicChanged {
                stream: STREAM,
                origin: OriginTopicId(TOPIC.0 + 1),
                first_partition: PartitionNo(4),
                added: 2,
                timestamp_type: TimestampType::LogAppendTime,
                config: BTreeMap::new(),
                owner,
                seq: CatalogSeq(2),
                owner_seq: CatalogSeq(2),
            },
        ),
        ("04-TopicCreated-second", topic(6, 1, 3)),
        (
            "06-TopicDeleted",
            Event::TopicDeleted {
                stream: STREAM,
                origin: OriginTopicId(TOPIC.0 + 3),
                seq: CatalogSeq(4),
                owner_seq: CatalogSeq(4),
                term: None,
            },
        ),
        ("08-ReplicaSet", Event::ReplicaSet { stream: STREAM, replica: replica() }),
        ("10-UpstreamSet", Event::UpstreamSet { stream: STREAM, upstream }),
        (
            "12-GatewaysSet",
            Event::GatewaysSet { cluster: cluster(), gateways: vec!["gw1:7660".to_owned()] },
        ),
        ("14-GrantIssued", Event::GrantIssued { grant }),
        (
            "16-ProducerIdsReserved",
            Event::ProducerIdsReserved { incarnation: u64::MAX, next: 1000 },
        ),
        // From here on things end; the rows are taken before.
        ("07-TombstonesFreed", Event::TombstonesFreed { stream: STREAM, through: CatalogSeq(4) }),
        (
            "20-OwnerChanged",
            Event::OwnerChanged {
                stream: STREAM,
                topics: vec![OriginTopicId(TOPIC.0 + 1)],
                owner: Owner { stream: SOURCE, term: Term { number: 2, id: TermId(0x7f) } },
                seq: CatalogSeq(5),
            },
        ),
        (
            "21-TermSeen",
            Event::TermSeen { stream: STREAM, term: Term { number: 3, id: TermId(0x80) } },
        ),
        (
            "22-SetAsideCreated",
            Event::SetAsideCreated {
                stream: STREAM,
                origin: OriginTopicId(TOPIC.0 + 9),
                kafka_id: KafkaTopicId(TOPIC.0 + 9),
                name: "clicks-1.setaside-2".parse().unwrap(),
                first_partition: PartitionNo(7),
                partitions: 5,
                timestamp_type: TimestampType::CreateTime,
                config: config(),
                seq: CatalogSeq(6),
                aside: Aside {
                    origin: OriginTopicId(TOPIC.0 + 1),
                    name: "clicks-1".parse().unwrap(),
                    written_by: STREAM,
                    written_in: term().id,
                    displaced_by: Owner {
                        stream: SOURCE,
                        term: Term { number: 2, id: TermId(0x7f) },
                    },
                    set_aside_ms: 1_700_000_000_000,
                },
            },
        ),
        (
            "09-ReplicaRemoved",
            Event::ReplicaRemoved { stream: STREAM, idx: 1, link_epoch: LinkEpoch(3) },
        ),
        (
            "11-UpstreamRemoved",
            Event::UpstreamRemoved { stream: STREAM, idx: 1, link_epoch: LinkEpoch(4) },
        ),
        ("13-GatewaysDeleted", Event::GatewaysDeleted { cluster: cluster() }),
        ("15-GrantDropped", Event::GrantDropped { grant: GRANT }),
        ("03-StreamDeleted", Event::StreamDeleted { stream: STREAM }),
    ]
}

fn check_golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(name);
    if std::env::var_os("MAINSTEM_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(bytes, golden, "{name} is written otherwise than before");
    golden
}

#[test]
fn events_are_written_as_they_were_released() {
    let mut kinds: Vec<&str> = Vec::new();
    for (name, event) in events() {
        let golden = check_golden(&format!("{name}.event"), &event.encode());
        assert_eq!(Event::decode(&golden).unwrap(), event);
        kinds.push(&name[..2]);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 20, "an event without a golden file");
}

#[test]
fn rows_are_written_as_they_were_released() {
    let mut catalog = Catalog::new();
    for (_, event) in events().iter().take_while(|(name, _)| !name.starts_with("07")) {
        catalog.apply(event);
    }
    let keys = catalog.row_keys();
    let mut tags: Vec<u8> = keys.iter().map(|key| key.to_bytes()[0]).collect();
    tags.dedup();
    assert_eq!(tags, (1..=8).collect::<Vec<u8>>(), "a row without a golden file");
    let mut rows = Vec::new();
    for key in keys {
        let name = format!("{}-{}.row", key.to_bytes()[0], row_name(&key));
        rows.push((key.to_bytes(), check_golden(&name, &catalog.row(&key).unwrap())));
    }
    assert!(Catalog::from_rows(rows).unwrap() == catalog);
}

fn row_name(key: &RowKey) -> &'static str {
    match key {
        RowKey::Cluster => "Cluster",
        RowKey::Stream(_) => "Stream",
        RowKey::Topic(..) => "Topic",
        RowKey::Tombstone(..) => "Tombstone",
        RowKey::Replica(..) => "Replica",
        RowKey::Upstream(..) => "Upstream",
        RowKey::Gateways(_) => "Gateways",
        RowKey::Grant(_) => "Grant",
        RowKey::Undo(_) => "Undo",
    }
}

#[test]
fn what_is_cut_or_followed_by_more_is_corrupt() {
    for (name, event) in events() {
        let bytes = event.encode();
        for length in 0..bytes.len() {
            assert!(Event::decode(&bytes[..length]).is_err(), "{name} at {length}");
        }
        let more = [bytes, vec![0]].concat();
        assert!(Event::decode(&more).is_err(), "{name}");
    }
}

#[test]
fn a_field_of_a_newer_version_is_passed_over() {
    // [16, {0: incarnation, 1: next, 9: "later"}]
    let mut bytes = Vec::new();
    let mut e = minicbor::Encoder::new(&mut bytes);
    e.array(2).unwrap().u32(16).unwrap().map(3).unwrap();
    e.u32(0).unwrap().u64(5).unwrap().u32(9).unwrap().str("later").unwrap();
    e.u32(1).unwrap().u32(8).unwrap();
    let event = Event::decode(&bytes).unwrap();
    assert_eq!(event, Event::ProducerIdsReserved { incarnation: 5, next: 8 });
}

#[test]
fn rows_that_do_not_fit_are_corrupt() {
    let mut catalog = Catalog::new();
    for (_, event) in events().iter().take(4) {
        catalog.apply(event);
    }
    let rows: Vec<_> =
        catalog.row_keys().iter().map(|key| (key.to_bytes(), catalog.row(key).unwrap())).collect();
    for missing in 1..rows.len() - 1 {
        let mut fewer = rows.clone();
        fewer.remove(missing);
        assert!(Catalog::from_rows(fewer).is_err(), "topics without their stream");
    }
    let twice = rows.iter().chain(&rows).cloned();
    assert!(Catalog::from_rows(twice).is_err());
    assert!(Catalog::from_rows([(vec![99], vec![0])]).is_err());
    assert!(Catalog::from_rows([(Vec::new(), vec![0])]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_fall_over(
        which in 0_usize..21,
        at in any::<prop::sample::Index>(),
        byte: u8,
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = events()[which].1.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for damaged in [bytes, noise] {
            if let Ok(event) = Event::decode(&damaged) {
                prop_assert_eq!(Event::decode(&event.encode()).unwrap(), event);
            }
            let _ = Catalog::from_rows([(vec![1], damaged)]);
        }
    }
}

#[test]
fn a_lag_that_is_not_the_usual_is_written_as_it_was_released() {
    for (name, seconds) in [("02-StreamEdited-lag.event", 300), ("02-StreamEdited-no-lag.event", 0)]
    {
        let settings =
            StreamSettings { lag_alarm_seconds: Some(seconds), ..StreamSettings::default() };
        let event = Event::StreamEdited { stream: STREAM, settings };
        assert_eq!(Event::decode(&check_golden(name, &event.encode())).unwrap(), event);
    }
    let alarm_ms = |lag_alarm_seconds| {
        StreamSettings { lag_alarm_seconds, ..StreamSettings::default() }.lag_alarm_ms()
    };
    let told = [alarm_ms(None), alarm_ms(Some(300)), alarm_ms(Some(0))];
    assert_eq!(told, [Some(60_000), Some(300_000), None]);
}

#[test]
fn what_came_later_is_written_as_it_was_released() {
    let told = |found: fn(&Event) -> bool| events().into_iter().find(|(_, e)| found(e)).unwrap().1;
    let Event::UpstreamSet { stream, upstream } =
        told(|event| matches!(event, Event::UpstreamSet { .. }))
    else {
        unreachable!("it was looked for")
    };
    let Event::GrantIssued { grant } = told(|event| matches!(event, Event::GrantIssued { .. }))
    else {
        unreachable!("it was looked for")
    };
    let upstream = Upstream { copy: Some(GRANT), ..upstream };
    let events = [
        ("10-UpstreamSet-copy.event", Event::UpstreamSet { stream, upstream }),
        ("32-UndoBegun.event", Event::UndoBegun { undo: undo() }),
        ("33-UndoEnded.event", Event::UndoEnded { job: JobId(0x10b) }),
        ("14-GrantIssued-copy.event", Event::GrantIssued { grant: Grant { copy: true, ..grant } }),
    ];
    for (name, event) in events {
        assert_eq!(Event::decode(&check_golden(name, &event.encode())).unwrap(), event);
    }
}

#[test]
fn names_and_the_memory_of_deletions_are_written_as_they_were_released() {
    let mut catalog = Catalog::new();
    for (_, event) in events().iter().take_while(|(name, _)| !name.starts_with("07")) {
        catalog.apply(event);
    }
    let (renamed, deleted) = (OriginTopicId(TOPIC.0 + 1), OriginTopicId(TOPIC.0 + 3));
    let seq = CatalogSeq(5);
    let name = "visits".parse().unwrap();
    for (file, event) in [
        (
            "25-TopicRenamed.event",
            Event::TopicRenamed { stream: STREAM, origin: renamed, name, seq, owner_seq: seq },
        ),
        (
            "26-TopicTold.event",
            Event::TopicTold { stream: STREAM, origin: renamed, upstream: SOURCE },
        ),
        (
            "27-TombstoneWaits.event",
            Event::TombstoneWaits { stream: STREAM, origin: deleted, waits_for: vec![SOURCE] },
        ),
    ] {
        assert_eq!(Event::decode(&check_golden(file, &event.encode())).unwrap(), event);
        catalog.apply(&event);
    }
    let mut rows = Vec::new();
    for key in catalog.row_keys() {
        let value = catalog.row(&key).unwrap();
        match &key {
            RowKey::Topic(..) => _ = check_golden("3-Topic-told.row", &value),
            RowKey::Tombstone(..) => _ = check_golden("4-Tombstone-waits.row", &value),
            _ => {}
        }
        rows.push((key.to_bytes(), value));
    }
    assert!(Catalog::from_rows(rows).unwrap() == catalog);
}

#[test]
fn what_stands_for_a_synchronous_replica_is_written_as_it_was_released() {
    let range = |partition, from| RiskRange { partition: PartitionNo(partition), from, to: None };
    let settings = ReplicaSettings {
        synchronous: true,
        sync_timeout_ms: SyncTimeoutMs(2_500),
        sync_policy: SyncPolicy::Refuse,
        ..ReplicaSettings::default()
    };
    let set = Replica { settings, sync_state: SyncState::InForce, setup: None, ..replica() };
    let window = RiskWindow {
        from_ms: 1_700_000_000_000,
        to_ms: None,
        ranges: vec![range(1, 10)],
        is_partial: false,
    };
    let events = [
        ("08-ReplicaSet-synchronous.event", Event::ReplicaSet { stream: STREAM, replica: set }),
        ("17-ReplicaDegraded.event", Event::ReplicaDegraded { stream: STREAM, idx: 1, window }),
        (
            "18-RiskWidened.event",
            Event::RiskWidened {
                stream: STREAM,
                idx: 1,
                ranges: vec![range(2, 0)],
                is_partial: true,
            },
        ),
        (
            "19-ReplicaInForce.event",
            Event::ReplicaInForce {
                stream: STREAM,
                idx: 1,
                at_ms: 1_700_000_060_000,
                ends: vec![20, 5],
            },
        ),
    ];
    let mut catalog = Catalog::new();
    catalog.apply(&self::events()[1].1);
    for (name, event) in events {
        let golden = check_golden(name, &event.encode());
        assert_eq!(Event::decode(&golden).unwrap(), event);
        for length in 0..golden.len() {
            assert!(Event::decode(&golden[..length]).is_err(), "{name} at {length}");
        }
        catalog.apply(&event);
    }
    let key = RowKey::Replica(STREAM, 1);
    check_golden("5-Replica-synchronous.row", &catalog.row(&key).unwrap());
    let rows = catalog.row_keys().into_iter();
    let rows = rows.map(|key| (key.to_bytes(), catalog.row(&key).unwrap()));
    assert!(Catalog::from_rows(rows).unwrap() == catalog);
}

#[test]
fn what_is_to_be_taken_back_has_a_row() {
    let mut catalog = Catalog::new();
    let applied = catalog.apply(&Event::UndoBegun { undo: undo() });
    let key = RowKey::Undo(JobId(0x10b));
    assert_eq!(applied.rows, std::slice::from_ref(&key));
    let value = check_golden("32-Undo.row", &catalog.row(&key).unwrap());
    let read = Catalog::from_rows([
        (RowKey::Cluster.to_bytes(), catalog.row(&RowKey::Cluster).unwrap()),
        (key.to_bytes(), value),
    ])
    .unwrap();
    assert_eq!(read, catalog);
    catalog.apply(&Event::UndoEnded { job: JobId(0x10b) });
    assert_eq!((catalog.row(&key), catalog.undos().count()), (None, 0));
}

#[test]
fn rows_of_another_owner_and_of_what_is_set_aside_are_written_as_they_were_released() {
    let mut catalog = Catalog::new();
    for (_, event) in events().iter().take_while(|(name, _)| !name.starts_with("09")) {
        catalog.apply(event);
    }
    let keys = catalog.row_keys();
    let shown = |key: &&RowKey| match key {
        RowKey::Stream(_) => Some("2-Stream-seen.row"),
        RowKey::Topic(_, origin) if origin.0 == TOPIC.0 + 9 => Some("3-Topic-aside.row"),
        _ => None,
    };
    let mut found = 0;
    for (key, name) in keys.iter().filter_map(|key| Some((key, shown(&key)?))) {
        check_golden(name, &catalog.row(key).unwrap());
        found += 1;
    }
    assert_eq!(found, 2);
    let rows = keys.iter().map(|key| (key.to_bytes(), catalog.row(key).unwrap()));
    assert!(Catalog::from_rows(rows).unwrap() == catalog);
}

#[test]
fn a_hand_over_and_a_failback_are_written_as_they_were_released() {
    let handover = Handover {
        job: JobId(0x10c),
        term: Term { number: 2, id: TermId(0x7f) },
        step: HandoverStep::TakenBack,
        deadline_ms: 1_700_000_030_000,
        error: Some("late".to_owned()),
        offered_ms: None,
    };
    let setup = replica().setup.map(|setup| Setup { kind: SetupKind::Failback, ..setup });
    let replica = Replica { handover: Some(handover), setup, ..replica() };
    let event = Event::ReplicaSet { stream: STREAM, replica };
    let golden = check_golden("08-ReplicaSet-handover.event", &event.encode());
    assert_eq!(Event::decode(&golden).unwrap(), event);
    let Event::ReplicaSet { stream, replica } = event else { unreachable!("made above") };
    let handover = replica.handover.map(|h| Handover { offered_ms: Some(1), ..h });
    let event = Event::ReplicaSet { stream, replica: Replica { handover, ..replica } };
    assert_eq!(Event::decode(&event.encode()).unwrap(), event);
}

#[test]
fn a_deletion_of_before_terms_were_kept_is_read() {
    let golden = std::fs::read(folder().join("4-Tombstone.row")).unwrap();
    let today: Tombstone = minicbor::decode(&golden).unwrap();
    // The same map without its last entries.
    let owner = minicbor::to_vec(today.owner).unwrap().len() + 1;
    let mut before = golden[..golden.len() - owner].to_vec();
    before[0] -= 1;
    let read: Tombstone = minicbor::decode(&before).unwrap();
    assert_eq!(read, Tombstone { owner: None, ..today.clone() });
    before.truncate(before.len() - 2);
    before[0] -= 1;
    let read: Tombstone = minicbor::decode(&before).unwrap();
    assert_eq!(read, Tombstone { term: None, owner: None, ..today });
    let any = mainstem_types::Term { number: u64::MAX, id: TermId(1) };
    assert!(!read.is_outlived_by(any), "it stays deleted");
}
