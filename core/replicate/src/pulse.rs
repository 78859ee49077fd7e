//! Signs of life: when to give one, and when to despair of the peer.

use mainstem_types::limits::{LINK_HEARTBEAT_MS, LINK_SILENCE_MS_MAX};

/// The pulse of one session.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    heard_ms: u64,
    beat_ms: u64,
}

impl Pulse {
    pub(crate) const fn new(now_ms: u64) -> Self {
        Self { heard_ms: now_ms, beat_ms: now_ms }
    }

    pub(crate) const fn handle_heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// Whether it is time for a heartbeat; counts it as given.
    pub(crate) const fn is_beat_due(&mut self, now_ms: u64) -> bool {
        if now_ms < self.beat_ms + LINK_HEARTBEAT_MS {
            return false;
        }
        self.beat_ms = now_ms;
        true
    }

    pub(crate) const fn is_silent(&self, now_ms: u64) -> bool {
        now_ms >= self.heard_ms + LINK_SILENCE_MS_MAX
    }

    /// When to look again.
    pub(crate) fn next_ms(&self) -> u64 {
        (self.beat_ms + LINK_HEARTBEAT_MS).min(self.heard_ms + LINK_SILENCE_MS_MAX)
    }
}
