//! Copies after which the topics belong to the destination.

use mainstem_api::links::CopyGrant;
use mainstem_catalog::{Command, GrantId};
use mainstem_env::{Random, SystemRandom};
use mainstem_types::{JobId, StreamId, StreamRef};

use crate::cluster::{Cluster, Content, Group, until};

/// What the command line does: lets the destination grant, and the source begin.
async fn begin(source: &Cluster, from: StreamId, destination: &Cluster, path: &str) -> JobId {
    let place = destination.place(path);
    let existing = destination.catalog().stream_at(&place.path).map(|stream| stream.id);
    let stream = existing.unwrap_or_else(|| StreamId::from_random(SystemRandom.next_u128()));
    let grant = SystemRandom.next_u128().to_be_bytes();
    let issue = Command::IssueGrant {
        grant: GrantId::from_bytes(grant),
        replica_path: place.path.clone(),
        replica_id: stream,
        source: source.place("/s"),
        source_id: from,
        multimaster: false,
        use_existing: existing.is_some(),
        copy: true,
        expires_ms: i64::MAX,
    };
    destination.engine.change(issue).await.unwrap();
    let target = StreamRef { cluster: Some(place.cluster), path: place.path };
    let grant = Some(CopyGrant { grant, stream });
    source.links().start_copy(from, &target, grant, Some(1)).await.unwrap()
}

async fn end(source: &Cluster, job: JobId) -> Result<(), String> {
    until("the copy is over", || {
        source.links().copy(job).is_none_or(|copy| copy.finished.is_some())
    })
    .await;
    let report = source.links().copy(job).expect("it is remembered");
    let result = report.finished.unwrap().map_err(|error| error.message().to_owned());
    until("the source's half is gone", || {
        source.catalog().streams().all(|stream| stream.replicas.is_empty())
    })
    .await;
    result
}

fn has_no_agreement(cluster: &Cluster) -> bool {
    cluster.catalog().streams().all(|s| s.upstreams.is_empty() && s.replicas.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_belongs_to_its_destination_and_the_same_again_does_nothing() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 2).await;
    source.create_topic(from, "empty", 1).await;
    for n in 0..20 {
        source.produce(from, "t", n % 2, &format!("{n}")).await.unwrap();
    }
    let job = begin(&source, from, &destination, "/made").await;
    assert_eq!(end(&source, job).await, Ok(()));
    let to = destination.stream("/made");
    assert_eq!(source.content(from), destination.content(to));
    assert!(has_no_agreement(&destination));

    let again = begin(&source, from, &destination, "/made").await;
    assert_eq!(end(&source, again).await, Ok(()), "an end that was not heard of is no failure");
    assert!(has_no_agreement(&destination));

    assert_eq!(destination.produce(to, "t", 0, "own").await, Ok(10));
    assert_eq!(destination.produce(to, "empty", 0, "own").await, Ok(0));
    let kept = destination.content(to);
    source.produce(from, "t", 1, "later").await.unwrap();
    let late = begin(&source, from, &destination, "/made").await;
    let reason = end(&source, late).await.unwrap_err();
    assert!(reason.contains("copied before"), "{reason}");
    assert_eq!(destination.content(to), kept);
    assert!(has_no_agreement(&destination));
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_copy_that_is_declared_a_replica_fences_nobody() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "x").await.unwrap();
    let job = begin(&source, from, &destination, "/made").await;
    assert_eq!(end(&source, job).await, Ok(()));
    let (to, place) = (destination.stream("/made"), destination.place("/made"));
    assert_eq!(destination.produce(to, "t", 0, "of the copy").await, Ok(1));
    assert_eq!(source.produce(from, "t", 0, "of the source").await, Ok(1));
    destination.add_upstream(to, source.place("/s")).await;
    source.add_replica(from, place.clone(), false).await;
    until("two owners of one topic are a conflict", || {
        let report = source.report(from, &place);
        !report.is_uptodate && report.faults.iter().any(|fault| fault.code == "ErrTopicConflict")
    })
    .await;
    assert_eq!(source.produce(from, "t", 0, "nobody is fenced").await, Ok(2));
    // A person says which one goes on.
    source.engine.change(Command::Renew { stream: from }).await.unwrap();
    until("the copy has joined", || source.content(from) == replicated(&destination, to)).await;
    assert_eq!(source.produce(from, "t", 0, "more").await, Ok(3));
    source.stop().await;
    destination.stop().await;
}

/// All but what was set aside.
fn replicated(cluster: &Cluster, stream: StreamId) -> Content {
    let mut content = cluster.content(stream);
    content.retain(|(topic, _), _| !topic.contains(".setaside-"));
    content
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_topic_of_another_origin_is_refused_before_anything_is_changed() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "a", 1).await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "a", 0, "x").await.unwrap();
    // Inside one cluster, where both halves stand side by side.
    let to = source.create_stream("/rival").await;
    source.create_topic(to, "t", 1).await;
    let before = source.content(to);
    let job = begin(&source, from, &source, "/rival").await;
    let reason = end(&source, job).await.unwrap_err();
    assert!(reason.contains("a topic t of its own"), "{reason}");
    assert_eq!(source.content(to), before);
    assert!(has_no_agreement(&source));
    let job = begin(&source, from, &source, "/free").await;
    assert_eq!(end(&source, job).await, Ok(()));
    let free = source.stream("/free");
    assert_eq!(source.content(from), source.content(free));
    assert_eq!(source.produce(free, "a", 0, "own").await, Ok(1));
    assert!(has_no_agreement(&source));
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_after_both_sides_were_started_anew() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    for n in 0..50 {
        source.produce(from, "t", 0, &format!("{n}")).await.unwrap();
    }
    let job = begin(&source, from, &destination, "/made").await;
    // Wherever it is: the job is durable at the source, and every step may be asked for again.
    let destination = destination.restart(&group).await;
    let source = source.restart(&group).await;
    if source.links().copy(job).is_some() {
        assert_eq!(end(&source, job).await, Ok(()));
    }
    let again = begin(&source, from, &destination, "/made").await;
    assert_eq!(end(&source, again).await, Ok(()));
    let to = destination.stream("/made");
    assert_eq!(source.content(from), destination.content(to));
    assert_eq!(destination.produce(to, "t", 0, "own").await, Ok(50));
    assert!(has_no_agreement(&destination));
    source.stop().await;
    destination.stop().await;
}
