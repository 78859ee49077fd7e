//! What a replica's settings and job ask of its link.

use mainstem_catalog::{Replica, Setup, SetupKind, SetupStep};
use mainstem_link::Mode;

/// A job that still has something to do.
pub(crate) fn open_setup(replica: &Replica) -> Option<&Setup> {
    let is_over = |step| matches!(step, SetupStep::Replicating | SetupStep::Unexpected);
    replica.setup.as_ref().filter(|setup| !is_over(setup.step))
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
