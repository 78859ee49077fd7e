//! The task of one set-up that was removed: asks its destination to take back what was made there,
//! until that answers or somebody says that it need not.

use std::sync::Arc;
use std::time::Duration;

use mainstem_api::links::LinkError;
use mainstem_catalog::{Catalog, Command, Undo};
use mainstem_link::Request;
use mainstem_replicate::Backoff;
use mainstem_types::{Error, JobId};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::context::Context;
use crate::dial::ask;
use crate::link::no_gateway;

/// Runs until the job is no longer in the catalog or the process stops.
pub(crate) async fn run_undo(
    ctx: Context,
    job: JobId,
    mut stop: watch::Receiver<bool>,
    nudge: Arc<Notify>,
) {
    let mut backoff = Backoff::new();
    let mut catalog = ctx.engine.watch_catalog();
    while !*stop.borrow() {
        let now = catalog.borrow_and_update().clone();
        let Some(undo) = now.undo(job) else { break };
        let attempt = tokio::select! {
            attempt = take_back(&ctx, &now, undo) => attempt,
            _ = stop.changed() => return,
        };
        let ended = match attempt {
            Ok(()) => ctx.engine.change(Command::EndUndo { job }).await.map(drop),
            Err(error) => Err(error),
        };
        let Err(error) = ended else { continue };
        ctx.board.note_undo(job, stuck(&ctx, &now, &error));
        let pause = Duration::from_millis(backoff.next_ms(ctx.env.random.next_u64()));
        let concern = (now.undo(job).cloned(), ctx.gateways(&now, &undo.place.cluster));
        let changed = async {
            while catalog.changed().await.is_ok() {
                let now = catalog.borrow_and_update().clone();
                if concern != (now.undo(job).cloned(), ctx.gateways(&now, &undo.place.cluster)) {
                    break;
                }
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = nudge.notified() => {}
            () = changed => {}
            _ = stop.changed() => {}
        }
    }
    ctx.board.forget_undo(job);
}

/// One attempt. Done, also when the destination says that there is nothing that the grant would
/// let it take back: it was taken back before, or is somebody else's by now.
async fn take_back(ctx: &Context, catalog: &Catalog, undo: &Undo) -> Result<(), Error> {
    let cluster = &undo.place.cluster;
    let here = catalog.cluster();
    let request = Request {
        cluster_id: here.id,
        cluster_name: here.name.clone(),
        to_cluster: cluster.clone(),
        job: undo.job,
        grant: undo.grant.to_bytes().to_vec(),
        create_stream: None,
        add_upstream: None,
        add_replica: None,
        describe: None,
        undo: Some(undo.replica_id),
        check_copy: None,
        take_over: None,
        digests: None,
    };
    let mut last = Error::unreachable(no_gateway(cluster));
    for gateway in ctx.gateways_to_call(catalog, cluster).await {
        match ask(ctx, cluster, &gateway, request.clone()).await {
            Ok(reply) if reply.code.is_some() && reply.may_retry => {
                last = Error::retry(reply.message);
            }
            Ok(reply) => {
                tracing::info!(replica = %undo.place, job = %undo.job, said = reply.message,
                    "a removed set-up is taken back");
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    ctx.published.ask_again(cluster, ctx.now_ms());
    Err(last)
}

fn stuck(ctx: &Context, catalog: &Catalog, error: &Error) -> LinkError {
    LinkError {
        code: "ErrNotTakenBack".to_owned(),
        host: catalog.cluster().name.to_string(),
        message: format!(
            "the set-up was removed, and its destination has not yet taken back what it made \
             there: {error}; this goes on until it answers, or `stream replica remove` is given \
             once more, after which it has to be deleted by hand"
        ),
        at_ms: ctx.wall_ms(),
    }
}
