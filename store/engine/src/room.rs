//! How much room operations may need in the log. Appends come first where it is scarce: what
//! remains is kept for deletes, trims and cursors, which make room.

use std::iter::Sum;
use std::ops::Add;

use mainstem_catalog::{Catalog, Command};
use mainstem_types::limits::{ACE_LENGTH_MAX, PARTITIONS_PER_TOPIC_MAX};

use crate::op::Op;
use crate::transaction_step::{MARKER_BYTES, TransactionStep};

/// What is set aside in one step, so that appends of others do not wait long for it.
pub(crate) const ASIDE_BYTES: usize = 1024 * 1024;

/// What a group has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Room {
    /// Everything.
    #[default]
    All,
    /// Everything but batches.
    NoAppends,
    /// Nothing.
    None,
}

/// The most that operations can add to the log.
#[derive(Clone, Copy, Default)]
pub(crate) struct Need {
    pub(crate) payload_bytes: usize,
    pub(crate) frames: usize,
}

impl Need {
    /// So many of it.
    pub(crate) const fn times(self, count: usize) -> Self {
        Self { payload_bytes: self.payload_bytes * count, frames: self.frames * count }
    }
}

impl Add for Need {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            payload_bytes: self.payload_bytes + other.payload_bytes,
            frames: self.frames + other.frames,
        }
    }
}

impl Sum for Need {
    fn sum<I: Iterator<Item = Self>>(needs: I) -> Self {
        needs.fold(Self::default(), Add::add)
    }
}

impl Op {
    pub(crate) fn is_append(&self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::AppendReplica { .. }
                | Self::Rejoin { .. }
                | Self::Compact { .. }
        )
    }

    pub(crate) fn need(&self, catalog: &Catalog) -> Need {
        /// Above the record of any cursor but for its metadata and group, which are counted twice.
        const CURSOR_BYTES: usize = 512;
        const LINEAGE_BYTES: usize = 128;
        match self {
            Self::Append { appends, .. } => Need {
                payload_bytes: appends.iter().map(|(_, batch)| batch.len()).sum(),
                frames: appends.len(),
            },
            Self::AppendReplica { append, .. } => Need {
                payload_bytes: append.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>()
                    + append.lineage.len() * LINEAGE_BYTES,
                frames: append.batches.len() + append.lineage.len() + 2,
            },
            // See `Sequencer::rejoin_need`, which looks how much there is to set aside.
            Self::Rejoin { .. } => Need::default(),
            Self::Compact { compact, .. } => {
                // A row may begin columns of its own in its segment's footer, as two frames do.
                Need { payload_bytes: compact.step.bytes(), frames: compact.step.frames() + 2 }
            }
            Self::Change { command, .. } => need_of_command(command, catalog),
            Self::CommitCursors { commits, .. } => {
                let words =
                    |at: &crate::op::CursorCommit| at.metadata.len() + at.key.group.as_str().len();
                Need {
                    payload_bytes: commits.iter().map(|at| words(at) + CURSOR_BYTES).sum(),
                    frames: commits.len(),
                }
            }
            Self::ApplyCursors { cursors, .. } => Need {
                payload_bytes: cursors
                    .iter()
                    .map(|(key, value)| {
                        value.metadata.len() + key.group.as_str().len() + CURSOR_BYTES
                    })
                    .sum(),
                frames: cursors.len(),
            },
            Self::DeleteCursors { keys, .. } => {
                Need { payload_bytes: 2 * keys.len() * 2 * CURSOR_BYTES, frames: 2 * keys.len() }
            }
            Self::Trim { .. } => Need { payload_bytes: 0, frames: 1 },
            Self::TrimReplica { starts, .. } => Need { payload_bytes: 0, frames: starts.len() },
            Self::HoldWatermarks { marks, .. } => Need { payload_bytes: 0, frames: marks.len() },
            Self::Transact { step, .. } => need_of_step(step),
            Self::KeepDecisions { decisions, .. } => Need {
                payload_bytes: decisions.iter().map(|one| (1 + one.markers.len()) * 64).sum(),
                frames: decisions.len(),
            },
            // What ends is known to the sequencer: see `Sequencer::need_of_transactions`.
            Self::EndTransaction { .. } => Need::default(),
            // What may come of it is a duty of the step.
            Self::NoteAcked { .. } => Need::default(),
            Self::Close { .. } => Need::default(),
        }
    }
}

/// An event, with what the transaction's end may add in the same group.
fn need_of_step(step: &TransactionStep) -> Need {
    const EVENT_BYTES: usize = 4 * 1024;
    let (more, frames) = match step {
        TransactionStep::Begin { .. } | TransactionStep::AddGroup { .. } => (0, 0),
        TransactionStep::AddPartitions { partitions, .. } => {
            (partitions.len() * 2 * MARKER_BYTES, partitions.len())
        }
        TransactionStep::AddCursors { .. } => (2 * step.bytes(), 0),
    };
    Need { payload_bytes: EVENT_BYTES + more, frames: 2 + frames }
}

/// A command's events are a few small maps, whose texts have limits, and a first epoch for each
/// partition that it begins.
fn need_of_command(command: &Command, catalog: &Catalog) -> Need {
    const SMALL_BYTES: usize = 8 * 1024;
    const CONFIG_BYTES: usize = 64 * 1024;
    const PERMISSIONS: usize = 5;
    const EVENTS: usize = 8;
    const EPOCH_BYTES: usize = 128;
    let text_bytes = match command {
        Command::CreateStream { .. } | Command::EditStream { .. } => PERMISSIONS * ACE_LENGTH_MAX,
        Command::CreateTopic { config, .. } | Command::ApplyTopic { config, .. } => {
            config.iter().map(|(name, value)| name.len() + value.len() + 16).sum()
        }
        Command::EditTopic { .. } => CONFIG_BYTES,
        _ => 0,
    };
    let begun = match command {
        Command::CreateTopic { partitions: Some(partitions), .. }
        | Command::ApplyTopic { partitions, .. } => *partitions,
        Command::EditTopic { patch, .. } => patch.partitions.unwrap_or(0),
        Command::CreateTopic { stream, .. } => catalog
            .stream(*stream)
            .map_or(PARTITIONS_PER_TOPIC_MAX, |stream| stream.settings.default_partitions),
        _ => 0,
    };
    let changing = match command {
        Command::FailOver { stream, .. }
        | Command::Renew { stream }
        | Command::MeetTerms { stream, .. } => catalog.stream(*stream).map_or(0, |stream| {
            stream.topics.values().map(|topic| 1 + topic.partitions.len()).sum()
        }),
        _ => 0,
    };
    // A later command of the same group may end them again.
    let begun = begun.min(PARTITIONS_PER_TOPIC_MAX) as usize;
    Need {
        payload_bytes: SMALL_BYTES + text_bytes + (begun + changing) * EPOCH_BYTES,
        frames: EVENTS + 2 * begun + changing,
    }
}
