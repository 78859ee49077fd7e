//! What every task of the door is given.

use std::sync::Arc;
use std::time::Duration;

use mainstem_catalog::Catalog;
use mainstem_engine::Engine;
use mainstem_env::Env;
use mainstem_replicate::ReceiverIdentity;
use mainstem_transaction::ProducerIdPrefix;
use mainstem_types::ClusterName;
use mainstem_types::limits::DNS_TIMEOUT_MS;

use crate::board::Board;
use crate::dns::PublishedGateways;
use crate::feeding::FeedDesk;
use crate::tls::LinkTls;
use crate::turns::Turns;

/// Where the gateways of clusters are that nobody has set or published: the known clusters.
pub type Directory = Arc<dyn Fn(&ClusterName) -> Vec<String> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) engine: Engine,
    pub(crate) tls: LinkTls,
    pub(crate) directory: Directory,
    pub(crate) published: Arc<PublishedGateways>,
    pub(crate) dns_first_wait: Duration,
    pub(crate) board: Arc<Board>,
    pub(crate) feeding: Arc<FeedDesk>,
    pub(crate) turns: Arc<Turns>,
    /// Addresses of this cluster's own gateways.
    pub(crate) own_gateways: Arc<Vec<String>>,
}

impl Context {
    pub(crate) fn now_ms(&self) -> u64 {
        self.env.clock.monotonic_ms()
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.env.clock.wall_ms()
    }

    /// The list that was set, else this cluster's own gateways, else what DNS is known to say, else
    /// the known clusters.
    pub(crate) fn gateways(&self, catalog: &Catalog, cluster: &ClusterName) -> Vec<String> {
        let set = catalog.gateways(cluster);
        if !set.is_empty() {
            return set.iter().map(|gateway| with_port(gateway)).collect();
        }
        if *cluster == catalog.cluster().name {
            return self.own_gateways.to_vec();
        }
        let published = self.published.of(cluster);
        let gateways = if published.is_empty() { (self.directory)(cluster) } else { published };
        gateways.iter().map(|gateway| with_port(gateway)).collect()
    }

    /// The same, for who is about to call: DNS, which comes first, is given a moment to say
    /// something if it has said nothing yet, and longer if nobody else knows a gateway.
    pub(crate) async fn gateways_to_call(
        &self,
        catalog: &Catalog,
        cluster: &ClusterName,
    ) -> Vec<String> {
        if self.is_looked_up(catalog, cluster) && self.published.is_awaited(cluster) {
            let knows_others = !self.gateways(catalog, cluster).is_empty();
            let longest = Duration::from_millis(DNS_TIMEOUT_MS);
            let patience = if knows_others { self.dns_first_wait } else { longest };
            self.published.ask_first(cluster, patience).await;
        }
        self.gateways(catalog, cluster)
    }

    /// The same, looked up anew where DNS is asked.
    pub(crate) async fn gateways_now(
        &self,
        catalog: &Catalog,
        cluster: &ClusterName,
    ) -> Vec<String> {
        if self.is_looked_up(catalog, cluster) {
            // There may be a look-up to wait for before the one that is meant.
            self.published.ask(cluster, 2 * Duration::from_millis(DNS_TIMEOUT_MS)).await;
        }
        self.gateways(catalog, cluster)
    }

    /// Whether a list of gateways that was set has this one; what others publish is no order to
    /// leave a gateway that answers.
    pub(crate) fn lists(&self, catalog: &Catalog, cluster: &ClusterName, gateway: &str) -> bool {
        let is_set = !catalog.gateways(cluster).is_empty();
        !is_set || self.gateways(catalog, cluster).iter().any(|listed| listed == gateway)
    }

    /// Whether DNS has a say: no list was set, and the cluster is another.
    pub(crate) fn is_looked_up(&self, catalog: &Catalog, cluster: &ClusterName) -> bool {
        catalog.gateways(cluster).is_empty() && *cluster != catalog.cluster().name
    }

    pub(crate) fn identity(&self, catalog: &Catalog) -> ReceiverIdentity {
        let cluster = catalog.cluster();
        ReceiverIdentity {
            cluster_id: cluster.id,
            cluster_name: cluster.name.clone(),
            producer_prefix: ProducerIdPrefix::of(cluster.id, u128::from(cluster.incarnation))
                .bits(),
            node_id: cluster.id.node_id(),
        }
    }
}

/// The original's default port, where a gateway is given without one.
fn with_port(gateway: &str) -> String {
    const DEFAULT_PORT: u16 = 7660;
    let bracketed = gateway.ends_with(']');
    let colons = gateway.matches(':').count();
    match colons {
        0 => format!("{gateway}:{DEFAULT_PORT}"),
        1 => gateway.to_owned(),
        _ if bracketed => format!("{gateway}:{DEFAULT_PORT}"),
        _ if gateway.starts_with('[') => gateway.to_owned(),
        _ => format!("[{gateway}]:{DEFAULT_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_without_a_port_has_the_documented_one() {
        for (given, meant) in [
            ("gw1", "gw1:7660"),
            ("10.0.0.1:7000", "10.0.0.1:7000"),
            ("::1", "[::1]:7660"),
            ("[::1]", "[::1]:7660"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(with_port(given), meant);
        }
    }
}
