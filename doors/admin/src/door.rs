//! What the handlers have at hand.

use std::sync::Arc;

use mainstem_alarm::Alarms;
use mainstem_api::Arguments;
use mainstem_api::links::SharedLinks;
use mainstem_catalog::{Catalog, Place, Stream};
use mainstem_engine::{Engine, Partition};
use mainstem_env::Env;
use mainstem_types::{ClusterName, Error, StreamId, StreamPath, StreamRef};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// How long another cluster may take to tell a stream's uuid, which is not needed at once.
const REMOTE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Requests at a time that move batches, each with up to 16 MiB in memory.
const DATA_REQUESTS_MAX: usize = 8;

/// The admin door's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// The user whom a new stream's permissions name when the caller names nobody.
    pub creator: String,
    /// This node's address for Kafka clients, shown as the master of every partition.
    pub node_address: String,
    /// Listen on addresses that other machines reach, although nothing here is authenticated.
    pub insecure: bool,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            creator: "mainstem".to_owned(),
            node_address: "127.0.0.1:9092".to_owned(),
            insecure: false,
        }
    }
}

/// Answers admin commands. Cheap to clone.
#[derive(Clone)]
pub struct AdminDoor {
    pub(crate) engine: Engine,
    pub(crate) links: SharedLinks,
    pub(crate) env: Env,
    pub(crate) settings: Arc<AdminSettings>,
    pub(crate) alarms: Arc<Mutex<Alarms>>,
    /// Turns of those who move batches.
    pub(crate) data_room: Arc<Semaphore>,
}

impl AdminDoor {
    /// A door in front of this engine, with what the gateway door knows of links.
    pub fn new(engine: Engine, links: SharedLinks, env: Env, settings: AdminSettings) -> Self {
        let (settings, alarms) = (Arc::new(settings), Arc::default());
        let data_room = Arc::new(Semaphore::new(DATA_REQUESTS_MAX));
        Self { engine, links, env, settings, alarms, data_room }
    }

    /// The path of the stream that `flag` names, if it is in this cluster.
    pub(crate) fn local_path(
        &self,
        arguments: &Arguments,
        flag: &str,
    ) -> Result<StreamPath, Error> {
        let named: StreamRef = arguments.required(flag)?;
        let here = self.engine.catalog().cluster().name.clone();
        match named.cluster {
            Some(cluster) if cluster != here => Err(Error::invalid(format!(
                "{} is in cluster {cluster}, and this is {here}; ask {cluster}",
                named.path
            ))),
            _ => Ok(named.path),
        }
    }

    /// The stream that `-path` names.
    pub(crate) fn local_stream(
        &self,
        catalog: &Catalog,
        arguments: &Arguments,
    ) -> Result<Arc<Stream>, Error> {
        catalog.expect_stream_at(&self.local_path(arguments, "path")?).cloned()
    }

    /// The stream, here or elsewhere, that `flag` names.
    pub(crate) fn place(
        &self,
        catalog: &Catalog,
        arguments: &Arguments,
        flag: &str,
    ) -> Result<Place, Error> {
        let named: StreamRef = arguments.required(flag)?;
        let here = || catalog.cluster().name.clone();
        Ok(Place { cluster: named.cluster.unwrap_or_else(here), path: named.path })
    }

    /// The uuid of the stream at `place`: as the caller gave it in `flag`, or as its cluster tells
    /// now. `None` when it does not answer, and then the first Hello pins it.
    pub(crate) async fn uuid_of(
        &self,
        catalog: &Catalog,
        arguments: &Arguments,
        flag: &str,
        place: &Place,
    ) -> Result<Option<StreamId>, Error> {
        if let Some(given) = arguments.parsed(flag)? {
            return Ok(Some(given));
        }
        self.uuid_at(catalog, place).await
    }

    /// As its cluster tells it now, if that answers; refused where no stream is.
    pub(crate) async fn uuid_at(
        &self,
        catalog: &Catalog,
        place: &Place,
    ) -> Result<Option<StreamId>, Error> {
        if place.cluster == catalog.cluster().name {
            return catalog.expect_stream_at(&place.path).map(|stream| Some(stream.id));
        }
        let asked = self.links.remote_stream(&place.cluster, &place.path);
        match tokio::time::timeout(REMOTE_TIMEOUT, asked).await {
            Ok(Ok(None)) => Err(Error::not_found(format!(
                "{place} is not a valid stream; create it first, or correct the path"
            ))),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Refuses `-cluster` with another cluster's name.
    pub(crate) fn check_cluster(&self, arguments: &Arguments) -> Result<(), Error> {
        let named: Option<ClusterName> = arguments.parsed("cluster")?;
        let here = self.engine.catalog().cluster().name.clone();
        match named {
            Some(cluster) if cluster != here => {
                Err(Error::invalid(format!("this is cluster {here}; ask {cluster}")))
            }
            _ => Ok(()),
        }
    }

    /// The partitions of a topic that are there by now, in order.
    pub(crate) fn partitions<'a>(
        &'a self,
        topic: &'a mainstem_catalog::Topic,
    ) -> impl Iterator<Item = Arc<Partition>> + 'a {
        topic.partitions.iter().filter_map(|no| self.engine.partition(*no))
    }
}
