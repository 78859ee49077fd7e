//! What is wrong with a node's storage, if anything: for alarms and status.

use mainstem_types::PartitionNo;

/// The state of a node's storage, a second old or less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Bytes free on the disk; `None` if it does not say, or was not asked yet.
    pub free_bytes: Option<u64>,
    /// Below this many, appends are refused.
    pub free_bytes_min: u64,
    /// Appends are refused for want of room.
    pub is_full: bool,
    /// Partitions that are out of service because stored data is damaged, and why (I8).
    pub damaged: Vec<(PartitionNo, String)>,
}
