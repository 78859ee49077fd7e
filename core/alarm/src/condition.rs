//! What counts as bad, from what was seen; each with words that say what to do next.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_api::links::{NOT_FED, ReplicaState, SyncStanding, TopicFault};

use crate::handover::undecided;
use crate::sight::{DiskSight, ReplicaSight, Sight, UpstreamSight};
use crate::{AlarmName, DamageSight, GatewaySight};

/// Names in one message.
const NAMED_MAX: usize = 10;
/// A link that was cut is up again within a few seconds; what lasts longer is trouble.
const LINK_MS: u64 = 10_000;
/// A source may be started anew, which is not the replica's trouble.
const UPSTREAM_MS: u64 = 60_000;
/// What stopped is tried again every few seconds, and seems well for a moment.
const RETRY_MS: u64 = 15_000;
/// For so long a gap is told that has come about: records are missing, and nothing brings them.
const GAP_MS: i64 = 3_600_000;
/// A lag that an ack of the next second takes away is none.
const LAG_MS: u64 = 5_000;

/// Which alarm, and about what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmKey {
    /// The alarm.
    pub name: AlarmName,
    /// The stream, cluster or node that `alarm list -entity` knows it by.
    pub entity: String,
    /// What it is about within that: a replica, an upstream; empty where there is only one.
    pub subject: String,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// Better than what raises an alarm, worse than what clears it.
    Between,
    /// As it should not be.
    Bad,
}

/// Something that could be wrong, and whether it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whose alarm it is.
    pub key: AlarmKey,
    /// How it stands.
    pub level: Level,
    /// What is wrong and what to do next.
    pub message: String,
    /// How long it must be bad before it is told.
    pub raise_after_ms: u64,
    /// How long it must be good before it is told.
    pub clear_after_ms: u64,
}

/// Everything that could be wrong.
pub fn conditions(sight: &Sight) -> Vec<Condition> {
    let mut all = Vec::new();
    for replica in &sight.replicas {
        all.extend([link_error(replica), stopped(replica), conflict(replica), lag(replica)]);
        all.extend([not_waited_for(replica), gap(replica, sight.wall_ms)]);
        all.push(not_handed_over(replica, sight.wall_ms));
    }
    for upstream in &sight.upstreams {
        all.extend([cut_off(upstream), stopped_here(upstream), conflict_here(upstream)]);
    }
    all.extend(gateways(&sight.gateways));
    all.extend(damage(&sight.damaged));
    all.extend(disk(&sight.disk));
    all
}

fn condition(name: AlarmName, entity: &str, subject: String, message: Option<String>) -> Condition {
    Condition {
        key: AlarmKey { name, entity: entity.to_owned(), subject },
        level: if message.is_some() { Level::Bad } else { Level::Good },
        message: message.unwrap_or_default(),
        raise_after_ms: 0,
        clear_after_ms: 0,
    }
}

/// No session stands though one should.
fn link_error(replica: &ReplicaSight) -> Condition {
    let link = &replica.link;
    let should_flow = !replica.is_paused || link.state != ReplicaState::Replicating;
    let is_refused = link.state == ReplicaState::Unexpected;
    let is_not_fed = link.error.as_ref().is_some_and(|error| error.code == NOT_FED);
    let message = (is_refused || is_not_fed || (should_flow && !link.connected)).then(|| {
        let why = match &link.error {
            Some(error) => format!("{}: {}", error.code, error.message),
            None => "no session stands; see `stream replica list`".to_owned(),
        };
        format!("nothing flows to {}: {why}", replica.replica)
    });
    let entity = replica.stream.as_str();
    let found =
        condition(AlarmName::ReplError, entity, format!("{} link", replica.replica), message);
    Condition { raise_after_ms: LINK_MS, clear_after_ms: LINK_MS, ..found }
}

/// Nobody may write, and nothing but the replica ends that. It is told at once: it has lasted.
fn not_handed_over(replica: &ReplicaSight, wall_ms: i64) -> Condition {
    let subject = format!("{} handover", replica.replica);
    let message = undecided(replica, wall_ms);
    condition(AlarmName::ReplError, replica.stream.as_str(), subject, message)
}

fn stopped(replica: &ReplicaSight) -> Condition {
    let message = told(&replica.link.faults, false)
        .map(|topics| format!("{topics} stopped on the way to {}", replica.replica));
    let entity = replica.stream.as_str();
    let found =
        condition(AlarmName::ReplError, entity, format!("{} topics", replica.replica), message);
    Condition { clear_after_ms: RETRY_MS, ..found }
}

fn conflict(replica: &ReplicaSight) -> Condition {
    // What ends it is in the words of who refuses: there is more than one kind.
    let message = told(&replica.link.faults, true)
        .map(|topics| format!("{topics} of {} is refused at {}", replica.stream, replica.replica));
    let entity = replica.stream.as_str();
    let found = condition(AlarmName::ReplConflict, entity, replica.replica.clone(), message);
    Condition { clear_after_ms: RETRY_MS, ..found }
}

/// Records that a replica will never hold.
fn gap(replica: &ReplicaSight, wall_ms: i64) -> Condition {
    let link = &replica.link;
    let to_come = (link.expired > 0).then(|| {
        format!(
            "retention has deleted {} offsets of {} that {} never got, and goes on; have the link \
             flow, or keep more by `stream edit -path {} -ttl <seconds>`",
            link.expired, replica.stream, replica.replica, replica.stream
        )
    });
    let late = link.gaps.iter().find(|gap| wall_ms.saturating_sub(gap.at_ms) < GAP_MS);
    let declared = late.map(|gap| {
        format!(
            "retention had deleted offsets {} to {} of topic {}, partition {}, before they were \
             sent to {}; see its `gaps` in `stream replica list -path {}`",
            gap.from,
            gap.to - 1,
            gap.topic,
            gap.partition,
            replica.replica,
            replica.stream
        )
    });
    let entity = replica.stream.as_str();
    condition(AlarmName::ReplGap, entity, replica.replica.clone(), to_come.or(declared))
}

fn lag(replica: &ReplicaSight) -> Condition {
    let link = &replica.link;
    let limit_ms = replica.lag_ms_max.unwrap_or(u64::MAX);
    // The first copy is behind by all that was ever kept, and says how far it is.
    let is_set_up = link.state == ReplicaState::Replicating;
    let level = if !is_set_up || link.lag_ms <= limit_ms - limit_ms / 5 {
        Level::Good
    } else if link.lag_ms <= limit_ms || link.is_unheard {
        // What is not known is told as an error of the link.
        Level::Between
    } else {
        Level::Bad
    };
    let advice = match (replica.is_paused, &link.error) {
        (true, _) => format!(
            "it is paused; go on by `stream replica resume -path {} -replica {}`",
            replica.stream, replica.replica
        ),
        (false, Some(error)) => format!("{}: {}", error.code, error.message),
        (false, None) => format!(
            "it moves {:.0} records a second; see the load and the network between the clusters, \
             or allow more by `stream edit -path {} -repllagsecalarmthresh <seconds>`",
            link.rates.records, replica.stream
        ),
    };
    let message = format!(
        "{} is {} s behind, {} s are allowed; {} records and {} bytes are pending; {advice}",
        replica.replica,
        link.lag_ms / 1000,
        limit_ms / 1000,
        link.puts_pending,
        link.bytes_pending
    );
    let entity = replica.stream.as_str();
    let found = condition(AlarmName::ReplLagHigh, entity, replica.replica.clone(), Some(message));
    Condition { level, raise_after_ms: LAG_MS, clear_after_ms: LAG_MS, ..found }
}

/// What was acknowledged without a synchronous replica is told at once: nobody may count on it.
fn not_waited_for(replica: &ReplicaSight) -> Condition {
    let (stream, name) = (&replica.stream, &replica.replica);
    let message = match replica.link.sync {
        SyncStanding::AsAsked => None,
        SyncStanding::Degraded if replica.is_paused => Some(format!(
            "{name} is paused, and acks=all goes on without it; what it lacks stands in \
             windowsAtRisk of `stream replica list -path {stream}`; go on by `stream replica \
             resume -path {stream} -replica {name}`"
        )),
        SyncStanding::Degraded => Some(format!(
            "{name} does not keep up, and acks=all goes on without it; what it lacks stands in \
             windowsAtRisk of `stream replica list -path {stream}` until it has caught up"
        )),
        SyncStanding::Refusing => Some(format!(
            "{name} does not keep up, and acks=all is refused; see to it, or go on without it by \
             `stream replica edit -path {stream} -replica {name} -syncpolicy degrade`"
        )),
    };
    condition(AlarmName::ReplAsync, stream.as_str(), name.clone(), message)
}

/// A replica whose source does not call any more. One that has not called yet, was paused there,
/// or did its work, is no trouble of the replica's.
fn cut_off(upstream: &UpstreamSight) -> Condition {
    let link = &upstream.link;
    let is_expected = |code: &str| matches!(code, "NotConnected" | "Paused" | "Finished");
    let trouble = link.error.as_ref().filter(|error| !link.connected && !is_expected(&error.code));
    let message = trouble.map(|error| {
        format!("nothing comes from {}: {}: {}", upstream.upstream, error.code, error.message)
    });
    let subject = from(upstream, "link");
    let found = condition(AlarmName::ReplError, upstream.stream.as_str(), subject, message);
    Condition { raise_after_ms: UPSTREAM_MS, clear_after_ms: LINK_MS, ..found }
}

fn stopped_here(upstream: &UpstreamSight) -> Condition {
    let message = told(&upstream.link.faults, false)
        .map(|topics| format!("{topics} from {} stopped here", upstream.upstream));
    let subject = from(upstream, "topics");
    let found = condition(AlarmName::ReplError, upstream.stream.as_str(), subject, message);
    Condition { clear_after_ms: RETRY_MS, ..found }
}

fn conflict_here(upstream: &UpstreamSight) -> Condition {
    let message = told(&upstream.link.faults, true)
        .map(|topics| format!("{topics} from {} is refused here", upstream.upstream));
    let (entity, subject) = (upstream.stream.as_str(), from(upstream, "names"));
    let found = condition(AlarmName::ReplConflict, entity, subject, message);
    Condition { clear_after_ms: RETRY_MS, ..found }
}

/// A stream may be upstream and replica of another one at once, and both ends have alarms.
fn from(upstream: &UpstreamSight, what: &str) -> String {
    format!("from {} {what}", upstream.upstream)
}

/// `topic a (why), topic b (why) and 3 more`, of the conflicts or of all else.
fn told(faults: &[TopicFault], conflicts: bool) -> Option<String> {
    let chosen = || faults.iter().filter(|f| (f.code == "ErrTopicConflict") == conflicts);
    let topics: BTreeSet<&str> = chosen().map(|fault| fault.topic.as_str()).collect();
    let first = chosen().next()?;
    let names = listed(topics.into_iter().map(str::to_owned));
    Some(format!("topic {names} ({}: {})", first.code, first.message))
}

/// The first names, and how many more there are.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

/// One for each cluster that is replicated to.
fn gateways(sights: &[GatewaySight]) -> Vec<Condition> {
    let mut clusters: BTreeMap<&str, Vec<&GatewaySight>> = BTreeMap::new();
    for sight in sights {
        clusters.entry(sight.cluster.as_str()).or_default().push(sight);
    }
    let one = |(cluster, gateways): (&str, Vec<&GatewaySight>)| {
        let down: Vec<_> = gateways.iter().filter(|gateway| gateway.trouble.is_some()).collect();
        let message = down.first().map(|first| {
            let names = listed(down.iter().map(|gateway| gateway.address.clone()));
            let alive = gateways.len() - down.len();
            let why = first.trouble.clone().unwrap_or_default();
            format!(
                "{alive} of {} gateways of cluster {cluster} answer, not {names} ({why}); start \
                 what is down, or leave it out by `cluster gateway set -dstcluster {cluster}`",
                gateways.len()
            )
        });
        let found = condition(AlarmName::GatewayDown, cluster, String::new(), message);
        Condition { raise_after_ms: LINK_MS, clear_after_ms: LINK_MS, ..found }
    };
    clusters.into_iter().map(one).collect()
}

/// One for each stream that has any.
fn damage(sights: &[DamageSight]) -> Vec<Condition> {
    let mut streams: BTreeMap<&str, Vec<&DamageSight>> = BTreeMap::new();
    for sight in sights {
        streams.entry(sight.stream.as_str()).or_default().push(sight);
    }
    let one = |(stream, damaged): (&str, Vec<&DamageSight>)| {
        let names = listed(damaged.iter().map(|sight| sight.partition.clone()));
        let why = damaged.first().map(|sight| sight.why.clone()).unwrap_or_default();
        let message = format!(
            "out of service because stored data is damaged: {names} ({why}); see the disk, and \
             restore them from a replica"
        );
        condition(AlarmName::DataUnavailable, stream, String::new(), Some(message))
    };
    streams.into_iter().map(one).collect()
}

fn disk(disk: &DiskSight) -> [Condition; 2] {
    /// Between here and twice the limit nothing changes.
    const CLEAR_TENTHS: u64 = 22;
    /// What is shown of those who hold the log's bytes.
    const PINNED_MAX: usize = 3;
    let (limit, free) = (disk.free_bytes_min, disk.free_bytes);
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    let pinned = disk.pinned_by.iter().take(PINNED_MAX);
    let pinned: Vec<String> =
        pinned.map(|(who, bytes)| format!("{who} {} MiB", mebibytes(*bytes))).collect();
    let holders = if pinned.is_empty() {
        String::new()
    } else {
        format!("; most is held by {}", pinned.join(", "))
    };
    let left = free.map_or_else(|| "an unknown part".into(), |b| format!("{} MiB", mebibytes(b)));
    let room = format!(
        "{left} of the disk are free{holders}; make room by a shorter -ttl, by deleting topics, or \
         by a larger disk"
    );
    let almost = match free {
        None => Level::Good,
        Some(free) if free < limit.saturating_mul(2) => Level::Bad,
        Some(free) if free < limit.saturating_mul(CLEAR_TENTHS) / 10 => Level::Between,
        Some(_) => Level::Good,
    };
    let soon = format!("appends are refused below {} MiB; {room}", mebibytes(limit));
    let almost_full = Condition {
        level: almost,
        ..condition(AlarmName::AlmostFull, "CLUSTER", String::new(), Some(soon))
    };
    let refused = disk.is_full.then(|| format!("appends are refused; {room}"));
    let full = Condition {
        clear_after_ms: LINK_MS,
        ..condition(AlarmName::Full, "CLUSTER", String::new(), refused)
    };
    [almost_full, full]
}
