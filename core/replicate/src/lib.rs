//! The two ends of a link, and the steps of a set-up, as pure state machines.
//!
//! It must never know a socket, a clock, a disk or a catalog: frames and events come in by
//! `handle_…`, frames and wishes go out by `poll_action`, and the time is an argument. A
//! [`Sender`] or [`Receiver`] lives as long as one session; what must outlive it is durable
//! elsewhere, so a new session can only begin at what the replica says it has.

mod backoff;
mod pulse;
mod receiver;
mod sender;
mod setup;
mod status;

pub use backoff::{Backoff, GatewayRing};
pub use receiver::{AppendToken, Opened, Receiver, ReceiverAction, ReceiverIdentity};
pub use sender::{
    PartitionView, ReadRequest, Sender, SenderAction, SenderSettings, SourceBatch, Welcomed,
};
pub use setup::{SetupAction, SetupEvent, SetupPlan, SetupStage};
pub use status::{CopyProgress, FaultNote, Pending};

use mainstem_link::Code;
use mainstem_types::{Error, ErrorKind};

/// The code under which a peer is told of an error: one row per kind.
pub fn code_of(error: &Error) -> Code {
    match error.kind() {
        ErrorKind::NotFound => Code::NoStream,
        ErrorKind::Exists => Code::Exists,
        ErrorKind::Denied => Code::NoUpstream,
        ErrorKind::Policy => Code::Conflict,
        ErrorKind::Unsupported => Code::Unsupported,
        ErrorKind::Limit => Code::Limit,
        ErrorKind::Retry | ErrorKind::Unreachable => Code::Busy,
        ErrorKind::Storage => Code::Storage,
        ErrorKind::Corrupt => Code::Corrupt,
        ErrorKind::Misaligned => Code::Misaligned,
        ErrorKind::Fenced => Code::Fenced,
        ErrorKind::Diverged => Code::Diverged,
        ErrorKind::Invalid => Code::Protocol,
        _ => Code::Internal,
    }
}

/// Why a session ended, for status and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Whether the peer said so, rather than this side.
    pub by_peer: bool,
}
