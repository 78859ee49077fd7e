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
    let why = format!(
        "{} did not take over in time: {}. This stream is the owner as before; see `maprcli \
         stream replica list` and try again",
        replica.place,
        cause(handover.step, trouble)
    );
    let command =
        Command::TakeBack { stream, replica: replica.place.clone(), job: handover.job, why };
    ctx.engine.change(command).await.map(drop)
}

/// Why it was not done in time. A replica that was offered the topics had all of them.
fn cause(step: HandoverStep, trouble: Option<String>) -> String {
    match step {
        HandoverStep::Offered => "it had everything, and did not answer the offer".to_owned(),
        HandoverStep::Draining | HandoverStep::Done | HandoverStep::TakenBack => {
            trouble.unwrap_or_else(|| "it did not catch up".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_had_everything_is_not_said_to_be_behind() {
        let told = |step, trouble: Option<&str>| cause(step, trouble.map(str::to_owned));
        let offered = told(HandoverStep::Offered, Some("the connection was lost"));
        assert_eq!(offered, "it had everything, and did not answer the offer");
        assert_eq!(told(HandoverStep::Draining, None), "it did not catch up");
        assert_eq!(told(HandoverStep::Draining, Some("it is away")), "it is away");
    }
}
