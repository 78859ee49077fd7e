//! `mainstem demo`: the main job in one command, with real processes and a real crash.

mod connection;
mod input;
mod interrupt;
mod live;
mod outcome;
mod producer;
mod readback;
mod story;
mod watch;

pub(crate) use story::{DemoArguments, run};
