//! `alarm list|names`, and the looks that alarms come from.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstem_alarm::{
    Alarm, AlarmName, Change, DamageSight, DiskSight, GatewaySight, HandoverSight, Moment,
    ReplicaSight, Sight, UpstreamSight, conditions,
};
use mainstem_api::links::LinkReport;
use mainstem_api::{Arguments, Row, nearest};
use mainstem_catalog::{Catalog, HandoverStep, Replica, Stream, Upstream};
use mainstem_types::{Error, PartitionNo};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::row;

/// Between two looks. Looking takes at most a twentieth of the time, however much there is to see.
const INTERVAL_MS: u64 = 2_000;
const SHARE: u64 = 20;

impl AdminDoor {
    /// Looks at everything that alarms depend on, for as long as it is polled.
    pub(crate) async fn watch_alarms(self) {
        loop {
            let begun_ms = self.env.clock.monotonic_ms();
            let door = self.clone();
            // Counting what is pending may read the log's index. A panic has told of itself.
            let _ = tokio::task::spawn_blocking(move || door.look()).await;
            let spent_ms = self.env.clock.monotonic_ms() - begun_ms;
            tokio::time::sleep(Duration::from_millis(INTERVAL_MS.max(spent_ms * SHARE))).await;
        }
    }

    /// One look: alarms that it raises or clears are logged, once each.
    pub fn look(&self) {
        let clock = &self.env.clock;
        let sight = self.sight();
        let at = Moment { now_ms: clock.monotonic_ms(), wall_ms: clock.wall_ms() };
        for change in self.alarms.lock().handle_look(conditions(&sight), at) {
            match change {
                Change::Raised(Alarm { key, message, .. }) => {
                    tracing::warn!(
                        alarm = key.name.word(),
                        entity = key.entity,
                        "raised: {message}"
                    );
                }
                Change::Cleared(Alarm { key, message, .. }) => {
                    tracing::info!(
                        alarm = key.name.word(),
                        entity = key.entity,
                        "cleared: {message}"
                    );
                }
            }
        }
    }

    fn sight(&self) -> Sight {
        let catalog = self.engine.catalog();
        let (mut replicas, mut upstreams) = (Vec::new(), Vec::new());
        for stream in catalog.streams() {
            let seen = stream.replicas.iter().map(|replica| self.replica_sight(stream, replica));
            replicas.extend(seen.flatten());
            let lasting = stream.upstreams.iter().filter(|upstream| upstream.copy.is_none());
            upstreams.extend(lasting.filter_map(|upstream| self.upstream_sight(stream, upstream)));
        }
        let gateway = |report: mainstem_api::links::GatewayReport| GatewaySight {
            cluster: report.cluster,
            address: report.address,
            trouble: report.trouble,
        };
        Sight {
            wall_ms: self.env.clock.wall_ms(),
            replicas,
            upstreams,
            gateways: self.links.gateways().into_iter().map(gateway).collect(),
            damaged: self.damage_sights(&catalog),
            disk: self.disk_sight(&catalog),
        }
    }

    /// A replica as alarms and `stream replica check` see it; `None` once it is gone.
    pub(crate) fn replica_sight(&self, stream: &Stream, replica: &Replica) -> Option<ReplicaSight> {
        let place = &replica.place;
        let link = self.links.replica(stream.id, &place.cluster, &place.path)?;
        Some(replica_sight(&self.engine.catalog(), stream, replica, link))
    }

    fn upstream_sight(&self, stream: &Stream, upstream: &Upstream) -> Option<UpstreamSight> {
        let place = &upstream.place;
        Some(UpstreamSight {
            stream: stream.path.clone(),
            upstream: place.to_string(),
            link: self.links.upstream(stream.id, &place.cluster, &place.path)?,
        })
    }

    fn damage_sights(&self, catalog: &Catalog) -> Vec<DamageSight> {
        let damaged = self.engine.health().damaged.into_iter();
        let sight = |(no, why): (PartitionNo, String)| {
            let (stream, partition) = named(catalog, no)?;
            Some(DamageSight { stream: stream.path.clone(), partition, why })
        };
        damaged.filter_map(sight).collect()
    }

    fn disk_sight(&self, catalog: &Catalog) -> DiskSight {
        let health = self.engine.health();
        let mut pinned: BTreeMap<PartitionNo, u64> = BTreeMap::new();
        for (no, bytes) in self.engine.log_stats().pinned.iter().flat_map(|pin| &pin.largest) {
            *pinned.entry(*no).or_default() += bytes;
        }
        let name = |(no, bytes): (PartitionNo, u64)| {
            let (stream, partition) = named(catalog, no)?;
            Some((format!("{} {partition}", stream.path), bytes))
        };
        let mut pinned_by: Vec<(String, u64)> = pinned.into_iter().filter_map(name).collect();
        pinned_by.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        DiskSight {
            free_bytes: health.free_bytes,
            free_bytes_min: health.free_bytes_min,
            is_full: health.is_full,
            pinned_by,
        }
    }

    pub(crate) fn list_alarms(&self, arguments: &Arguments) -> Answer {
        let name = arguments.text("alarm").map(alarm_name).transpose()?;
        // A stream may be named in full, too.
        let here = format!("/mapr/{}", self.engine.catalog().cluster().name);
        let entity = arguments.text("entity");
        let entity = entity.map(|entity| entity.strip_prefix(&here).unwrap_or(entity));
        let scope = arguments.text("type");
        let is_asked_for = |alarm: &&Alarm| {
            name.is_none_or(|name| alarm.key.name == name)
                && entity.is_none_or(|entity| alarm.key.entity.eq_ignore_ascii_case(entity))
                && scope.is_none_or(|s| alarm.key.name.scope().word().eq_ignore_ascii_case(s))
        };
        let alarms = self.alarms.lock();
        if arguments.boolean("summary") == Some(true) {
            let standing = alarms.standing().filter(is_asked_for);
            return Ok(summary(standing));
        }
        let cut = |flag: &str| arguments.number(flag).and_then(|number| number.try_into().ok());
        let (start, limit) = (cut("start").unwrap_or(0), cut("limit").unwrap_or(usize::MAX));
        let rows: Vec<Row> = if arguments.boolean("history") == Some(true) {
            let cleared = alarms.cleared().filter(is_asked_for);
            cleared.skip(start).take(limit).map(alarm_row).collect()
        } else {
            let standing = alarms.standing().filter(is_asked_for);
            standing.skip(start).take(limit).map(alarm_row).collect()
        };
        Ok(rows)
    }

    pub(crate) fn alarm_names(&self) -> Vec<Row> {
        let name = |name: &AlarmName| {
            row(json!({
                "alarm name": name.word(),
                "type": name.scope().word(),
                "raised when": name.meaning(),
            }))
        };
        AlarmName::ALL.iter().map(name).collect()
    }
}

/// A replica, of which its link tells this.
pub(crate) fn replica_sight(
    catalog: &Catalog,
    stream: &Stream,
    replica: &Replica,
    link: LinkReport,
) -> ReplicaSight {
    let open = replica.handover.as_ref().filter(|handover| handover.is_open());
    let handover = open.map(|handover| HandoverSight {
        source: catalog.place(stream).to_string(),
        is_offered: handover.step == HandoverStep::Offered,
        offered_ms: handover.offered_ms,
        deadline_ms: handover.deadline_ms,
    });
    ReplicaSight {
        stream: stream.path.clone(),
        replica: replica.place.to_string(),
        is_paused: replica.paused,
        lag_ms_max: stream.settings.lag_alarm_ms(),
        link,
        handover,
    }
}

/// The keys of the original.
fn alarm_row(alarm: &Alarm) -> Row {
    row(json!({
        "alarm state": u8::from(alarm.cleared_ms.is_none()),
        "description": alarm.message,
        "entity": alarm.key.entity,
        "alarm name": alarm.key.name.word(),
        "alarm statechange time": alarm.cleared_ms.unwrap_or(alarm.raised_ms),
    }))
}

fn summary<'a>(standing: impl Iterator<Item = &'a Alarm>) -> Vec<Row> {
    let mut counts: BTreeMap<AlarmName, u64> = BTreeMap::new();
    standing.for_each(|alarm| *counts.entry(alarm.key.name).or_default() += 1);
    let count = |(name, count): (AlarmName, u64)| {
        row(json!({"alarm name": name.word(), "type": name.scope().word(), "count": count}))
    };
    counts.into_iter().map(count).collect()
}

fn alarm_name(word: &str) -> Result<AlarmName, Error> {
    let words = || AlarmName::ALL.iter().map(|name| name.word());
    let found = AlarmName::ALL.iter().find(|name| name.word().eq_ignore_ascii_case(word));
    found.copied().ok_or_else(|| {
        let word: String = word.chars().take(60).collect();
        let advice = match nearest(&word.to_ascii_uppercase(), words()) {
            Some(close) => format!("did you mean {close}?"),
            None => "see `alarm names`".to_owned(),
        };
        Error::invalid(format!("there is no alarm {word}; {advice}"))
    })
}

/// The stream of a partition, and `topic index`.
fn named(catalog: &Catalog, no: PartitionNo) -> Option<(&Stream, String)> {
    let home = catalog.partition(no)?;
    let stream = catalog.stream(home.stream)?;
    let topic = stream.topic_by_origin(home.topic)?;
    Some((stream, format!("{} {}", topic.name, home.index)))
}
