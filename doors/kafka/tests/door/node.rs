//! A node under test, and clients that speak to it frame by frame.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mainstem_catalog::{Catalog, Command, StreamSettings};
use mainstem_engine::{Engine, EngineSettings, LogSettings};
use mainstem_env::{Env, SimDisk};
use mainstem_kafka::{KafkaDoor, KafkaSettings};
use mainstem_record::BatchBuilder;
use mainstem_types::{ClusterId, PartitionNo, StreamId, StreamPath};
use mainstem_wire::{
    ApiKey, FetchPartition, FetchRequest, FetchResponse, FetchTopic, MetadataRequest,
    MetadataRequestTopic, MetadataResponse, PartitionData, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, Request, Response, TopicProduceData,
    decode_response, encode_request,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct TestNode {
    pub(crate) door: KafkaDoor,
    pub(crate) engine: Engine,
}

impl TestNode {
    /// A cluster with the stream `/activity`.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut KafkaSettings)) -> Self {
        Self::start_on(LogSettings::default(), adjust).await
    }

    /// A node that keeps nothing in memory, so that every fetch reads the disk.
    pub(crate) async fn start_cold() -> Self {
        Self::start_on(LogSettings { tail_cache_bytes: 0, ..LogSettings::default() }, |_| {}).await
    }

    async fn start_on(log: LogSettings, adjust: impl FnOnce(&mut KafkaSettings)) -> Self {
        let env = Env::system();
        let disk = Arc::new(SimDisk::new(7));
        let log = LogSettings { segment_bytes: 8 << 20, ..log };
        let engine_settings = EngineSettings { log, ..EngineSettings::default() };
        let (engine, sequencer) =
            Engine::open(env.clone(), disk, engine_settings).expect("an empty disk");
        sequencer.spawn().expect("a thread");
        let found = Command::FoundCluster {
            id: ClusterId::from_random(1),
            name: "here".parse().expect("a name"),
            incarnation: 1,
        };
        engine.change(found).await.expect("the first founding");
        let mut settings = KafkaSettings::listening_on("127.0.0.1:0".parse().expect("an address"));
        settings.groups.initial_rebalance_delay_ms = 50;
        adjust(&mut settings);
        let door = KafkaDoor::open(engine.clone(), env, settings).await.expect("a free port");
        let node = Self { door, engine };
        node.create_stream("/activity", StreamSettings::default()).await;
        node
    }

    pub(crate) async fn create_stream(&self, path: &str, settings: StreamSettings) -> StreamId {
        let path: StreamPath = path.parse().expect("a path");
        let create = Command::CreateStream { path: path.clone(), id: None, settings };
        let catalog = self.change(create).await;
        catalog.stream_at(&path).expect("just created").id
    }

    pub(crate) fn stream(&self, path: &str) -> StreamId {
        let catalog = self.engine.catalog();
        catalog.stream_at(&path.parse().expect("a path")).expect("a stream").id
    }

    /// The number of a partition in the log.
    pub(crate) fn partition(&self, path: &str, topic: &str, index: u32) -> PartitionNo {
        let catalog = self.engine.catalog();
        let stream = catalog.stream(self.stream(path)).expect("a stream");
        let topic = stream.topic(&topic.parse().expect("a name")).expect("a topic");
        topic.partition(index).expect("a partition")
    }

    pub(crate) async fn create_topic(&self, path: &str, name: &str, partitions: u32) {
        self.change(Command::CreateTopic {
            stream: self.stream(path),
            name: name.parse().expect("a name"),
            partitions: Some(partitions),
            timestamp_type: None,
            config: Default::default(),
        })
        .await;
    }

    pub(crate) async fn change(&self, command: Command) -> Catalog {
        self.engine.change(command).await.expect("the change is allowed")
    }

    pub(crate) async fn connect(&self) -> Client {
        self.connect_to(0).await
    }

    pub(crate) async fn connect_to(&self, listener: usize) -> Client {
        let address = self.door.addresses()[listener];
        let socket = TcpStream::connect(address).await.expect("the door is open");
        socket.set_nodelay(true).expect("a live socket");
        Client { socket, correlation_id: 0 }
    }
}

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) async fn send(&mut self, request: impl Into<Request>, version: i16) -> i32 {
        self.correlation_id += 1;
        let frame = encode_request(&request.into(), version, self.correlation_id, Some("test"));
        self.socket.write_all(&frame.concat()).await.expect("the door reads");
        self.correlation_id
    }

    pub(crate) async fn frame(&mut self) -> Bytes {
        let length = self.socket.read_u32().await.expect("an answer");
        let mut frame = BytesMut::zeroed(usize::try_from(length).expect("small"));
        self.socket.read_exact(&mut frame).await.expect("all of it");
        frame.freeze()
    }

    pub(crate) async fn receive(&mut self, api: ApiKey, version: i16) -> (i32, Response) {
        let frame = self.frame().await;
        decode_response(api, version, &frame).expect("a well-formed answer")
    }

    /// True once the door has closed this connection without a word more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.socket.read(&mut byte).await, Ok(0) | Err(_))
    }

    pub(crate) async fn call(&mut self, request: impl Into<Request>, version: i16) -> Response {
        let request = request.into();
        let api = request.api_key();
        let sent = self.send(request, version).await;
        let (answered, response) = self.receive(api, version).await;
        assert_eq!(answered, sent);
        response
    }

    pub(crate) async fn metadata(&mut self, topics: &[&str], create: bool) -> MetadataResponse {
        let topics = topics.iter().map(|name| MetadataRequestTopic {
            name: Some((*name).to_owned()),
            ..Default::default()
        });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        ask!(self, Metadata, request, 12)
    }

    /// Produces one batch to partition 0.
    pub(crate) async fn produce(&mut self, topic: &str, batch: Bytes) -> PartitionProduceResponse {
        let response: ProduceResponse = ask!(self, Produce, produce(topic, 0, batch, -1), 9);
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches from partition 0, without waiting.
    pub(crate) async fn fetch(&mut self, topic: &str, offset: i64) -> PartitionData {
        let response: FetchResponse = ask!(self, Fetch, fetch(topic, offset, 0, 0), 11);
        response.responses[0].partitions[0].clone()
    }
}

/// Calls and takes the one variant of the response that fits.
macro_rules! ask {
    ($client:expr, $api:ident, $request:expr, $version:expr) => {
        match $client.call($request, $version).await {
            mainstem_wire::Response::$api(response) => response,
            other => panic!("the answer to another request: {other:?}"),
        }
    };
}
pub(crate) use ask;

pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (value, at) in values.iter().zip(0..) {
        builder.push(1_000 + at, None, Some(value.as_bytes()));
    }
    builder.build().freeze()
}

pub(crate) fn produce(topic: &str, index: i32, batch: Bytes, acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData { index, records: Some(batch) };
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![partition],
        }],
        ..Default::default()
    }
}

pub(crate) fn fetch(topic: &str, offset: i64, wait_ms: i32, bytes_min: i32) -> FetchRequest {
    let partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: bytes_min,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The values of all records in a fetched set, with their offsets.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().into_bytes();
    let batches = mainstem_record::Batches::new(bytes).map(|batch| batch.expect("whole batches"));
    let records = batches.flat_map(|batch| {
        mainstem_record::check_crc(&batch.bytes).expect("an intact batch");
        mainstem_record::records(&batch.bytes, 1 << 20).expect("readable")
    });
    let value = |record: mainstem_record::Record| {
        let value = record.value.expect("a value");
        (record.offset, String::from_utf8(value.to_vec()).expect("text"))
    };
    records.map(|record| value(record.expect("a record"))).collect()
}
