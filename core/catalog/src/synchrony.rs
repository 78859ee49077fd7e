//! What is durable of a synchronous replica: whether acknowledgements wait for it, and what was
//! acknowledged while they did not.

use std::fmt;
use std::str::FromStr;

use mainstem_types::limits::SYNC_TIMEOUT_MS_DEFAULT;
use mainstem_types::{Error, PartitionNo};
use minicbor::{Decode, Encode};

/// How long a synchronous replica may keep an acknowledgement waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct SyncTimeoutMs(#[n(0)] pub u32);

impl Default for SyncTimeoutMs {
    fn default() -> Self {
        Self(SYNC_TIMEOUT_MS_DEFAULT)
    }
}

impl SyncTimeoutMs {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for SyncTimeoutMs {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| {
            Error::invalid(format!("\"{text}\" is not a time-out; give it in milliseconds"))
        })
    }
}

/// What happens when a synchronous replica keeps acknowledgements waiting for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SyncPolicy {
    /// They go on without it, which is recorded, until it has caught up.
    #[default]
    #[n(0)]
    Degrade,
    /// Writes that ask for it are refused until it has caught up.
    #[n(1)]
    Refuse,
}

impl SyncPolicy {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Degrade => "degrade",
            Self::Refuse => "refuse",
        })
    }
}

impl FromStr for SyncPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "degrade" => Ok(Self::Degrade),
            "refuse" => Ok(Self::Refuse),
            _ => Err(Error::invalid(format!("\"{text}\" is not a policy; give degrade or refuse"))),
        }
    }
}

/// Whether acknowledgements wait for a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SyncState {
    /// Never: it is not synchronous.
    #[default]
    #[n(0)]
    Async,
    /// Not yet, until it has caught up.
    #[n(1)]
    Joining,
    /// They do (I1).
    #[n(2)]
    InForce,
    /// Not any more, until it has caught up.
    #[n(3)]
    Degraded,
}

impl SyncState {
    pub(crate) fn is_async(&self) -> bool {
        *self == Self::Async
    }

    /// As `syncState` shows it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Joining => "joining",
            Self::InForce => "inforce",
            Self::Degraded => "degraded",
        }
    }
}

/// A time in which records were acknowledged that a synchronous replica did not have: had the
/// source been lost in it, these would have been missing there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RiskWindow {
    /// Since when the oldest of them had waited for the replica.
    #[n(0)]
    pub from_ms: i64,
    /// When the replica had them all; nothing while it does not.
    #[n(1)]
    pub to_ms: Option<i64>,
    /// Which records, at most [`mainstem_types::limits::RISK_PARTITIONS_MAX`] partitions.
    #[n(2)]
    pub ranges: Vec<RiskRange>,
    /// More partitions were written than the list has room for.
    #[n(3)]
    pub is_partial: bool,
}

/// Offsets of one partition at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RiskRange {
    /// The partition's number in the log.
    #[n(0)]
    pub partition: PartitionNo,
    /// The first offset that the replica had not acknowledged.
    #[n(1)]
    pub from: i64,
    /// The next offset after the last; nothing while the window is open.
    #[n(2)]
    pub to: Option<i64>,
}
