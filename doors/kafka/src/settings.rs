//! What a Kafka door is told when it is opened.

use std::net::SocketAddr;

use mainstem_group::CoordinatorSettings;
use mainstem_types::StreamPath;
use mainstem_types::limits::CONNECTIONS_MAX;

/// How a node speaks Kafka.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// Where it listens; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Connections of all listeners together; more are turned away.
    pub connections_max: usize,
    /// A connection that says nothing for so long is closed. Kafka's default: pools of clients
    /// count on it.
    pub idle_timeout_ms: u64,
    /// How consumer groups are coordinated.
    pub groups: CoordinatorSettings,
}

impl KafkaSettings {
    /// One listener, everything else by default.
    pub fn listening_on(listen: SocketAddr) -> Self {
        Self {
            listeners: vec![ListenerSettings { listen, advertised: None, default_stream: None }],
            connections_max: CONNECTIONS_MAX,
            idle_timeout_ms: 600_000,
            groups: CoordinatorSettings::default(),
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host and port that clients are told; the listening address if there is none.
    pub advertised: Option<(String, u16)>,
    /// A stream whose topics are listed by their bare names here, for programs that know nothing
    /// of streams.
    pub default_stream: Option<StreamPath>,
}
