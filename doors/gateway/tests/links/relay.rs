//! Gateways in processes of their own: they pass links on, and any of them may end.

use std::sync::Arc;

use mainstem_catalog::Command;
use mainstem_gateway::Relay;
use mainstem_link::{Forwarded, Frame, Hello, Mode, encode_frame};
use mainstem_types::{CatalogSeq, LinkEpoch, StreamId, Term, TermId};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::{Cluster, Group, until};

fn dns_name(cluster: &str) -> String {
    let hex: String = cluster.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.name.mainstem")
}

/// A call to a cluster's server with the certificate of another.
async fn call(group: &Group, caller: &Cluster, to: &Cluster) -> TlsStream<TcpStream> {
    let own = group.authority.issue(caller.id, &caller.name.parse().unwrap()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let authority = group.authority.certificate_pem().as_bytes();
    roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"mainstem-link/1".to_vec()];
    let tcp = TcpStream::connect(to.gateway.address()).await.unwrap();
    let name = ServerName::try_from(dns_name(&to.name)).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

fn hello(source: &Cluster, from: StreamId, replica: &Cluster) -> Frame {
    Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        cluster_id: source.id,
        cluster_name: source.name.parse().unwrap(),
        producer_prefix: 1,
        node_id: 1,
        source_id: from,
        source_path: "/activity".parse().unwrap(),
        replica_cluster: replica.name.parse().unwrap(),
        replica_path: "/activity".parse().unwrap(),
        replica_id: None,
        link_epoch: LinkEpoch(1),
        term: Term { number: 1, id: TermId(1) },
        mode: Mode::Replicate,
        catalog_seq: CatalogSeq(1),
        now_ms: 0,
    }
    .into()
}

async fn set_gateways(source: &Cluster, relays: &[&Relay]) {
    let gateways = relays.iter().map(|relay| relay.address().to_string()).collect();
    let command = Command::SetGateways { cluster: "newyork".parse().unwrap(), gateways };
    source.engine.change(command).await.unwrap();
}

async fn pair(group: &Group) -> (Cluster, StreamId, Cluster, StreamId) {
    let source = group.cluster("sanfrancisco").await;
    let replica = group.cluster("newyork").await;
    let from = source.create_stream("/activity").await;
    let to = replica.create_stream("/activity").await;
    source.create_topic(from, "t", 1).await;
    replica.add_upstream(to, source.place("/activity")).await;
    (source, from, replica, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_links_pass_through_gateways_that_come_and_go() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let mut relays = vec![group.relay(&replica).await, group.relay(&replica).await];
    set_gateways(&source, &[&relays[0], &relays[1]]).await;
    source.add_replica(from, replica.place("/activity"), false).await;
    let mut used = std::collections::BTreeSet::new();
    for n in 0..6 {
        source.produce(from, "t", 0, &format!("record {n}")).await.unwrap();
        until("it arrives", || source.content(from) == replica.content(to)).await;
        let report = source.report(from, &replica.place("/activity"));
        let gateway = report.gateway.expect("a session stands");
        let at = relays.iter().position(|relay| relay.address().to_string() == gateway);
        used.insert(gateway);
        // The one in use ends amid its link, and another takes its place in the list.
        relays.remove(at.expect("one of the list")).close().await;
        relays.push(group.relay(&replica).await);
        set_gateways(&source, &[&relays[0], &relays[1]]).await;
    }
    assert_eq!(used.len(), 6, "each was used and ended");
    source.stop().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_server_is_away_is_not_among_the_living() {
    let group = Group::new();
    let (source, _, replica, _) = pair(&group).await;
    let relay = group.relay(&replica).await;
    set_gateways(&source, &[&relay]).await;
    let name = "newyork".parse().unwrap();
    assert_eq!(source.links().resolve(&name).await, [relay.address().to_string()]);
    replica.stop().await;
    assert!(source.links().resolve(&name).await.is_empty());
    relay.close().await;
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_gateway_of_the_cluster_itself_speaks_for_others() {
    let group = Group::new();
    let (source, from, replica, to) = pair(&group).await;
    let third = group.cluster("boston").await;
    let names = vec![format!("{}.cluster.mainstem", source.id), dns_name(&source.name)];
    let forwarded = Frame::from(Forwarded { cluster_id: source.id, names });
    // Boston says that sanfrancisco calls; newyork's own gateway may say so.
    for (speaker, is_heard) in [(&third, false), (&replica, true)] {
        let mut stream = call(&group, speaker, &replica).await;
        let mut bytes = bytes::BytesMut::new();
        encode_frame(&forwarded, &mut bytes);
        encode_frame(&hello(&source, from, &replica), &mut bytes);
        stream.write_all(&bytes).await.unwrap();
        let mut answer = [0; 5];
        let answered = stream.read_exact(&mut answer).await.is_ok();
        assert_eq!(answered, is_heard, "{}", speaker.name);
        assert!(!answered || answer[4] == 2, "a Welcome");
    }
    let catalog = replica.catalog();
    let upstream = catalog.stream(to).unwrap().upstreams[0].clone();
    assert_eq!(upstream.stream_id, Some(from), "the Hello was taken as its own");
    for cluster in [source, replica, third] {
        cluster.stop().await;
    }
}
