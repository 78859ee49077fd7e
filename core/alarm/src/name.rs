//! The alarms there are, by their documented names where there are such.

/// One kind of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmName {
    /// Nothing flows to a replica, or a topic of it stopped.
    ReplError,
    /// A replica is further behind than its stream allows.
    ReplLagHigh,
    /// A synchronous replica does not keep up: acknowledgements go on without it, or are refused.
    ReplAsync,
    /// Two streams own a topic of one name (not in the original, which did not see it).
    ReplConflict,
    /// Retention has deleted records before they were sent to a replica (not in the original).
    ReplGap,
    /// A partition is out of service because stored data is damaged.
    DataUnavailable,
    /// A gateway of a destination does not answer, or none does.
    GatewayDown,
    /// Little room is left on the disk.
    AlmostFull,
    /// So little that appends are refused.
    Full,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole cluster.
    Cluster,
    /// One node or the services that it needs.
    Node,
    /// One stream: the original's alarms were of the volume that held it.
    Volume,
}

impl AlarmName {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::ReplError,
        Self::ReplLagHigh,
        Self::ReplAsync,
        Self::ReplConflict,
        Self::ReplGap,
        Self::DataUnavailable,
        Self::GatewayDown,
        Self::AlmostFull,
        Self::Full,
    ];

    /// As `alarm list` shows it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ReplError => "VOLUME_ALARM_TABLE_REPL_ERROR",
            Self::ReplLagHigh => "VOLUME_ALARM_TABLE_REPL_LAG_HIGH",
            Self::ReplAsync => "VOLUME_ALARM_TABLE_REPL_ASYNC",
            Self::ReplConflict => "VOLUME_ALARM_TABLE_REPL_CONFLICT",
            Self::ReplGap => "VOLUME_ALARM_TABLE_REPL_GAP",
            Self::DataUnavailable => "VOLUME_ALARM_DATA_UNAVAILABLE",
            Self::GatewayDown => "NODE_ALARM_SERVICE_GATEWAY_DOWN",
            Self::AlmostFull => "CLUSTER_ALARM_CLUSTER_ALMOST_FULL",
            Self::Full => "CLUSTER_ALARM_CLUSTER_FULL",
        }
    }

    /// When it is raised.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ReplError => {
                "nothing flows to a replica or from an upstream, a topic stopped, or a hand-over hangs"
            }
            Self::ReplLagHigh => "a replica lags more than -repllagsecalarmthresh of its stream",
            Self::ReplAsync => "a synchronous replica does not keep up and is not waited for",
            Self::ReplConflict => "two streams own a topic of one name; the second is refused",
            Self::ReplGap => "retention has deleted records before they were sent to a replica",
            Self::DataUnavailable => "a partition is out of service because its data is damaged",
            Self::GatewayDown => "a gateway of a cluster that is replicated to does not answer",
            Self::AlmostFull => "the disk has less than twice the room at which appends end",
            Self::Full => "the disk is so full that appends are refused",
        }
    }

    /// What it is about.
    pub const fn scope(self) -> Scope {
        match self {
            Self::ReplError
            | Self::ReplLagHigh
            | Self::ReplAsync
            | Self::ReplConflict
            | Self::ReplGap
            | Self::DataUnavailable => Scope::Volume,
            Self::GatewayDown => Scope::Node,
            Self::AlmostFull | Self::Full => Scope::Cluster,
        }
    }
}

impl Scope {
    /// As `alarm list -type` takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Volume => "volume",
        }
    }
}
