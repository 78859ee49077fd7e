//! The catalog as rows of a table, so that a node starts without replaying its whole past.
//! Keys and values are a contract: see docs/FORMAT.md.

use std::sync::Arc;

use mainstem_types::{
    CatalogSeq, ClusterName, Error, JobId, LinkEpoch, OriginTopicId, StreamId, StreamPath, Term,
};
use minicbor::{Decode, Encode};

use crate::event::decode_all;
use crate::{
    Catalog, Cluster, Grant, GrantId, Replica, Stream, StreamSettings, Tombstone, Topic, Undo,
    Upstream,
};

/// Names one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// What the cluster knows of itself.
    Cluster,
    /// A stream without what it contains.
    Stream(StreamId),
    /// A topic.
    Topic(StreamId, OriginTopicId),
    /// A deleted topic.
    Tombstone(StreamId, OriginTopicId),
    /// A replica by its slot.
    Replica(StreamId, u32),
    /// An upstream by its slot.
    Upstream(StreamId, u32),
    /// The gateways of a cluster.
    Gateways(ClusterName),
    /// A grant.
    Grant(GrantId),
    /// What is to be taken back at a destination.
    Undo(JobId),
}

/// Tags order the rows so that a stream comes before what it contains.
mod tag {
    pub(super) const CLUSTER: u8 = 1;
    pub(super) const STREAM: u8 = 2;
    pub(super) const TOPIC: u8 = 3;
    pub(super) const TOMBSTONE: u8 = 4;
    pub(super) const REPLICA: u8 = 5;
    pub(super) const UPSTREAM: u8 = 6;
    pub(super) const GATEWAYS: u8 = 7;
    pub(super) const GRANT: u8 = 8;
    pub(super) const UNDO: u8 = 32;
}

impl RowKey {
    /// The stream that the row belongs to, if to any.
    pub const fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Stream(stream)
            | Self::Topic(stream, _)
            | Self::Tombstone(stream, _)
            | Self::Replica(stream, _)
            | Self::Upstream(stream, _) => Some(*stream),
            Self::Cluster | Self::Gateways(_) | Self::Grant(_) | Self::Undo(_) => None,
        }
    }

    /// The key's bytes: a tag, then ids most significant byte first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let key = |tag: u8, parts: &[&[u8]]| [&[tag], parts.concat().as_slice()].concat();
        match self {
            Self::Cluster => key(tag::CLUSTER, &[]),
            Self::Stream(stream) => key(tag::STREAM, &[&stream.to_bytes()]),
            Self::Topic(s, origin) => key(tag::TOPIC, &[&s.to_bytes(), &origin.to_bytes()]),
            Self::Tombstone(s, origin) => key(tag::TOMBSTONE, &[&s.to_bytes(), &origin.to_bytes()]),
            Self::Replica(s, idx) => key(tag::REPLICA, &[&s.to_bytes(), &idx.to_be_bytes()]),
            Self::Upstream(s, idx) => key(tag::UPSTREAM, &[&s.to_bytes(), &idx.to_be_bytes()]),
            Self::Gateways(cluster) => key(tag::GATEWAYS, &[cluster.as_str().as_bytes()]),
            Self::Grant(grant) => key(tag::GRANT, &[&grant.to_bytes()]),
            Self::Undo(job) => key(tag::UNDO, &[&job.to_bytes()]),
        }
    }
}

/// A stream without what it contains.
#[derive(Encode, Decode)]
#[cbor(map)]
struct StreamHead {
    #[n(0)]
    id: StreamId,
    #[n(1)]
    path: StreamPath,
    #[n(2)]
    settings: StreamSettings,
    #[n(3)]
    term: Term,
    #[n(4)]
    catalog_seq: CatalogSeq,
    #[n(5)]
    link_epoch: LinkEpoch,
    #[n(6)]
    created_ms: i64,
    /// The highest term seen, unless it is the stream's own.
    #[n(7)]
    seen: Option<Term>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct GatewayList {
    #[n(0)]
    cluster: ClusterName,
    #[n(1)]
    gateways: Vec<String>,
}

fn to_vec(value: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes every byte")
}

impl Catalog {
    /// The row's value; `None` when the row is to be deleted.
    pub fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        Some(match key {
            RowKey::Cluster => to_vec(&self.cluster),
            RowKey::Stream(stream) => to_vec(&StreamHead::of(self.stream(*stream)?)),
            RowKey::Topic(stream, origin) => {
                to_vec(self.stream(*stream)?.topic_by_origin(*origin)?.as_ref())
            }
            RowKey::Tombstone(stream, origin) => {
                to_vec(self.stream(*stream)?.tombstones.get(origin)?)
            }
            RowKey::Replica(stream, idx) => {
                let stream = self.stream(*stream)?;
                to_vec(stream.replicas.iter().find(|replica| replica.idx == *idx)?)
            }
            RowKey::Upstream(stream, idx) => {
                let stream = self.stream(*stream)?;
                to_vec(stream.upstreams.iter().find(|upstream| upstream.idx == *idx)?)
            }
            RowKey::Gateways(cluster) => {
                let gateways = self.gateways.get(cluster)?.clone();
                to_vec(&GatewayList { cluster: cluster.clone(), gateways })
            }
            RowKey::Grant(grant) => to_vec(self.grants.get(grant)?),
            RowKey::Undo(job) => to_vec(self.undos.get(job)?),
        })
    }

    /// The keys of all rows, in the order of their bytes' tags.
    pub fn row_keys(&self) -> Vec<RowKey> {
        let mut keys = vec![RowKey::Cluster];
        for (id, stream) in &self.streams {
            keys.push(RowKey::Stream(*id));
            keys.extend(stream.topics.values().map(|topic| RowKey::Topic(*id, topic.origin)));
            keys.extend(stream.tombstones.keys().map(|origin| RowKey::Tombstone(*id, *origin)));
            keys.extend(stream.replicas.iter().map(|r| RowKey::Replica(*id, r.idx)));
            keys.extend(stream.upstreams.iter().map(|u| RowKey::Upstream(*id, u.idx)));
        }
        keys.extend(self.gateways.keys().cloned().map(RowKey::Gateways));
        keys.extend(self.grants.keys().copied().map(RowKey::Grant));
        keys.extend(self.undos.keys().copied().map(RowKey::Undo));
        keys.sort_by_key(RowKey::to_bytes);
        keys
    }

    /// The catalog that all of these rows, in the order of their keys, describe.
    ///
    /// # Errors
    /// [`mainstem_types::ErrorKind::Corrupt`] when a row cannot be read or does not fit.
    pub fn from_rows(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, Error> {
        let mut catalog = Self::new();
        for (key, value) in rows {
            catalog.load_row(&key, &value).map_err(|e| e.context("a catalog row"))?;
        }
        Ok(catalog)
    }

    fn load_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (&tag, rest) = key.split_first().ok_or_else(|| Error::corrupt("an empty key"))?;
        match tag {
            tag::CLUSTER => self.cluster = decode_all::<Cluster>(value)?,
            tag::STREAM => {
                let stream = decode_all::<StreamHead>(value)?.into_stream();
                if self.streams.contains_key(&stream.id)
                    || self.paths.contains_key(&stream.path)
                    || self.prefixes.contains_key(&crate::names::dotted(&stream.path))
                {
                    return Err(Error::corrupt("two streams in one place"));
                }
                self.insert_stream(stream);
            }
            tag::TOPIC => {
                let topic = decode_all::<Topic>(value)?;
                let stream = self.row_stream(rest)?;
                let taken = self.streams[&stream].topics.contains_key(&topic.name)
                    || self.kafka_ids.contains_key(&topic.kafka_id)
                    || topic.partitions.iter().any(|no| self.partitions.contains_key(no));
                if taken {
                    return Err(Error::corrupt("two topics in one place"));
                }
                self.insert_topic(stream, topic);
            }
            tag::TOMBSTONE => {
                let stone = decode_all::<Tombstone>(value)?;
                self.row_stream_mut(rest)?.tombstones.insert(stone.origin, stone);
            }
            tag::REPLICA => {
                let replica = decode_all::<Replica>(value)?;
                self.row_stream_mut(rest)?.replicas.push(replica);
            }
            tag::UPSTREAM => {
                let upstream = decode_all::<Upstream>(value)?;
                self.row_stream_mut(rest)?.upstreams.push(upstream);
            }
            tag::GATEWAYS => {
                let list = decode_all::<GatewayList>(value)?;
                self.gateways.insert(list.cluster, list.gateways);
            }
            tag::GRANT => {
                let grant = decode_all::<Grant>(value)?;
                self.grants.insert(grant.id, grant);
            }
            tag::UNDO => {
                let undo = decode_all::<Undo>(value)?;
                self.undos.insert(undo.job, undo);
            }
            other => return Err(Error::corrupt(format!("unknown tag {other}"))),
        }
        Ok(())
    }

    fn row_stream(&self, rest: &[u8]) -> Result<StreamId, Error> {
        let id = rest.first_chunk::<16>().map(|bytes| StreamId::from_bytes(*bytes));
        id.filter(|id| self.streams.contains_key(id))
            .ok_or_else(|| Error::corrupt("it belongs to no stream"))
    }

    fn row_stream_mut(&mut self, rest: &[u8]) -> Result<&mut Stream, Error> {
        let id = self.row_stream(rest)?;
        Ok(Arc::make_mut(self.streams.get_mut(&id).expect("row_stream found it")))
    }
}

impl StreamHead {
    fn of(stream: &Stream) -> Self {
        Self {
            id: stream.id,
            path: stream.path.clone(),
            settings: stream.settings.clone(),
            term: stream.term,
            catalog_seq: stream.catalog_seq,
            link_epoch: stream.link_epoch,
            created_ms: stream.created_ms,
            seen: Some(stream.seen).filter(|seen| *seen != stream.term),
        }
    }

    fn into_stream(self) -> Stream {
        Stream {
            id: self.id,
            path: self.path,
            settings: self.settings,
            term: self.term,
            catalog_seq: self.catalog_seq,
            link_epoch: self.link_epoch,
            created_ms: self.created_ms,
            seen: self.seen.unwrap_or(self.term),
            topics: Default::default(),
            names: Default::default(),
            tombstones: Default::default(),
            replicas: Vec::new(),
            upstreams: Vec::new(),
        }
    }
}
