//! Which topics are compacted, and by what rules.

use crate::{Stream, Topic};

/// How a topic is compacted here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compaction {
    /// Milliseconds for which a record is left alone after it arrived.
    pub min_lag_ms: u64,
    /// Milliseconds for which a key's deletion is kept once compaction has met it.
    pub delete_retention_ms: u64,
    /// The share of bytes that were not looked at from which a pass is worth it.
    pub dirty_ratio: f64,
    /// Milliseconds after which a record is looked at whatever the share; `None` for never.
    pub max_lag_ms: Option<u64>,
}

/// Kafka's default, and ours for streams.
const DIRTY_RATIO: f64 = 0.5;

/// A topic's own `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Only the newest record of a key is kept.
    pub compact: bool,
    /// Records expire.
    pub delete: bool,
}

impl Topic {
    /// The topic's own policy; `None` if the stream's holds.
    pub fn cleanup_policy(&self) -> Option<CleanupPolicy> {
        let words = self.config.get("cleanup.policy")?;
        let has = |word: &str| words.split(',').any(|given| given.trim() == word);
        Some(CleanupPolicy { compact: has("compact"), delete: has("delete") })
    }

    /// Whether nothing of it expires: only compaction takes records, at its owner or here.
    pub fn never_expires(&self) -> bool {
        self.cleanup_policy().is_some_and(|policy| policy.compact && !policy.delete)
    }
}

impl Stream {
    /// How a topic of this stream is compacted here; `None` if it is not. What its owner says of a
    /// replicated topic switches nothing on: a replica compacts by its own stream's setting.
    pub fn compaction_of(&self, topic: &Topic) -> Option<Compaction> {
        let is_owned = topic.owner.stream == self.id;
        let is_on = match topic.cleanup_policy() {
            Some(policy) => policy.compact && (is_owned || self.settings.compact),
            None => self.settings.compact,
        };
        if !is_on || topic.aside.is_some() {
            return None;
        }
        let number = |name: &str| topic.config.get(name)?.parse::<u64>().ok();
        let ratio = topic.config.get("min.cleanable.dirty.ratio").and_then(|r| r.parse().ok());
        Some(Compaction {
            min_lag_ms: number("min.compaction.lag.ms")
                .unwrap_or(self.settings.min_compaction_lag_ms),
            delete_retention_ms: number("delete.retention.ms")
                .unwrap_or(self.settings.delete_retention_ms),
            dirty_ratio: ratio.unwrap_or(DIRTY_RATIO),
            max_lag_ms: number("max.compaction.lag.ms").filter(|ms| *ms < i64::MAX as u64),
        })
    }
}
