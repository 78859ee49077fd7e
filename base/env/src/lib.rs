//! The one door through which the world enters: clock, randomness, disk.
//!
//! It must never know what the clocks, numbers and files are for. Everything above asks these
//! traits, so that a simulation can hand out its own time, luck and disks from one seed.

mod clock;
mod disk;
mod random;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{CrashPolicy, Disk, DiskFile, DiskLock, SimDisk, SystemDisk};
pub use random::{Random, SeededRandom, SystemRandom};

use std::sync::Arc;

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
