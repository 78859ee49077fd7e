//! What the sequencer is asked about transactions, but for their ends.

use mainstem_transaction::{PendingCursor, TransactionalProducer};
use mainstem_types::{GroupId, PartitionNo, TransactionalId};

/// No marker is longer, nor what a decision says of it.
pub(crate) const MARKER_BYTES: usize = 128;

/// What a transactional producer does, but for the end.
pub(crate) enum TransactionStep {
    /// It begins, with a producer id that nobody had if one was drawn.
    Begin {
        id: TransactionalId,
        known: Option<(i64, i16)>,
        timeout_ms: i32,
        fresh: Option<i64>,
    },
    AddPartitions {
        producer: TransactionalProducer,
        partitions: Vec<PartitionNo>,
    },
    AddGroup {
        producer: TransactionalProducer,
        group: GroupId,
    },
    AddCursors {
        producer: TransactionalProducer,
        cursors: Vec<PendingCursor>,
    },
}

/// How a step was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// A producer id has to be drawn for it.
    NeedsProducerId,
    /// The producer has this id and epoch.
    Begun(i64, i16),
    Done,
}

impl TransactionStep {
    /// What it weighs in the queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Begin { .. } | Self::AddGroup { .. } => 0,
            Self::AddPartitions { partitions, .. } => partitions.len() * size_of::<PartitionNo>(),
            Self::AddCursors { cursors, .. } => cursors.iter().map(cursor_bytes).sum(),
        }
    }
}

/// No record of this cursor is longer.
pub(crate) fn cursor_bytes(cursor: &PendingCursor) -> usize {
    const CURSOR_BYTES: usize = 512;
    CURSOR_BYTES + cursor.group.as_str().len() + cursor.metadata.len()
}
