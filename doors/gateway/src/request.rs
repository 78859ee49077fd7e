//! One-shot requests of other clusters: the remote steps of a set-up, by grant.

use std::time::Duration;

use mainstem_catalog::{Command, GrantId};
use mainstem_link::{Code, Described, Frame, Reply, Request};
use mainstem_types::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::context::Context;
use crate::tls::PeerIdentity;
use crate::translate;
use crate::wire::{FrameReader, FrameWriter};

/// How long a connection may stay idle between two requests.
const IDLE: Duration = Duration::from_secs(10);

/// Answers requests, one at a time, until the caller hangs up.
pub(crate) async fn serve_requests(
    ctx: &Context,
    peer: &PeerIdentity,
    first: Request,
    mut reader: FrameReader,
    mut writer: FrameWriter,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let mut request = first;
    loop {
        let reply = reply_to(ctx, peer, request).await;
        writer.push(&reply.into());
        timeout(IDLE, writer.write_all())
            .await
            .map_err(|_| Error::unreachable("the caller does not listen"))??;
        let next = tokio::select! {
            next = timeout(IDLE, reader.next()) => next,
            _ = stop.changed() => return Ok(()),
        };
        match next {
            Ok(Ok(Frame::Request(next))) => request = next,
            Ok(Ok(Frame::Bye(_)) | Err(_)) | Err(_) => return Ok(()),
            Ok(Ok(other)) => {
                return Err(Error::invalid(format!("{} is not a request", other.name())));
            }
        }
    }
}

async fn reply_to(ctx: &Context, peer: &PeerIdentity, request: Request) -> Reply {
    let catalog = ctx.engine.catalog();
    let cluster = catalog.cluster();
    let job = request.job;
    let mut reply = Reply {
        cluster_id: cluster.id,
        cluster_name: cluster.name.clone(),
        code: None,
        message: String::new(),
        may_retry: false,
        described: None,
    };
    match serve(ctx, peer, request).await {
        Ok(described) => reply.described = described,
        Err(error) => {
            tracing::info!(%job, %error, "a request of another cluster was refused");
            reply.code = Some(code_of(&error));
            error.message().clone_into(&mut reply.message);
            reply.may_retry = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Storage);
        }
    }
    reply
}

async fn serve(
    ctx: &Context,
    peer: &PeerIdentity,
    request: Request,
) -> Result<Option<Described>, Error> {
    let catalog = ctx.engine.catalog();
    let here = &catalog.cluster().name;
    if peer.id != request.cluster_id || !peer.is_named(&request.cluster_name) {
        return Err(Error::denied("the certificate and the request name different clusters"));
    }
    if request.to_cluster != *here {
        return Err(Error::denied(format!(
            "this is a gateway of {here}, not of {}; correct the list of gateways",
            request.to_cluster
        )));
    }
    if let Some(path) = &request.describe {
        let stream = catalog.stream_at(path);
        return Ok(Some(Described {
            stream: stream.map(|stream| stream.id),
            settings: stream.map_or_else(Vec::new, |s| translate::settings_to_text(&s.settings)),
        }));
    }
    let command = command_of(ctx, request)?;
    ctx.engine.change(command).await.map(|_| None)
}

/// The one change that a request asks for, under the grant that it shows.
fn command_of(ctx: &Context, request: Request) -> Result<Command, Error> {
    let bytes: [u8; 16] = request
        .grant
        .as_slice()
        .try_into()
        .map_err(|_| Error::denied("the request shows no grant; run autosetup again"))?;
    let grant = GrantId::from_bytes(bytes);
    let catalog = ctx.engine.catalog();
    let for_another =
        catalog.grant(grant).is_some_and(|known| known.source.cluster != request.cluster_name);
    if for_another {
        return Err(Error::denied("the grant was given to another cluster; run autosetup again"));
    }
    if let Some(create) = request.create_stream {
        let settings = translate::settings_from_text(&create.settings)?;
        return Ok(Command::CreateByGrant { grant, replica_id: create.stream, settings });
    }
    if let Some(add) = request.add_upstream {
        return Ok(Command::AddUpstreamByGrant { grant, replica_id: add.stream });
    }
    if let Some(add) = request.add_replica {
        let settings = translate::replica_from_text(&add.settings)?;
        return Ok(Command::AddReplicaByGrant { grant, replica_id: add.stream, settings });
    }
    match request.undo {
        Some(replica_id) => Ok(Command::RollbackByGrant { grant, replica_id }),
        None => Err(Error::unsupported("the request asks for nothing that is known here")),
    }
}

fn code_of(error: &Error) -> Code {
    match error.kind() {
        ErrorKind::Denied => Code::BadGrant,
        _ => mainstem_replicate::code_of(error),
    }
}
