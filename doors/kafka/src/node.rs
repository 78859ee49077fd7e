//! What all connections of a node share.

use std::net::SocketAddr;

use mainstem_catalog::Catalog;
use mainstem_engine::Engine;
use mainstem_env::Env;
use mainstem_types::StreamPath;

use crate::fetch_room::FetchRoom;
use crate::groups::Groups;
use crate::key_checks::KeyChecks;

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) env: Env,
    pub(crate) groups: Groups,
    pub(crate) fetch_room: FetchRoom,
    pub(crate) key_checks: KeyChecks,
}

impl Node {
    pub(crate) fn catalog(&self) -> Catalog {
        self.engine.catalog()
    }

    /// The broker's number: of the cluster's id, so it is the same after every restart.
    pub(crate) fn node_id(&self) -> i32 {
        self.catalog().cluster().id.node_id()
    }
}

/// One address that clients come in by, and how the catalog looks from there.
pub(crate) struct Listener {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) default_stream: Option<StreamPath>,
}

impl Listener {
    pub(crate) fn new(
        bound: SocketAddr,
        advertised: Option<(String, u16)>,
        default_stream: Option<StreamPath>,
    ) -> Self {
        let (host, port) = advertised.unwrap_or_else(|| {
            // "Any address" is no address to call back on.
            let ip = match bound.ip() {
                ip if ip.is_unspecified() && ip.is_ipv6() => "::1".to_owned(),
                ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
                ip => ip.to_string(),
            };
            (ip, bound.port())
        });
        // A port of 0 that was advertised means: the one that was bound.
        let port = if port == 0 { bound.port() } else { port };
        Self { host, port, default_stream }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_any_address_advertises_one_that_can_be_called() {
        let of = |text: &str| Listener::new(text.parse().unwrap(), None, None).host;
        assert_eq!(of("0.0.0.0:9092"), "127.0.0.1");
        assert_eq!(of("[::]:9092"), "::1");
        assert_eq!(of("127.0.0.1:9092"), "127.0.0.1");
        let named = Listener::new("0.0.0.0:9".parse().unwrap(), Some(("k".into(), 0)), None);
        assert_eq!((named.host.as_str(), named.port), ("k", 9));
    }
}
