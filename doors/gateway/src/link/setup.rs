//! The remote and local acts of a set-up; which one is next is decided in `core/replicate`.

mod copy;

use std::sync::Arc;

use mainstem_catalog::{Command, Replica, Setup, SetupKind, SetupStep, Stream};
use mainstem_link::{AddReplica, AddUpstream, Code, CreateStream, Mode, Reply, Request};
use mainstem_replicate::{SetupAction, SetupEvent, SetupPlan, SetupStage};
use mainstem_types::limits::HANDOVER_MS_MAX;
use mainstem_types::{Error, ErrorKind};

use super::{Next, Task, no_gateway};
use crate::dial::ask;
use crate::sender::SessionEnd;
use crate::translate;

/// Does what is next for an open job, up to its next durable step.
pub(crate) async fn step(task: &mut Task, stream: &Arc<Stream>, replica: &Replica) -> Next {
    let Some(setup) = replica.setup.clone() else { return Next::Rest };
    let plan = SetupPlan {
        makes_agreement: setup.kind != SetupKind::Copy || setup.is_temporary(),
        hands_over: setup.is_failback(),
        takes_over: setup.is_temporary(),
        multimaster: setup.multimaster,
    };
    let stage = stage_of(setup.step);
    let mut act = Act { task, stream, replica, setup: &setup };
    let mut event = SetupEvent::Resumed;
    loop {
        let action = plan.next(stage, &event, false);
        tracing::info!(replica = %replica.place, job = %setup.job, ?stage, ?action, "set-up");
        event = match action {
            SetupAction::Advance(next) => return act.advance(next, None).await,
            SetupAction::CheckDestination => act.check_destination().await,
            SetupAction::HandOver => act.hand_over().await,
            SetupAction::TakeOver => act.take_over().await,
            SetupAction::CreateReplica => act.create_replica().await,
            SetupAction::DeclareUpstream => act.declare_upstream().await,
            SetupAction::RunCopy => act.run_copy().await,
            SetupAction::DeclareReverse => act.declare_reverse().await,
            SetupAction::Release => return act.advance(SetupStage::Done, None).await,
            SetupAction::RollBack(code, message) => return act.roll_back(code, message).await,
            SetupAction::WaitAndRetry => return Next::Pause,
            SetupAction::Nothing => return Next::Rest,
        };
    }
}

struct Act<'a> {
    task: &'a mut Task,
    stream: &'a Arc<Stream>,
    replica: &'a Replica,
    setup: &'a Setup,
}

impl Act<'_> {
    async fn create_replica(&mut self) -> SetupEvent {
        let Some(stream) = self.replica.replica_id else { return self.no_uuid() };
        let settings = translate::settings_to_text(&self.stream.settings);
        let mut request = self.request();
        let path = self.replica.place.path.clone();
        request.create_stream = Some(CreateStream { path, stream, settings });
        self.ask(request).await
    }

    async fn declare_upstream(&mut self) -> SetupEvent {
        let Some(stream) = self.replica.replica_id else { return self.no_uuid() };
        let mut request = self.request();
        request.add_upstream = Some(AddUpstream {
            path: self.replica.place.path.clone(),
            stream,
            source_path: self.stream.path.clone(),
            source: self.stream.id,
        });
        self.ask(request).await
    }

    /// Here the new stream is listed as upstream, there this one as its replica.
    async fn declare_reverse(&mut self) -> SetupEvent {
        let Some(replica_id) = self.replica.replica_id else { return self.no_uuid() };
        let command = Command::AddUpstream {
            stream: self.stream.id,
            upstream: self.replica.place.clone(),
            stream_id: Some(replica_id),
        };
        match self.task.ctx.engine.change(command).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => return event_of(&error),
        }
        let mut request = self.request();
        request.add_replica = Some(AddReplica {
            path: self.replica.place.path.clone(),
            stream: replica_id,
            replica_path: self.stream.path.clone(),
            replica: self.stream.id,
            settings: translate::replica_to_text(&self.replica.settings),
        });
        self.ask(request).await
    }

    /// From here on the hand-over goes its own way; it is of this job, so it begins once.
    async fn hand_over(&mut self) -> SetupEvent {
        let command = Command::BeginHandover {
            stream: self.stream.id,
            replica: self.replica.place.clone(),
            job: self.setup.job,
            timeout_ms: HANDOVER_MS_MAX,
        };
        match self.task.ctx.engine.change(command).await {
            Ok(_) => SetupEvent::Done,
            Err(error) => event_of(&error),
        }
    }

    async fn run_copy(&mut self) -> SetupEvent {
        let catalog = self.task.ctx.engine.catalog();
        let Some(end) = self.task.session(&catalog, Mode::Copy).await else {
            return SetupEvent::Interrupted;
        };
        let copy_only = self.setup.kind != SetupKind::Autosetup;
        let SessionEnd { closing, faulty, .. } = end;
        match closing.code {
            Code::Finished if faulty && copy_only => {
                SetupEvent::Refused(Code::Conflict, closing.message)
            }
            Code::Finished => SetupEvent::Done,
            code if closing.by_peer && is_final(code) => SetupEvent::Refused(code, closing.message),
            code => {
                self.task.note_error(code.word(), &closing.message);
                SetupEvent::Interrupted
            }
        }
    }

    async fn advance(&mut self, stage: SetupStage, error: Option<String>) -> Next {
        let done = stage == SetupStage::Done;
        if self.setup.is_temporary() && (done || stage == SetupStage::Failed) {
            return self.end_copy(error).await;
        }
        let release = done && self.setup.kind == SetupKind::Autosetup && self.replica.paused;
        let (stream, replica) = (self.stream.id, self.replica.place.clone());
        if release {
            let resume = Command::ResumeReplica { stream, replica: replica.clone() };
            if let Err(error) = self.task.ctx.engine.change(resume).await {
                return self.stuck(&error);
            }
        }
        let command = Command::AdvanceSetup {
            stream,
            replica,
            job: self.setup.job,
            step: step_of(stage),
            percent: if done { 100 } else { self.setup.percent },
            error,
        };
        match self.task.ctx.engine.change(command).await {
            Ok(_) if stage == SetupStage::Failed => Next::Rest,
            Ok(_) => Next::Again,
            Err(error) => self.stuck(&error),
        }
    }

    async fn roll_back(&mut self, code: Code, message: String) -> Next {
        tracing::warn!(replica = %self.replica.place, %code, "a set-up was refused: {message}");
        self.task.note_error(code.word(), &message);
        if (self.setup.kind == SetupKind::Autosetup || self.setup.is_temporary())
            && let Some(replica_id) = self.replica.replica_id
        {
            let mut request = self.request();
            request.undo = Some(replica_id);
            if self.ask(request).await == SetupEvent::Interrupted {
                return Next::Pause;
            }
        }
        self.advance(SetupStage::Failed, Some(message)).await
    }

    fn request(&self) -> Request {
        let catalog = self.task.ctx.engine.catalog();
        let here = catalog.cluster();
        Request {
            cluster_id: here.id,
            cluster_name: here.name.clone(),
            to_cluster: self.replica.place.cluster.clone(),
            job: self.setup.job,
            grant: self.setup.grant.map_or_else(Vec::new, |grant| grant.to_bytes().to_vec()),
            create_stream: None,
            add_upstream: None,
            add_replica: None,
            describe: None,
            undo: None,
            check_copy: None,
            take_over: None,
            digests: None,
        }
    }

    async fn ask(&mut self, request: Request) -> SetupEvent {
        self.ask_for(request).await.map_or_else(|event| event, |_| SetupEvent::Done)
    }

    /// Each gateway until one answers; what it said if it is done, or else what that means.
    async fn ask_for(&mut self, request: Request) -> Result<Reply, SetupEvent> {
        let cluster = self.replica.place.cluster.clone();
        let catalog = self.task.ctx.engine.catalog();
        let gateways = self.task.ctx.gateways_to_call(&catalog, &cluster).await;
        if gateways.is_empty() {
            self.task.ctx.published.ask_again(&cluster, self.task.ctx.now_ms());
            self.task.note_error("ErrNoGateway", &no_gateway(&cluster));
            return Err(SetupEvent::Interrupted);
        }
        for gateway in &gateways {
            match ask(&self.task.ctx, &cluster, gateway, request.clone()).await {
                Ok(reply) => {
                    return match reply.code {
                        None => Ok(reply),
                        Some(code) if reply.may_retry => {
                            self.task.note_error(code.word(), &reply.message);
                            Err(SetupEvent::Interrupted)
                        }
                        Some(code) => Err(SetupEvent::Refused(code, reply.message)),
                    };
                }
                Err(error) => {
                    let message = format!(
                        "All configured gateways to cluster {cluster} are unreachable: {error}"
                    );
                    self.task.note_error("ErrAllGatewaysUnreachable", &message);
                }
            }
        }
        self.task.ctx.published.ask_again(&cluster, self.task.ctx.now_ms());
        Err(SetupEvent::Interrupted)
    }

    fn no_uuid(&self) -> SetupEvent {
        let message = "the set-up names no uuid for its replica; run autosetup again".to_owned();
        SetupEvent::Refused(Code::BadGrant, message)
    }

    fn stuck(&self, error: &Error) -> Next {
        self.task.note_error(mainstem_replicate::code_of(error).word(), error.message());
        // The job or the replica was replaced: the catalog says what comes next.
        if error.kind() == ErrorKind::Fenced { Next::Again } else { Next::Pause }
    }
}

fn event_of(error: &Error) -> SetupEvent {
    match error.kind() {
        ErrorKind::Retry | ErrorKind::HandingOver | ErrorKind::Storage | ErrorKind::Unreachable => {
            SetupEvent::Interrupted
        }
        _ => SetupEvent::Refused(mainstem_replicate::code_of(error), error.message().to_owned()),
    }
}

/// Refusals that time does not cure.
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::NoUpstream
            | Code::NoStream
            | Code::WrongCluster
            | Code::Version
            | Code::SourceWentBackwards
            | Code::AnotherStream
            | Code::Collision
            | Code::Unsupported
    )
}

const fn stage_of(step: SetupStep) -> SetupStage {
    match step {
        SetupStep::CreateSchedule => SetupStage::Create,
        SetupStep::CopySchedule => SetupStage::Declare,
        SetupStep::CopyInProgress => SetupStage::Copy,
        SetupStep::CopyInRecover => SetupStage::Recover,
        SetupStep::DeletingCursors => SetupStage::Conclude,
        SetupStep::Replicating => SetupStage::Done,
        SetupStep::Unexpected => SetupStage::Failed,
    }
}

const fn step_of(stage: SetupStage) -> SetupStep {
    match stage {
        SetupStage::Create => SetupStep::CreateSchedule,
        SetupStage::Declare => SetupStep::CopySchedule,
        SetupStage::Copy => SetupStep::CopyInProgress,
        SetupStage::Recover => SetupStep::CopyInRecover,
        SetupStage::Conclude => SetupStep::DeletingCursors,
        SetupStage::Done => SetupStep::Replicating,
        SetupStage::Failed => SetupStep::Unexpected,
    }
}
