//! The command line that speaks `maprcli`'s words: it reads arguments, asks the admin door of the
//! right cluster, and prints what it answers. It also knows where the clusters are.
//!
//! It must never know how a command is carried out: what is right and wrong is decided by the
//! server, and by the table of commands that both share.

mod argv;
mod brief;
mod check;
mod client;
mod clusters;
mod copy;
mod help;
mod output;
mod run;
mod screen;
mod session;
mod steps;
mod table;
mod wait;

pub use clusters::{Clusters, KnownCluster};
pub use output::{Printed, report, table};
pub use run::{Invocation, command_line, run};
