//! Autosetup and copies, carried out by the source's servers.

use mainstem_api::links::ReplicaState;
use mainstem_catalog::{
    Command, GrantId, NewSetup, Place, ReplicaSettings, SetupKind, SetupStep, StreamPatch,
    StreamSettings,
};
use mainstem_env::{Random, SystemRandom};
use mainstem_types::{JobId, StreamId, StreamRef};

use crate::cluster::{Cluster, Group, until};

fn step(source: &Cluster, stream: StreamId, place: &Place) -> SetupStep {
    let catalog = source.catalog();
    let replica = catalog.stream(stream).unwrap().replica(place).unwrap().clone();
    replica.setup.unwrap().step
}

async fn autosetup(
    source: &Cluster,
    from: StreamId,
    destination: &Cluster,
    path: &str,
    multimaster: bool,
) -> (Place, StreamId) {
    let (grant, replica_id) = granted(source, from, destination, path, multimaster).await;
    let place = destination.place(path);
    source.engine.change(begin(from, &place, grant, replica_id, multimaster)).await.unwrap();
    (place, replica_id)
}

async fn granted(
    source: &Cluster,
    from: StreamId,
    destination: &Cluster,
    path: &str,
    multimaster: bool,
) -> (GrantId, StreamId) {
    let place = destination.place(path);
    let replica_id = StreamId::from_random(SystemRandom.next_u128());
    let grant = GrantId::from_bytes(SystemRandom.next_u128().to_be_bytes());
    let issue = Command::IssueGrant {
        grant,
        replica_path: place.path.clone(),
        replica_id,
        source: source.place("/s"),
        source_id: from,
        multimaster,
        use_existing: false,
        copy: false,
        expires_ms: i64::MAX,
    };
    destination.engine.change(issue).await.unwrap();
    (grant, replica_id)
}

fn begin(
    from: StreamId,
    place: &Place,
    grant: GrantId,
    replica_id: StreamId,
    multimaster: bool,
) -> Command {
    let setup = NewSetup {
        job: JobId::from_random(SystemRandom.next_u128()),
        kind: SetupKind::Autosetup,
        grant: Some(grant),
        multimaster,
        direct_copy: true,
        use_existing: false,
        reads: 0,
    };
    Command::AddReplica {
        stream: from,
        replica: place.clone(),
        replica_id: Some(replica_id),
        settings: ReplicaSettings::default(),
        paused: false,
        setup: Some(setup),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autosetup_makes_copies_and_goes_on() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 2).await;
    for n in 0..20 {
        source.produce(from, "t", n % 2, &format!("{n}")).await.unwrap();
    }
    let lag_ms = Some(86_400_000);
    let patch =
        StreamPatch { compact: Some(true), min_compaction_lag_ms: lag_ms, ..Default::default() };
    let edit = Command::EditStream { path: "/s".parse().unwrap(), patch };
    source.engine.change(edit).await.unwrap();
    let (place, to) = autosetup(&source, from, &destination, "/s", false).await;
    until("it is set up", || step(&source, from, &place) == SetupStep::Replicating).await;
    assert_eq!(source.content(from), destination.content(to), "copied when it says so");
    let settings = destination.catalog().stream(to).unwrap().settings.clone();
    assert_eq!((settings.compact, Some(settings.min_compaction_lag_ms)), (false, lag_ms));
    source.produce(from, "t", 0, "live").await.unwrap();
    until("and goes on", || source.content(from) == destination.content(to)).await;
    source.stop().await;
    destination.stop().await;
}

/// An import into the source is under way: what it brings is not the source's own yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autosetup_waits_until_its_source_is_filled() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    let import = GrantId::from_bytes([9; 16]);
    let begin = Command::IssueGrant {
        grant: import,
        replica_path: "/s".parse().unwrap(),
        replica_id: from,
        source: destination.place("/exported"),
        source_id: StreamId(0x77),
        multimaster: false,
        use_existing: true,
        copy: true,
        expires_ms: i64::MAX,
    };
    let settings = StreamSettings::default();
    let create = Command::CreateByGrant { grant: import, replica_id: from, settings };
    let add = Command::AddUpstreamByGrant { grant: import, replica_id: from };
    for step in [begin, create, add] {
        source.engine.change(step).await.unwrap();
    }
    let (place, _) = autosetup(&source, from, &destination, "/s", false).await;
    for _ in 0..2 {
        source.links().refresh(from).await;
        let report = source.report(from, &place);
        assert_eq!(report.state, ReplicaState::WaitTillBulkload);
        let why = report.error.expect("it says what it waits for").message;
        assert!(why.contains("/mapr/newyork/exported") && !report.is_uptodate, "{why}");
        assert!(destination.catalog().streams().next().is_none(), "nothing was made there");
    }
    let topics = Vec::new();
    let end = Command::TakeOverByGrant { grant: import, replica_id: from, topics, more: false };
    source.engine.change(end).await.unwrap();
    until("it is set up", || step(&source, from, &place) == SetupStep::Replicating).await;
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autosetup_waits_for_a_destination_that_is_away() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "x").await.unwrap();
    let name = destination.name.clone();
    let (id, listen) = (destination.id, destination.gateway.address());
    // The grant is given while it is there, and the work begins when it is not.
    let pause = Command::SetGateways {
        cluster: name.parse().unwrap(),
        gateways: vec!["127.0.0.1:1".to_owned()],
    };
    source.engine.change(pause).await.unwrap();
    let (place, to) = autosetup(&source, from, &destination, "/s", false).await;
    until("it says why it waits", || {
        let error = source.report(from, &place).error;
        error.is_some_and(|e| e.code == "ErrAllGatewaysUnreachable")
    })
    .await;
    assert_eq!(step(&source, from, &place), SetupStep::CreateSchedule);
    let folder = destination.stop().await;
    let source = source.restart(&group).await;
    let destination = Cluster::start(&group, &name, id, folder, listen).await;
    let cluster = name.parse().unwrap();
    source.engine.change(Command::DeleteGateways { cluster }).await.unwrap();
    until("it is set up", || step(&source, from, &place) == SetupStep::Replicating).await;
    assert_eq!(source.content(from), destination.content(to));
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn multi_master_feeds_both_ways_and_nothing_comes_back() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "west", 1).await;
    source.produce(from, "west", 0, "w").await.unwrap();
    let (place, to) = autosetup(&source, from, &destination, "/s", true).await;
    until("it is set up", || step(&source, from, &place) == SetupStep::Replicating).await;
    destination.create_topic(to, "east", 1).await;
    destination.produce(to, "east", 0, "e").await.unwrap();
    source.produce(from, "west", 0, "w2").await.unwrap();
    until("both are alike", || {
        let (ours, theirs) = (source.content(from), destination.content(to));
        ours.len() == 2 && ours == theirs && ours[&("west".to_owned(), 0)].len() == 2
    })
    .await;
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_setup_is_rolled_back_and_says_so() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let place = destination.place("/s");
    let setup = NewSetup {
        job: JobId(1),
        kind: SetupKind::Autosetup,
        grant: Some(GrantId::from_bytes([9; 16])),
        multimaster: false,
        direct_copy: true,
        use_existing: false,
        reads: 0,
    };
    let add = Command::AddReplica {
        stream: from,
        replica: place.clone(),
        replica_id: Some(StreamId(77)),
        settings: ReplicaSettings::default(),
        paused: false,
        setup: Some(setup),
    };
    source.engine.change(add).await.unwrap();
    until("it is given up", || step(&source, from, &place) == SetupStep::Unexpected).await;
    let error = source.report(from, &place).error.unwrap();
    assert!(error.message.contains("grant"), "{error:?}");
    assert!(destination.catalog().streams().next().is_none(), "nothing was made");
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_runs_though_paused_and_a_resume_goes_on_from_it() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let to = destination.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    for n in 0..50 {
        source.produce(from, "t", 0, &format!("{n}")).await.unwrap();
    }
    let place = destination.place("/s");
    let target = StreamRef { cluster: Some(place.cluster.clone()), path: place.path.clone() };
    assert!(source.links().start_copy(from, &target, None, None).await.is_err(), "no agreement");
    source.add_replica(from, place.clone(), true).await;
    let refused = source.links().start_copy(from, &target, None, None).await.unwrap();
    until("no upstream", || {
        source.links().copy(refused).is_some_and(|copy| matches!(copy.finished, Some(Err(_))))
    })
    .await;
    destination.add_upstream(to, source.place("/s")).await;
    let job = source.links().start_copy(from, &target, None, None).await.unwrap();
    until("copied", || source.links().copy(job).is_some_and(|copy| copy.finished == Some(Ok(()))))
        .await;
    assert_eq!(source.content(from), destination.content(to));
    source.produce(from, "t", 0, "while paused").await.unwrap();
    let sent = source.report(from, &place).records_sent;
    let resume = Command::ResumeReplica { stream: from, replica: place.clone() };
    source.engine.change(resume).await.unwrap();
    until("live", || source.content(from) == destination.content(to)).await;
    assert_eq!(source.report(from, &place).records_sent, sent + 1, "only what was new");
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_setup_made_is_taken_back_when_its_destination_returns() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let destination = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let (grant, replica_id) = granted(&source, from, &destination, "/s", false).await;
    // The first step was done there, and then its answer was lost with it.
    let settings = StreamSettings::default();
    let made = Command::CreateByGrant { grant, replica_id, settings };
    destination.engine.change(made).await.unwrap();
    let (id, listen, place) =
        (destination.id, destination.gateway.address(), destination.place("/s"));
    let folder = destination.stop().await;
    source.engine.change(begin(from, &place, grant, replica_id, false)).await.unwrap();
    until("it is tried", || source.report(from, &place).error.is_some()).await;
    let remove = || Command::RemoveReplica { stream: from, replica: place.clone() };
    source.engine.change(remove()).await.unwrap();
    let source = source.restart(&group).await;
    let job = source.catalog().undos().next().unwrap().job;
    until("it says why it waits", || {
        source.links().undo(job).is_some_and(|e| e.message.contains("cannot be reached"))
    })
    .await;
    let destination = Cluster::start(&group, "newyork", id, folder, listen).await;
    until("it is gone there", || destination.catalog().stream(replica_id).is_none()).await;
    until("and nothing is left to do", || source.catalog().undos().next().is_none()).await;
    assert!(destination.catalog().grant(grant).is_none());
    source.stop().await;
    destination.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_removal_gives_up_what_a_lost_destination_holds() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let from = source.create_stream("/s").await;
    let place = Place { cluster: "lost".parse().unwrap(), path: "/s".parse().unwrap() };
    let remove = || Command::RemoveReplica { stream: from, replica: place.clone() };
    assert!(source.engine.change(remove()).await.is_err(), "nothing is listed");
    let grant = GrantId::from_bytes([3; 16]);
    source.engine.change(begin(from, &place, grant, StreamId(7), false)).await.unwrap();
    source.engine.change(remove()).await.unwrap();
    let job = source.catalog().undos().next().unwrap().job;
    until("it waits", || source.links().undo(job).is_some()).await;
    source.engine.change(remove()).await.unwrap();
    assert!(source.catalog().undos().next().is_none());
    until("its task ends", || source.links().undo(job).is_none()).await;
    assert!(source.engine.change(remove()).await.is_err());
    source.stop().await;
}
