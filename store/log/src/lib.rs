//! The commit log of a node: appends frames of all partitions to one sequence of segments, makes
//! them durable together, reads them back, and recovers after a crash.
//!
//! It must never know streams, topics, names or policies: it sees partition numbers, offsets and
//! opaque payloads. The bytes on disk are described in `docs/FORMAT.md`, which changes together
//! with this crate.
//!
//! One writer owns the log ([`CommitLog`], made by [`LocalLog::open`]); any number of
//! [`LogReader`]s share it. A write is readable at once; which part of it may be shown to whom is
//! decided by the frontiers of the engine above.

mod commit_log;
mod directory;
mod entry;
mod error;
mod footer;
mod footer_cache;
mod frame;
mod frame_header;
mod group;
mod index;
mod local;
mod pieces;
mod position;
mod reader;
mod recover;
mod report;
mod reserve;
mod scan;
mod segment;
mod settings;
mod stored;
mod tail;

pub use commit_log::CommitLog;
pub use directory::lock;
pub use error::LogError;
pub use frame::{Frame, FrameKind};
pub use local::LocalLog;
pub use position::Position;
pub use reader::LogReader;
pub use report::{LogStats, Quarantine, Recovered, Retired, SegmentPin};
pub use settings::{LogSettings, ReserveMode};
pub use stored::{Backlog, BatchInfo, Extent, PartitionBounds, StoredBatch};
