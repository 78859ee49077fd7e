//! `stream replica check`: one line and one number for scripts and monitors.

use mainstem_alarm::{Health, ReplicaSight, Verdict, judge, undecided};
use mainstem_api::Arguments;
use mainstem_catalog::{Catalog, LAG_ALARM_SECONDS, Place, Stream};
use mainstem_types::Error;
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::link::seconds;
use crate::stream::row;

impl AdminDoor {
    pub(crate) fn check_replicas(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let only: Option<Place> = match arguments.text("replica") {
            Some(_) => Some(self.place(&catalog, arguments, "replica")?),
            None => None,
        };
        let listed = stream.replicas.iter().filter(|r| only.as_ref().is_none_or(|o| r.place == *o));
        let replicas: Vec<ReplicaSight> =
            listed.filter_map(|replica| self.replica_sight(&stream, replica)).collect();
        let removed = being_removed(&catalog, &stream, only.as_ref());
        if let (Some(place), true, None) = (&only, replicas.is_empty(), removed) {
            return Err(Error::not_found(format!(
                "{place} is not a replica of {}; see `stream replica list -path {}`",
                stream.path, stream.path
            )));
        }
        let allowed_s = arguments.number("maxlagseconds").unwrap_or_else(|| {
            let of_stream = stream.settings.lag_alarm_ms().map(|ms| ms / 1000);
            of_stream.unwrap_or(u64::from(LAG_ALARM_SECONDS))
        });
        let wall_ms = self.env.clock.wall_ms();
        let judged: Vec<(&ReplicaSight, Verdict)> = replicas
            .iter()
            .map(|replica| (replica, judge(replica, allowed_s.saturating_mul(1000), wall_ms)))
            .collect();
        // Nothing is replicated, which is not what somebody who asks expects.
        let health = judged.iter().map(|(_, v)| v.health).max().unwrap_or(Health::Broken);
        let lag_ms = replicas.iter().map(|replica| replica.link.lag_ms).max().unwrap_or(0);
        let pending: u64 = replicas.iter().map(|replica| replica.link.puts_pending).sum();
        let message = format!(
            "REPLICATION {} - {}: {} | lag={:.1}s;{allowed_s} pending={pending}",
            health.word(),
            stream.path,
            // The bar divides what people read from what monitors draw.
            [said(&judged, health, removed), under_way(&stream, &replicas, wall_ms)]
                .concat()
                .replace('|', "/"),
            seconds(lag_ms),
        );
        Ok(vec![row(json!({
            "status": health.word(),
            "exitcode": health.exit_code(),
            "message": message,
            "replicas": replicas.len(),
            "lagSeconds": seconds(lag_ms),
            "putsPending": pending,
        }))])
    }
}

/// A replica that `replica list` still shows, until its destination has taken back what a set-up
/// made there.
fn being_removed<'a>(
    catalog: &'a Catalog,
    stream: &Stream,
    only: Option<&Place>,
) -> Option<&'a Place> {
    let mut removed = catalog.undos().filter(|undo| undo.stream == stream.id).map(|u| &u.place);
    removed.find(|place| only.is_none_or(|only| *place == only))
}

/// What else is to be known of the stream: that writes wait for a moment.
fn under_way(stream: &Stream, judged: &[ReplicaSight], wall_ms: i64) -> String {
    let is_told = judged.iter().any(|replica| undecided(replica, wall_ms).is_some());
    match stream.handing_over() {
        Some((replica, _)) if !is_told => {
            format!("; it is being handed over to {}, and writes wait meanwhile", replica.place)
        }
        _ => String::new(),
    }
}

/// How many there are when all is well; else the first of the worst, and how many there are.
fn said(judged: &[(&ReplicaSight, Verdict)], health: Health, removed: Option<&Place>) -> String {
    let all = judged.len();
    let mut worst: Vec<_> = judged.iter().filter(|(_, v)| v.health == health).collect();
    // That nobody may write matters more than that one replica is behind.
    worst.sort_by_key(|(replica, _)| replica.handover.is_none());
    match (worst.first(), health) {
        (None, _) => match removed {
            Some(place) => format!("{place} is being removed"),
            None => "it has no replica".to_owned(),
        },
        (Some((replica, verdict)), _) if all == 1 => {
            format!("{}: {}", replica.replica, verdict.why)
        }
        (Some(_), Health::Fine) => {
            let lag_ms = judged.iter().map(|(replica, _)| replica.link.lag_ms).max().unwrap_or(0);
            format!("{all} replicas, at most {:.1} s behind", seconds(lag_ms))
        }
        (Some((replica, verdict)), _) => {
            format!("{} of {all} replicas: {}: {}", worst.len(), replica.replica, verdict.why)
        }
    }
}
