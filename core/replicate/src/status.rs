//! What the two ends say about themselves (I9).

use mainstem_link::Code;
use mainstem_types::{OriginTopicId, TopicName};

/// What is durable at the source and not acknowledged by the replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Arrival time of the oldest; 0 if there is none.
    pub since_ms: i64,
    /// When this was counted, by the source's clock; 0 if it never was.
    pub counted_ms: i64,
}

/// A topic or partition that stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultNote {
    /// The topic.
    pub origin: OriginTopicId,
    /// Its name, where only the link knows it: a topic that was refused is in no catalog here.
    pub topic: Option<TopicName>,
    /// The partition; all of them if absent.
    pub partition: Option<u32>,
    /// Why, for programs.
    pub code: Code,
    /// Why, for people.
    pub message: String,
}

/// How far a bounded session is, in offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Offsets of the source that the replica has.
    pub done: u64,
    /// Offsets of the source at the start of the session.
    pub total: u64,
}

impl CopyProgress {
    /// 0 to 100; 100 only when all is there.
    pub const fn percent(self) -> u8 {
        if self.total == 0 || self.done >= self.total {
            return 100;
        }
        let share = (self.done as u128 * 100 / self.total as u128) as u8;
        if share > 99 { 99 } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_means_all() {
        assert_eq!(CopyProgress { done: 0, total: 0 }.percent(), 100);
        assert_eq!(CopyProgress { done: 999, total: 1000 }.percent(), 99);
        assert_eq!(CopyProgress { done: 1000, total: 1000 }.percent(), 100);
        assert_eq!(CopyProgress { done: 1, total: u64::MAX }.percent(), 0);
    }
}
