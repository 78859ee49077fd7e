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
                "no gateways are set for cluster {cluster}, so those that it publishes by DNS are \
                 used, or else those in clusters.toml; see `cluster gateway resolve -dstcluster \
                 {cluster}`, or set others with `cluster gateway set -dstcluster {cluster} \
                 -gateways \"host:7660\"`"
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
            return vec![row(json!({"record": dns_record(&cluster, &gateways)}))];
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

/// A string of a TXT record has at most 255 bytes: a longer list is several, parted after blanks,
/// so that it is the same whether a reader joins them or takes each for itself.
fn dns_record(cluster: &ClusterName, gateways: &[String]) -> String {
    const STRING_LENGTH_MAX: usize = 255;
    let list = gateways.join(" ");
    let (mut rest, mut strings) = (list.as_str(), Vec::new());
    while rest.len() > STRING_LENGTH_MAX {
        let blank = rest.as_bytes()[..STRING_LENGTH_MAX].iter().rposition(|byte| *byte == b' ');
        // A name that long is cut at the full length, which says that it goes on.
        let at = blank.map_or(STRING_LENGTH_MAX, |blank| blank + 1);
        let Some((string, after)) = rest.split_at_checked(at) else { break };
        strings.push(format!("\"{string}\""));
        rest = after;
    }
    strings.push(format!("\"{rest}\""));
    format!("gateway.{cluster}. IN TXT {}", strings.join(" "))
}

fn gateway_row(cluster: &ClusterName, gateways: &[String]) -> Row {
    row(json!({"cluster": cluster.as_str(), "gatewayConfig": gateways.join(" ")}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(record: &str) -> Vec<String> {
        let text = record.strip_prefix("gateway.ny. IN TXT \"").unwrap().strip_suffix('"').unwrap();
        text.split("\" \"").map(str::to_owned).collect()
    }

    #[test]
    fn a_record_of_many_gateways_has_strings_that_fit() {
        let record = |gateways: &[String]| dns_record(&"ny".parse().unwrap(), gateways);
        let few = ["gw1:7660".to_owned(), "gw2:7660".to_owned()];
        assert_eq!(record(&few), r#"gateway.ny. IN TXT "gw1:7660 gw2:7660""#);
        for length in 1..260 {
            let many: Vec<String> = (0..5).map(|n| format!("{n}{}", "h".repeat(length))).collect();
            let strings = strings(&record(&many));
            assert!(strings.iter().all(|string| string.len() <= 255), "{strings:?}");
            assert_eq!(strings.concat(), many.join(" "));
            let apart: Vec<&str> = strings.iter().flat_map(|s| s.split_whitespace()).collect();
            assert!(length >= 255 || apart == many, "{apart:?}");
        }
    }
}
