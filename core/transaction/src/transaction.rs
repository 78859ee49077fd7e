//! One transactional producer, as the coordinator knows it.

use std::collections::BTreeSet;

use mainstem_types::{Error, GroupId, PartitionNo, TransactionalId};
use minicbor::{Decode, Encode};

use crate::event::{Marker, PendingCursor};

/// How far a producer's newest transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum TransactionState {
    /// None was begun since the producer came.
    #[n(0)]
    Empty,
    /// It is open.
    #[n(1)]
    Ongoing,
    /// It is committed, with all its markers.
    #[n(2)]
    Committed,
    /// It is aborted, with all its markers.
    #[n(3)]
    Aborted,
}

/// A transactional id with its producer and the newest transaction of that. Its CBOR is the row of
/// the materialised view, see docs/FORMAT.md.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Transaction {
    /// The name that the producer gave itself.
    #[n(0)]
    pub id: TransactionalId,
    /// The producer that has it.
    #[n(1)]
    pub producer_id: i64,
    /// In this epoch.
    #[n(2)]
    pub epoch: i16,
    /// The epoch before, if the same producer had it and may go on; else -1.
    #[n(3)]
    pub last_epoch: i16,
    /// How long a transaction may be open.
    #[n(4)]
    pub timeout_ms: i32,
    /// How far it is.
    #[n(5)]
    pub state: TransactionState,
    /// Since when it is open; if it is not, when something happened last.
    #[n(6)]
    pub since_ms: i64,
    /// The partitions that take part while it is open.
    #[n(7)]
    pub partitions: BTreeSet<PartitionNo>,
    /// The groups whose cursors do.
    #[n(8)]
    pub groups: BTreeSet<GroupId>,
    /// The cursors that move by its commit.
    #[n(9)]
    pub cursors: Vec<PendingCursor>,
    /// Where the last one's markers stand: who asks again waits for them again.
    #[n(10)]
    pub markers: Vec<Marker>,
}

impl Transaction {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.state == TransactionState::Ongoing
    }

    /// When it is aborted unless it has ended by then.
    pub(crate) fn deadline_ms(&self) -> i64 {
        self.since_ms.saturating_add(self.timeout_ms.into())
    }

    /// What it takes of the room for all.
    pub(crate) fn places(&self) -> usize {
        self.partitions.len() + self.groups.len() + self.cursors.len()
    }

    pub(crate) fn cursor_bytes(&self) -> usize {
        self.cursors.iter().map(PendingCursor::bytes).sum()
    }

    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    /// The transaction of a row; wrong bytes are [`Corrupt`](mainstem_types::ErrorKind::Corrupt).
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        minicbor::decode(bytes)
            .map_err(|error| Error::corrupt(format!("a transactional id's row: {error}")))
    }
}
