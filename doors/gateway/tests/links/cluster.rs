//! Two whole clusters in one process: real engines, real files, real TLS on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mainstem_api::links::{LinkReport, SharedLinks};
use mainstem_catalog::{Catalog, Command, Place, ReplicaSettings, StreamSettings};
use mainstem_engine::{Ack, Append, Engine, EngineSettings, LogSettings, StoredBatch};
use mainstem_env::{Env, Random, SystemDisk, SystemRandom};
use mainstem_gateway::{
    Authority, Directory, DnsSettings, Gateway, GatewaySettings, LinkTls, Relay, RelaySettings,
};
use mainstem_record::BatchBuilder;
use mainstem_types::{ClusterId, Error, PartitionNo, StreamId};

/// How long a condition may take to come true before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What all clusters of a test share.
pub(crate) struct Group {
    pub(crate) authority: Authority,
    addresses: Arc<Mutex<HashMap<String, String>>>,
    dns: DnsSettings,
    dns_first_wait_ms: u64,
}

impl Group {
    pub(crate) fn new() -> Self {
        Self::asking(DnsSettings::Off)
    }

    /// One whose clusters look each other up.
    pub(crate) fn asking(dns: DnsSettings) -> Self {
        let dns_first_wait_ms = GatewaySettings::default().dns_first_wait_ms;
        let (authority, addresses) = (Authority::create().unwrap(), Arc::default());
        Self { authority, addresses, dns, dns_first_wait_ms }
    }

    /// One whose clusters call nobody before DNS has spoken.
    pub(crate) fn patiently(self) -> Self {
        let dns_first_wait_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
        Self { dns_first_wait_ms, ..self }
    }

    /// From now on nobody knows where that cluster is.
    pub(crate) fn forget(&self, cluster: &Cluster) {
        self.addresses.lock().unwrap().remove(&cluster.name);
    }

    pub(crate) fn directory(&self) -> Directory {
        let addresses = self.addresses.clone();
        Arc::new(move |cluster| {
            addresses.lock().unwrap().get(cluster.as_str()).cloned().into_iter().collect()
        })
    }

    /// One more gateway of a cluster, in front of its server.
    pub(crate) async fn relay(&self, cluster: &Cluster) -> Relay {
        let name = cluster.name.parse().unwrap();
        let own = self.authority.issue(cluster.id, &name).unwrap();
        let tls = LinkTls::from_pem(self.authority.certificate_pem(), &own).unwrap();
        let settings = RelaySettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cluster: name,
            server: cluster.gateway.address().to_string(),
            connections_max: 16,
        };
        Relay::start(tls, settings).await.unwrap()
    }

    pub(crate) async fn cluster(&self, name: &str) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let id = ClusterId::from_random(SystemRandom.next_u128());
        Cluster::start(self, name, id, folder, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }
}

/// One cluster.
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) id: ClusterId,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    sequencer: std::thread::JoinHandle<()>,
}

impl Cluster {
    pub(crate) async fn start(
        group: &Group,
        name: &str,
        id: ClusterId,
        folder: tempfile::TempDir,
        listen: SocketAddr,
    ) -> Self {
        let disk = Arc::new(SystemDisk::open(folder.path()).unwrap());
        let settings = EngineSettings {
            log: LogSettings { segment_bytes: 1024 * 1024, ..LogSettings::default() },
            disk_free_bytes_min: 0,
            ..EngineSettings::default()
        };
        let (engine, sequencer) = Engine::open(Env::system(), disk, settings).unwrap();
        let sequencer = sequencer.spawn().unwrap();
        let found = Command::FoundCluster { id, name: name.parse().unwrap(), incarnation: 1 };
        engine.change(found).await.unwrap();
        let own = group.authority.issue(id, &name.parse().unwrap()).unwrap();
        let tls = LinkTls::from_pem(group.authority.certificate_pem(), &own).unwrap();
        let (dns, dns_first_wait_ms) = (group.dns, group.dns_first_wait_ms);
        let settings =
            GatewaySettings { listen, dns, dns_first_wait_ms, ..GatewaySettings::default() };
        let directory = group.directory();
        let gateway = Gateway::start(Env::system(), engine.clone(), tls, directory, settings);
        let gateway = gateway.await.unwrap();
        let address = gateway.address().to_string();
        group.addresses.lock().unwrap().insert(name.to_owned(), address);
        Self { name: name.to_owned(), id, folder, engine, gateway, sequencer }
    }

    /// Stops everything and starts it again over the same files, at the same address.
    pub(crate) async fn restart(self, group: &Group) -> Self {
        let (name, id, listen) = (self.name.clone(), self.id, self.gateway.address());
        let folder = self.stop().await;
        Self::start(group, &name, id, folder, listen).await
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.gateway.close().await;
        self.engine.close().await;
        self.sequencer.join().unwrap();
        self.folder
    }

    pub(crate) fn links(&self) -> SharedLinks {
        self.gateway.links()
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.engine.catalog()
    }

    pub(crate) fn place(&self, path: &str) -> Place {
        Place { cluster: self.name.parse().unwrap(), path: path.parse().unwrap() }
    }

    pub(crate) fn stream(&self, path: &str) -> StreamId {
        self.catalog().stream_at(&path.parse().unwrap()).unwrap().id
    }

    pub(crate) async fn create_stream(&self, path: &str) -> StreamId {
        let settings = StreamSettings::default();
        let command = Command::CreateStream { path: path.parse().unwrap(), id: None, settings };
        self.engine.change(command).await.unwrap();
        self.stream(path)
    }

    pub(crate) async fn create_topic(&self, stream: StreamId, name: &str, partitions: u32) {
        let command = Command::CreateTopic {
            stream,
            name: name.parse().unwrap(),
            partitions: Some(partitions),
            timestamp_type: None,
            config: Default::default(),
        };
        self.engine.change(command).await.unwrap();
    }

    pub(crate) async fn add_replica(&self, stream: StreamId, replica: Place, paused: bool) {
        let command = Command::AddReplica {
            stream,
            replica,
            replica_id: None,
            settings: ReplicaSettings::default(),
            paused,
            setup: None,
        };
        self.engine.change(command).await.unwrap();
    }

    pub(crate) async fn add_upstream(&self, stream: StreamId, upstream: Place) {
        let command = Command::AddUpstream { stream, upstream, stream_id: None };
        self.engine.change(command).await.unwrap();
    }

    pub(crate) async fn produce(
        &self,
        stream: StreamId,
        topic: &str,
        index: u32,
        text: &str,
    ) -> Result<i64, Error> {
        let mut builder = BatchBuilder::new();
        builder.push(1_700_000_000_000, Some(b"key"), Some(text.as_bytes()));
        self.append(stream, topic, index, builder.build().freeze()).await
    }

    pub(crate) async fn append(
        &self,
        stream: StreamId,
        topic: &str,
        index: u32,
        batch: Bytes,
    ) -> Result<i64, Error> {
        let catalog = self.catalog();
        let topic = catalog.stream(stream).unwrap().topic(&topic.parse().unwrap()).unwrap().clone();
        let append = Append { partition: topic.partition(index).unwrap(), batch };
        let mut answers = self.engine.append(vec![append], Ack::Durable).await?.await?;
        answers.remove(0).map(|appended| appended.base_offset)
    }

    /// The number of a partition in the log.
    pub(crate) fn partition(&self, stream: StreamId, topic: &str, index: u32) -> PartitionNo {
        let catalog = self.catalog();
        let topic = catalog.stream(stream).unwrap().topic(&topic.parse().unwrap()).unwrap();
        topic.partition(index).unwrap()
    }

    /// Every batch of a stream, by topic and partition. A topic may be deleted while it is read;
    /// what is missing then is as if it had been read later, and the caller looks again.
    pub(crate) fn content(&self, stream: StreamId) -> Content {
        let catalog = self.catalog();
        let mut content = Content::new();
        for topic in catalog.stream(stream).unwrap().topics.values() {
            for (index, no) in topic.partitions.iter().enumerate() {
                let Some(partition) = self.engine.partition(*no) else { continue };
                let (mut at, mut all) = (partition.log_start(), Vec::new());
                while at < partition.durable_end() {
                    let batches = partition.read(at, 1 << 20).unwrap_or_default();
                    let Some(last) = batches.last() else { break };
                    at = last.next_offset;
                    let kept =
                        |batch: StoredBatch| (batch.base_offset, batch.arrival_ms, batch.bytes);
                    all.extend(batches.into_iter().map(kept));
                }
                content.insert((topic.name.to_string(), index), all);
            }
        }
        content
    }

    pub(crate) fn report(&self, stream: StreamId, place: &Place) -> LinkReport {
        self.links().replica(stream, &place.cluster, &place.path).unwrap()
    }
}

/// (base offset, arrival, bytes) by (topic, partition).
pub(crate) type Content = HashMap<(String, usize), Vec<(i64, i64, Bytes)>>;

/// Waits until `check` holds.
pub(crate) async fn until(what: &str, check: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "this did not come true: {what}");
}
