//! Errors, in few kinds, each defined by what the caller should do next.

use std::fmt;

/// Shorthand for results with the project's error.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in terms of the caller's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong; correct it. (EINVAL)
    Invalid,
    /// What it names is not there. (ENOENT)
    NotFound,
    /// What it would make is already there. (EEXIST)
    Exists,
    /// The caller may not; ask the owner. (EACCES)
    Denied,
    /// Policy forbids it, whoever asks: a write to a replica, a rival owner. (EPERM)
    Policy,
    /// Right, but not served by this version or in this state. (EOPNOTSUPP)
    Unsupported,
    /// A limit would be passed; nothing was done. (EDQUOT)
    Limit,
    /// Busy or not ready; the same call may succeed later. (EAGAIN)
    Retry,
    /// The topic is on its way to another owner; the same call succeeds later, here or there. (EAGAIN)
    HandingOver,
    /// A peer cannot be reached; it is retried. (EHOSTUNREACH)
    Unreachable,
    /// A synchronous replica is not heard, and policy wants no write without it: nothing was done;
    /// try again once it is back. (EAGAIN)
    ReplicaMissing,
    /// As before, but the record is stored here and not yet there; who sends it again as the same
    /// producer stores it once. (EAGAIN)
    ReplicaLate,
    /// The disk failed or is full. (EIO)
    Storage,
    /// Stored or received bytes are not what they were. (EBADMSG)
    Corrupt,
    /// A replicated append was not exactly at the end; carries the expected offset in its text,
    /// and in [`Error::expected_offset`]. (ESTALE)
    Misaligned,
    /// The agreement or link epoch that the call was made under no longer stands. (ESTALE)
    Fenced,
    /// Two logs hold different bytes at the same offset. (EILSEQ)
    Diverged,
    /// An offset outside of what is kept. (ERANGE)
    OffsetOutOfRange,
    /// A producer's sequence number does not continue its last one. (EPROTO)
    OutOfOrderSequence,
    /// A producer's epoch was superseded. (EPROTO)
    InvalidProducerEpoch,
    /// Nothing is known of this producer's past here. (EPROTO)
    UnknownProducerId,
    /// Another producer has taken over the transactional id, or the transaction ran out of time:
    /// this one has to end. (EPROTO)
    ProducerFenced,
    /// The transactional id is not this producer's; begin anew. (EPROTO)
    UnknownTransaction,
    /// Not in this state of the transaction. (EPROTO)
    InvalidTransaction,
}

impl ErrorKind {
    /// The Linux error number that `maprcli` prints: one row per kind.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Policy => 1,
            Self::NotFound => 2,
            Self::Storage => 5,
            Self::Retry | Self::HandingOver | Self::ReplicaMissing | Self::ReplicaLate => 11,
            Self::Denied => 13,
            Self::Exists => 17,
            Self::Invalid => 22,
            Self::OffsetOutOfRange => 34,
            Self::OutOfOrderSequence
            | Self::InvalidProducerEpoch
            | Self::UnknownProducerId
            | Self::ProducerFenced
            | Self::UnknownTransaction
            | Self::InvalidTransaction => 71,
            Self::Corrupt => 74,
            Self::Diverged => 84,
            Self::Unsupported => 95,
            Self::Unreachable => 113,
            Self::Misaligned | Self::Fenced => 116,
            Self::Limit => 122,
        }
    }

    /// The Kafka error code that a client is told: one row per kind. See the protocol guide's
    /// table of error codes.
    pub const fn kafka_code(self) -> i16 {
        match self {
            Self::Invalid => 42,
            Self::NotFound => 3,
            Self::Exists => 36,
            Self::Denied => 29,
            Self::Policy | Self::Limit | Self::Diverged => 44,
            Self::Unsupported => 35,
            Self::Retry | Self::Unreachable => 5,
            Self::ReplicaMissing => 19,
            Self::ReplicaLate => 20,
            // Clients of all families look the leader up again and retry.
            Self::HandingOver => 6,
            Self::Storage => 56,
            Self::Corrupt => 2,
            Self::Misaligned | Self::Fenced => 74,
            Self::OffsetOutOfRange => 1,
            Self::OutOfOrderSequence => 45,
            Self::InvalidProducerEpoch => 47,
            Self::UnknownProducerId => 59,
            Self::ProducerFenced => 90,
            Self::UnknownTransaction => 49,
            Self::InvalidTransaction => 48,
        }
    }
}

/// An error: a kind for programs, a sentence for people that says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    expected_offset: Option<i64>,
}

impl Error {
    /// An error of a kind, with the sentence that a person will read.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), expected_offset: None }
    }

    /// An append that is not exactly at a replica's end.
    pub fn misaligned(expected: i64, got: i64) -> Self {
        Self {
            kind: ErrorKind::Misaligned,
            message: format!("batch at offset {got}, but the next offset here is {expected}"),
            expected_offset: Some(expected),
        }
    }

    /// What the caller should do next.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The offset that would have been taken, for [`ErrorKind::Misaligned`].
    pub const fn expected_offset(&self) -> Option<i64> {
        self.expected_offset
    }

    /// The same error with words before it.
    #[must_use]
    pub fn context(mut self, before: impl fmt::Display) -> Self {
        self.message = format!("{before}: {}", self.message);
        self
    }

    /// The same error, to be read in another cluster too: see [`with_full_paths`].
    #[must_use]
    pub fn from_cluster(mut self, here: &str) -> Self {
        self.message = with_full_paths(&self.message, here);
        self
    }
}

/// Commands in a text with the streams of this cluster named in full: `-path /a` is what the reader's
/// own cluster would take it for.
pub fn with_full_paths(text: &str, here: &str) -> String {
    const FLAG: &str = " -path /";
    let mut parts = text.split(FLAG);
    let mut full = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        full.push_str(FLAG);
        if !part.starts_with("mapr/") {
            full.push_str("mapr/");
            full.push_str(here);
            full.push('/');
        }
        full.push_str(part);
    }
    full
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    invalid => Invalid, not_found => NotFound, exists => Exists, policy => Policy,
    unsupported => Unsupported, limit => Limit, retry => Retry, unreachable => Unreachable,
    storage => Storage, corrupt => Corrupt, fenced => Fenced, denied => Denied,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_streams_in_full_for_readers_elsewhere() {
        let text = "see `x -path /a/b` or `y -path /mapr/boston/c -replica /d`; /e stays";
        let full =
            "see `x -path /mapr/newyork/a/b` or `y -path /mapr/boston/c -replica /d`; /e stays";
        assert_eq!(with_full_paths(text, "newyork"), full);
        assert_eq!(Error::policy(text).from_cluster("newyork").message(), full);
        assert_eq!(with_full_paths("nothing", "newyork"), "nothing");
    }
}
