//! What can go wrong with a log, by what the caller should do next.

use std::io::ErrorKind;

use mainstem_types::{Error, PartitionNo};

/// An error of the commit log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. What was written since the last good sync is unknown; end the process and
    /// let recovery find out. Never retried.
    #[error("{what}: {source}; the log is closed, restart to recover what is durable")]
    Disk {
        /// What was being done.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Reading failed. Nothing is known of the data's condition: try again, and look at the disk if
    /// it stays so.
    #[error("{what}: {source}; nothing was lost by it, try again and look at the disk")]
    Unreadable {
        /// What was being read.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// An earlier write or sync failed, so this call was not tried.
    #[error("an earlier write or sync of the log failed; restart to recover what is durable")]
    Closed,
    /// There is no room. Nothing was written, and the log goes on.
    #[error("the disk is full; free space or let retention remove data")]
    Full,
    /// Stored bytes of one partition are not what was written; its other ranges may be whole.
    #[error("stored data of partition {partition} at offset {offset} is damaged: {why}")]
    Corrupt {
        /// The partition.
        partition: PartitionNo,
        /// The first offset that cannot be read.
        offset: i64,
        /// What does not fit.
        why: String,
    },
    /// The partition has a hole that corruption made, found earlier.
    #[error("partition {partition} is out of service: {why}")]
    Quarantined {
        /// The partition.
        partition: PartitionNo,
        /// Which damage was found.
        why: String,
    },
    /// The directory is not a log that this version can read. Nothing was changed.
    #[error("{0}")]
    Format(String),
    /// Another process has the directory open.
    #[error("the data directory is in use by another process")]
    Locked,
    /// The caller refused a replayed frame.
    #[error("replay stopped: {0}")]
    Replay(Error),
}

impl LogError {
    /// A disk error with what was being done.
    pub(crate) fn disk(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Disk { what, source }
    }

    /// An error of a read that serves a reader.
    pub(crate) fn unreadable(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Unreadable { what, source }
    }

    /// Tells a full disk, after which the log goes on, from one that failed.
    pub(crate) fn full_or_disk(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::disk(what)(source),
        }
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        use mainstem_types::ErrorKind;

        let message = error.to_string();
        match error {
            LogError::Disk { .. }
            | LogError::Unreadable { .. }
            | LogError::Closed
            | LogError::Full
            | LogError::Locked => Self::new(ErrorKind::Storage, message),
            LogError::Corrupt { .. } | LogError::Quarantined { .. } => {
                Self::new(ErrorKind::Corrupt, message)
            }
            LogError::Format(_) => Self::new(ErrorKind::Unsupported, message),
            LogError::Replay(error) => error.context("replay stopped"),
        }
    }
}
