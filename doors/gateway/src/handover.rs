//! A hand-over at its owner: offered when the replica has everything, taken back when it has not in
//! time.

use mainstem_catalog::{Command, HandoverStep, Replica};
use mainstem_types::{Error, StreamId};

use crate::context::Context;

/// Takes a hand-over back that is overdue, unless the replica may have taken it. `is_safe` says
/// that a session stands which has not offered it, so that no older offer counts any more.
pub(crate) async fn take_back_if_overdue(
    ctx: &Context,
    stream: StreamId,
    replica: &Replica,
    is_safe: bool,
    trouble: Option<String>,
) -> Result<(), Error> {
    let Some(handover) = replica.handover.as_ref().filter(|handover| handover.is_open()) else {
        return Ok(());
    };
    let undecided = handover.step == HandoverStep::Offered && !is_safe;
    if ctx.wall_ms() < handover.deadline_ms || undecided {
        return Ok(());
    }
    let trouble = trouble.unwrap_or_else(|| "it did not catch up".to_owned());
    let why = format!(
        "{} did not take over in time: {trouble}. This stream is the owner as before; see `maprcli \
         stream replica list` and try again",
        replica.place
    );
    let command =
        Command::TakeBack { stream, replica: replica.place.clone(), job: handover.job, why };
    ctx.engine.change(command).await.map(drop)
}
