//! The source's half of agreements, and the jobs on them.

use mainstem_types::limits::{REPLICAS_PER_STREAM_MAX, SYNC_TIMEOUT_MS_MAX, SYNC_TIMEOUT_MS_MIN};
use mainstem_types::{CatalogSeq, Error};

use super::{Draw, free_slot};
use crate::command::NewSetup;
use crate::{
    Catalog, Command, Event, Place, Replica, ReplicaPatch, ReplicaSettings, RiskWindow, Setup,
    SetupKind, SetupStep, Stream, SyncState,
};

impl Catalog {
    pub(super) fn decide_add_replica(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let Command::AddReplica { stream, replica: place, replica_id, settings, paused, setup } =
            command
        else {
            unreachable!("called for that command only")
        };
        let stream = self.expect_stream(*stream)?;
        self.check_other(stream, place, *replica_id)?;
        stream.check_room_for_replica(place)?;
        check_replica_settings(settings)?;
        Ok(vec![Event::ReplicaSet {
            stream: stream.id,
            replica: Replica {
                idx: free_slot(stream.replicas.iter().map(|replica| replica.idx)),
                place: place.clone(),
                replica_id: *replica_id,
                settings: *settings,
                paused: *paused,
                link_epoch: stream.link_epoch.next(),
                acked_tombstone_seq: CatalogSeq::default(),
                created_ms: draw.now_ms,
                setup: setup.as_ref().map(begin),
                sync_state: settings.first_sync_state(),
                windows: Vec::new(),
                handover: None,
            },
        }])
    }

    pub(super) fn decide_replica(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        use Command as C;
        let (C::EditReplica { stream, replica, .. }
        | C::PauseReplica { stream, replica }
        | C::ResumeReplica { stream, replica }
        | C::RemoveReplica { stream, replica }
        | C::EndCopy { stream, replica, .. }
        | C::BeginSetup { stream, replica, .. }
        | C::AdvanceSetup { stream, replica, .. }
        | C::RaiseReplicaEpoch { stream, replica }
        | C::SetReplicaId { stream, replica, .. }
        | C::AckTombstones { stream, replica, .. }) = command
        else {
            unreachable!("called for commands on replicas only")
        };
        let stream = self.expect_stream(*stream)?;
        if let (C::RemoveReplica { .. }, None) = (command, stream.replica(replica)) {
            return self.give_up(stream, replica);
        }
        let before = stream.expect_replica(replica)?;
        let is_persons = matches!(
            command,
            C::EditReplica { .. } | C::PauseReplica { .. } | C::RemoveReplica { .. }
        );
        // Whether it takes the topics is open, so it must be heard.
        if is_persons && before.handover.as_ref().is_some_and(|handover| handover.is_open()) {
            stream.check_not_handing_over()?;
        }
        match command {
            C::RemoveReplica { .. } => return Ok(self.removal(stream, before, draw)),
            C::EndCopy { job, .. } => {
                before.check_job(*job)?;
                return Ok(stream.without_replica(before));
            }
            _ => {}
        }
        let mut replica = before.clone();
        match command {
            C::EditReplica { patch, .. } => {
                self.edit(stream, &mut replica, patch)?;
                replica.follow_settings(draw.now_ms);
            }
            C::PauseReplica { .. } => replica.paused = true,
            C::ResumeReplica { .. } => replica.paused = false,
            C::BeginSetup { setup, .. } => begin_on(&mut replica, setup)?,
            C::AdvanceSetup { job, step, percent, error, .. } => {
                before.check_job(*job)?;
                let setup = replica.setup.as_mut().expect("it has that job");
                setup.step = *step;
                setup.percent = (*percent).min(100);
                setup.error = error.clone();
            }
            C::RaiseReplicaEpoch { .. } => replica.link_epoch = stream.link_epoch.next(),
            C::SetReplicaId { link_epoch, replica_id, .. } => {
                before.check_epoch(*link_epoch)?;
                self.check_other(stream, &replica.place, Some(*replica_id))?;
                if before.replica_id.is_some_and(|pinned| pinned != *replica_id) {
                    return Err(Error::policy(format!(
                        "{} is not the stream that was agreed on (its uuid is {replica_id}); \
                         remove the replica and add it again",
                        before.place
                    )));
                }
                replica.replica_id = Some(*replica_id);
            }
            C::AckTombstones { link_epoch, seq, .. } => {
                before.check_epoch(*link_epoch)?;
                replica.acked_tombstone_seq = before.acked_tombstone_seq.max(*seq);
            }
            _ => unreachable!("matched above"),
        }
        if replica == *before {
            return Ok(Vec::new());
        }
        // A person's change is a change of the agreement; a job's progress is not.
        let changed = matches!(
            command,
            C::EditReplica { .. } | C::PauseReplica { .. } | C::ResumeReplica { .. }
        );
        if changed {
            replica.link_epoch = stream.link_epoch.next();
        }
        let freed = stream.freeable(Some(&replica));
        // Acknowledgements go on without it, by a person's word, and are at risk all the same.
        let is_left_out = replica.paused && replica.sync_state == SyncState::InForce;
        let (stream, idx) = (stream.id, replica.idx);
        let mut events = vec![Event::ReplicaSet { stream, replica }];
        if is_left_out {
            let window = RiskWindow { from_ms: draw.now_ms, ..RiskWindow::default() };
            events.push(Event::ReplicaDegraded { stream, idx, window });
        }
        events.extend(freed);
        Ok(events)
    }

    fn edit(
        &self,
        stream: &Stream,
        replica: &mut Replica,
        patch: &ReplicaPatch,
    ) -> Result<(), Error> {
        if let Some(place) = &patch.place
            && *place != replica.place
        {
            self.check_other(stream, place, None)?;
            if stream.replica(place).is_some() {
                return Err(already_listed(stream, place));
            }
            if replica.setup.as_ref().is_some_and(|setup| setup.is_open()) {
                return Err(Error::retry(format!(
                    "{} is still being set up or copied to; wait for its end, or remove the \
                     replica",
                    replica.place
                )));
            }
            replica.place = place.clone();
            // What stands there now, and what it knows, its next Welcome says.
            replica.replica_id = None;
            replica.acked_tombstone_seq = CatalogSeq::default();
        }
        let settings = &mut replica.settings;
        settings.throttle = patch.throttle.unwrap_or(settings.throttle);
        settings.network_encryption =
            patch.network_encryption.unwrap_or(settings.network_encryption);
        settings.synchronous = patch.synchronous.unwrap_or(settings.synchronous);
        settings.network_compression =
            patch.network_compression.unwrap_or(settings.network_compression);
        settings.rate_bytes_per_s = patch.rate_bytes_per_s.unwrap_or(settings.rate_bytes_per_s);
        settings.sync_timeout_ms = patch.sync_timeout_ms.unwrap_or(settings.sync_timeout_ms);
        settings.sync_policy = patch.sync_policy.unwrap_or(settings.sync_policy);
        check_replica_settings(settings)
    }
}

impl Replica {
    fn check_job(&self, job: mainstem_types::JobId) -> Result<(), Error> {
        if self.setup.as_ref().is_some_and(|setup| setup.job == job) {
            return Ok(());
        }
        Err(Error::fenced(format!("job {job} is no longer the replica's; it was replaced")))
    }

    pub(super) fn check_epoch(&self, epoch: mainstem_types::LinkEpoch) -> Result<(), Error> {
        if self.link_epoch == epoch {
            return Ok(());
        }
        Err(Error::fenced(format!(
            "link epoch {epoch} to {} was superseded by {}",
            self.place, self.link_epoch
        )))
    }
}

impl Stream {
    /// Refuses a place that is listed, and the 65th.
    pub(super) fn check_room_for_replica(&self, place: &Place) -> Result<(), Error> {
        if self.replica(place).is_some() {
            return Err(already_listed(self, place));
        }
        if self.replicas.len() >= REPLICAS_PER_STREAM_MAX {
            return Err(Error::limit(format!(
                "{} has {REPLICAS_PER_STREAM_MAX} replicas, which is the most; remove one first, \
                 or replicate from a replica",
                self.path
            )));
        }
        Ok(())
    }

    pub(super) fn expect_replica(&self, place: &Place) -> Result<&Replica, Error> {
        self.replica(place).ok_or_else(|| {
            Error::not_found(format!(
                "{place} is not a replica of {}; see `stream replica list -path {}`",
                self.path, self.path
            ))
        })
    }

    pub(super) fn without_replica(&self, replica: &Replica) -> Vec<Event> {
        let gone = Event::ReplicaRemoved {
            stream: self.id,
            idx: replica.idx,
            link_epoch: self.link_epoch.next(),
        };
        // As if it knew everything: the others decide.
        let all = Replica { acked_tombstone_seq: self.catalog_seq, ..replica.clone() };
        [Some(gone), self.freeable(Some(&all))].into_iter().flatten().collect()
    }
}

fn already_listed(stream: &Stream, place: &Place) -> Error {
    Error::exists(format!(
        "{place} is already a replica of {}; remove it first, or see `stream replica list`",
        stream.path
    ))
}

pub(super) fn check_replica_settings(settings: &ReplicaSettings) -> Result<(), Error> {
    let timeout_ms = settings.sync_timeout_ms.0;
    if (SYNC_TIMEOUT_MS_MIN..=SYNC_TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "-synctimeout is {SYNC_TIMEOUT_MS_MIN} to {SYNC_TIMEOUT_MS_MAX} milliseconds, not \
         {timeout_ms}"
    )))
}

fn begin(new: &NewSetup) -> Setup {
    let step = match new.kind {
        SetupKind::Copy if new.grant.is_some() => SetupStep::CreateSchedule,
        SetupKind::Autosetup => SetupStep::CreateSchedule,
        SetupKind::Copy | SetupKind::Failback => SetupStep::CopySchedule,
    };
    Setup {
        job: new.job,
        kind: new.kind,
        step,
        grant: new.grant,
        multimaster: new.multimaster,
        direct_copy: new.direct_copy,
        use_existing: new.use_existing,
        percent: 0,
        error: None,
        reads: new.reads,
    }
}

fn begin_on(replica: &mut Replica, new: &NewSetup) -> Result<(), Error> {
    match &replica.setup {
        Some(open) if open.job == new.job => Ok(()),
        Some(open) if open.is_open() && open.step != SetupStep::Unexpected => {
            Err(Error::retry(format!(
                "{} is still being set up or copied to (job {}); wait for its end, or remove the \
                 replica",
                replica.place, open.job
            )))
        }
        _ => {
            replica.setup = Some(begin(new));
            Ok(())
        }
    }
}
