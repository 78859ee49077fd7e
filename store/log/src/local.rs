//! The log on local files.

use std::sync::Arc;

use mainstem_env::Disk;
use mainstem_types::Error;

use crate::{
    CommitLog, Frame, LogError, LogReader, LogSettings, LogStats, Position, Recovered, Retired,
};

/// The [`CommitLog`] on local files.
pub struct LocalLog {}

impl LocalLog {
    /// Opens or makes the log on `disk`, recovers it, and hands every frame that ends after
    /// `applied` to `replay`, in order, each with its end: a view that has handled the frame is
    /// applied up to that position.
    ///
    /// When it returns, everything that was handed out is durable under a new generation. A new
    /// log is opened with [`Position::START`].
    pub fn open(
        _disk: Arc<dyn Disk>,
        _settings: LogSettings,
        _applied: Position,
        _replay: &mut dyn FnMut(Position, Frame) -> Result<(), Error>,
    ) -> Result<(Self, Recovered), LogError> {
        Err(LogError::Closed)
    }
}

impl CommitLog for LocalLog {
    fn write(&mut self, _frames: Vec<Frame>) -> Result<Position, LogError> {
        Err(LogError::Closed)
    }

    fn sync(&mut self) -> Result<Position, LogError> {
        Err(LogError::Closed)
    }

    fn durable(&self) -> Position {
        Position::START
    }

    fn retire(&mut self, _applied: Position) -> Result<Retired, LogError> {
        Err(LogError::Closed)
    }

    fn reader(&self) -> LogReader {
        LogReader {}
    }

    fn stats(&self) -> LogStats {
        LogStats::default()
    }
}
