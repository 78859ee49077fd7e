//! What a replica's settings and job ask of its link.

use mainstem_catalog::{Replica, Setup, SetupKind, SetupStep, Stream};
use mainstem_link::Mode;
use mainstem_replicate::SenderSettings;

/// A job that still has something to do.
pub(crate) fn open_setup(replica: &Replica) -> Option<&Setup> {
    let is_over = |step| matches!(step, SetupStep::Replicating | SetupStep::Unexpected);
    replica.setup.as_ref().filter(|setup| !is_over(setup.step))
}

/// An autosetup that has not begun while its source is being filled: what it would copy changes
/// hands at the end of that.
pub(crate) fn waits_for_load(stream: &Stream, replica: &Replica) -> bool {
    let is_new = |setup: &Setup| {
        setup.kind == SetupKind::Autosetup && setup.step == SetupStep::CreateSchedule
    };
    stream.is_loading() && replica.setup.as_ref().is_some_and(is_new)
}

/// The session that a replica should have now, if any.
pub(crate) fn mode_of(replica: &Replica) -> Option<Mode> {
    if let Some(setup) = open_setup(replica) {
        let copying = matches!(setup.step, SetupStep::CopyInProgress | SetupStep::CopyInRecover);
        let held = replica.paused && setup.kind == SetupKind::Autosetup;
        return (copying && !held).then_some(Mode::Copy);
    }
    let failed = replica.setup.as_ref().is_some_and(|setup| setup.kind == SetupKind::Autosetup)
        && replica.setup.as_ref().is_some_and(|setup| setup.step == SetupStep::Unexpected);
    (!replica.paused && !failed).then_some(Mode::Replicate)
}

/// How a session sends.
pub(crate) fn sender_settings(replica: &Replica, mode: Mode) -> SenderSettings {
    let usual = SenderSettings::default();
    let copy = replica.setup.as_ref().filter(|_| mode == Mode::Copy);
    let asked = copy.and_then(|setup| usize::try_from(setup.reads).ok()).filter(|&n| n > 0);
    SenderSettings {
        rate_bytes_per_s: replica.settings.rate_bytes_per_s,
        yields: replica.settings.throttle,
        reads_max: asked.unwrap_or(usual.reads_max),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use mainstem_catalog::{Place, ReplicaSettings, SyncState};
    use mainstem_types::{CatalogSeq, JobId, LinkEpoch};

    use super::*;

    #[test]
    fn a_copy_reads_as_many_partitions_at_a_time_as_it_was_asked_to() {
        let setup = |reads| Setup {
            job: JobId::from_random(1),
            kind: SetupKind::Copy,
            step: SetupStep::CopyInProgress,
            grant: None,
            multimaster: false,
            direct_copy: true,
            use_existing: true,
            percent: 0,
            error: None,
            reads,
        };
        let mut replica = Replica {
            idx: 1,
            place: Place { cluster: "newyork".parse().unwrap(), path: "/s".parse().unwrap() },
            replica_id: None,
            settings: ReplicaSettings::default(),
            paused: true,
            link_epoch: LinkEpoch(1),
            acked_tombstone_seq: CatalogSeq(0),
            created_ms: 0,
            setup: None,
            sync_state: SyncState::default(),
            windows: Vec::new(),
            handover: None,
        };
        let usual = SenderSettings::default().reads_max;
        for (reads, mode, expected) in
            [(9, Mode::Copy, 9), (0, Mode::Copy, usual), (9, Mode::Replicate, usual)]
        {
            replica.setup = Some(setup(reads));
            assert_eq!(sender_settings(&replica, mode).reads_max, expected, "{reads} {mode:?}");
        }
    }
}
