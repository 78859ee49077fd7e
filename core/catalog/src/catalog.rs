//! The state, and the questions it answers.

use std::sync::Arc;

use imbl::OrdMap;
use mainstem_types::{
    ClusterId, ClusterName, Error, JobId, KafkaTopicId, OriginTopicId, PartitionNo, StreamId,
    StreamPath,
};
use minicbor::{Decode, Encode};

use crate::{Grant, GrantId, Stream, Topic, Undo};

/// All that a cluster knows of its streams and neighbours. Cloning is O(1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    pub(crate) cluster: Cluster,
    pub(crate) streams: OrdMap<StreamId, Arc<Stream>>,
    pub(crate) paths: OrdMap<StreamPath, StreamId>,
    /// Streams by the beginning of their topics' Kafka names, without its last dot.
    pub(crate) prefixes: OrdMap<String, StreamId>,
    pub(crate) kafka_ids: OrdMap<KafkaTopicId, (StreamId, OriginTopicId)>,
    pub(crate) partitions: OrdMap<PartitionNo, PartitionHome>,
    pub(crate) gateways: OrdMap<ClusterName, Vec<String>>,
    pub(crate) grants: OrdMap<GrantId, Grant>,
    pub(crate) undos: OrdMap<JobId, Undo>,
}

/// What the cluster knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cluster {
    /// For the life of its data directory; zero before it is founded.
    #[n(0)]
    pub id: ClusterId,
    /// As in `/mapr/<name>/…`.
    #[n(1)]
    pub name: ClusterName,
    /// Changes when a data directory was copied, or its producer ids ran out.
    #[n(2)]
    pub incarnation: u64,
    /// The first partition number that was never given out.
    #[n(3)]
    pub next_partition: PartitionNo,
    /// Producer ids below this are spoken for in this incarnation.
    #[n(4)]
    pub next_producer_id: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            id: ClusterId(0),
            name: "unfounded".parse().expect("a legal name"),
            incarnation: 0,
            next_partition: PartitionNo(1),
            next_producer_id: 0,
        }
    }
}

/// Which partition a number in the log stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionHome {
    /// The stream.
    pub stream: StreamId,
    /// The topic within it.
    pub topic: OriginTopicId,
    /// The index within the topic.
    pub index: u32,
}

impl Catalog {
    /// An empty catalog of a cluster that is yet to be founded.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the cluster knows of itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether the cluster has a name and an id.
    pub fn is_founded(&self) -> bool {
        self.cluster.id != ClusterId(0)
    }

    /// The stream of that uuid.
    pub fn stream(&self, id: StreamId) -> Option<&Arc<Stream>> {
        self.streams.get(&id)
    }

    /// The stream at that path.
    pub fn stream_at(&self, path: &StreamPath) -> Option<&Arc<Stream>> {
        self.streams.get(self.paths.get(path)?)
    }

    /// All streams by path.
    pub fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.paths.values().map(|id| &self.streams[id])
    }

    /// The topic of that Kafka id and its stream.
    pub fn topic_by_kafka_id(&self, id: KafkaTopicId) -> Option<(&Arc<Stream>, &Arc<Topic>)> {
        let (stream, origin) = self.kafka_ids.get(&id)?;
        let stream = self.streams.get(stream)?;
        Some((stream, stream.topic_by_origin(*origin)?))
    }

    /// Which partition a number in the log stands for.
    pub fn partition(&self, no: PartitionNo) -> Option<PartitionHome> {
        self.partitions.get(&no).copied()
    }

    /// All partitions by number.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionNo, PartitionHome)> {
        self.partitions.iter().map(|(no, home)| (*no, *home))
    }

    /// The gateways that were set for a cluster, empty if none were.
    pub fn gateways(&self, cluster: &ClusterName) -> &[String] {
        self.gateways.get(cluster).map_or(&[], Vec::as_slice)
    }

    /// All clusters for which gateways were set.
    pub fn gateway_lists(&self) -> impl Iterator<Item = (&ClusterName, &[String])> {
        self.gateways.iter().map(|(cluster, list)| (cluster, list.as_slice()))
    }

    /// A grant that was issued here.
    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(&id)
    }

    /// A removed set-up that is still to be taken back.
    pub fn undo(&self, job: JobId) -> Option<&Undo> {
        self.undos.get(&job)
    }

    /// What is still to be taken back at its destination.
    pub fn undos(&self) -> impl Iterator<Item = &Undo> {
        self.undos.values()
    }

    /// The stream at that path, or the documented sentence.
    pub fn expect_stream_at(&self, path: &StreamPath) -> Result<&Arc<Stream>, Error> {
        self.stream_at(path).ok_or_else(|| {
            Error::not_found(format!(
                "{path} is not a valid stream; see `stream list`, or create it with \
                 `stream create -path {path}`"
            ))
        })
    }

    /// The stream of that uuid, or a sentence.
    pub fn expect_stream(&self, id: StreamId) -> Result<&Arc<Stream>, Error> {
        self.stream(id).ok_or_else(|| {
            Error::not_found(format!("the stream with uuid {id} is gone; see `stream list`"))
        })
    }
}
