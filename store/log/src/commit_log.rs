//! What the engine sees of a log.

use crate::{Frame, LogError, LogReader, LogStats, Position, Retired};

/// The one durable order of a node. One writer owns it. Nothing above may assume that it is made
/// of local files.
pub trait CommitLog: Send {
    /// Appends frames in order and returns the end. They are not durable yet, but readers can
    /// read them.
    ///
    /// Each batch or gap begins exactly where its partition ends (an unknown partition begins
    /// where its first frame says); anything else is a bug above and panics. Frames of the kinds
    /// `Trim`, `TruncateTo` and `PartitionDelete` take effect on reads as they are written, in
    /// their order among the others: there is no second call to make.
    ///
    /// After [`LogError::Full`] nothing has been written and the log goes on, but whoever has
    /// decided something already does not: ask [`Self::reserve`] before.
    fn write(&mut self, frames: Vec<Frame>) -> Result<Position, LogError>;

    /// Sees to room for the next write, of at most this many bytes of payloads in at most this
    /// many frames, so that it does not meet a full disk. After [`LogError::Full`] nothing has
    /// changed.
    fn reserve(&mut self, payload_bytes: usize, frames: usize) -> Result<(), LogError>;

    /// Makes everything written durable and returns the end of it. After a failure every later
    /// call fails.
    fn sync(&mut self) -> Result<Position, LogError>;

    /// Everything below is durable.
    fn durable(&self) -> Position;

    /// Frees segments that hold no live batch, are in no reader's hands and lie wholly below
    /// `applied`, the position up to which the caller's materialised view is durable.
    fn retire(&mut self, applied: Position) -> Result<Retired, LogError>;

    /// A handle for reading; cheap to clone.
    fn reader(&self) -> LogReader;

    /// What the log holds and why.
    fn stats(&self) -> LogStats;
}
