//! How a session ends, and the code under which the peer is told.

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
        ErrorKind::Retry
        | ErrorKind::Unreachable
        | ErrorKind::ReplicaMissing
        | ErrorKind::ReplicaLate => Code::Busy,
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

impl Closing {
    /// The connection has ended without a word, or what came by it was none.
    pub fn lost(error: &Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Unreachable => Code::Silent,
            _ => code_of(error),
        };
        Self { code, message: error.message().to_owned(), by_peer: false }
    }
}
