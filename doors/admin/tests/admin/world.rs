//! One admin door before an engine over a simulated disk, called without a socket.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use mainstem_admin::{AdminDoor, AdminSettings};
use mainstem_api::links::{
    BoxFuture, CopyGrant, CopyReport, GatewayReport, LinkError, LinkReport, Links, UpstreamReport,
    VerifyReport,
};
use mainstem_catalog::Command;
use mainstem_engine::{
    Ack, Append, CursorCommit, Engine, EngineSettings, LogSettings, ReserveMode, ViewMode,
};
use mainstem_env::{Env, ManualClock, SeededRandom, SimDisk};
use mainstem_group::CursorKey;
use mainstem_record::BatchBuilder;
use mainstem_types::{
    ClusterId, ClusterName, Error, JobId, StreamId, StreamPath, StreamRef, TopicName,
};
use serde_json::Value;
use tower::ServiceExt;

/// What the links are made to say.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) replica: Mutex<Option<LinkReport>>,
    pub(crate) upstream: Mutex<UpstreamReport>,
    pub(crate) gateways: Mutex<Vec<GatewayReport>>,
    pub(crate) refreshed: Mutex<u32>,
    pub(crate) copy: Mutex<Option<CopyReport>>,
    pub(crate) copy_reads: Mutex<Option<u64>>,
    pub(crate) verification: Mutex<Option<VerifyReport>>,
}

impl Links for Told {
    fn replica(&self, _: StreamId, _: &ClusterName, _: &StreamPath) -> Option<LinkReport> {
        self.replica.lock().unwrap().clone()
    }

    fn upstream(&self, _: StreamId, _: &ClusterName, _: &StreamPath) -> Option<UpstreamReport> {
        Some(self.upstream.lock().unwrap().clone())
    }

    fn undo(&self, _: JobId) -> Option<LinkError> {
        Some(unreachable())
    }

    fn refresh(&self, _: StreamId) -> BoxFuture<'_, ()> {
        *self.refreshed.lock().unwrap() += 1;
        Box::pin(async {})
    }

    fn start_copy(
        &self,
        _: StreamId,
        _: &StreamRef,
        _: Option<CopyGrant>,
        reads: Option<u64>,
    ) -> BoxFuture<'_, Result<JobId, Error>> {
        *self.copy_reads.lock().unwrap() = reads;
        Box::pin(async { Ok(JobId::from_random(77)) })
    }

    fn start_verify(
        &self,
        _: StreamId,
        _: &StreamRef,
        _: Option<&TopicName>,
    ) -> Result<JobId, Error> {
        Ok(JobId::from_random(78))
    }

    fn verification(&self, _: JobId) -> Option<VerifyReport> {
        self.verification.lock().unwrap().clone()
    }

    fn remote_stream(
        &self,
        _: &ClusterName,
        path: &StreamPath,
    ) -> BoxFuture<'_, Result<Option<StreamId>, Error>> {
        let told = match path.as_str() {
            "/nowhere" => Ok(None),
            "/known" => Ok(Some(StreamId(99))),
            _ => Err(Error::unreachable("no gateway answers")),
        };
        Box::pin(async { told })
    }

    fn copy(&self, _: JobId) -> Option<CopyReport> {
        self.copy.lock().unwrap().clone()
    }

    fn resolve(&self, cluster: &ClusterName) -> BoxFuture<'_, Vec<String>> {
        let alive =
            if cluster.as_str() == "newyork" { vec!["gw1:7660".to_owned()] } else { vec![] };
        Box::pin(async { alive })
    }

    fn gateways(&self) -> Vec<GatewayReport> {
        self.gateways.lock().unwrap().clone()
    }

    fn local_gateways(&self) -> Vec<String> {
        vec!["127.0.0.1:7660".to_owned(), "127.0.0.2:7660".to_owned()]
    }
}

pub(crate) fn unreachable() -> LinkError {
    LinkError {
        code: "ErrAllGatewaysUnreachable".to_owned(),
        host: "here".to_owned(),
        message: "All configured gateways to cluster newyork are unreachable".to_owned(),
        at_ms: 5,
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) links: Arc<Told>,
    router: Router,
    door: AdminDoor,
    clock: Arc<ManualClock>,
}

impl World {
    /// A cluster named sanfrancisco that has nothing yet.
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
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
        let (engine, sequencer) =
            Engine::open(env.clone(), Arc::new(SimDisk::new(1)), settings).unwrap();
        sequencer.spawn().unwrap();
        let name = "sanfrancisco".parse().unwrap();
        let found = Command::FoundCluster { id: ClusterId(7), name, incarnation: 1 };
        engine.change(found).await.unwrap();
        let links = Arc::new(Told::default());
        let door = AdminDoor::new(engine.clone(), links.clone(), env, AdminSettings::default());
        Self { engine, links, router: door.clone().router(), door, clock }
    }

    /// What every replica's link tells from now on.
    pub(crate) fn say(&self, report: LinkReport) {
        *self.links.replica.lock().unwrap() = Some(report);
    }

    /// Lets time pass, and alarms be looked at.
    pub(crate) fn look_after(&self, ms: u64) {
        self.clock.advance_ms(ms);
        self.door.look();
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> (StatusCode, Value) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Status, kind and text of an answer that is no envelope.
    pub(crate) async fn text(&self, request: Request<Body>) -> (StatusCode, String, String) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, kind) = (answer.status(), answer.headers()[header::CONTENT_TYPE].clone());
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let kind = kind.to_str().unwrap().to_owned();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The whole answer to `words?query`.
    pub(crate) async fn ask(&self, what: &str) -> Value {
        let request = Request::get(format!("/rest/{what}")).body(Body::empty()).unwrap();
        let (status, answer) = self.request(request).await;
        assert_eq!(status, StatusCode::OK, "{what}");
        answer
    }

    /// The rows of an answer that must be good.
    pub(crate) async fn rows(&self, what: &str) -> Vec<Value> {
        let answer = self.ask(what).await;
        assert_eq!(answer["status"], "OK", "{what}: {answer}");
        answer["data"].as_array().unwrap().clone()
    }

    /// Number and sentence of a refusal, which must have changed nothing.
    pub(crate) async fn refusal(&self, what: &str) -> (i64, String) {
        let before = self.engine.catalog();
        let answer = self.ask(what).await;
        assert_eq!(answer["status"], "ERROR", "{what}: {answer}");
        assert!(self.engine.catalog() == before, "{what} changed something");
        let error = &answer["errors"][0];
        let text = error["desc"].as_str().unwrap().to_owned();
        assert!(text.len() > 20 && !text.contains('\n'), "{text}");
        (error["id"].as_i64().unwrap(), text)
    }

    pub(crate) async fn post_form(&self, what: &str, form: &str) -> Value {
        let request = Request::post(format!("/rest/{what}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        self.request(request).await.1
    }

    /// Appends records with these timestamps to a partition, one batch.
    pub(crate) async fn append(&self, path: &str, topic: &str, partition: u32, times: &[i64]) {
        let catalog = self.engine.catalog();
        let stream = catalog.stream_at(&path.parse().unwrap()).unwrap();
        let topic = stream.topic(&topic.parse().unwrap()).unwrap();
        let mut batch = BatchBuilder::new();
        for time in times {
            batch.push(*time, None, Some(b"value"));
        }
        let batch: Bytes = batch.build().freeze();
        let append = Append { partition: topic.partition(partition).unwrap(), batch };
        let appended = self.engine.append(vec![append], Ack::Durable).await.unwrap().await;
        appended.unwrap().pop().unwrap().unwrap();
    }

    /// Commits a group's offset.
    pub(crate) async fn commit(&self, path: &str, topic: &str, partition: u32, offset: i64) {
        let catalog = self.engine.catalog();
        let stream = catalog.stream_at(&path.parse().unwrap()).unwrap();
        let topic = stream.topic(&topic.parse().unwrap()).unwrap();
        let key = CursorKey {
            stream: stream.id,
            group: "web".parse().unwrap(),
            topic: topic.origin,
            partition,
        };
        let commit = CursorCommit { key, offset, leader_epoch: -1, metadata: String::new() };
        self.engine.commit_cursors(vec![commit]).await.unwrap();
    }
}
