//! The one door through which the world enters: clock, randomness, disk.
//!
//! It must never know what the clocks, numbers and files are for. Everything above asks these
//! traits, so that a simulation can hand out its own time, luck and disks from one seed.

mod clock;
mod disk;
mod random;
mod world;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{CrashPolicy, Disk, DiskFile, DiskLock, SimDisk, SystemDisk};
pub use random::{Random, SeededRandom, SystemRandom};
pub use world::Env;
