//! The world as one value.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::random::{Random, SystemRandom};

/// The parts of the world that a component is given when it is built. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Unpredictable (or seeded) bits.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The real clock and the operating system's randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) }
    }
}
