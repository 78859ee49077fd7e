//! Links with thousands of partitions, over a wire that is counted and cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstem_catalog::Command;
use mainstem_engine::{Ack, Append};
use mainstem_record::BatchBuilder;
use mainstem_types::StreamId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cluster::{Cluster, Group, until};

const TOPICS: u32 = 2;
const PARTITIONS: u32 = 1_000;
const RECORD_BYTES: usize = 4_000;

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    open: AtomicU64,
    open_max: AtomicU64,
    bytes: AtomicU64,
}

/// Passes connections on to a gateway.
struct Wire {
    address: SocketAddr,
    counts: Arc<Counts>,
    cut: watch::Sender<()>,
}

impl Wire {
    async fn to(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, (cut, cuts)) = (Arc::<Counts>::default(), watch::channel(()));
        let shared = counts.clone();
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(pass(caller, gateway, shared.clone(), cuts.clone()));
            }
        });
        Self { address, counts, cut }
    }

    fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::SeqCst)
    }
}

async fn pass(
    caller: TcpStream,
    gateway: SocketAddr,
    counts: Arc<Counts>,
    mut cuts: watch::Receiver<()>,
) {
    cuts.mark_unchanged();
    let Ok(callee) = TcpStream::connect(gateway).await else { return };
    counts.calls.fetch_add(1, Ordering::SeqCst);
    let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
    counts.open_max.fetch_max(open, Ordering::SeqCst);
    let ((from_caller, to_caller), (from_callee, to_callee)) =
        (caller.into_split(), callee.into_split());
    tokio::select! {
        () = copy(from_caller, to_callee, &counts) => {}
        () = copy(from_callee, to_caller, &counts) => {}
        _ = cuts.changed() => {}
    }
    counts.open.fetch_sub(1, Ordering::SeqCst);
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, counts: &Counts) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        counts.bytes.fetch_add(count as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

struct Many {
    source: (Cluster, StreamId),
    replica: (Cluster, StreamId),
    wire: Wire,
}

impl Many {
    /// A record in every partition, and all of them at the replica.
    async fn new(group: &Group) -> Self {
        let (source, replica) =
            (group.cluster("sanfrancisco").await, group.cluster("newyork").await);
        let wire = Wire::to(replica.gateway.address()).await;
        let gateways = vec![wire.address.to_string()];
        let command = Command::SetGateways { cluster: "newyork".parse().unwrap(), gateways };
        source.engine.change(command).await.unwrap();
        let from = source.create_stream("/s").await;
        let to = replica.create_stream("/s").await;
        for topic in 0..TOPICS {
            source.create_topic(from, &format!("t{topic}"), PARTITIONS).await;
        }
        let many = Self { source: (source, from), replica: (replica, to), wire };
        for topic in 0..TOPICS {
            many.fill(topic).await;
        }
        many.replica.0.add_upstream(to, many.source.0.place("/s")).await;
        many.source.0.add_replica(from, many.replica.0.place("/s"), false).await;
        until("all is there", || many.is_alike()).await;
        many
    }

    async fn fill(&self, topic: u32) {
        let (cluster, stream) = &self.source;
        // Nothing that the link could pack.
        let mut text = vec![0; RECORD_BYTES];
        (0u64..).zip(text.chunks_mut(8)).for_each(|(at, chunk)| {
            let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
            chunk.copy_from_slice(&mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes());
        });
        let mut builder = BatchBuilder::new();
        builder.push(1_700_000_000_000, None, Some(&text));
        let batch = builder.build().freeze();
        let append = |index| Append {
            partition: cluster.partition(*stream, &format!("t{topic}"), index),
            batch: batch.clone(),
        };
        let appends = (0..PARTITIONS).map(append).collect();
        let answers = cluster.engine.append(appends, Ack::Durable).await.unwrap().await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
    }

    async fn produce(&self, topic: u32, index: u32, text: &str) {
        let (cluster, stream) = &self.source;
        cluster.produce(*stream, &format!("t{topic}"), index, text).await.unwrap();
    }

    fn is_alike(&self) -> bool {
        let content = |(cluster, stream): &(Cluster, StreamId)| cluster.content(*stream);
        content(&self.source) == content(&self.replica)
    }

    async fn stop(self) {
        self.source.0.stop().await;
        self.replica.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_17_thousands_of_partitions_use_one_connection() {
    let group = Group::new();
    let many = Many::new(&group).await;
    for index in (0..PARTITIONS).step_by(50) {
        many.produce(index % TOPICS, index, "once more").await;
    }
    until("they are there", || many.is_alike()).await;
    let counts = &many.wire.counts;
    assert_eq!(counts.calls.load(Ordering::SeqCst), 1, "and never another");
    assert_eq!(counts.open_max.load(Ordering::SeqCst), 1);
    many.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_16_a_flapping_link_repeats_what_it_knows_of_partitions_and_no_data() {
    const FLAPS: u32 = 8;
    let group = Group::new();
    let many = Many::new(&group).await;
    let data = u64::from(TOPICS * PARTITIONS) * RECORD_BYTES as u64;
    let before = many.wire.bytes();
    assert!((data..2 * data).contains(&before), "{before} bytes for {data} of data");
    for flap in 0..FLAPS {
        many.wire.cut.send_replace(());
        many.produce(flap % TOPICS, flap * 31, "after the break").await;
        until("it is there", || {
            let last = |(cluster, stream): &(Cluster, StreamId)| {
                let no = cluster.partition(*stream, &format!("t{}", flap % TOPICS), flap * 31);
                cluster.engine.partition(no).map(|partition| partition.durable_end())
            };
            last(&many.source) == last(&many.replica)
        })
        .await;
    }
    assert!(many.is_alike());
    // Each partition's end and lineage, and positions: not a tenth of even this little data.
    let each = (many.wire.bytes() - before) / u64::from(FLAPS);
    assert!(each < data / 10, "{each} bytes for each break");
    assert_eq!(many.wire.counts.calls.load(Ordering::SeqCst), u64::from(FLAPS) + 1);
    assert_eq!(many.wire.counts.open_max.load(Ordering::SeqCst), 1);
    many.stop().await;
}
