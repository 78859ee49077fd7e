//! Room for a group, found before anything of it is decided.
//!
//! What is decided is ahead of the log until it is written, and cannot be taken back: offsets were
//! given, producers' sequences moved, the catalog changed. So the log is asked first, and what
//! does not fit is refused as it came. Appends go first: what remains is kept for deletes, trims
//! and cursors, which make room.

use std::iter::Sum;
use std::ops::Add;

use mainstem_catalog::{Catalog, Command};
use mainstem_log::LogError;
use mainstem_types::limits::{ACE_LENGTH_MAX, PARTITIONS_PER_TOPIC_MAX};
use mainstem_types::{Error, ErrorKind};

use crate::op::Op;
use crate::sequencer::{Reply, Sequencer};

/// What a group has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Everything.
    All,
    /// Everything but batches.
    NoAppends,
    /// Nothing.
    None,
}

/// The most that operations can add to the log.
#[derive(Clone, Copy, Default)]
struct Need {
    payload_bytes: usize,
    frames: usize,
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

impl Sequencer {
    /// Reserves what these operations and the duties of this step may need.
    pub(crate) fn find_room(&mut self, ops: &[Op]) -> Result<Room, Error> {
        let (appends, others): (Vec<&Op>, Vec<&Op>) = ops.iter().partition(|op| op.is_append());
        let catalog = &self.state.catalog;
        let others: Need = others.iter().map(|op| op.need(catalog)).sum();
        let small = others + self.need_of_duties(ops);
        let all = small + appends.iter().map(|op| op.need(catalog)).sum();
        if all.frames == 0 || self.has_room(all)? {
            return Ok(Room::All);
        }
        tracing::error!("the disk is full; appends are refused until there is room");
        if small.frames == 0 || self.has_room(small)? {
            return Ok(Room::NoAppends);
        }
        tracing::error!("the disk is full; nothing can be changed until there is room");
        Ok(Room::None)
    }

    fn has_room(&mut self, need: Need) -> Result<bool, Error> {
        match self.log.reserve(need.payload_bytes, need.frames) {
            Ok(()) => Ok(true),
            Err(LogError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What is staged from before, expiry, damage, and partitions that deletions end: each
    /// partition goes once.
    fn need_of_duties(&self, ops: &[Op]) -> Need {
        let staged = &self.group.frames;
        let may_touch_all = self.is_expiry_due()
            || self.shared.damage.any()
            || ops.iter().any(|op| matches!(op, Op::Change { .. }));
        let partitions = if may_touch_all { self.state.partitions.len() } else { 0 };
        const DAMAGE_TEXT_BYTES: usize = 256;
        let staged_bytes = staged.iter().map(|frame| frame.payload.len()).sum::<usize>();
        let damage_bytes =
            if self.shared.damage.any() { DAMAGE_TEXT_BYTES * partitions } else { 0 };
        Need { payload_bytes: staged_bytes + damage_bytes, frames: staged.len() + 2 * partitions }
    }
}

pub(crate) fn disk_full() -> Error {
    Error::new(
        ErrorKind::Storage,
        "the disk is full; free space, or delete topics or lower their ttl, and try again",
    )
}

impl Op {
    pub(crate) fn is_append(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::AppendReplica { .. })
    }

    fn need(&self, catalog: &Catalog) -> Need {
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
                        let metadata = value.as_ref().map_or(0, |value| value.metadata.len());
                        metadata + key.group.as_str().len() + CURSOR_BYTES
                    })
                    .sum(),
                frames: cursors.len(),
            },
            Self::DeleteCursors { keys, .. } => {
                Need { payload_bytes: 2 * keys.len() * 2 * CURSOR_BYTES, frames: 2 * keys.len() }
            }
            Self::Trim { .. } => Need { payload_bytes: 0, frames: 1 },
            Self::Close { .. } => Need::default(),
        }
    }

    /// Answers that the disk is full; nothing was done.
    pub(crate) fn refuse(self) -> Reply {
        match self {
            Self::Append { appends, ack, reply } => {
                Reply::Append(ack, reply, appends.iter().map(|_| Err(disk_full())).collect())
            }
            Self::AppendReplica { reply, .. } | Self::Trim { reply, .. } => {
                Reply::Offset(reply, Err(disk_full()))
            }
            Self::Change { reply, .. } => Reply::Change(reply, Err(disk_full())),
            Self::CommitCursors { reply, .. }
            | Self::ApplyCursors { reply, .. }
            | Self::DeleteCursors { reply, .. } => Reply::Done(reply, Err(disk_full())),
            Self::Close { reply } => Reply::Closed(reply),
        }
    }
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
    // A later command of the same group may end them again.
    let begun = begun.min(PARTITIONS_PER_TOPIC_MAX) as usize;
    Need {
        payload_bytes: SMALL_BYTES + text_bytes + begun * EPOCH_BYTES,
        frames: EVENTS + 2 * begun,
    }
}
