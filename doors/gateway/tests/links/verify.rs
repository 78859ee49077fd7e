//! Proofs of equality between two clusters, with a difference planted behind the link's back.

use bytes::Bytes;
use mainstem_api::links::{VerifiedPartition, VerifyReport};
use mainstem_catalog::{Command, Owner, Place};
use mainstem_engine::{LinkName, ReplicaAppend, ReplicaBatch};
use mainstem_link::DigestRange;
use mainstem_record::BatchBuilder;
use mainstem_types::{
    CatalogSeq, ErrorKind, JobId, LineageEntry, OriginTopicId, StreamId, StreamRef, Term, TopicName,
};

use crate::cluster::{Cluster, Group, until};

fn named(place: &Place) -> StreamRef {
    StreamRef { cluster: Some(place.cluster.clone()), path: place.path.clone() }
}

async fn ended(source: &Cluster, job: JobId) -> VerifyReport {
    let report = || source.links().verification(job).expect("it is remembered");
    until("the verification is over", || report().finished.is_some()).await;
    report()
}

pub(crate) async fn verified(
    source: &Cluster,
    from: StreamId,
    replica: &Place,
) -> Vec<VerifiedPartition> {
    let job = source.links().start_verify(from, &named(replica), None).unwrap();
    let report = ended(source, job).await;
    assert_eq!(report.finished, Some(Ok(())));
    assert_eq!(report.percent, 100);
    report.partitions
}

/// A stream and its replica, agreed on by both.
pub(crate) async fn pair(group: &Group) -> (Cluster, StreamId, Cluster, StreamId) {
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let to = replica.create_stream("/s").await;
    replica.add_upstream(to, source.place("/s")).await;
    source.add_replica(from, replica.place("/s"), false).await;
    (source, from, replica, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_replica_is_proved_identical_and_lag_is_no_difference() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let place = replica.place("/s");
    source.create_topic(from, "t", 3).await;
    for n in 0..90 {
        source.produce(from, "t", n % 3, &format!("{n}")).await.unwrap();
    }
    until("it flows", || source.content(from) == replica.content(to)).await;
    let rows = verified(&source, from, &place).await;
    let told: Vec<_> =
        rows.iter().map(|row| (row.partition, row.status, row.from, row.to)).collect();
    assert_eq!(told, [(0, "identical", 0, 30), (1, "identical", 0, 30), (2, "identical", 0, 30)]);
    assert!(rows.iter().all(|row| row.lag_records == 0 && row.time_ms > 0 && row.offset.is_none()));

    let pause = Command::PauseReplica { stream: from, replica: place.clone() };
    source.engine.change(pause).await.unwrap();
    source.produce(from, "t", 1, "later").await.unwrap();
    let no = source.partition(from, "t", 2);
    source.engine.trim(no, 7).await.unwrap();
    let rows = verified(&source, from, &place).await;
    assert!(rows.iter().all(|row| row.status == "identical"), "{rows:?}");
    assert_eq!((rows[1].to, rows[1].lag_records), (30, 1));
    assert_eq!((rows[2].from, rows[2].to), (7, 30));

    let topic: TopicName = "none".parse().unwrap();
    let error = source.links().start_verify(from, &named(&place), Some(&topic)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    source.stop().await;
    replica.stop().await;
}

/// The replica's log as the source's, but for one batch.
struct Forger<'a> {
    replica: &'a Cluster,
    link: LinkName,
    origin: OriginTopicId,
}

impl<'a> Forger<'a> {
    /// Speaks for the source to the replica's engine, as its gateway would.
    async fn new(source: &Cluster, from: StreamId, replica: &'a Cluster, to: StreamId) -> Self {
        let open = Command::OpenLink {
            stream: to,
            source: source.place("/s"),
            source_id: from,
            source_seq: CatalogSeq(0),
        };
        let catalog = replica.engine.change(open).await.unwrap();
        let upstream = catalog.stream(to).unwrap().upstream_by_id(from).unwrap();
        let link = LinkName { stream: to, upstream: from, link_epoch: upstream.link_epoch };
        let catalog = source.catalog();
        let topic = catalog.stream(from).unwrap().topic(&"t".parse().unwrap()).unwrap().clone();
        let term: Term = topic.owner.term;
        let apply = Command::ApplyTopic {
            stream: to,
            upstream: from,
            link_epoch: link.link_epoch,
            origin: topic.origin,
            name: topic.name.clone(),
            partitions: topic.partition_count(),
            timestamp_type: topic.timestamp_type,
            config: topic.config.clone(),
            owner: Owner { stream: from, term },
            owner_seq: topic.owner_seq,
            source_seq: CatalogSeq(0),
            created_ms: topic.created_ms,
        };
        replica.engine.change(apply).await.unwrap();
        Self { replica, link, origin: topic.origin }
    }

    /// Copies a partition, changing batches on the way.
    async fn copy(
        &self,
        source: &Cluster,
        from: StreamId,
        index: u32,
        change: impl Fn(i64, Bytes) -> Option<Bytes>,
    ) {
        let lineage =
            source.engine.partition(source.partition(from, "t", index)).unwrap().lineage();
        let first = lineage.entries()[0];
        let all = source.content(from);
        let (mut gap_to, mut begun) = (None, None);
        for (base, arrival_ms, bytes) in &all[&("t".to_owned(), index as usize)] {
            let Some(bytes) = change(*base, bytes.clone()) else {
                gap_to = Some(*base + 1);
                continue;
            };
            // A replica takes no batch of an epoch but those that it is told of.
            let leader_epoch = i32::from_be_bytes(bytes[12..16].try_into().unwrap());
            if leader_epoch > first.leader_epoch {
                let start_offset = *base;
                begun.get_or_insert(LineageEntry { leader_epoch, start_offset, ..first });
            }
            let append = ReplicaAppend {
                link: self.link,
                topic: self.origin,
                partition: index,
                lineage: lineage.entries().iter().copied().chain(begun).collect(),
                gap_to: gap_to.take(),
                compacted: 0,
                compacted_in: 0,
                batches: vec![ReplicaBatch { arrival_ms: *arrival_ms, bytes }],
            };
            self.replica.engine.append_replica(append).await.unwrap().await.unwrap().unwrap();
        }
    }
}

fn forged(base: i64) -> Bytes {
    let mut builder = BatchBuilder::new().base_offset(base).leader_epoch(0);
    builder.push(1_700_000_000_000, Some(b"key"), Some(b"forged"));
    builder.build().freeze()
}

fn with_epoch(bytes: &Bytes, epoch: i32) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_the_first_batch_that_differs_is_named_with_what_differs() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let place = replica.place("/s");
    let pause = Command::PauseReplica { stream: from, replica: place.clone() };
    source.engine.change(pause).await.unwrap();
    until("nothing flows", || !source.report(from, &place).connected).await;
    source.create_topic(from, "t", 4).await;
    for n in 0..80 {
        source.produce(from, "t", n % 4, &format!("{n}")).await.unwrap();
    }
    let replica_id = Command::SetReplicaId {
        stream: from,
        replica: place.clone(),
        link_epoch: source.catalog().stream(from).unwrap().replica(&place).unwrap().link_epoch,
        replica_id: to,
    };
    source.engine.change(replica_id).await.unwrap();
    let forger = Forger::new(&source, from, &replica, to).await;
    forger.copy(&source, from, 0, |_, bytes| Some(bytes)).await;
    let forge = |base, bytes: Bytes| Some(if base >= 11 { forged(base) } else { bytes });
    forger.copy(&source, from, 1, forge).await;
    // The checksum of a batch does not cover its epoch.
    let epoch = |base, bytes: Bytes| Some(with_epoch(&bytes, i32::from(base >= 13)));
    forger.copy(&source, from, 2, epoch).await;
    forger.copy(&source, from, 3, |base, bytes| (base != 5).then_some(bytes)).await;
    let rows = verified(&source, from, &place).await;
    let told: Vec<_> = rows.iter().map(|row| (row.status, row.offset, row.difference)).collect();
    assert_eq!(
        told,
        [
            ("identical", None, None),
            ("different", Some(11), Some("bytes")),
            ("different", Some(13), Some("epoch")),
            ("different", Some(5), Some("missing")),
        ]
    );
    assert_eq!((rows[1].from, rows[1].to), (0, 11));
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_replica_tells_nobody_but_its_upstream_what_it_holds() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let place = replica.place("/s");
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    until("it flows", || source.content(from) == replica.content(to)).await;
    let remove = Command::RemoveUpstream { stream: to, upstream: source.place("/s") };
    replica.engine.change(remove).await.unwrap();
    let job = source.links().start_verify(from, &named(&place), None).unwrap();
    let refused = ended(&source, job).await.finished.unwrap().unwrap_err();
    assert!(refused.message().contains("upstream add"), "{refused}");

    // Another cluster that lists the replica and knows both uuids is told nothing either.
    replica.add_upstream(to, source.place("/s")).await;
    let stranger = group.cluster("chicago").await;
    let theirs = stranger.create_stream("/s").await;
    stranger.create_topic(theirs, "t", 1).await;
    let add = Command::AddReplica {
        stream: theirs,
        replica: place.clone(),
        replica_id: Some(to),
        settings: Default::default(),
        paused: true,
        setup: None,
    };
    stranger.engine.change(add).await.unwrap();
    let job = stranger.links().start_verify(theirs, &named(&place), None).unwrap();
    let refused = ended(&stranger, job).await.finished.unwrap().unwrap_err();
    assert!(refused.message().contains("does not list the source"), "{refused}");
    stranger.stop().await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_said_to_be_unknown() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let place = replica.place("/s");
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    until("it flows", || source.content(from) == replica.content(to)).await;
    let pause = Command::PauseReplica { stream: from, replica: place.clone() };
    source.engine.change(pause).await.unwrap();
    source.create_topic(from, "new", 1).await;
    let rows = verified(&source, from, &place).await;
    let told: Vec<_> = rows.iter().map(|row| (row.topic.as_str(), row.status)).collect();
    assert_eq!(told, [("new", "unknown"), ("t", "identical")]);
    assert!(rows[0].message.contains("does not hold"), "{}", rows[0].message);
    let range = DigestRange {
        origin: OriginTopicId(1),
        partition: 0,
        from: 0,
        to: 1,
        batches: false,
        records: false,
    };
    let none = replica.engine.digests(to, 4096, &[range]);
    assert!(none[0].code.is_some() && none[0].parts.is_empty());
    source.stop().await;
    replica.stop().await;
}
