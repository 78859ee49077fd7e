//! Time, in milliseconds.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Two clocks: the wall clock that people and producers speak of, which may jump, and a monotonic
/// one for time-outs, which never goes back.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. May jump in either direction.
    fn wall_ms(&self) -> i64;
    /// Milliseconds since an arbitrary start. Never decreases.
    fn monotonic_ms(&self) -> u64;
    /// Microseconds since the same start, for measurements.
    fn monotonic_us(&self) -> u64 {
        self.monotonic_ms() * 1000
    }
}

/// The operating system's clocks.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock now.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is told to move, for tests and simulation.
pub struct ManualClock {
    now_ms: AtomicI64,
    start_ms: i64,
}

impl ManualClock {
    /// A clock that shows `start_ms` on the wall and 0 on the monotonic face.
    pub fn new(start_ms: i64) -> Self {
        Self { now_ms: AtomicI64::new(start_ms), start_ms }
    }

    /// Moves both faces forward.
    pub fn advance_ms(&self, by_ms: u64) {
        self.now_ms.fetch_add(i64::try_from(by_ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.now_ms.load(Ordering::SeqCst) - self.start_ms).unwrap_or(0)
    }
}
