//! `cluster gateway set|get|list|delete|local|resolve`.

use mainstem_api::{Arguments, Row};
use mainstem_catalog::Command;
use mainstem_types::{ClusterName, Error};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::row;

impl AdminDoor {
    pub(crate) async fn set_gateways(&self, arguments: &Arguments) -> Answer {
        let cluster = arguments.required("dstcluster")?;
        let gateways = arguments.list("gateways").unwrap_or_default();
        self.engine.change(Command::SetGateways { cluster, gateways }).await?;
        Ok(Vec::new())
    }

    pub(crate) async fn delete_gateways(&self, arguments: &Arguments) -> Answer {
        let cluster = arguments.required("dstcluster")?;
        self.engine.change(Command::DeleteGateways { cluster }).await?;
        Ok(Vec::new())
    }

    pub(crate) fn get_gateways(&self, arguments: &Arguments) -> Answer {
        let cluster: ClusterName = arguments.required("dstcluster")?;
        let catalog = self.engine.catalog();
        let gateways = catalog.gateways(&cluster);
        if gateways.is_empty() {
            return Err(Error::not_found(format!(
                "no gateways are set for cluster {cluster}, so those in clusters.toml are used; \
                 see `cluster gateway resolve -dstcluster {cluster}`, or set others with `cluster \
                 gateway set -dstcluster {cluster} -gateways \"host:7660\"`"
            )));
        }
        Ok(vec![gateway_row(&cluster, gateways)])
    }

    pub(crate) fn list_gateways(&self) -> Vec<Row> {
        let catalog = self.engine.catalog();
        catalog.gateway_lists().map(|(cluster, list)| gateway_row(cluster, list)).collect()
    }

    pub(crate) fn local_gateways(&self, arguments: &Arguments) -> Vec<Row> {
        let cluster = self.engine.catalog().cluster().name.clone();
        let gateways = self.links.local_gateways();
        if arguments.text("format").is_some_and(|format| format.eq_ignore_ascii_case("dns")) {
            let record = format!("gateway.{cluster}. IN TXT \"{}\"", gateways.join(" "));
            return vec![row(json!({"record": record}))];
        }
        vec![gateway_row(&cluster, &gateways)]
    }

    pub(crate) async fn resolve_gateways(&self, arguments: &Arguments) -> Answer {
        let cluster: ClusterName = arguments.required("dstcluster")?;
        let alive = self.links.resolve(&cluster).await;
        if alive.is_empty() {
            return Err(Error::unreachable(format!(
                "no gateway of cluster {cluster} answers; see `cluster gateway get -dstcluster \
                 {cluster}`, and whether the cluster runs"
            )));
        }
        Ok(vec![gateway_row(&cluster, &alive)])
    }
}

fn gateway_row(cluster: &ClusterName, gateways: &[String]) -> Row {
    row(json!({"cluster": cluster.as_str(), "gatewayConfig": gateways.join(" ")}))
}
