//! All streams of a node: owns the commit log and the catalog, sequences every change, and
//! decides when an acknowledgement is true.
//!
//! It must never know sockets, protocols or processes: doors submit operations and get answers.
//!
//! One thread, the [`Sequencer`], owns everything that can change. It takes what has gathered in
//! the queue, checks and decides each operation against the newest state, writes all their frames
//! as one group, syncs once, and only then shows the new state to readers and tells the waiters
//! (I1). A simulation steps the very same sequencer by hand.

mod append;
mod aside;
mod change;
mod cleaner;
mod commit;
mod compaction;
mod cursors;
mod damage;
mod decisions;
mod digests;
mod duties;
mod engine;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod golden_tests;
mod health;
mod housekeeping;
mod marks;
mod op;
mod partition;
mod pending_cursors;
mod quarantine;
mod queue;
mod recovery;
mod replica;
mod reply;
mod reserve;
mod room;
mod sequencer;
mod settings;
mod shared;
mod state;
mod subscription;
mod sync_desk;
mod synchrony;
mod to_tell;
mod transaction;
mod transaction_step;
mod transactions;
mod view;
mod view_writer;
mod waiting;

pub use cleaner::{Cleaner, CleanerSettings, Cleaning};
pub use engine::Engine;
pub use health::{Health, SYNC_MS_BOUNDS, SyncTimes};
pub use marks::{Gap, Marks};
pub use op::{
    Ack, AckedEnd, Answer, Append, Appended, Appending, Changing, CursorCommit, HeldWatermark,
    LinkDecision, LinkMarker, LinkName, Rejoin, Rejoined, ReplicaAppend, ReplicaAppending,
    ReplicaBatch, ReplicaLink,
};
pub use partition::{Partition, Pending};
pub use sequencer::{Sequencer, Step};
pub use settings::{EngineSettings, ViewMode};
pub use subscription::Subscription;

pub use mainstem_transaction::{AbortedRange, TransactionalProducer};

pub use mainstem_log::{BatchInfo, LogSettings, LogStats, ReserveMode, StoredBatch};
