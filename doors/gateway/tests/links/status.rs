//! I9: every number that status gives, against what both sides hold.

use std::collections::BTreeMap;

use mainstem_api::links::{LinkReport, ReplicaState, UpstreamReport};
use mainstem_catalog::{
    Command, GrantId, NewSetup, Place, ReplicaSettings, SetupKind, SetupStep, TopicPatch,
};
use mainstem_record::BatchHeader;
use mainstem_types::{JobId, StreamId};

use crate::cluster::{Cluster, Content, Group, until};

struct Pair {
    source: Cluster,
    from: StreamId,
    replica: Cluster,
    to: StreamId,
    place: Place,
}

impl Pair {
    async fn new(group: &Group) -> Self {
        let source = group.cluster("sanfrancisco").await;
        let replica = group.cluster("newyork").await;
        let from = source.create_stream("/s").await;
        let to = replica.create_stream("/s").await;
        replica.add_upstream(to, source.place("/s")).await;
        let place = replica.place("/s");
        source.add_replica(from, place.clone(), false).await;
        Self { source, from, replica, to, place }
    }

    fn report(&self) -> LinkReport {
        self.source.report(self.from, &self.place)
    }

    fn upstream(&self) -> UpstreamReport {
        let source = self.source.place("/s");
        self.replica.links().upstream(self.to, &source.cluster, &source.path).unwrap()
    }

    async fn change(&self, command: Command) {
        self.source.engine.change(command).await.unwrap();
    }

    async fn pause(&self) {
        self.change(Command::PauseReplica { stream: self.from, replica: self.place.clone() }).await;
    }

    async fn resume(&self) {
        let (stream, replica) = (self.from, self.place.clone());
        self.change(Command::ResumeReplica { stream, replica }).await;
    }

    async fn stop(self) {
        self.source.stop().await;
        self.replica.stop().await;
    }
}

/// (partitions, records, bytes, oldest and newest arrival) that one side has and the other lacks.
fn difference(ours: &Content, theirs: &Content) -> (u64, u64, u64, i64, i64) {
    let mut sum = (0, 0, 0, 0, 0);
    for (key, batches) in ours {
        let held = theirs.get(key).map_or(0, Vec::len);
        let missing = &batches[held..];
        sum.0 += u64::from(!missing.is_empty() || !theirs.contains_key(key));
        for (_, arrival_ms, bytes) in missing {
            sum.1 += u64::try_from(BatchHeader::decode(bytes).unwrap().record_count).unwrap();
            sum.2 += bytes.len() as u64;
            sum.3 = if sum.3 == 0 { *arrival_ms } else { sum.3.min(*arrival_ms) };
            sum.4 = sum.4.max(*arrival_ms);
        }
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_pending_counters_are_exact_and_go_to_nothing() {
    let group = Group::new();
    let pair = Pair::new(&group).await;
    pair.source.create_topic(pair.from, "t", 3).await;
    for n in 0..9 {
        pair.source.produce(pair.from, "t", n % 3, "before").await.unwrap();
    }
    until("all is there", || pair.report().is_uptodate).await;
    pair.pause().await;
    until("the session ends", || !pair.report().connected).await;
    assert!(pair.report().is_uptodate, "what it held when it was paused it still holds");
    for n in 0..20 {
        let text = "x".repeat(usize::try_from(n).unwrap() * 100);
        pair.source.produce(pair.from, "t", n % 2, &text).await.unwrap();
        let report = pair.report();
        let told = (
            report.buckets_pending,
            report.puts_pending,
            report.bytes_pending,
            report.min_pending_ms,
            report.max_pending_ms,
        );
        let is = difference(&pair.source.content(pair.from), &pair.replica.content(pair.to));
        assert_eq!(told, is, "after {n}");
        assert!(!report.is_uptodate && report.error.is_none(), "{report:?}");
    }
    // An empty topic is missing too, though no record is.
    pair.resume().await;
    until("it goes on", || pair.report().is_uptodate).await;
    assert_eq!(pair.source.content(pair.from), pair.replica.content(pair.to));
    let report = pair.report();
    assert_eq!((report.puts_pending, report.bytes_pending, report.lag_ms), (0, 0, 0));
    assert_eq!((report.min_pending_ms, report.max_pending_ms, report.buckets_pending), (0, 0, 0));
    pair.pause().await;
    until("the session ends", || !pair.report().connected).await;
    pair.source.create_topic(pair.from, "empty", 2).await;
    let report = pair.report();
    assert!(!report.is_uptodate, "a topic is missing");
    assert_eq!((report.buckets_pending, report.puts_pending), (2, 0));
    pair.resume().await;
    until("the empty topic is there", || pair.report().is_uptodate).await;
    assert!(pair.replica.content(pair.to).contains_key(&("empty".to_owned(), 1)));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_both_ends_tell_rates_sessions_and_contact() {
    let group = Group::new();
    let pair = Pair::new(&group).await;
    pair.source.create_topic(pair.from, "t", 1).await;
    until("it is connected", || pair.report().connected).await;
    let begun_ms = pair.report().connected_since_ms.unwrap();
    // A rate needs a look before: the count that the replica is told comes from one.
    until("it was looked at", || pair.upstream().counted_ms.is_some()).await;
    for n in 0..50 {
        pair.source.produce(pair.from, "t", 0, &format!("{n}")).await.unwrap();
    }
    until("rates and a round trip show", || {
        let report = pair.report();
        let rates = report.rates;
        rates.records > 0.0 && rates.bytes > rates.records && report.round_trip_ms.is_some()
    })
    .await;
    until("at the replica too", || {
        let upstream = pair.upstream();
        upstream.rates.records > 0.0 && upstream.lag_ms.is_some() && upstream.puts_pending == 0
    })
    .await;
    let (report, upstream) = (pair.report(), pair.upstream());
    assert_eq!((report.records_sent, upstream.records_received), (50, 50));
    assert_eq!(report.bytes_sent, upstream.bytes_received);
    assert_eq!((report.sessions, upstream.sessions), (1, 1));
    assert!(report.last_contact_ms.unwrap() >= begun_ms);
    assert!(report.stood_ms.unwrap() >= begun_ms, "a script takes it for broken otherwise");
    assert!(upstream.connected_since_ms.is_some() && upstream.counted_ms.is_some());
    pair.pause().await;
    until("the session ends", || !pair.report().connected && !pair.upstream().connected).await;
    let (report, upstream) = (pair.report(), pair.upstream());
    assert_eq!((report.connected_since_ms, report.round_trip_ms), (None, None));
    assert_eq!(
        (upstream.connected_since_ms, upstream.lag_ms, upstream.puts_pending),
        (None, None, 0)
    );
    assert!(upstream.counted_ms.is_some(), "and it says of when that is");
    pair.source.produce(pair.from, "t", 0, "late").await.unwrap();
    // Longer than two looks are apart.
    until("the lag grows", || pair.report().lag_ms > 2_500).await;
    assert!(pair.report().lag_ms_max > 2_500);
    pair.resume().await;
    until("a second session", || pair.report().is_uptodate && pair.report().sessions == 2).await;
    let report = pair.report();
    assert!(report.lag_ms == 0 && report.lag_ms_max > 0, "{report:?}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_conflict_is_told_at_both_ends_with_what_it_keeps_back() {
    let group = Group::new();
    let pair = Pair::new(&group).await;
    until("it is connected", || pair.report().connected).await;
    pair.replica.create_topic(pair.to, "mine", 1).await;
    pair.source.create_topic(pair.from, "mine", 1).await;
    pair.source.create_topic(pair.from, "fine", 1).await;
    for topic in ["mine", "fine", "mine"] {
        pair.source.produce(pair.from, topic, 0, "x").await.unwrap();
    }
    until("the other topic flows", || {
        pair.replica.content(pair.to).get(&("fine".to_owned(), 0)).is_some_and(|b| b.len() == 1)
    })
    .await;
    until("both sides say which topic stopped", || {
        let is_told = |code: &str, topic: &str| code == "ErrTopicConflict" && topic == "mine";
        let report = pair.report();
        report.connected
            && report.puts_pending == 2
            && !report.is_uptodate
            && report.faults.iter().any(|fault| is_told(&fault.code, &fault.topic))
            && report.error.is_some_and(|error| error.code == "ErrTopicConflict")
            && pair.upstream().faults.iter().any(|fault| fault.code == "ErrTopicConflict")
    })
    .await;
    until("the replica is told what is kept back, and for how long", || {
        let upstream = pair.upstream();
        upstream.puts_pending == 2 && upstream.lag_ms.is_some_and(|lag_ms| lag_ms > 0)
    })
    .await;
    let place = pair.source.place("/s");
    let upstream = || pair.replica.links().upstream(pair.to, &place.cluster, &place.path).unwrap();
    pair.source.stop().await;
    until("the source is gone", || !upstream().connected).await;
    let upstream = upstream();
    assert_eq!(upstream.puts_pending, 2, "what it said last is what a fail-over is decided by");
    assert!(upstream.counted_ms.is_some() && upstream.lag_ms.is_some_and(|lag_ms| lag_ms > 0));
    pair.replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_gap_alone_is_missing_too() {
    let group = Group::new();
    let pair = Pair::new(&group).await;
    pair.source.create_topic(pair.from, "t", 1).await;
    pair.source.produce(pair.from, "t", 0, "1").await.unwrap();
    until("all is there", || pair.report().is_uptodate).await;
    pair.pause().await;
    until("the session ends", || !pair.report().connected).await;
    pair.source.produce(pair.from, "t", 0, "2").await.unwrap();
    let catalog = pair.source.catalog();
    let topic = catalog.stream(pair.from).unwrap().topics.values().next().unwrap().clone();
    let config = BTreeMap::from([("retention.ms".to_owned(), Some("0".to_owned()))]);
    let patch = TopicPatch { config, ..TopicPatch::default() };
    pair.change(Command::EditTopic { stream: pair.from, topic: topic.origin, patch }).await;
    until("retention takes all, and that is told", || {
        let report = pair.report();
        (report.puts_pending, report.expired) == (0, 1)
    })
    .await;
    let report = pair.report();
    assert!(!report.is_uptodate, "the ends differ: {report:?}");
    assert_eq!(report.buckets_pending, 1);
    pair.resume().await;
    until("the gap is told", || pair.report().is_uptodate).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_do_not_answer_are_told_from_those_that_do() {
    let group = Group::new();
    let pair = Pair::new(&group).await;
    until("it is connected", || pair.report().connected).await;
    let alive = pair.replica.gateway.address().to_string();
    let gateways = vec![alive.clone(), "127.0.0.1:1".to_owned()];
    pair.change(Command::SetGateways { cluster: "newyork".parse().unwrap(), gateways }).await;
    // Whoever asks which answer calls them all.
    let answering = pair.source.links().resolve(&pair.place.cluster).await;
    assert_eq!(answering, std::slice::from_ref(&alive));
    let told: BTreeMap<String, bool> = pair
        .source
        .links()
        .gateways()
        .into_iter()
        .map(|gateway| (gateway.address, gateway.trouble.is_none()))
        .collect();
    assert_eq!(told, BTreeMap::from([(alive, true), ("127.0.0.1:1".to_owned(), false)]));
    assert!(pair.replica.links().gateways().is_empty(), "it replicates to nobody");
    // A gateway that is taken off the list is left, though it answers.
    let relay = group.relay(&pair.replica).await;
    let other = relay.address().to_string();
    let gateways = vec![other.clone()];
    pair.change(Command::SetGateways { cluster: "newyork".parse().unwrap(), gateways }).await;
    until("the link goes by the one that is listed", || {
        let report = pair.report();
        report.connected && report.gateway.as_ref() == Some(&other)
    })
    .await;
    relay.close().await;
    pair.stop().await;
}

/// The documented states but one, `WAIT_TILL_BULKLOAD`, which is the source's and not the job's:
/// see `an_autosetup_waits_until_its_source_is_filled`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_of_a_set_up_shows_as_its_documented_state() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let from = source.create_stream("/s").await;
    let place = Place { cluster: "newyork".parse().unwrap(), path: "/s".parse().unwrap() };
    let job = JobId(7);
    let setup = NewSetup {
        job,
        kind: SetupKind::Autosetup,
        grant: Some(GrantId::from_bytes([7; 16])),
        multimaster: false,
        direct_copy: true,
        use_existing: false,
        reads: 0,
    };
    // Paused, so that the job stays where it is put.
    let add = Command::AddReplica {
        stream: from,
        replica: place.clone(),
        replica_id: Some(StreamId(9)),
        settings: ReplicaSettings::default(),
        paused: true,
        setup: Some(setup),
    };
    source.engine.change(add).await.unwrap();
    for (step, state, word) in [
        (SetupStep::CreateSchedule, ReplicaState::CreateSchedule, "CREATE_SCHEDULE"),
        (SetupStep::CopySchedule, ReplicaState::CopySchedule, "COPY_SCHEDULE"),
        (SetupStep::CopyInProgress, ReplicaState::CopyInProgress, "COPY_IN_PROGRESS"),
        (SetupStep::CopyInRecover, ReplicaState::CopyInRecover, "COPY_IN_RECOVER"),
        (SetupStep::DeletingCursors, ReplicaState::DeletingCursors, "DELETING_CURSORS"),
        (SetupStep::Replicating, ReplicaState::Replicating, "REPLICATING"),
        (SetupStep::Unexpected, ReplicaState::Unexpected, "UNEXPECTED"),
    ] {
        let error = (step == SetupStep::Unexpected).then(|| "it was refused".to_owned());
        let (stream, replica) = (from, place.clone());
        let advance = Command::AdvanceSetup { stream, replica, job, step, percent: 0, error };
        source.engine.change(advance).await.unwrap();
        let report = source.report(from, &place);
        assert_eq!((report.state, report.state.word()), (state, &*format!("REPLICA_STATE_{word}")));
        assert_eq!(step.state(), report.state.word());
        assert!(!report.is_uptodate && !report.connected, "{step:?}: {report:?}");
        let told = report.error.map(|error| (error.code, error.message, error.host));
        let refused = told.is_some_and(|(code, message, host)| {
            code == "ErrSetup" && message == "it was refused" && host == "sanfrancisco"
        });
        assert_eq!(refused, step == SetupStep::Unexpected, "{step:?}");
    }
    source.stop().await;
}

/// Each trouble by its code, one after the other on one link, and each goes when it is cured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_every_trouble_has_its_code_and_goes_with_its_cause() {
    let group = Group::new();
    let pair = Pair::new(&group).await;
    pair.source.create_topic(pair.from, "t", 1).await;
    pair.source.produce(pair.from, "t", 0, "x").await.unwrap();
    until("all is there", || pair.report().is_uptodate).await;
    let right = vec![pair.replica.gateway.address().to_string()];
    let gateways =
        |gateways| Command::SetGateways { cluster: "newyork".parse().unwrap(), gateways };
    let shows = async |code: &str, says: &str| {
        until(code, || {
            let report = pair.report();
            let fits = report.error.is_some_and(|error| {
                error.code == code
                    && error.host == "sanfrancisco"
                    && error.message.contains(says)
                    && error.at_ms > 0
            });
            fits && !report.is_uptodate
        })
        .await;
    };
    // An address that nobody serves; the session stands until it is cut.
    pair.change(gateways(vec!["127.0.0.1:1".to_owned()])).await;
    pair.pause().await;
    pair.resume().await;
    shows("ErrAllGatewaysUnreachable", "All configured gateways to cluster newyork").await;
    // Somebody else's gateway.
    let other = group.cluster("boston").await;
    pair.change(gateways(vec![other.gateway.address().to_string()])).await;
    shows("ErrAllGatewaysUnreachable", "cannot be reached").await;
    pair.change(gateways(right)).await;
    until("cured", || pair.report().is_uptodate).await;

    let upstream = pair.source.place("/s");
    let remove = Command::RemoveUpstream { stream: pair.to, upstream: upstream.clone() };
    pair.replica.engine.change(remove).await.unwrap();
    shows("ErrNoUpstream", "upstream add").await;
    pair.replica.add_upstream(pair.to, upstream).await;
    until("cured", || pair.report().is_uptodate).await;

    let path = pair.place.path.clone();
    pair.replica.engine.change(Command::DeleteStream { path }).await.unwrap();
    shows("ErrNoSuchStream", "is not a valid stream").await;
    other.stop().await;
    pair.stop().await;
}
