//! Replication that holds over log compaction: at the source, at the replica, at both, along a chain,
//! and through a fail-over (I2).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_api::links::VerifiedPartition;
use mainstem_catalog::{Command, Place, StreamPatch};
use mainstem_engine::{CleanerSettings, Cleaning, Marks};
use mainstem_env::Env;
use mainstem_record::{BatchBuilder, Record, records};
use mainstem_types::StreamId;

use crate::cluster::{Cluster, Group, until};
use crate::verify::verified;

const AT_ONCE: CleanerSettings =
    CleanerSettings { interval_ms: 0, pass_interval_ms: 0, map_bytes: 1 << 20, step_bytes: 4_000 };

/// Compacts all that is due, now and not later.
async fn compact(cluster: &Cluster) {
    let mut cleaner = cluster.engine.cleaner(Env::system(), AT_ONCE);
    let work = move || {
        loop {
            match cleaner.step() {
                Cleaning::Idle => return,
                Cleaning::Worked => {}
                Cleaning::Waiting => std::thread::sleep(std::time::Duration::from_millis(1)),
                Cleaning::Closed => panic!("the engine is open"),
            }
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

async fn switch_on(cluster: &Cluster, path: &str) {
    let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
    let command = Command::EditStream { path: path.parse().unwrap(), patch };
    cluster.engine.change(command).await.unwrap();
}

async fn link(source: &Cluster, from: StreamId, replica: &Cluster, to: StreamId) {
    source.add_replica(from, replica.place("/s"), false).await;
    replica.add_upstream(to, source.place("/s")).await;
}

/// Batches of several records over a few keys, so that some lose a part and some everything.
async fn fill(source: &Cluster, from: StreamId, round: u32) {
    for n in 0..60_u32 {
        let mut builder = BatchBuilder::new();
        for at in 0..=n % 3 {
            let key = format!("k{}", (n * 7 + at * 3 + round) % 11);
            let value = format!("{round} {n} {at} {}", "x".repeat(200));
            builder.push(1_700_000_000_000, Some(key.as_bytes()), Some(value.as_bytes()));
        }
        source.append(from, "t", 0, builder.build().freeze()).await.unwrap();
    }
}

fn end(cluster: &Cluster, stream: StreamId) -> i64 {
    cluster.engine.partition(cluster.partition(stream, "t", 0)).unwrap().durable_end()
}

fn marks(cluster: &Cluster, stream: StreamId) -> Arc<Marks> {
    cluster.engine.partition(cluster.partition(stream, "t", 0)).unwrap().marks()
}

fn kept(cluster: &Cluster, stream: StreamId) -> Vec<Record> {
    let content = cluster.content(stream);
    let batches = &content[&("t".to_owned(), 0)];
    let read = |bytes: &Bytes| records(bytes, 1 << 20).unwrap().map(Result::unwrap);
    batches.iter().flat_map(|(_, _, bytes)| read(bytes).collect::<Vec<_>>()).collect()
}

fn newest(records: &[Record]) -> BTreeMap<Bytes, Record> {
    records.iter().map(|record| (record.key.clone().unwrap(), record.clone())).collect()
}

async fn identical(source: &Cluster, from: StreamId, replica: &Place) -> VerifiedPartition {
    let mut rows = verified(source, from, replica).await;
    let row = rows.remove(0);
    assert_eq!(row.status, "identical", "{row:?}");
    row
}

/// Streams named /s at these clusters, the first with a topic.
async fn streams<const N: usize>(group: &Group, names: [&str; N]) -> Vec<(Cluster, StreamId)> {
    let mut all = Vec::new();
    for name in names {
        let cluster = group.cluster(name).await;
        let stream = cluster.create_stream("/s").await;
        all.push((cluster, stream));
    }
    all[0].0.create_topic(all[0].1, "t", 1).await;
    all
}

async fn stop(all: Vec<(Cluster, StreamId)>) {
    for (cluster, _) in all {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_empty_replica_and_one_behind_it_take_what_the_source_has_left() {
    let group = Group::new();
    let mut all = streams(&group, ["sanfrancisco", "newyork", "boston"]).await;
    let [(a, from), (b, to), (c, last)] = &all[..] else { unreachable!("there are three") };
    fill(a, *from, 0).await;
    fill(a, *from, 1).await;
    let before = newest(&kept(a, *from));
    switch_on(a, "/s").await;
    compact(a).await;
    assert!(a.content(*from)[&("t".to_owned(), 0)].len() < 30);
    link(a, *from, b, *to).await;
    link(b, *to, c, *last).await;
    until("all of it is everywhere", || {
        end(a, *from) == 240
            && b.content(*to) == a.content(*from)
            && c.content(*last) == a.content(*from)
    })
    .await;
    assert_eq!(newest(&kept(c, *last)), before);
    let known = marks(c, *last);
    assert!(known.compacted > 200 && known.cleaned == 0, "told along the chain: {known:?}");
    assert!(known.gaps.is_empty(), "nothing was lost: {known:?}");
    for (source, stream, replica) in [(a, from, b), (b, to, c)] {
        let row = identical(source, *stream, &replica.place("/s")).await;
        assert_eq!((row.to, row.by_records), (240, None), "byte for byte");
    }
    // Over a restart of the one in the middle, and on with new records.
    let told = marks(b, *to);
    let (b, to) = all.remove(1);
    all.insert(1, (b.restart(&group).await, to));
    let [(a, from), (b, to), (c, last)] = &all[..] else { unreachable!("there are three") };
    assert_eq!(marks(b, *to), told, "what it was told outlives it");
    fill(a, *from, 2).await;
    until("more has come", || c.content(*last) == a.content(*from)).await;
    stop(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_replica_that_has_more_keeps_it_and_is_proved_the_same() {
    let group = Group::new();
    let all = streams(&group, ["sanfrancisco", "newyork", "boston"]).await;
    let [(a, from), (b, to), (c, last)] = &all[..] else { unreachable!("there are three") };
    link(a, *from, b, *to).await;
    fill(a, *from, 0).await;
    until("it flows", || b.content(*to) == a.content(*from)).await;
    let whole = b.content(*to);
    switch_on(a, "/s").await;
    compact(a).await;
    assert_ne!(a.content(*from), whole);
    compact(b).await;
    assert_eq!(b.content(*to), whole, "a replica compacts by its own setting");
    let row = identical(a, *from, &b.place("/s")).await;
    let (_, upto, compared) = row.by_records.expect("below the frontier by records");
    assert!(upto <= row.to && compared == kept_below(a, *from, upto), "{row:?}");
    assert!(row.message.contains("either side was compacted"), "{}", row.message);

    // Now the replica by its own setting, which looks at keys that have come since.
    fill(a, *from, 1).await;
    until("more has come", || end(b, *to) == end(a, *from)).await;
    switch_on(b, "/s").await;
    compact(b).await;
    assert!(kept(b, *to).len() < kept(a, *from).len());
    identical(a, *from, &b.place("/s")).await;
    // And one behind the compacted one.
    link(b, *to, c, *last).await;
    until("the last has all", || c.content(*last) == b.content(*to)).await;
    identical(b, *to, &c.place("/s")).await;
    compact(a).await;
    identical(a, *from, &b.place("/s")).await;
    assert_eq!(newest(&kept(c, *last)), newest(&kept(a, *from)));
    stop(all).await;
}

fn kept_below(cluster: &Cluster, stream: StreamId, offset: i64) -> u64 {
    kept(cluster, stream).iter().filter(|record| record.offset < offset).count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_begins_anew_over_a_compacted_source_goes_on() {
    let group = Group::new();
    let mut all = streams(&group, ["sanfrancisco", "newyork"]).await;
    let (b, to) = all.pop().unwrap();
    let (a, from) = all.pop().unwrap();
    link(&a, from, &b, to).await;
    fill(&a, from, 0).await;
    until("it flows", || b.content(to) == a.content(from)).await;
    let pause = Command::PauseReplica { stream: from, replica: b.place("/s") };
    a.engine.change(pause).await.unwrap();
    fill(&a, from, 1).await;
    switch_on(&a, "/s").await;
    compact(&a).await;
    let (a, b) = (a.restart(&group).await, b.restart(&group).await);
    let resume = Command::ResumeReplica { stream: from, replica: b.place("/s") };
    a.engine.change(resume).await.unwrap();
    until("the rest has come", || end(&b, to) == end(&a, from)).await;
    let row = identical(&a, from, &b.place("/s")).await;
    assert!(row.by_records.is_some());
    let (ours, theirs) = (kept(&a, from), kept(&b, to));
    assert!(ours.iter().all(|record| theirs.contains(record)));
    assert_eq!(newest(&ours), newest(&theirs));
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_an_old_master_that_was_compacted_rejoins_and_sets_aside() {
    let group = Group::new();
    let all = streams(&group, ["sanfrancisco", "newyork"]).await;
    let [(a, from), (b, to)] = &all[..] else { unreachable!("there are two") };
    link(a, *from, b, *to).await;
    link(b, *to, a, *from).await;
    fill(a, *from, 0).await;
    until("it flows", || b.content(*to) == a.content(*from)).await;
    let cut = end(a, *from);
    let pause = Command::PauseReplica { stream: *from, replica: b.place("/s") };
    a.engine.change(pause).await.unwrap();
    until("nothing flows", || !a.report(*from, &b.place("/s")).connected).await;
    fill(a, *from, 1).await;
    switch_on(a, "/s").await;
    compact(a).await;
    let left: Vec<Record> =
        kept(a, *from).into_iter().filter(|record| record.offset >= cut).collect();
    b.engine.change(Command::FailOver { stream: *to, upstream: None }).await.unwrap();
    fill(b, *to, 2).await;
    fill(b, *to, 3).await;
    let resume = Command::ResumeReplica { stream: *from, replica: b.place("/s") };
    a.engine.change(resume).await.unwrap();
    until("the old master follows", || {
        let aside = a.catalog().stream(*from).unwrap().topics.values().any(|t| t.aside.is_some());
        aside && end(a, *from) == end(b, *to)
    })
    .await;
    let content = a.content(*from);
    let aside = &content[&("t.setaside-2".to_owned(), 0)];
    let aside: Vec<Record> = aside
        .iter()
        .flat_map(|(_, _, bytes)| records(bytes, 1 << 20).unwrap().map(Result::unwrap))
        .collect();
    assert_eq!(aside, left, "what compaction had left of it");
    // Some of what is common was superseded only by what was set aside: it is back.
    let (ours, theirs) = (kept(a, *from), kept(b, *to));
    assert_eq!(newest(&ours), newest(&theirs));
    let row = identical(b, *to, &a.place("/s")).await;
    assert_eq!(row.to, end(b, *to));
    stop(all).await;
}
