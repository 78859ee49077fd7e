//! Gateways by DNS: after the list that was set, before the known clusters.

use std::time::Duration;

use mainstem_catalog::Command;
use mainstem_gateway::{DnsSettings, Relay};
use mainstem_types::StreamId;

use crate::cluster::{Cluster, Group, PATIENCE, until};
use crate::name_server::{NameServer, Say};
use crate::verify::verified;

const PATH: &str = "/activity";

/// Two clusters that ask a name server; the source's topic has one record.
struct Pair {
    group: Group,
    source: Cluster,
    from: StreamId,
    replica: Cluster,
    to: StreamId,
}

impl Pair {
    async fn asking(dns: DnsSettings) -> Self {
        Self::of(Group::asking(dns)).await
    }

    async fn of(group: Group) -> Self {
        let source = group.cluster("sanfrancisco").await;
        let replica = group.cluster("newyork").await;
        let from = source.create_stream(PATH).await;
        let to = replica.create_stream(PATH).await;
        source.create_topic(from, "t", 1).await;
        source.produce(from, "t", 0, "a record").await.unwrap();
        replica.add_upstream(to, source.place(PATH)).await;
        Self { group, source, from, replica, to }
    }

    async fn link(&self) {
        self.source.add_replica(self.from, self.replica.place(PATH), false).await;
    }

    /// The gateway that the link uses, once it has brought everything.
    async fn gateway_in_use(&self) -> String {
        let content = || self.source.content(self.from);
        until("it arrives", || content() == self.replica.content(self.to)).await;
        self.gateway().unwrap()
    }

    fn gateway(&self) -> Option<String> {
        self.source.report(self.from, &self.replica.place(PATH)).gateway
    }

    async fn resolve(&self) -> Vec<String> {
        self.source.links().resolve(&"newyork".parse().unwrap()).await
    }

    /// Where the known clusters say that the replica is.
    fn known(&self) -> String {
        self.replica.gateway.address().to_string()
    }

    async fn stop(self, relays: Vec<Relay>) {
        self.source.stop().await;
        for relay in relays {
            relay.close().await;
        }
        self.replica.stop().await;
    }
}

fn address(relay: &Relay) -> String {
    relay.address().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_enough_for_links_and_for_commands() {
    let names = NameServer::start().await;
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    pair.group.forget(&pair.replica);
    let place = pair.replica.place(PATH);
    let describe =
        || async { pair.source.links().remote_stream(&place.cluster, &place.path).await };
    let error = describe().await.unwrap_err();
    assert!(error.message().contains("no gateway of cluster newyork is known"), "{error}");
    names.publish("newyork", &[pair.known()]);
    // There is no link yet, and the command asks anew.
    assert_eq!(pair.resolve().await, [pair.known()]);
    assert_eq!(describe().await.unwrap(), Some(pair.to));
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, pair.known());
    assert_eq!(names.asked_for("sanfrancisco"), 0, "nobody asks where he is himself");
    pair.stop(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_waits_for_a_record_and_takes_it_from_several_strings_among_others() {
    let names = NameServer::start().await;
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    pair.group.forget(&pair.replica);
    pair.link().await;
    until("it knows no gateway", || {
        let report = pair.source.report(pair.from, &pair.replica.place(PATH));
        report.error.is_some_and(|error| error.code == "ErrNoGateway")
    })
    .await;
    let strings = ["?", &pair.known(), "gw:none"].map(str::to_owned).to_vec();
    let other = vec!["v=spf1".to_owned()];
    names.say("newyork", Say::Txt(vec![strings, other], 0));
    assert_eq!(pair.gateway_in_use().await, pair.known());
    pair.stop(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_was_set_goes_before_dns() {
    let names = NameServer::start().await;
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    let relays = vec![pair.group.relay(&pair.replica).await, pair.group.relay(&pair.replica).await];
    names.publish("newyork", &[address(&relays[0])]);
    assert_eq!(pair.resolve().await, [address(&relays[0])], "what DNS says is known");
    let asked = names.asked_for("newyork");
    let (cluster, gateways) = ("newyork".parse().unwrap(), vec![address(&relays[1])]);
    pair.source.engine.change(Command::SetGateways { cluster, gateways }).await.unwrap();
    assert_eq!(pair.resolve().await, [address(&relays[1])]);
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, address(&relays[1]));
    assert_eq!(names.asked_for("newyork"), asked, "there is nothing to ask");

    let cluster = "newyork".parse().unwrap();
    pair.source.engine.change(Command::DeleteGateways { cluster }).await.unwrap();
    assert_eq!(pair.resolve().await, [address(&relays[0])]);
    pair.stop(relays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_goes_before_the_known_clusters_from_the_first_call_on() {
    let names = NameServer::start().await;
    let pair = Pair::of(Group::asking(DnsSettings::Server(names.address)).patiently()).await;
    let relay = pair.group.relay(&pair.replica).await;
    assert_eq!(pair.resolve().await, [pair.known()], "nothing is published");
    // Of the source's first links, this one is to a cluster that it has not looked up yet.
    let third = pair.group.cluster("boston").await;
    let third_relay = pair.group.relay(&third).await;
    names.publish("boston", &[address(&third_relay)]);
    let stream = third.create_stream(PATH).await;
    third.add_upstream(stream, pair.source.place(PATH)).await;
    pair.source.add_replica(pair.from, third.place(PATH), false).await;
    until("boston has it", || pair.source.content(pair.from) == third.content(stream)).await;
    let report = pair.source.report(pair.from, &third.place(PATH));
    assert_eq!((report.gateway, report.sessions), (Some(address(&third_relay)), 1));

    names.publish("newyork", &[address(&relay)]);
    assert_eq!(pair.resolve().await, [address(&relay)]);
    third_relay.close().await;
    third.stop().await;
    pair.stop(vec![relay]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_follows_a_record_that_changed_when_its_gateway_dies() {
    let names = NameServer::start().await;
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    let mut relay = pair.group.relay(&pair.replica).await;
    // It holds for an hour: who reaches nobody does not wait for that.
    names.publish("newyork", &[address(&relay)]);
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, address(&relay));
    for n in 0..2 {
        let next = pair.group.relay(&pair.replica).await;
        names.publish("newyork", &[address(&next)]);
        relay.close().await;
        pair.source.produce(pair.from, "t", 0, &format!("{n}")).await.unwrap();
        assert_eq!(pair.gateway_in_use().await, address(&next));
        relay = next;
    }
    pair.stop(vec![relay]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_verifications_follow_a_record_that_changed_when_its_gateway_dies() {
    let names = NameServer::start().await;
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    let mut relay = pair.group.relay(&pair.replica).await;
    // Both hold for an hour.
    names.publish("newyork", &[address(&relay)]);
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, address(&relay));
    // A link that rests asks nobody, so that the others have to.
    let place = pair.replica.place(PATH);
    let pause = Command::PauseReplica { stream: pair.from, replica: place.clone() };
    pair.source.engine.change(pause).await.unwrap();
    until("it rests", || !pair.source.report(pair.from, &place).connected).await;
    for asks in ["a command", "a verification"] {
        let next = pair.group.relay(&pair.replica).await;
        names.publish("newyork", &[address(&next)]);
        relay.close().await;
        relay = next;
        if asks == "a command" {
            let links = pair.source.links();
            let reaches = tokio::time::timeout(PATIENCE, async {
                while links.remote_stream(&place.cluster, &place.path).await != Ok(Some(pair.to)) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            assert!(reaches.await.is_ok(), "{asks} finds the new gateway");
        } else {
            let rows = verified(&pair.source, pair.from, &place).await;
            assert!(rows.iter().all(|row| row.status == "identical"), "{rows:?}");
        }
    }
    pair.stop(vec![relay]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_record_said_is_kept_until_a_server_says_that_it_is_gone() {
    let names = NameServer::start().await;
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    let relay = pair.group.relay(&pair.replica).await;
    names.publish("newyork", &[address(&relay)]);
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, address(&relay));
    for nothing in [Say::Failure, Say::Silence] {
        names.say("newyork", nothing);
        assert_eq!(pair.resolve().await, [address(&relay)]);
    }
    names.say("newyork", Say::Txt(Vec::new(), 0));
    assert_eq!(pair.resolve().await, [pair.known()], "there is such a name, without a record");
    pair.stop(vec![relay]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_name_server_answers_the_known_clusters_do() {
    let names = NameServer::start().await;
    names.say("newyork", Say::Silence);
    let pair = Pair::asking(DnsSettings::Server(names.address)).await;
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, pair.known());
    let report = pair.source.report(pair.from, &pair.replica.place(PATH));
    assert_eq!(report.sessions, 1, "the first call was answered");
    until("the name server was asked", || names.asked_for("newyork") > 0).await;
    assert_eq!(pair.resolve().await, [pair.known()]);
    pair.stop(Vec::new()).await;

    // Nobody listens there at all.
    let address = names.address;
    drop(names);
    let pair = Pair::asking(DnsSettings::Server(address)).await;
    pair.link().await;
    assert_eq!(pair.gateway_in_use().await, pair.known());
    pair.stop(Vec::new()).await;
}
