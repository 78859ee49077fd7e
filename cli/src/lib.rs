//! The command line: maprcli's words, sent to the admin door of the cluster that they name.
//!
//! It must never know how a server decides: it reads the arguments, asks, and prints.

mod clusters;

pub use clusters::{Clusters, KnownCluster};
