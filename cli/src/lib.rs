//! The command line that speaks `maprcli`'s words: it reads arguments, asks the admin door of the
//! right cluster, and prints what it answers. It also knows where the clusters are.
//!
//! It must never know how a command is carried out: what is right and wrong is decided by the
//! server, and by the table of commands that both share. Two streams of any two clusters are
//! compared, exported and imported here, because only this side reaches both.

mod argv;
mod brief;
mod check;
mod client;
mod clusters;
mod copy;
mod diff;
mod difference;
mod export;
mod handover;
mod help;
mod import;
mod interrupt;
mod kept_file;
mod manifest;
mod output;
mod pages;
mod run;
mod screen;
mod session;
mod steps;
mod table;
mod verify;
mod wait;

pub use clusters::{Clusters, KnownCluster};
pub use output::{Printed, report, table};
pub use run::{Invocation, command_line, run};
