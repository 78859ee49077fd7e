//! The two ends of a link, and the steps of a set-up, as pure state machines.
//!
//! It must never know a socket, a clock, a disk or a catalog: frames and events come in by
//! `handle_…`, frames and wishes go out by `poll_action`, and the time is an argument. A
//! [`Sender`] or [`Receiver`] lives as long as one session; what must outlive it is durable
//! elsewhere, so a new session can only begin at what the replica says it has.

mod account;
mod backoff;
mod closing;
mod feeders;
mod gateway_ring;
mod history;
mod pace;
mod pulse;
mod receiver;
mod sender;
mod setup;
mod status;
mod synchrony;

mod digest;
mod narrowing;
mod record_digest;

pub use account::Account;
pub use backoff::Backoff;
pub use closing::{Closing, code_of};
pub use feeders::{Feeders, Position, Standing};
pub use gateway_ring::GatewayRing;
pub use history::{History, Rate, Sample};
pub use receiver::{AppendToken, FeedOrder, Opened, Receiver, ReceiverAction, ReceiverIdentity};
pub use sender::{
    HandoverView, PartitionView, ReadRequest, Sender, SenderAction, SenderSettings, SourceBatch,
    Welcomed,
};
pub use setup::{SetupAction, SetupEvent, SetupPlan, SetupStage};
pub use status::{CopyProgress, FaultNote, Pending};

pub use digest::{DigestRoom, KeptLog, answer_range, digest_of_batch};
pub use narrowing::{ByRecords, Difference, Finding, Narrowing, Verdict};
pub use synchrony::{Frontiers, SyncMember, SyncWish, Synchrony};
