//! A few whole clusters in one thread, from one seed: real engines over simulated disks, real link
//! state machines over a simulated network, and the invariants checked after every event.
//!
//! It must never know sockets, threads or the real time: the same seed makes the same history,
//! so a failure is replayed by its number.

mod calm;
mod check;
mod compaction;
mod connection;
mod fates;
mod feeding;
mod handover;
mod histories;
mod isolation;
mod network;
mod node;
mod offer;
mod people;
mod plant;
mod power;
mod producer;
mod quiet;
mod reign;
mod replica;
mod source;
mod status;
mod sync_watch;
mod synchrony;
mod topology;
mod trace;
mod transactional;
mod transactions;
mod truth;
mod verify;
mod world;
mod written;

pub use plant::Plant;
pub use quiet::{Traffic, run_quiet};
pub use world::{Report, Violation, run, run_in, run_traced, topologies};
