//! The engine over a simulated disk, stepped by hand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod append;
mod compaction;
mod crash;
mod damage;
mod marks;
mod model;
mod rejoin;
mod replica;
mod synchrony;
mod take_over;
mod transactions;
mod world;
