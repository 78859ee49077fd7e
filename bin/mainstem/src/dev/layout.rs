//! Where dev clusters keep their files, and what is written there.
//!
//! Under `$MAINSTEM_HOME`: `clusters.toml` for the command line, and in `dev/` the authority that
//! signs the clusters' certificates and a folder for each cluster with its settings, certificate,
//! log, pid, and (unless `--data` says otherwise) its data.

use std::fs;
use std::path::{Path, PathBuf};

use mainstem_cli::{Clusters, KnownCluster};
use mainstem_env::Env;
use mainstem_types::{ClusterId, ClusterName, Error};

use super::authority::AuthorityFiles;
use super::ports::{Claim, Ports, local};
use super::process::Process;
use crate::settings::{AdminListener, GatewayListener, KafkaListener, LogSection, ServeSettings};

/// Dev clusters are small, so that several fit on a laptop's disk.
const SEGMENT_BYTES: u32 = 64 * 1024 * 1024;
const TAIL_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The dev clusters of one home.
pub(crate) struct Dev {
    home: PathBuf,
    pub(crate) env: Env,
}

/// Clusters to be made.
pub(crate) struct NewClusters<'a> {
    pub(crate) names: &'a [ClusterName],
    /// Where data goes, in a folder for each cluster; beside the settings if absent.
    pub(crate) data: Option<&'a Path>,
    /// Whether to pick free ports rather than the documented ones.
    pub(crate) free_ports: bool,
}

impl Dev {
    pub(crate) fn new(home: PathBuf, env: Env) -> Self {
        Self { home, env }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn clusters_file(&self) -> PathBuf {
        Clusters::file(&self.home)
    }

    pub(crate) fn clusters(&self) -> Result<Clusters, Error> {
        Clusters::load(&self.clusters_file())
    }

    fn dir(&self) -> PathBuf {
        self.home.join("dev")
    }

    fn cluster_dir(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The names of the dev clusters, in the order of `clusters.toml`.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let is_dev = |name: &String| self.process(name).config().exists();
        Ok(self.clusters()?.clusters.into_iter().map(|c| c.name).filter(is_dev).collect())
    }

    /// The process of a dev cluster, running or not.
    pub(crate) fn process(&self, name: &str) -> Process {
        Process::in_dir(&self.cluster_dir(name))
    }

    /// The settings of a dev cluster.
    pub(crate) fn settings(&self, name: &str) -> Result<ServeSettings, Error> {
        if !self.process(name).config().exists() {
            let known = self.names()?.join(", ");
            return Err(Error::not_found(format!(
                "{name} is no dev cluster (there are: {}); make it with: \
                 mainstem dev up --clusters {name}",
                if known.is_empty() { "none" } else { &known }
            )));
        }
        ServeSettings::load(&self.process(name).config())
    }

    /// Writes what the clusters need to start; those that are there already keep what they have.
    /// Ports that were picked are claimed, for whoever starts the clusters.
    pub(crate) fn prepare(&self, new: &NewClusters<'_>) -> Result<Vec<Claim>, Error> {
        fs::create_dir_all(self.dir()).map_err(|e| at(&self.dir(), &e))?;
        let authority = AuthorityFiles::open(&self.dir())?;
        let mut known = self.clusters()?;
        let missing = |name: &&ClusterName| !self.process(name.as_str()).config().exists();
        let missing: Vec<_> = new.names.iter().filter(missing).collect();
        let (mut free, claims) =
            if new.free_ports { Ports::free(missing.len())? } else { Default::default() };
        let first = self.names()?.len();
        let mut chosen = Vec::new();
        for (at, name) in missing.iter().enumerate() {
            let ports = match free.pop() {
                Some(ports) => ports,
                None => Ports::documented(u16::try_from(first + at).unwrap_or(u16::MAX))?,
            };
            // Before anything is written, so that an error leaves nothing half made.
            ports.check_free(name.as_str())?;
            chosen.push(ports);
        }
        for (name, ports) in missing.into_iter().zip(chosen) {
            let id = ClusterId::from_random(self.env.random.next_u128());
            self.write_cluster(name, id, ports, new.data, &authority)?;
            known.clusters.retain(|cluster| cluster.name != name.as_str());
            known.clusters.push(KnownCluster {
                name: name.to_string(),
                id: id.to_string(),
                admin: local(ports.admin).to_string(),
                kafka: local(ports.kafka).to_string(),
                gateways: vec![local(ports.gateway).to_string()],
                ca: authority.certificate(),
            });
        }
        known.save(&self.clusters_file())?;
        Ok(claims)
    }

    fn write_cluster(
        &self,
        name: &ClusterName,
        id: ClusterId,
        ports: Ports,
        data: Option<&Path>,
        authority: &AuthorityFiles,
    ) -> Result<(), Error> {
        let dir = self.cluster_dir(name.as_str());
        fs::create_dir_all(&dir).map_err(|e| at(&dir, &e))?;
        let identity = authority.issue(id, name, &dir)?;
        let data = match data {
            Some(data) => absolute(&data.join(name.as_str()))?,
            None => dir.join("data"),
        };
        let settings = ServeSettings {
            name: name.to_string(),
            id: Some(id.to_string()),
            data,
            clusters: Some(self.clusters_file()),
            insecure: false,
            kafka: KafkaListener {
                listen: local(ports.kafka),
                advertised: None,
                default_stream: None,
            },
            gateway: GatewayListener {
                listen: local(ports.gateway),
                ca: authority.certificate(),
                certificate: identity.certificate,
                key: identity.key,
                // All dev clusters know each other, and no name server knows them.
                dns: Some("off".into()),
            },
            admin: AdminListener { listen: local(ports.admin) },
            log: LogSection {
                segment_bytes: SEGMENT_BYTES,
                tail_cache_bytes: TAIL_CACHE_BYTES,
                ..LogSection::default()
            },
        };
        // Last, because its being there says that the cluster was made.
        let config = self.process(name.as_str()).config();
        fs::write(&config, settings.to_toml()?).map_err(|e| at(&config, &e))
    }

    /// Forgets all dev clusters and removes their files and data.
    pub(crate) fn remove_all(&self) -> Result<(), Error> {
        let names = self.names()?;
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            // Settings that cannot be read leave foreign data alone.
            if let Ok(settings) = self.settings(name) {
                remove_dir(&settings.data)?;
            }
        }
        let mut known = self.clusters()?;
        known.clusters.retain(|cluster| !names.contains(&cluster.name));
        known.save(&self.clusters_file())?;
        remove_dir(&self.dir())
    }
}

fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(dir, &error)),
        _ => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| at(path, &e))
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    Error::storage(format!("{}: {error}", path.display()))
}
