//! Two clusters' admin doors, and a third cluster that is known and not at work.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mainstem_admin::{AdminDoor, AdminSettings, OpenAdminDoor};
use mainstem_api::links::{
    BoxFuture, CopyGrant, CopyReport, GatewayReport, LinkError, LinkReport, Links, UpstreamReport,
    VerifiedPartition, VerifyReport,
};
use mainstem_api::{Envelope, Row};
use mainstem_catalog::Command;
use mainstem_cli::{Clusters, Invocation, KnownCluster, Printed, command_line};
use mainstem_engine::{Engine, EngineSettings, LogSettings, ReserveMode, ViewMode};
use mainstem_env::{Env, SimDisk};
use mainstem_types::{
    ClusterId, ClusterName, Error, JobId, StreamId, StreamPath, StreamRef, TopicName,
};

/// A copy into `/endless`, and whether somebody waits for it.
const ENDLESS: JobId = JobId(3);
pub(crate) static ENDLESS_ASKED: AtomicBool = AtomicBool::new(false);

/// Links that know nothing of a replica but what they are told, copy at once, and find a topic `t`
/// alike and all others not.
#[derive(Default)]
pub(crate) struct Silent(Mutex<Option<TopicName>>, pub(crate) Mutex<Option<LinkReport>>);

impl Links for Silent {
    fn replica(&self, _: StreamId, _: &ClusterName, _: &StreamPath) -> Option<LinkReport> {
        self.1.lock().unwrap().clone()
    }

    fn upstream(&self, _: StreamId, _: &ClusterName, _: &StreamPath) -> Option<UpstreamReport> {
        None
    }

    fn undo(&self, _: JobId) -> Option<LinkError> {
        None
    }

    fn refresh(&self, _: StreamId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn start_copy(
        &self,
        _: StreamId,
        destination: &StreamRef,
        _: Option<CopyGrant>,
        _: Option<u64>,
    ) -> BoxFuture<'_, Result<JobId, Error>> {
        let is_endless = destination.path.as_str() == "/endless";
        Box::pin(async move { if is_endless { Ok(ENDLESS) } else { Ok(JobId::from_random(1)) } })
    }

    fn copy(&self, job: JobId) -> Option<CopyReport> {
        if job == ENDLESS {
            ENDLESS_ASKED.store(true, Ordering::Relaxed);
            return Some(CopyReport { percent: 52, ..CopyReport::default() });
        }
        Some(CopyReport { percent: 100, finished: Some(Ok(())), ..CopyReport::default() })
    }

    fn start_verify(
        &self,
        _: StreamId,
        _: &StreamRef,
        topic: Option<&TopicName>,
    ) -> Result<JobId, Error> {
        *self.0.lock().unwrap() = topic.cloned();
        Ok(JobId::from_random(2))
    }

    fn verification(&self, _: JobId) -> Option<VerifyReport> {
        let topic = self.0.lock().unwrap().as_ref().map_or("all".to_owned(), ToString::to_string);
        let status = match topic.as_str() {
            "t" => "identical",
            "damaged" => "unknown",
            _ => "different",
        };
        let partition = VerifiedPartition {
            topic,
            partition: 0,
            status,
            from: 0,
            to: 5,
            time_ms: 1,
            lag_records: 0,
            by_records: None,
            offset: None,
            difference: None,
            message: "looked at".into(),
        };
        let (finished, partitions) = (Some(Ok(())), vec![partition]);
        Some(VerifyReport { percent: 100, finished, partitions, ..VerifyReport::default() })
    }

    fn resolve(&self, _: &ClusterName) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }

    fn remote_stream(
        &self,
        _: &ClusterName,
        _: &StreamPath,
    ) -> BoxFuture<'_, Result<Option<StreamId>, Error>> {
        Box::pin(async { Err(Error::unreachable("nobody answers here")) })
    }

    fn gateways(&self) -> Vec<GatewayReport> {
        Vec::new()
    }

    fn local_gateways(&self) -> Vec<String> {
        vec!["127.0.0.1:7660".to_owned()]
    }
}

#[allow(dead_code, reason = "not every test looks at everything")]
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    home: tempfile::TempDir,
    pub(crate) engines: Vec<Engine>,
    pub(crate) links: Vec<Arc<Silent>>,
    doors: Vec<OpenAdminDoor>,
}

#[allow(dead_code, reason = "not every test does everything")]
impl World {
    /// sanfrancisco and newyork at work, boston known and not at work.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let home = tempfile::tempdir().unwrap();
        let (mut engines, mut doors, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
        let links = vec![Arc::new(Silent::default()), Arc::new(Silent::default())];
        for ((id, name), links) in [(1, "sanfrancisco"), (2, "newyork")].into_iter().zip(&links) {
            let engine = runtime.block_on(engine(id, name));
            let settings = AdminSettings::default();
            let door = AdminDoor::new(engine.clone(), links.clone(), Env::system(), settings);
            let open = runtime.block_on(door.open("127.0.0.1:0".parse().unwrap())).unwrap();
            clusters.push(known(name, &open.address().to_string()));
            engines.push(engine);
            doors.push(open);
        }
        // A port that was free a moment ago, and that nobody serves.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        clusters.push(known("boston", &nobody.to_string()));
        Clusters { clusters }.save(&Clusters::file(home.path())).unwrap();
        Self { runtime, home, engines, links, doors }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn run(&self, line: &str) -> Printed {
        run(self.home.path(), line)
    }

    /// What a command that must succeed prints.
    pub(crate) fn good(&self, line: &str) -> String {
        let printed = self.run(line);
        assert!(printed.ok, "{line}: {}", printed.err);
        assert_eq!(printed.err, "", "{line}");
        printed.out
    }

    /// The line of a command that must fail and change nothing.
    pub(crate) fn bad(&self, line: &str) -> String {
        let before: Vec<_> = self.engines.iter().map(Engine::catalog).collect();
        let printed = self.run(line);
        assert!(!printed.ok && printed.out.is_empty(), "{line}: {}", printed.out);
        assert_eq!(printed.err.lines().count(), 1, "{line}: {}", printed.err);
        assert!(printed.err.starts_with("ERROR ("), "{line}: {}", printed.err);
        for (engine, before) in self.engines.iter().zip(before) {
            assert!(engine.catalog() == before, "{line} changed something");
        }
        printed.err
    }

    /// The first row of a command's JSON.
    pub(crate) fn row(&self, line: &str) -> Row {
        let json = self.good(&format!("{line} -json"));
        let envelope = Envelope::parse(json.as_bytes()).unwrap();
        envelope.outcome.unwrap().into_iter().next().unwrap()
    }

    /// What a future gives that the engines' threads complete.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn close(self) {
        self.runtime.block_on(async {
            for door in self.doors {
                door.close().await;
            }
            for engine in &self.engines {
                engine.close().await;
            }
        });
    }
}

/// Runs a line with the clusters under `home`; `''` is an empty argument.
pub(crate) fn run(home: &Path, line: &str) -> Printed {
    let mut words = line.split(' ').map(|word| word.trim_matches('\'').to_owned());
    let invocation = Invocation::of(&words.next().unwrap());
    command_line(invocation, words, home, None)
}

fn known(name: &str, admin: &str) -> KnownCluster {
    KnownCluster {
        name: name.to_owned(),
        id: String::new(),
        admin: admin.to_owned(),
        kafka: String::new(),
        gateways: Vec::new(),
        ca: "ca.pem".into(),
    }
}

async fn engine(id: u128, name: &str) -> Engine {
    let settings = EngineSettings {
        log: LogSettings {
            segment_bytes: 256 * 1024,
            reserve_segments: 1,
            reserve_mode: ReserveMode::Inline,
            ..LogSettings::default()
        },
        disk_free_bytes_min: 0,
        view_mode: ViewMode::Inline,
        ..EngineSettings::default()
    };
    let disk = Arc::new(SimDisk::new(1));
    let (engine, sequencer) = Engine::open(Env::system(), disk, settings).unwrap();
    sequencer.spawn().unwrap();
    let name = name.parse().unwrap();
    let found = Command::FoundCluster { id: ClusterId(id), name, incarnation: 1 };
    engine.change(found).await.unwrap();
    engine
}
