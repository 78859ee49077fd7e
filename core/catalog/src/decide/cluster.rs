//! The cluster itself, its neighbours' gateways, and producer ids.

use mainstem_types::Error;
use mainstem_types::limits::{GATEWAYS_PER_CLUSTER_MAX, METADATA_LENGTH_MAX};

use super::Draw;
use crate::{Catalog, Command, Event};

/// A producer id has 24 bits of its own: see DESIGN.md §5.
const PRODUCER_IDS_MAX: u32 = 1 << 24;

impl Catalog {
    pub(super) fn decide_cluster(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        match command {
            Command::FoundCluster { id, name, incarnation } => {
                let same = self.cluster.id == *id && self.cluster.name == *name;
                if self.is_founded() && !same {
                    return Err(Error::policy(format!(
                        "this data directory belongs to cluster {} ({}); use that name, or \
                         another directory",
                        self.cluster.name, self.cluster.id
                    )));
                }
                if same && self.cluster.incarnation == *incarnation {
                    return Ok(Vec::new());
                }
                let (id, name, incarnation) = (*id, name.clone(), *incarnation);
                Ok(vec![Event::ClusterFounded { id, name, incarnation }])
            }
            Command::SetGateways { cluster, gateways } => {
                check_gateways(gateways)?;
                let (cluster, gateways) = (cluster.clone(), gateways.clone());
                Ok(vec![Event::GatewaysSet { cluster, gateways }])
            }
            Command::DeleteGateways { cluster } => {
                if !self.gateways.contains_key(cluster) {
                    return Err(Error::not_found(format!(
                        "no gateways are set for cluster {cluster}; see `cluster gateway list`"
                    )));
                }
                Ok(vec![Event::GatewaysDeleted { cluster: cluster.clone() }])
            }
            Command::ReserveProducerIds { count } => Ok(vec![self.reserve(*count, draw)?]),
            _ => unreachable!("called for commands on the cluster only"),
        }
    }

    /// The next block; when the counter is used up, the first one of a new incarnation.
    fn reserve(&self, count: u32, draw: &Draw) -> Result<Event, Error> {
        if count == 0 || count > PRODUCER_IDS_MAX {
            return Err(Error::invalid(format!(
                "a block has 1 to {PRODUCER_IDS_MAX} producer ids, not {count}"
            )));
        }
        let next = self.cluster.next_producer_id + count;
        if next <= PRODUCER_IDS_MAX {
            return Ok(Event::ProducerIdsReserved { incarnation: self.cluster.incarnation, next });
        }
        let drawn = u64::try_from((draw.random)() >> 64).expect("64 bits remain");
        let incarnation = if drawn == self.cluster.incarnation { !drawn } else { drawn };
        Ok(Event::ProducerIdsReserved { incarnation, next: count })
    }
}

fn check_gateways(gateways: &[String]) -> Result<(), Error> {
    if gateways.is_empty() {
        return Err(Error::invalid(
            "the list of gateways is empty; give \"host1:port host2:port\", or use \
             `cluster gateway delete`",
        ));
    }
    if gateways.len() > GATEWAYS_PER_CLUSTER_MAX {
        return Err(Error::limit(format!(
            "a cluster has at most {GATEWAYS_PER_CLUSTER_MAX} gateways; give fewer"
        )));
    }
    let odd = gateways.iter().find(|gateway| {
        gateway.is_empty()
            || gateway.len() > METADATA_LENGTH_MAX
            || gateway.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
            || !has_fit_port(gateway)
    });
    match odd {
        Some(gateway) => Err(Error::invalid(format!(
            "{gateway:?} is not a gateway's address; give host or host:port, a port of 1 to 65535"
        ))),
        None => Ok(()),
    }
}

/// An address of IPv6 has a port only behind brackets.
fn has_fit_port(gateway: &str) -> bool {
    match gateway.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => true,
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    }
}
