//! The durable facts. Their CBOR is a contract: see docs/FORMAT.md and testdata/catalog.

use std::collections::BTreeMap;

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, Error, KafkaTopicId, LinkEpoch, OriginTopicId, PartitionNo,
    StreamId, StreamPath, Term, TimestampType, TopicName,
};
use minicbor::{Decode, Encode};

use crate::{Grant, GrantId, Owner, Replica, StreamSettings, Upstream};

/// One thing that happened. Ids of variants and fields are never reused.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
#[expect(missing_docs, reason = "the fields carry the names of DESIGN.md's nouns")]
pub enum Event {
    #[n(0)]
    ClusterFounded {
        #[cbor(n(0), with = "crate::encoding")]
        id: ClusterId,
        #[cbor(n(1), with = "crate::encoding")]
        name: ClusterName,
        #[n(2)]
        incarnation: u64,
    },
    #[n(1)]
    StreamCreated {
        #[cbor(n(0), with = "crate::encoding")]
        id: StreamId,
        #[cbor(n(1), with = "crate::encoding")]
        path: StreamPath,
        #[n(2)]
        settings: StreamSettings,
        #[cbor(n(3), with = "crate::encoding")]
        term: Term,
        #[n(4)]
        created_ms: i64,
    },
    #[n(2)]
    StreamEdited {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[n(1)]
        settings: StreamSettings,
    },
    /// The stream and all that it contains are gone; nothing of it is remembered.
    #[n(3)]
    StreamDeleted {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
    },
    /// Its partitions have the numbers `first_partition ..`, which are the next free ones.
    #[n(4)]
    TopicCreated {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[cbor(n(1), with = "crate::encoding")]
        origin: OriginTopicId,
        #[cbor(n(2), with = "crate::encoding")]
        kafka_id: KafkaTopicId,
        #[cbor(n(3), with = "crate::encoding")]
        name: TopicName,
        #[cbor(n(4), with = "crate::encoding")]
        first_partition: PartitionNo,
        #[n(5)]
        partitions: u32,
        #[cbor(n(6), with = "crate::encoding")]
        timestamp_type: TimestampType,
        #[n(7)]
        config: BTreeMap<String, String>,
        #[n(8)]
        owner: Owner,
        #[cbor(n(9), with = "crate::encoding")]
        seq: CatalogSeq,
        #[cbor(n(10), with = "crate::encoding")]
        owner_seq: CatalogSeq,
        #[n(11)]
        created_ms: i64,
    },
    /// Config, timestamp type or owner are now these; `added` partitions join at the end.
    #[n(5)]
    TopicChanged {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[cbor(n(1), with = "crate::encoding")]
        origin: OriginTopicId,
        #[cbor(n(2), with = "crate::encoding")]
        first_partition: PartitionNo,
        #[n(3)]
        added: u32,
        #[cbor(n(4), with = "crate::encoding")]
        timestamp_type: TimestampType,
        #[n(5)]
        config: BTreeMap<String, String>,
        #[n(6)]
        owner: Owner,
        #[cbor(n(7), with = "crate::encoding")]
        seq: CatalogSeq,
        #[cbor(n(8), with = "crate::encoding")]
        owner_seq: CatalogSeq,
    },
    /// The topic is gone; its tombstone stays while somebody might bring it back.
    #[n(6)]
    TopicDeleted {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[cbor(n(1), with = "crate::encoding")]
        origin: OriginTopicId,
        #[cbor(n(2), with = "crate::encoding")]
        seq: CatalogSeq,
        #[cbor(n(3), with = "crate::encoding")]
        owner_seq: CatalogSeq,
    },
    /// Everyone concerned knows of the deletions up to and with `through`.
    #[n(7)]
    TombstonesFreed {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[cbor(n(1), with = "crate::encoding")]
        through: CatalogSeq,
    },
    /// The replica in this slot is now this one: added or changed in any way.
    #[n(8)]
    ReplicaSet {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[n(1)]
        replica: Replica,
    },
    #[n(9)]
    ReplicaRemoved {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[cbor(n(2), with = "crate::encoding")]
        link_epoch: LinkEpoch,
    },
    /// The upstream in this slot is now this one: added or changed in any way.
    #[n(10)]
    UpstreamSet {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[n(1)]
        upstream: Upstream,
    },
    #[n(11)]
    UpstreamRemoved {
        #[cbor(n(0), with = "crate::encoding")]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[cbor(n(2), with = "crate::encoding")]
        link_epoch: LinkEpoch,
    },
    #[n(12)]
    GatewaysSet {
        #[cbor(n(0), with = "crate::encoding")]
        cluster: ClusterName,
        #[n(1)]
        gateways: Vec<String>,
    },
    #[n(13)]
    GatewaysDeleted {
        #[cbor(n(0), with = "crate::encoding")]
        cluster: ClusterName,
    },
    #[n(14)]
    GrantIssued {
        #[n(0)]
        grant: Grant,
    },
    #[n(15)]
    GrantDropped {
        #[cbor(n(0), with = "crate::encoding")]
        grant: GrantId,
    },
    /// Producer ids below `next` are spoken for in this incarnation.
    #[n(16)]
    ProducerIdsReserved {
        #[n(0)]
        incarnation: u64,
        #[n(1)]
        next: u32,
    },
}

impl Event {
    /// The bytes that the log keeps.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// The event in these bytes, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode_all(bytes).map_err(|e| e.context("a catalog event"))
    }
}

/// Decodes a value that fills `bytes`.
pub(crate) fn decode_all<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|e| Error::corrupt(e.to_string()))?;
    if decoder.position() != bytes.len() {
        return Err(Error::corrupt("bytes follow the value"));
    }
    Ok(value)
}
