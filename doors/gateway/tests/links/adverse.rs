//! Peers that freeze, vanish, or come back as somebody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstem_catalog::{Command, GrantId, NewSetup, Place, ReplicaSettings, SetupKind};
use mainstem_env::{Random, SystemRandom};
use mainstem_types::{JobId, StreamId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{Cluster, Group, until};
use crate::verify::{pair, verified};

/// Passes bytes on, both ways, until it is told to freeze: then its connections stay, and nothing
/// is read from them any more. Gives its own address.
async fn freezing_proxy(to: String, frozen: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&to).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            for (mut from, mut to) in [(near_in, far_out), (far_in, near_out)] {
                let frozen = frozen.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from.read(&mut buffer).await {
                        if frozen.load(Ordering::Relaxed) {
                            std::future::pending::<()>().await;
                        }
                        if to.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    address
}

async fn set_gateway(source: &Cluster, cluster: &str, gateway: String) {
    let (cluster, gateways) = (cluster.parse().unwrap(), vec![gateway]);
    source.engine.change(Command::SetGateways { cluster, gateways }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_peer_that_reads_nothing_any_more_is_not_called_connected() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let to = replica.create_stream("/s").await;
    let frozen = Arc::new(AtomicBool::new(false));
    let proxy = freezing_proxy(replica.gateway.address().to_string(), frozen.clone()).await;
    set_gateway(&source, "newyork", proxy).await;
    replica.add_upstream(to, source.place("/s")).await;
    let place = replica.place("/s");
    source.add_replica(from, place.clone(), false).await;
    source.create_topic(from, "t", 1).await;
    until("it is connected", || source.report(from, &place).connected).await;
    frozen.store(true, Ordering::Relaxed);
    // More than sockets and the sender's own buffer hold together.
    let text = "x".repeat(1024 * 1024);
    for _ in 0..24 {
        source.produce(from, "t", 0, &text).await.unwrap();
    }
    until("silence is noticed", || {
        let report = source.report(from, &place);
        !report.connected && report.error.is_some() && !report.is_uptodate
    })
    .await;
    set_gateway(&source, "newyork", replica.gateway.address().to_string()).await;
    until("another way is taken", || source.content(from) == replica.content(to)).await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_what_a_silent_source_has_is_not_known_before_its_session_ends() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let frozen = Arc::new(AtomicBool::new(false));
    let proxy = freezing_proxy(replica.gateway.address().to_string(), frozen.clone()).await;
    set_gateway(&source, "newyork", proxy.clone()).await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    let (place, up) = (replica.place("/s"), source.place("/s"));
    let upstream = || replica.links().upstream(to, &up.cluster, &up.path).unwrap();
    // A session over another way may stand from before.
    let again = Command::PauseReplica { stream: from, replica: place.clone() };
    source.engine.change(again).await.unwrap();
    until("the session ends", || !upstream().connected).await;
    let again = Command::ResumeReplica { stream: from, replica: place.clone() };
    source.engine.change(again).await.unwrap();
    until("nothing is pending", || upstream().lag_ms == Some(0)).await;
    assert_eq!(source.report(from, &place).gateway, Some(proxy));
    // Longer than heartbeats are apart: a source that has nothing to send is no silent one.
    for _ in 0..80 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(upstream().lag_ms, Some(0));
    }
    frozen.store(true, Ordering::Relaxed);
    until("nothing is known", || upstream().lag_ms.is_none()).await;
    assert!(upstream().connected, "long before its session ends");
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_added_again_while_its_old_setup_is_undone_gets_its_link() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let to = replica.create_stream("/s").await;
    replica.add_upstream(to, source.place("/s")).await;
    let place = replica.place("/s");
    // A gateway that takes calls and never speaks.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    set_gateway(&source, "newyork", deaf.local_addr().unwrap().to_string()).await;
    begin_autosetup(&source, from, &place).await;
    let (call, _) = deaf.accept().await.unwrap();
    let remove = Command::RemoveReplica { stream: from, replica: place.clone() };
    source.engine.change(remove).await.unwrap();
    drop(call);
    // This call is the old task's last: it takes back what it may have made.
    let (call, _) = deaf.accept().await.unwrap();
    set_gateway(&source, "newyork", replica.gateway.address().to_string()).await;
    source.add_replica(from, place.clone(), false).await;
    // Everyone has seen the catalog by the time the old task ends.
    source.links().refresh(from).await;
    drop(call);
    until("the new link works", || source.report(from, &place).connected).await;
    source.stop().await;
    replica.stop().await;
}

async fn begin_autosetup(source: &Cluster, from: StreamId, place: &Place) {
    let setup = NewSetup {
        job: JobId::from_random(SystemRandom.next_u128()),
        kind: SetupKind::Autosetup,
        grant: Some(GrantId::from_bytes(SystemRandom.next_u128().to_be_bytes())),
        multimaster: false,
        direct_copy: true,
        use_existing: false,
        reads: 0,
    };
    let add = Command::AddReplica {
        stream: from,
        replica: place.clone(),
        replica_id: Some(StreamId::from_random(SystemRandom.next_u128())),
        settings: ReplicaSettings::default(),
        paused: false,
        setup: Some(setup),
    };
    source.engine.change(add).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_replica_made_anew_is_not_called_up_to_date() {
    let group = Group::new();
    let (source, from, replica, _) = pair(&group).await;
    let place = replica.place("/s");
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    until("all is there", || source.report(from, &place).is_uptodate).await;
    let path = place.path.clone();
    replica.engine.change(Command::DeleteStream { path }).await.unwrap();
    let anew = replica.create_stream("/s").await;
    replica.add_upstream(anew, source.place("/s")).await;
    until("the other uuid shows, and no claim beside it", || {
        let report = source.report(from, &place);
        report.error.is_some_and(|e| e.code == "ErrAnotherStream") && !report.is_uptodate
    })
    .await;
    assert!(replica.content(anew).is_empty());
    let remove = Command::RemoveReplica { stream: from, replica: place.clone() };
    source.engine.change(remove).await.unwrap();
    source.add_replica(from, place.clone(), false).await;
    until("agreed on anew, it is filled", || source.content(from) == replica.content(anew)).await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_both_sides_say_what_they_do_not_know_after_a_restart() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let place = replica.place("/s");
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    until("all is there", || source.report(from, &place).is_uptodate).await;
    let (up, id, listen) = (source.place("/s"), source.id, source.gateway.address());
    let folder = source.stop().await;
    let replica = replica.restart(&group).await;
    let report = replica.links().upstream(to, &up.cluster, &up.path).unwrap();
    assert!(!report.connected);
    assert!(report.error.unwrap().message.contains("has not called since"));
    let (replica_id, at) = (replica.id, replica.gateway.address());
    let replica_folder = replica.stop().await;
    let source = Cluster::start(&group, "sanfrancisco", id, folder, listen).await;
    let report = source.report(from, &place);
    assert!(!report.connected && !report.is_uptodate && report.puts_pending == 1);
    assert!(report.error.unwrap().message.contains("was not heard since"));
    until("the unheard link has a sample and a lag", || {
        source.report(from, &place).lag_ms_max > 1_500
    })
    .await;
    let replica = Cluster::start(&group, "newyork", replica_id, replica_folder, at).await;
    until("the replica is heard", || source.report(from, &place).is_uptodate).await;
    assert!(source.report(from, &place).lag_ms_max < 1_500, "it never lagged");
    replica.stop().await;
    source.stop().await;
}

/// Flips a bit of every copy of `text` in the files of a cluster that is stopped.
fn damage(folder: &std::path::Path, text: &[u8]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path, text);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
        places.iter().for_each(|at| bytes[*at] ^= 1);
        if !places.is_empty() {
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_source_hears_that_its_replica_is_damaged_before_it_has_more_to_send() {
    let group = Group::new();
    let (source, from, replica, _) = pair(&group).await;
    let place = replica.place("/s");
    source.create_topic(from, "t", 2).await;
    source.produce(from, "t", 0, "whole").await.unwrap();
    source.produce(from, "t", 1, "to be hurt").await.unwrap();
    // What comes after it is whole, so that the replica lacks nothing that would be sent again.
    source.produce(from, "t", 1, "whole").await.unwrap();
    until("all is there", || source.report(from, &place).is_uptodate).await;
    let (id, listen) = (replica.id, replica.gateway.address());
    let folder = replica.stop().await;
    damage(folder.path(), b"to be hurt");
    let replica = Cluster::start(&group, "newyork", id, folder, listen).await;
    until("the source says which partition is damaged, and of nothing else", || {
        let report = source.report(from, &place);
        let told: Vec<_> =
            report.faults.iter().map(|f| (&*f.code, &*f.topic, f.partition)).collect();
        report.connected && !report.is_uptodate && told == [("ErrCorrupt", "t", Some(1))]
    })
    .await;
    let rows = verified(&source, from, &place).await;
    let told: Vec<_> = rows.iter().map(|row| (row.partition, row.status)).collect();
    assert_eq!(told, [(0, "identical"), (1, "unknown")], "what is damaged is not proved: {rows:?}");
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_uuid_alone_opens_nothing_to_another_cluster() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let thief = group.cluster("elsewhere").await;
    let from = source.create_stream("/s").await;
    let to = replica.create_stream("/s").await;
    let upstream =
        Command::AddUpstream { stream: to, upstream: source.place("/s"), stream_id: Some(from) };
    replica.engine.change(upstream).await.unwrap();
    // It names its own stream by the uuid that was agreed on.
    let stolen = Command::CreateStream {
        path: "/s".parse().unwrap(),
        id: Some(from),
        settings: Default::default(),
    };
    thief.engine.change(stolen).await.unwrap();
    thief.create_topic(from, "t", 1).await;
    thief.produce(from, "t", 0, "forged").await.unwrap();
    let place = replica.place("/s");
    thief.add_replica(from, place.clone(), false).await;
    until("it is refused", || {
        thief.report(from, &place).error.is_some_and(|e| e.code == "ErrNoUpstream")
    })
    .await;
    assert!(replica.content(to).is_empty());
    source.stop().await;
    thief.stop().await;
    replica.stop().await;
}
