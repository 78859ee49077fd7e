//! `stream replica switchover|failback`.

use mainstem_api::links::LinkReport;
use mainstem_api::{Arguments, Row};
use mainstem_catalog::{
    Catalog, Command, Handover, NewSetup, Place, ReplicaSettings, SetupKind, Stream,
};
use mainstem_env::Random;
use mainstem_types::limits::HANDOVER_MS_MAX;
use mainstem_types::{Error, JobId, StreamId};
use serde_json::{Value, json};

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::grant::parse_grant;
use crate::stream::row;

impl AdminDoor {
    pub(crate) async fn switch_over(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let place = self.place(&catalog, arguments, "replica")?;
        let replica = stream.replica(&place).ok_or_else(|| {
            Error::not_found(format!(
                "{place} is not a replica of {}; see `stream replica list -path {}`",
                stream.path, stream.path
            ))
        })?;
        stream.check_hand_over_to(replica)?;
        let link = self.links.replica(stream.id, &place.cluster, &place.path).unwrap_or_default();
        if !link.connected {
            let why = link.error.map_or_else(|| "no session stands".to_owned(), |e| e.message);
            return Err(Error::unreachable(format!(
                "{place} is not reached, so nothing can be handed over without loss ({why}); if the \
                 source is to be given up, run `maprcli stream replica failover` at the replica"
            )));
        }
        let mut shown = self.plan(&stream, &place);
        let is_dry = arguments.boolean("dryrun").unwrap_or(false);
        if is_dry && link.puts_pending > 0 {
            shown.insert("warning".to_owned(), json!(pending(&place, &link)));
        }
        if !is_dry {
            let job = self.draw_job();
            let command = Command::BeginHandover {
                stream: stream.id,
                replica: place,
                job,
                timeout_ms: HANDOVER_MS_MAX,
            };
            self.engine.change(command).await?;
            shown.insert("job".to_owned(), json!(job.to_string()));
        }
        shown.insert("dryrun".to_owned(), json!(is_dry));
        Ok(vec![shown])
    }

    pub(crate) async fn fail_back(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let place = self.place(&catalog, arguments, "replica")?;
        self.check_fail_back(&catalog, &stream, &place)?;
        let mut shown = self.plan(&stream, &place);
        let is_dry = arguments.boolean("dryrun").unwrap_or(false);
        if !is_dry {
            let job = self.draw_job();
            let command = self.begin_fail_back(arguments, &stream, place, job)?;
            self.engine.change(command).await?;
            shown.insert("job".to_owned(), json!(job.to_string()));
        }
        shown.insert("dryrun".to_owned(), json!(is_dry));
        Ok(vec![shown])
    }

    fn check_fail_back(
        &self,
        catalog: &Catalog,
        stream: &Stream,
        place: &Place,
    ) -> Result<(), Error> {
        if *place == catalog.place(stream) {
            return Err(Error::invalid(format!("{place} cannot be handed over to itself")));
        }
        stream.check_not_handing_over()?;
        if stream.own_topics().next().is_none() {
            return Err(Error::policy(format!(
                "no topic belongs to {}; run `failback` at the present owner",
                stream.path
            )));
        }
        match stream.replica(place) {
            Some(replica) if replica.paused => Err(Error::policy(format!(
                "{place} is paused; run `maprcli stream replica resume` first"
            ))),
            _ => Ok(()),
        }
    }

    fn begin_fail_back(
        &self,
        arguments: &Arguments,
        stream: &Stream,
        place: Place,
        job: JobId,
    ) -> Result<Command, Error> {
        let grant = arguments.text("grant").map(parse_grant).transpose()?;
        let replica_id: Option<StreamId> = arguments.parsed("replicauuid")?;
        if grant.is_none() || replica_id.is_none() {
            return Err(Error::invalid(
                "failback needs what the old master's cluster grants: use the command line, or ask \
                 that cluster for /rest/stream/grant with -useexistingreplica true and give its \
                 -grant and -replicauuid here",
            ));
        }
        let setup = NewSetup {
            job,
            kind: SetupKind::Failback,
            grant,
            multimaster: false,
            direct_copy: true,
            use_existing: true,
            reads: 0,
        };
        Ok(match stream.replica(&place) {
            Some(_) => Command::BeginSetup { stream: stream.id, replica: place, setup },
            None => Command::AddReplica {
                stream: stream.id,
                replica: place,
                replica_id,
                settings: ReplicaSettings {
                    network_compression: stream.settings.compression,
                    ..ReplicaSettings::default()
                },
                paused: false,
                setup: Some(setup),
            },
        })
    }

    fn draw_job(&self) -> JobId {
        let random: &dyn Random = &*self.env.random;
        JobId::from_random(random.next_u128())
    }

    /// What would be handed over, and how far the replica is.
    fn plan(&self, stream: &Stream, place: &Place) -> Row {
        let link = self.links.replica(stream.id, &place.cluster, &place.path);
        let back = stream.upstreams.iter().any(|upstream| upstream.place == *place);
        let mut shown = row(json!({
            "replica": place.to_string(),
            "term": stream.highest_term().number + 1,
            "topics": stream.own_topics().count(),
            "partitions": stream.own_topics().map(|t| t.partitions.len()).sum::<usize>(),
            "connected": link.as_ref().is_some_and(|link| link.connected),
            "putsPending": link.as_ref().map(|link| link.puts_pending),
            "bytesPending": link.as_ref().map(|link| link.bytes_pending),
        }));
        if !back {
            let note = format!(
                "{} does not list {place} as its upstream, so it stays as it is afterwards until \
                 `maprcli stream replica failback` is run there, or both halves are declared",
                stream.path
            );
            shown.insert("note".to_owned(), json!(note));
        }
        shown
    }
}

/// For how long writes would stop.
fn pending(place: &Place, link: &LinkReport) -> String {
    format!(
        "{} records ({} bytes) are pending: writes stop until {place} has them, at most for {} \
         seconds, after which this stream goes on as the owner; wait until less is pending, to have \
         them stop for a moment only",
        link.puts_pending,
        link.bytes_pending,
        HANDOVER_MS_MAX / 1000
    )
}

/// How the last hand-over to a replica went, or goes, and why it does not go on, if it hangs.
pub(crate) fn handover(handover: &Handover, hangs: Option<&str>) -> Value {
    json!({
        "job": handover.job.to_string(),
        "state": handover.step.word(),
        "term": handover.term.number,
        "offeredMs": handover.offered_ms,
        "deadlineMs": handover.deadline_ms,
        "error": handover.error.as_deref().or(hangs),
    })
}
