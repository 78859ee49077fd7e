//! The clusters that this machine knows: `clusters.toml` under `$MAINSTEM_HOME`.

use std::path::{Path, PathBuf};

use mainstem_types::{ClusterName, Error};
use serde::{Deserialize, Serialize};

/// The file, one table for each cluster. The first is the one that commands go to when neither
/// their paths nor `-cluster` say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Clusters {
    /// The clusters, in the order of the file.
    #[serde(default, rename = "cluster")]
    pub clusters: Vec<KnownCluster>,
}

/// How one cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnownCluster {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `host:port` of its admin door.
    pub admin: String,
    /// `host:port` for Kafka clients.
    pub kafka: String,
    /// `host:port` of each gateway.
    pub gateways: Vec<String>,
    /// The certificate authority of its gateways, as a PEM file.
    pub ca: PathBuf,
}

impl Clusters {
    /// `$MAINSTEM_HOME`, or `~/.mainstem`.
    pub fn home() -> Result<PathBuf, Error> {
        if let Some(home) = std::env::var_os("MAINSTEM_HOME").filter(|home| !home.is_empty()) {
            // Servers run in folders of their own, where a relative path means another place.
            return std::path::absolute(&home)
                .map_err(|e| Error::invalid(format!("MAINSTEM_HOME={}: {e}", home.display())));
        }
        std::env::home_dir()
            .map(|home| home.join(".mainstem"))
            .ok_or_else(|| Error::invalid("there is no home directory; set MAINSTEM_HOME"))
    }

    /// Where the file lies under a home.
    pub fn file(home: &Path) -> PathBuf {
        home.join("clusters.toml")
    }

    /// Reads the file; no file is no clusters.
    pub fn load(path: &Path) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|e| Error::invalid(format!("{}: {e}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::storage(format!("{}: {error}", path.display()))),
        }
    }

    /// Writes the file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::storage(format!("{}: {e}", path.display()));
        let text = toml::to_string_pretty(self).map_err(|e| Error::invalid(e.to_string()))?;
        let new = path.with_extension("toml.new");
        std::fs::write(&new, text).map_err(failed)?;
        std::fs::rename(&new, path).map_err(failed)
    }

    /// The cluster of that name.
    ///
    /// # Errors
    /// Names the clusters that are known.
    pub fn find(&self, name: &ClusterName) -> Result<&KnownCluster, Error> {
        self.clusters.iter().find(|cluster| cluster.name == name.as_str()).ok_or_else(|| {
            let known: Vec<_> = self.clusters.iter().map(|c| c.name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            Error::not_found(format!(
                "cluster {name} is not known (known: {known}); add it to clusters.toml, or start \
                 one with: mainstem dev up --clusters {name}"
            ))
        })
    }
}

impl Clusters {
    /// The first cluster, which commands without a cluster mean.
    ///
    /// # Errors
    /// When none is known.
    pub fn first(&self) -> Result<&KnownCluster, Error> {
        self.clusters.first().ok_or_else(|| {
            Error::not_found(
                "no cluster is known; start some with: mainstem dev up --clusters \
                 sanfrancisco,newyork",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> KnownCluster {
        KnownCluster {
            name: name.into(),
            id: "0".into(),
            admin: "127.0.0.1:8443".into(),
            kafka: "127.0.0.1:9092".into(),
            gateways: vec!["127.0.0.1:7660".into()],
            ca: "ca.pem".into(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_no_file_is_no_clusters() {
        let dir = tempfile::tempdir().unwrap();
        let path = Clusters::file(dir.path());
        assert_eq!(Clusters::load(&path).unwrap(), Clusters::default());
        let clusters = Clusters { clusters: vec![known("newyork"), known("sanfrancisco")] };
        clusters.save(&path).unwrap();
        assert_eq!(Clusters::load(&path).unwrap(), clusters);
        let error = clusters.find(&"boston".parse().unwrap()).unwrap_err();
        assert!(error.message().contains("newyork, sanfrancisco"), "{error}");
    }
}
