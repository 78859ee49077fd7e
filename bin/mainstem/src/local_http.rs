//! Asking the admin door of a server on this machine.

use std::time::Duration;

/// An agent that gives up after `timeout`: a server that hangs takes connections and is silent.
/// It never asks a proxy, which the environment may name for the world outside.
pub(crate) fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(timeout));
    config.build().into()
}
