//! The durable facts of transactional producers. Their CBOR is a contract: see docs/FORMAT.md.

use mainstem_types::{Error, GroupId, OriginTopicId, PartitionNo, StreamId, TransactionalId};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// A cursor that moves when its transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PendingCursor {
    /// The stream that holds the topic in this cluster.
    #[n(0)]
    pub stream: StreamId,
    /// The consumer group.
    #[n(1)]
    pub group: GroupId,
    /// The topic.
    #[n(2)]
    pub topic: OriginTopicId,
    /// The partition's index within the topic.
    #[n(3)]
    pub partition: u32,
    /// The next offset that the group will read.
    #[n(4)]
    pub offset: i64,
    /// The leader epoch of the last record read, or -1.
    #[n(5)]
    pub leader_epoch: i32,
    /// The client's words.
    #[n(6)]
    pub metadata: String,
}

impl PendingCursor {
    /// What it moves: a group in a partition.
    pub fn place(&self) -> (StreamId, &GroupId, OriginTopicId, u32) {
        (self.stream, &self.group, self.topic, self.partition)
    }

    /// About what it takes in memory and in a frame.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.group.as_str().len() + self.metadata.len()
    }
}

/// Where a transaction's end stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Marker {
    /// The partition.
    #[n(0)]
    pub partition: PartitionNo,
    /// The marker's offset.
    #[n(1)]
    pub offset: i64,
    /// The offset of the transaction's first record there.
    #[n(2)]
    pub first_offset: i64,
}

/// How a transaction ends: all at once, by this one fact.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Decision {
    /// The producer.
    #[n(0)]
    pub producer_id: i64,
    /// Its epoch from here on; higher than before where the cluster aborted by itself, so that the
    /// producer learns of it.
    #[n(1)]
    pub epoch: i16,
    /// Committed or aborted.
    #[n(2)]
    pub committed: bool,
    /// When.
    #[n(3)]
    pub at_ms: i64,
    /// The partitions that take part, with the places of the markers that follow.
    #[n(4)]
    pub markers: Vec<Marker>,
    /// Cursors that move by it, as records of their own kind.
    #[n(5)]
    pub cursors: Vec<ByteVec>,
}

/// One thing that happened to a transactional producer. Ids of variants and fields are never
/// reused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[expect(missing_docs, reason = "the fields carry the names of KIP-98's nouns")]
pub enum TransactionEvent {
    /// A producer begins under a transactional id; who had it before is fenced.
    #[n(0)]
    ProducerBegun {
        #[n(0)]
        id: TransactionalId,
        #[n(1)]
        producer_id: i64,
        #[n(2)]
        epoch: i16,
        /// The epoch that the same producer had until now, or -1 if this is another one.
        #[n(3)]
        last_epoch: i16,
        #[n(4)]
        timeout_ms: i32,
        #[n(5)]
        at_ms: i64,
    },
    /// Partitions take part from here on. The first of these facts begins a transaction.
    #[n(1)]
    PartitionsAdded {
        #[n(0)]
        producer_id: i64,
        #[n(1)]
        partitions: Vec<PartitionNo>,
        #[n(2)]
        at_ms: i64,
    },
    /// A group's cursors take part.
    #[n(2)]
    GroupAdded {
        #[n(0)]
        producer_id: i64,
        #[n(1)]
        group: GroupId,
        #[n(2)]
        at_ms: i64,
    },
    /// Cursors that move if the transaction is committed.
    #[n(3)]
    CursorsAdded {
        #[n(0)]
        producer_id: i64,
        #[n(1)]
        cursors: Vec<PendingCursor>,
    },
    /// The transaction ends.
    #[n(4)]
    Decided {
        #[n(0)]
        decision: Decision,
    },
    /// The transactional id was idle for long.
    #[n(5)]
    Forgotten {
        #[n(0)]
        producer_id: i64,
    },
    /// The owner of topics that are replicated here has decided a commit, whose markers are still
    /// to come.
    #[n(6)]
    Told {
        #[n(0)]
        decision: Decision,
    },
}

impl TransactionEvent {
    /// The event's bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    /// The event of these bytes; wrong ones are [`Corrupt`](mainstem_types::ErrorKind::Corrupt).
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        minicbor::decode(bytes)
            .map_err(|error| Error::corrupt(format!("a transaction's event: {error}")))
    }
}
