//! The durable facts. Their CBOR is a contract: see docs/FORMAT.md and testdata/catalog.

use std::collections::BTreeMap;

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, Error, JobId, KafkaTopicId, LinkEpoch, OriginTopicId,
    PartitionNo, StreamId, StreamPath, Term, TimestampType, TopicName,
};
use minicbor::{Decode, Encode};

use crate::{
    Aside, Grant, GrantId, Owner, Replica, RiskRange, RiskWindow, StreamSettings, Undo, Upstream,
};

/// One thing that happened. Ids of variants and fields are never reused.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
#[expect(missing_docs, reason = "the fields carry the names of DESIGN.md's nouns")]
pub enum Event {
    #[n(0)]
    ClusterFounded {
        #[n(0)]
        id: ClusterId,
        #[n(1)]
        name: ClusterName,
        #[n(2)]
        incarnation: u64,
    },
    #[n(1)]
    StreamCreated {
        #[n(0)]
        id: StreamId,
        #[n(1)]
        path: StreamPath,
        #[n(2)]
        settings: StreamSettings,
        #[n(3)]
        term: Term,
        #[n(4)]
        created_ms: i64,
    },
    #[n(2)]
    StreamEdited {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        settings: StreamSettings,
    },
    /// The stream and all that it contains are gone; nothing of it is remembered.
    #[n(3)]
    StreamDeleted {
        #[n(0)]
        stream: StreamId,
    },
    /// Its partitions have the numbers `first_partition ..`, which are the next free ones.
    #[n(4)]
    TopicCreated {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        kafka_id: KafkaTopicId,
        #[n(3)]
        name: TopicName,
        #[n(4)]
        first_partition: PartitionNo,
        #[n(5)]
        partitions: u32,
        #[n(6)]
        timestamp_type: TimestampType,
        #[n(7)]
        config: BTreeMap<String, String>,
        #[n(8)]
        owner: Owner,
        #[n(9)]
        seq: CatalogSeq,
        #[n(10)]
        owner_seq: CatalogSeq,
        #[n(11)]
        created_ms: i64,
    },
    /// Config, timestamp type or owner are now these; `added` partitions join at the end.
    #[n(5)]
    TopicChanged {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        first_partition: PartitionNo,
        #[n(3)]
        added: u32,
        #[n(4)]
        timestamp_type: TimestampType,
        #[n(5)]
        config: BTreeMap<String, String>,
        #[n(6)]
        owner: Owner,
        #[n(7)]
        seq: CatalogSeq,
        #[n(8)]
        owner_seq: CatalogSeq,
    },
    /// The topic is gone; its tombstone stays while somebody might bring it back.
    #[n(6)]
    TopicDeleted {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        seq: CatalogSeq,
        #[n(3)]
        owner_seq: CatalogSeq,
        /// The number of the term in which its owner deleted it, where the topic was of a lower one
        /// here.
        #[n(4)]
        term: Option<u64>,
    },
    /// Everyone concerned knows of the deletions up to and with `through`.
    #[n(7)]
    TombstonesFreed {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        through: CatalogSeq,
    },
    /// The replica in this slot is now this one: added or changed in any way.
    #[n(8)]
    ReplicaSet {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        replica: Replica,
    },
    #[n(9)]
    ReplicaRemoved {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[n(2)]
        link_epoch: LinkEpoch,
    },
    /// The upstream in this slot is now this one: added or changed in any way.
    #[n(10)]
    UpstreamSet {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        upstream: Upstream,
    },
    #[n(11)]
    UpstreamRemoved {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[n(2)]
        link_epoch: LinkEpoch,
    },
    #[n(12)]
    GatewaysSet {
        #[n(0)]
        cluster: ClusterName,
        #[n(1)]
        gateways: Vec<String>,
    },
    #[n(13)]
    GatewaysDeleted {
        #[n(0)]
        cluster: ClusterName,
    },
    #[n(14)]
    GrantIssued {
        #[n(0)]
        grant: Grant,
    },
    #[n(15)]
    GrantDropped {
        #[n(0)]
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
    /// These topics belong to `owner` from now on, all in this one step; the first of them has the
    /// sequence `seq`, each following one the next.
    #[n(20)]
    OwnerChanged {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        topics: Vec<OriginTopicId>,
        #[n(2)]
        owner: Owner,
        #[n(3)]
        seq: CatalogSeq,
    },
    /// Somebody has spoken of a term that is higher than any before.
    #[n(21)]
    TermSeen {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        term: Term,
    },
    /// A topic that keeps what another one's new owner does not have (I8). Nobody writes to it, and
    /// no link carries it.
    #[n(22)]
    SetAsideCreated {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        kafka_id: KafkaTopicId,
        #[n(3)]
        name: TopicName,
        #[n(4)]
        first_partition: PartitionNo,
        #[n(5)]
        partitions: u32,
        #[n(6)]
        timestamp_type: TimestampType,
        #[n(7)]
        config: BTreeMap<String, String>,
        #[n(8)]
        seq: CatalogSeq,
        #[n(9)]
        aside: Aside,
    },
    /// The topic has another name, and is the same in everything else.
    #[n(25)]
    TopicRenamed {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        name: TopicName,
        #[n(3)]
        seq: CatalogSeq,
        #[n(4)]
        owner_seq: CatalogSeq,
    },
    /// An upstream that does not own the topic has told it too, and will tell its deletion.
    #[n(26)]
    TopicTold {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        upstream: StreamId,
    },
    /// These upstreams are still to tell the deletion of a topic that is deleted here.
    #[n(27)]
    TombstoneWaits {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        origin: OriginTopicId,
        #[n(2)]
        waits_for: Vec<StreamId>,
    },
    /// A synchronous replica did not keep up: acknowledgements no longer wait for it.
    #[n(17)]
    ReplicaDegraded {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[n(2)]
        window: RiskWindow,
    },
    /// More partitions were written while a replica was not in force; their window begins here.
    #[n(18)]
    RiskWidened {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[n(2)]
        ranges: Vec<RiskRange>,
        /// Others did not find room in the list.
        #[n(3)]
        is_partial: bool,
    },
    /// A synchronous replica has all that was acknowledged without it: from here on
    /// acknowledgements wait for it, and the open window ends.
    #[n(19)]
    ReplicaInForce {
        #[n(0)]
        stream: StreamId,
        #[n(1)]
        idx: u32,
        #[n(2)]
        at_ms: i64,
        /// Where the ranges of the open window end, in their order.
        #[n(3)]
        ends: Vec<i64>,
    },
    /// A removed set-up is to be taken back at its destination.
    #[n(32)]
    UndoBegun {
        #[n(0)]
        undo: Undo,
    },
    /// It was, or nobody waits for it any longer.
    #[n(33)]
    UndoEnded {
        #[n(0)]
        job: JobId,
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
