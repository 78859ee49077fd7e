//! One-shot requests of other clusters: the remote steps of a set-up, by grant.

use std::time::Duration;

use mainstem_catalog::{Catalog, Command, GrantId, StreamSettings};
use mainstem_link::{CheckCopy, Code, Described, DigestAnswer, DigestQuery, Frame, Reply, Request};
use mainstem_types::{ClusterName, Error, ErrorKind, Lineage};
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
        whole: None,
        digests: Vec::new(),
    };
    match serve(ctx, peer, request).await {
        Ok(found) => {
            (reply.described, reply.whole) = (found.described, found.whole);
            reply.digests = found.digests;
        }
        Err(error) => {
            tracing::info!(%job, %error, "a request of another cluster was refused");
            reply.code = Some(code_of(&error));
            error.message().clone_into(&mut reply.message);
            reply.may_retry = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Storage);
        }
    }
    reply
}

/// What is told besides that it is done.
#[derive(Default)]
struct Found {
    described: Option<Described>,
    whole: Option<u64>,
    digests: Vec<DigestAnswer>,
}

async fn serve(ctx: &Context, peer: &PeerIdentity, request: Request) -> Result<Found, Error> {
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
        let described = Some(Described {
            stream: stream.map(|stream| stream.id),
            settings: stream.map_or_else(Vec::new, |s| translate::settings_to_text(&s.settings)),
        });
        return Ok(Found { described, ..Found::default() });
    }
    if let Some(query) = &request.digests
        && request.grant.is_empty()
    {
        check_upstream(&catalog, &request.cluster_name, query)?;
        return digests(ctx, query).await;
    }
    let grant = grant_of(&catalog, &request)?;
    if let Some(query) = &request.digests {
        catalog.check_granted(grant, query.stream, query.source)?;
        return digests(ctx, query).await;
    }
    if let Some(check) = &request.check_copy {
        let whole = Some(check_copy(ctx, &catalog, grant, check)?);
        return Ok(Found { whole, ..Found::default() });
    }
    let command = command_of(grant, request)?;
    ctx.engine.change(command).await.map(|_| Found::default())
}

/// A replica tells what it holds to nobody but a source that it lists as its upstream (I6).
fn check_upstream(
    catalog: &Catalog,
    asker: &ClusterName,
    query: &DigestQuery,
) -> Result<(), Error> {
    let stream = catalog.stream(query.stream);
    let listed = stream.and_then(|stream| stream.upstream_by_id(query.source));
    if listed.is_some_and(|upstream| upstream.place.cluster == *asker) {
        return Ok(());
    }
    Err(Error::denied(
        "the replica does not list the source as its upstream; run `maprcli stream upstream add` \
         there, or compare the two by `mapr diffstreams`",
    ))
}

async fn digests(ctx: &Context, query: &DigestQuery) -> Result<Found, Error> {
    let (engine, query) = (ctx.engine.clone(), query.clone());
    let read = move || engine.digests(query.stream, query.stride, &query.ranges);
    Ok(Found { digests: ctx.turns.run(&ctx.env, read).await?, ..Found::default() })
}

/// The grant that a request shows, if it may.
fn grant_of(catalog: &Catalog, request: &Request) -> Result<GrantId, Error> {
    let bytes: [u8; 16] = request
        .grant
        .as_slice()
        .try_into()
        .map_err(|_| Error::denied("the request shows no grant; give the command again"))?;
    let grant = GrantId::from_bytes(bytes);
    let for_another =
        catalog.grant(grant).is_some_and(|known| known.source.cluster != request.cluster_name);
    if for_another {
        return Err(Error::denied(
            "the grant was given to another cluster; give the command again",
        ));
    }
    Ok(grant)
}

/// How many of these partitions an earlier copy brought whole; refuses what cannot be copied.
fn check_copy(
    ctx: &Context,
    catalog: &Catalog,
    grant: GrantId,
    check: &CheckCopy,
) -> Result<u64, Error> {
    let topics = check.topics.iter().map(|topic| (topic.origin, &topic.name));
    let here = catalog.check_copy(grant, check.stream, topics)?;
    let mut whole = 0;
    for item in check.partitions.iter().filter(|item| here.contains(&item.origin)) {
        let stream = catalog.expect_stream(check.stream)?;
        let Some(topic) = stream.topic_by_origin(item.origin) else { continue };
        let ours = topic.partition(item.partition).and_then(|no| ctx.engine.partition(no));
        let theirs = Lineage::from_entries(item.lineage.clone()).unwrap_or_default();
        let is_whole = ours.is_some_and(|ours| {
            theirs.common_end(item.end, &ours.lineage(), ours.durable_end()) >= item.end
        });
        if !is_whole {
            return Err(Error::policy(format!(
                "topic {} of {} was copied before and belongs to it now, and the source has \
                 changed since; delete it there, or copy into another stream. Nothing was changed",
                topic.name, stream.path
            )));
        }
        whole += 1;
    }
    Ok(whole)
}

/// The one change that a request asks for.
fn command_of(grant: GrantId, request: Request) -> Result<Command, Error> {
    if let Some(create) = request.create_stream {
        // A replica gets what compaction leaves at its source, and compacts when it is told to.
        let settings =
            StreamSettings { compact: false, ..translate::settings_from_text(&create.settings)? };
        return Ok(Command::CreateByGrant { grant, replica_id: create.stream, settings });
    }
    if let Some(add) = request.add_upstream {
        return Ok(Command::AddUpstreamByGrant { grant, replica_id: add.stream });
    }
    if let Some(add) = request.add_replica {
        let settings = translate::replica_from_text(&add.settings)?;
        return Ok(Command::AddReplicaByGrant { grant, replica_id: add.stream, settings });
    }
    if let Some(take) = request.take_over {
        let (replica_id, topics, more) = (take.stream, take.topics, take.more);
        return Ok(Command::TakeOverByGrant { grant, replica_id, topics, more });
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
