//! `mainstem dev`: clusters on this machine, each a server process of its own, to try things with.

mod authority;
mod commands;
mod layout;
mod ports;
mod process;
mod status;

pub(crate) use commands::{DevCommand, run};
pub(crate) use layout::{Dev, NewClusters};
pub(crate) use ports::Claim;
