//! Both halves of an agreement, the pause, and what status says when nothing flows.

use std::net::SocketAddr;

use mainstem_catalog::{Command, Place};
use mainstem_env::Env;
use mainstem_gateway::{Authority, DnsSettings, Gateway, GatewaySettings, LinkTls};

use crate::cluster::{Group, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_nothing_flows_without_both_halves_and_status_says_why() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let to = replica.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    let place = replica.place("/s");
    source.add_replica(from, place.clone(), false).await;
    until("the refusal shows", || {
        let error = source.report(from, &place).error;
        error.is_some_and(|e| e.code == "ErrNoUpstream" && e.message.contains("upstream add"))
    })
    .await;
    assert!(replica.content(to).is_empty());
    let report = source.report(from, &place);
    assert!(!report.is_uptodate && report.puts_pending == 1 && report.min_pending_ms > 0);

    replica.add_upstream(to, source.place("/s")).await;
    until("it flows", || source.content(from) == replica.content(to)).await;

    let gone = Command::RemoveUpstream { stream: to, upstream: source.place("/s") };
    replica.engine.change(gone).await.unwrap();
    let before = replica.content(to);
    source.produce(from, "t", 0, "2").await.unwrap();
    until("the source sees that it was removed", || {
        let report = source.report(from, &place);
        !report.connected && report.error.is_some_and(|e| e.code == "ErrNoUpstream")
    })
    .await;
    assert_eq!(replica.content(to), before, "nothing after the removal");

    replica.add_upstream(to, source.place("/s")).await;
    until("it goes on", || source.content(from) == replica.content(to)).await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_and_resume_and_removal() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/s").await;
    let to = replica.create_stream("/s").await;
    let place = replica.place("/s");
    replica.add_upstream(to, source.place("/s")).await;
    source.add_replica(from, place.clone(), true).await;
    source.create_topic(from, "t", 1).await;
    source.produce(from, "t", 0, "1").await.unwrap();
    let resume = || Command::ResumeReplica { stream: from, replica: place.clone() };
    source.engine.change(resume()).await.unwrap();
    until("it flows", || source.content(from) == replica.content(to)).await;
    let pause = Command::PauseReplica { stream: from, replica: place.clone() };
    source.engine.change(pause).await.unwrap();
    until("the session ends", || !source.report(from, &place).connected).await;
    source.produce(from, "t", 0, "2").await.unwrap();
    until("the lag shows", || source.report(from, &place).puts_pending == 1).await;
    assert_eq!(replica.content(to).values().map(Vec::len).sum::<usize>(), 1);
    source.engine.change(resume()).await.unwrap();
    until("it goes on", || source.content(from) == replica.content(to)).await;
    let remove = Command::RemoveReplica { stream: from, replica: place.clone() };
    source.engine.change(remove).await.unwrap();
    assert!(source.links().replica(from, &place.cluster, &place.path).is_none());
    until("the replica sees it go", || {
        let source = source.place("/s");
        let report = replica.links().upstream(to, &source.cluster, &source.path);
        report.is_some_and(|r| !r.connected && r.error.is_some_and(|e| e.message.len() > 5))
    })
    .await;
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_gateways_have_the_documented_name() {
    let group = Group::new();
    let source = group.cluster("sanfrancisco").await;
    let from = source.create_stream("/s").await;
    let nowhere = "/mapr/newyork/s".parse::<mainstem_types::StreamRef>().unwrap();
    let place = mainstem_catalog::Place { cluster: nowhere.cluster.unwrap(), path: nowhere.path };
    source.add_replica(from, place.clone(), false).await;
    until("no gateway is known", || {
        source.report(from, &place).error.is_some_and(|e| e.code == "ErrNoGateway")
    })
    .await;
    // A port that was free a moment ago and has no listener.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateways = vec![free.to_string()];
    let cluster = place.cluster.clone();
    source.engine.change(Command::SetGateways { cluster, gateways }).await.unwrap();
    until("and then none answers", || {
        let error = source.report(from, &place).error;
        error.is_some_and(|e| {
            e.code == "ErrAllGatewaysUnreachable"
                && e.message.starts_with("All configured gateways to cluster newyork are unreach")
        })
    })
    .await;
    assert!(source.links().resolve(&place.cluster).await.is_empty());
    let own = source.links().resolve(&"sanfrancisco".parse().unwrap()).await;
    assert_eq!(own, source.links().local_gateways());
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_s_certificate_opens_nothing() {
    let group = Group::new();
    let replica = group.cluster("newyork").await;
    let to = replica.create_stream("/s").await;
    let stranger = Group::new();
    let source = stranger.cluster("sanfrancisco").await;
    replica.add_upstream(to, source.place("/s")).await;
    let from = source.create_stream("/s").await;
    source.create_topic(from, "t", 1).await;
    let gateways = vec![replica.gateway.address().to_string()];
    let cluster = "newyork".parse().unwrap();
    source.engine.change(Command::SetGateways { cluster, gateways }).await.unwrap();
    let place = replica.place("/s");
    source.add_replica(from, place.clone(), false).await;
    until("the handshake fails", || source.report(from, &place).error.is_some()).await;
    assert!(!source.report(from, &place).connected);
    assert!(replica.content(to).is_empty());

    // A member of the group that speaks for another cluster is refused as well.
    let liar = group.authority.issue(source.id, &"sanfrancisco".parse().unwrap()).unwrap();
    let tls = LinkTls::from_pem(group.authority.certificate_pem(), &liar).unwrap();
    tls.check_own(&"sanfrancisco".parse().unwrap(), Some(source.id)).unwrap();
    let wrong = tls.check_own(&"chicago".parse().unwrap(), None).unwrap_err();
    assert!(wrong.message().contains("not of chicago"), "{wrong}");
    let wrong = tls.check_own(&"sanfrancisco".parse().unwrap(), Some(replica.id)).unwrap_err();
    assert!(wrong.message().contains(&source.id.to_string()), "{wrong}");
    let directory = group.directory();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let dns = DnsSettings::Off;
    let settings = GatewaySettings { listen, dns, ..GatewaySettings::default() };
    let third = stranger.cluster("chicago").await;
    let from = third.create_stream("/s").await;
    third.add_replica(from, place.clone(), false).await;
    let gateway = Gateway::start(Env::system(), third.engine.clone(), tls, directory, settings);
    let gateway = gateway.await.unwrap();
    until("it is refused by name", || {
        let report = gateway.links().replica(from, &place.cluster, &place.path).unwrap();
        report.error.is_some_and(|e| e.code == "ErrWrongCluster")
    })
    .await;
    gateway.close().await;
    third.stop().await;
    source.stop().await;
    replica.stop().await;
    assert!(LinkTls::from_pem("", &liar).is_err());
    assert!(Authority::from_pem("x", "y").is_err());
}

#[tokio::test]
async fn a_gateway_of_another_cluster_is_told_by_its_name() {
    let group = Group::new();
    let (source, other) = (group.cluster("sanfrancisco").await, group.cluster("newyork").await);
    let from = source.create_stream("/s").await;
    let gateways = vec![other.gateway.address().to_string()];
    let cluster: mainstem_types::ClusterName = "boston".parse().unwrap();
    source
        .engine
        .change(Command::SetGateways { cluster: cluster.clone(), gateways })
        .await
        .unwrap();
    let place = Place { cluster, path: "/s".parse().unwrap() };
    source.add_replica(from, place.clone(), false).await;
    until("the list is wrong, which is told", || {
        let report = source.report(from, &place);
        let told = "is a gateway of cluster newyork, not of boston";
        report.error.is_some_and(|error| error.message.contains(told))
    })
    .await;
    source.stop().await;
    other.stop().await;
}
