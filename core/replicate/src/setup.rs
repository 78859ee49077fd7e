//! Autosetup and copy as steps: which one is next, given how the last one went.

use mainstem_link::Code;

/// How far a job is. Durable at the source before anything is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupStage {
    /// The replica is to be created.
    Create,
    /// The upstream is to be declared.
    Declare,
    /// The first copy runs.
    Copy,
    /// The first copy goes on after a broken connection.
    Recover,
    /// The reverse agreement, if any, and the end of the pause.
    Conclude,
    /// Done.
    Done,
    /// Given up; rolled back.
    Failed,
}

/// What kind of job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupPlan {
    /// Streams and agreements are made as well: an `autosetup`, or a copy between two streams that
    /// have none.
    pub makes_agreement: bool,
    /// At the end the topics belong to the destination, and the agreement goes.
    pub takes_over: bool,
    /// Both sides are to feed each other.
    pub multimaster: bool,
    /// At the end ownership is handed over to the destination, which is there: a `failback`.
    pub hands_over: bool,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupEvent {
    /// The job is taken up, at its start or after a restart.
    Resumed,
    /// What the last action asked for is done.
    Done,
    /// The destination can take the copy.
    Checked,
    /// All is there already, and the destination's own: an earlier copy's end was not heard of.
    AlreadyThere,
    /// It could not be done now; the same again after a pause.
    Interrupted,
    /// It was refused for good.
    Refused(Code, String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupAction {
    /// Write the stage down, then come back with `Resumed`.
    Advance(SetupStage),
    /// Ask the destination whether anything stands against the copy.
    CheckDestination,
    /// Ask the destination to create the replica.
    CreateReplica,
    /// Ask the destination to list the source as upstream.
    DeclareUpstream,
    /// Run a bounded session.
    RunCopy,
    /// Declare the reverse agreement, there and here.
    DeclareReverse,
    /// Ask the destination to take the topics over and to end the agreement.
    TakeOver,
    /// Begin the hand-over, which then goes its own way.
    HandOver,
    /// Let the replica run, and write the stage `Done` down; after a take-over, remove it.
    Release,
    /// Undo what was made, in reverse, then write `Failed` down with the reason.
    RollBack(Code, String),
    /// Pause, then do the last thing again.
    WaitAndRetry,
    /// Nothing is left to do.
    Nothing,
}

impl SetupPlan {
    /// The next action of a job at `stage`. `concluded` says that the reverse agreement stands.
    pub fn next(self, stage: SetupStage, event: &SetupEvent, concluded: bool) -> SetupAction {
        use SetupAction as Act;
        use SetupStage as Stage;
        if let SetupEvent::Refused(code, message) = event {
            return Act::RollBack(*code, message.clone());
        }
        let done = *event == SetupEvent::Done;
        match (stage, event) {
            (Stage::Done | Stage::Failed, _) => Act::Nothing,
            (Stage::Copy, SetupEvent::Interrupted) => Act::Advance(Stage::Recover),
            (_, SetupEvent::Interrupted) => Act::WaitAndRetry,
            (Stage::Create, _) if !self.makes_agreement => Act::Advance(Stage::Copy),
            (Stage::Create, SetupEvent::AlreadyThere) => Act::Advance(Stage::Conclude),
            (Stage::Create, SetupEvent::Resumed) if self.takes_over => Act::CheckDestination,
            (Stage::Create, _) if done => Act::Advance(Stage::Declare),
            (Stage::Create, _) => Act::CreateReplica,
            (Stage::Declare, _) if done || !self.makes_agreement => Act::Advance(Stage::Copy),
            (Stage::Declare, _) => Act::DeclareUpstream,
            (Stage::Copy | Stage::Recover, _) if done => Act::Advance(Stage::Conclude),
            (Stage::Copy | Stage::Recover, _) => Act::RunCopy,
            (Stage::Conclude, _) if self.takes_over && !done => Act::TakeOver,
            (Stage::Conclude, _) if self.hands_over && !done => Act::HandOver,
            (Stage::Conclude, _) if self.multimaster && !concluded && !done => Act::DeclareReverse,
            (Stage::Conclude, _) => Act::Release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(plan: SetupPlan, interrupt_every: usize) -> Vec<SetupAction> {
        let (mut stage, mut event) = (SetupStage::Create, SetupEvent::Resumed);
        let (mut seen, mut turn) = (Vec::new(), 0);
        while stage != SetupStage::Done {
            turn += 1;
            assert!(turn < 200, "the job does not end: {seen:?}");
            let action = plan.next(stage, &event, false);
            let interrupted = interrupt_every > 0 && turn % interrupt_every == 0;
            event = match &action {
                SetupAction::Advance(next) => {
                    stage = *next;
                    SetupEvent::Resumed
                }
                SetupAction::WaitAndRetry => SetupEvent::Resumed,
                SetupAction::Release => {
                    stage = SetupStage::Done;
                    SetupEvent::Resumed
                }
                _ if interrupted => SetupEvent::Interrupted,
                SetupAction::CheckDestination => SetupEvent::Checked,
                _ => SetupEvent::Done,
            };
            if !matches!(action, SetupAction::Advance(_) | SetupAction::WaitAndRetry) {
                seen.push(action);
            }
        }
        seen
    }

    #[test]
    fn the_documented_steps_in_their_order() {
        let plan = SetupPlan {
            makes_agreement: true,
            takes_over: false,
            multimaster: false,
            hands_over: false,
        };
        use SetupAction as Act;
        assert_eq!(
            walk(plan, 0),
            [Act::CreateReplica, Act::DeclareUpstream, Act::RunCopy, Act::Release]
        );
        let both = SetupPlan { multimaster: true, ..plan };
        assert_eq!(walk(both, 0)[3..], [Act::DeclareReverse, Act::Release]);
        let copy = SetupPlan { makes_agreement: false, ..plan };
        assert_eq!(walk(copy, 0), [Act::RunCopy, Act::Release]);
        let back = SetupPlan { hands_over: true, ..plan };
        assert_eq!(
            walk(back, 0)[1..],
            [Act::DeclareUpstream, Act::RunCopy, Act::HandOver, Act::Release]
        );
        let own = SetupPlan { takes_over: true, ..plan };
        assert_eq!(
            walk(own, 0),
            [
                Act::CheckDestination,
                Act::CreateReplica,
                Act::DeclareUpstream,
                Act::RunCopy,
                Act::TakeOver,
                Act::Release
            ]
        );
        let there = own.next(SetupStage::Create, &SetupEvent::AlreadyThere, false);
        assert_eq!(there, Act::Advance(SetupStage::Conclude), "nothing is made anew");
    }

    #[test]
    fn interruptions_repeat_a_step_and_skip_none() {
        let plan = SetupPlan {
            makes_agreement: true,
            takes_over: false,
            multimaster: true,
            hands_over: false,
        };
        for every in 2..7 {
            let mut steps = walk(plan, every);
            steps.dedup();
            assert_eq!(steps, walk(plan, 0));
        }
    }

    #[test]
    fn a_refusal_rolls_back_at_every_stage() {
        let plan = SetupPlan {
            makes_agreement: true,
            takes_over: true,
            multimaster: true,
            hands_over: false,
        };
        let refused = SetupEvent::Refused(Code::Exists, "taken".into());
        for stage in [SetupStage::Create, SetupStage::Declare, SetupStage::Copy] {
            let action = plan.next(stage, &refused, false);
            assert_eq!(action, SetupAction::RollBack(Code::Exists, "taken".into()));
        }
    }
}
