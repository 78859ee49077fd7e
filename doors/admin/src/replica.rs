//! `stream replica add|edit|list|pause|resume|remove`.

use mainstem_alarm::undecided;
use mainstem_api::links::{LinkError, LinkReport};
use mainstem_api::{Arguments, Row};
use mainstem_catalog::{
    Catalog, Command, Place, Replica, ReplicaSettings, Stream, SyncState, Undo,
};
use mainstem_types::{CatalogSeq, Error, LinkEpoch};
use serde_json::{Value, json};

use crate::alarm::replica_sight;
use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::handover::handover;
use crate::link::{errors, faults, gaps, rates, seconds};
use crate::settings::{notes, replica_patch, replica_settings};
use crate::stream::row;
use crate::synchrony::synchrony;

impl AdminDoor {
    pub(crate) async fn add_replica(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let replica = self.place(&catalog, arguments, "replica")?;
        let replica_id = self.uuid_of(&catalog, arguments, "replicauuid", &replica).await?;
        let command = Command::AddReplica {
            stream: stream.id,
            replica,
            replica_id,
            settings: replica_settings(arguments)?,
            paused: arguments.boolean("paused").unwrap_or(false),
            setup: None,
        };
        self.engine.change(command).await?;
        notes(arguments)
    }

    pub(crate) async fn edit_replica(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let replica = self.place(&catalog, arguments, "replica")?;
        let mut patch = replica_patch(arguments)?;
        if arguments.text("newreplica").is_some() {
            let place = self.place(&catalog, arguments, "newreplica")?;
            // The next Welcome pins the uuid; a place where no stream is would only break the link.
            self.uuid_at(&catalog, &place).await?;
            patch.place = Some(place);
        }
        self.engine.change(Command::EditReplica { stream: stream.id, replica, patch }).await?;
        notes(arguments)
    }

    pub(crate) async fn change_replica(&self, verb: &str, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?.id;
        let replica = self.place(&catalog, arguments, "replica")?;
        let command = match verb {
            "pause" => Command::PauseReplica { stream, replica },
            "resume" => Command::ResumeReplica { stream, replica },
            "remove" => Command::RemoveReplica { stream, replica },
            other => return Err(Error::unsupported(format!("a replica cannot {other}"))),
        };
        self.engine.change(command).await?;
        Ok(Vec::new())
    }

    pub(crate) async fn list_replicas(&self, arguments: Arguments) -> Answer {
        if arguments.boolean("refreshnow") == Some(true) {
            let stream = self.local_stream(&self.engine.catalog(), &arguments)?;
            self.links.refresh(stream.id).await;
        }
        self.read(arguments, Self::replica_rows).await
    }

    fn replica_rows(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let report = |place: &Place| self.links.replica(stream.id, &place.cluster, &place.path);
        let catalog = self.engine.catalog();
        let set_aside = self.set_aside(&stream);
        let wall_ms = self.env.clock.wall_ms();
        let row = |replica: &Replica| {
            let report = report(&replica.place);
            let link = report.clone().unwrap_or_default();
            let hangs = undecided(&replica_sight(&catalog, &stream, replica, link), wall_ms);
            let mut row = replica_row(&catalog, &stream, replica, report);
            row.insert("setAside".to_owned(), set_aside.clone());
            let last = replica.handover.as_ref().map(|last| handover(last, hangs.as_deref()));
            row.insert("handover".to_owned(), last.unwrap_or_default());
            let trouble = row.shift_remove("errors");
            let trouble = hangs.map(|why| hanging(&stream, &why, wall_ms)).or(trouble);
            row.extend(trouble.map(|trouble| ("errors".to_owned(), trouble)));
            row
        };
        let removed = catalog.undos().filter(|undo| undo.stream == stream.id);
        let removed =
            removed.map(|u| undo_row(&catalog, &stream, u, self.links.undo(u.job).as_ref()));
        Ok(stream.replicas.iter().map(row).chain(removed).collect())
    }
}

/// That nobody may write is the trouble that is told before any other.
fn hanging(stream: &Stream, why: &str, wall_ms: i64) -> Value {
    errors(&LinkError {
        code: "ErrHandoverUndecided".to_owned(),
        host: stream.path.to_string(),
        message: why.to_owned(),
        at_ms: wall_ms,
    })
}

/// The documented keys in their order, then ours.
fn replica_row(
    catalog: &Catalog,
    stream: &Stream,
    replica: &Replica,
    report: Option<LinkReport>,
) -> Row {
    let setup = replica.setup.as_ref();
    // Without a report nobody has looked yet: nothing is claimed to be up to date (I9).
    let known = report.is_some();
    let link = report.unwrap_or_default();
    let state = match setup {
        Some(setup) if !known => setup.step.state(),
        _ => link.state.word(),
    };
    let done = setup.is_none_or(|setup| !setup.is_open());
    let percent =
        if done { 100 } else { setup.map_or(0, |s| s.percent).max(link.copy_percent.into()) };
    let settings = &replica.settings;
    let mut shown = row(json!({
        "cluster": replica.place.cluster.as_str(),
        "stream": replica.place.path.as_str(),
        "type": "MapRStream",
        "replicaPath": replica.place.to_string(),
        "replicaState": state,
        "paused": replica.paused,
        "throttle": settings.throttle,
        "idx": replica.idx,
        // Links are mutual TLS whatever was asked for.
        "networkencryption": true,
        "synchronous": settings.synchronous,
        "networkcompression": settings.network_compression.to_string(),
        "propagateExistingData": true,
        "isUptodate": known && link.is_uptodate,
        "minPendingTS": link.min_pending_ms,
        "maxPendingTS": link.max_pending_ms,
        "bytesPending": link.bytes_pending,
        "putsPending": link.puts_pending,
        "bucketsPending": link.buckets_pending,
        "uuid": replica.replica_id.map(|id| id.to_string()).unwrap_or_default(),
        "copyTableCompletionPercentage": percent,
        "connected": link.connected,
        "lagSeconds": seconds(link.lag_ms),
        "lagSecondsMaxMinute": seconds(link.lag_ms_max),
        "rpoSeconds": seconds(link.lag_ms),
        "lagRecords": link.puts_pending,
        "lagBytes": link.bytes_pending,
        "expiredUnsent": link.expired,
        "lastContactMs": link.last_contact_ms,
        "connectedSinceMs": link.connected_since_ms,
        "roundTripMs": link.round_trip_ms,
        "sessions": link.sessions,
        "gateway": link.gateway,
        "rateLimit": settings.rate_bytes_per_s,
        "recordsSent": link.records_sent,
        "bytesSent": link.bytes_sent,
    }));
    shown.extend(rates(&link.rates));
    shown.insert("faults".to_owned(), faults(&link.faults));
    shown.insert("gaps".to_owned(), gaps(&link.gaps));
    synchrony(&mut shown, catalog, replica, link.sync);
    let stuck = setup
        .and_then(|setup| setup.error.as_ref())
        .map(|message| json!({"Code": "ErrSetup", "Host": stream.path.as_str(), "Msg": message}));
    let trouble = link.error.as_ref().map(errors).or(stuck);
    shown.extend(trouble.map(|trouble| ("errors".to_owned(), trouble)));
    shown
}

/// A replica that was removed during its set-up: listed in slot 0 until its destination has taken
/// back what was made there.
fn undo_row(catalog: &Catalog, stream: &Stream, undo: &Undo, trouble: Option<&LinkError>) -> Row {
    let replica = Replica {
        idx: 0,
        place: undo.place.clone(),
        replica_id: Some(undo.replica_id),
        settings: ReplicaSettings::default(),
        paused: true,
        link_epoch: LinkEpoch::default(),
        acked_tombstone_seq: CatalogSeq::default(),
        created_ms: undo.since_ms,
        setup: None,
        sync_state: SyncState::default(),
        windows: Vec::new(),
        handover: None,
    };
    let mut shown = replica_row(catalog, stream, &replica, None);
    shown.insert("replicaState".to_owned(), json!("REPLICA_STATE_REMOVING"));
    // However far a copy came, what it brought is taken back.
    shown.insert("copyTableCompletionPercentage".to_owned(), json!(0));
    let trouble = trouble.map(errors);
    shown.extend(trouble.map(|trouble| ("errors".to_owned(), trouble)));
    shown
}
