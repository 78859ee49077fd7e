//! Reaching a gateway, and one-shot requests to it.

use std::time::Duration;

use mainstem_link::{Frame, Reply, Request};
use mainstem_types::{ClusterId, ClusterName, Error};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::context::Context;
use crate::tls::{PeerIdentity, mistaken_for, server_name};
use crate::wire::{FrameReader, FrameWriter, split};

/// How long a gateway may take to answer a call, or a request.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a gateway that has shown the certificate of the cluster that was meant.
pub(crate) struct Dialled {
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    /// Whose certificate it was.
    pub(crate) peer: ClusterId,
}

/// Calls a gateway, and takes note of whether it answered.
pub(crate) async fn dial(
    ctx: &Context,
    cluster: &ClusterName,
    gateway: &str,
) -> Result<Dialled, Error> {
    let dialled = call(ctx, cluster, gateway).await;
    let trouble = dialled.as_ref().err().map(|error| error.message().to_owned());
    ctx.board.note_gateway(cluster, gateway, trouble, ctx.now_ms());
    dialled
}

async fn call(ctx: &Context, cluster: &ClusterName, gateway: &str) -> Result<Dialled, Error> {
    let connect = async {
        let tcp = TcpStream::connect(gateway).await.map_err(|e| unreachable(gateway, &e))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(gateway, &e))?;
        let tls = ctx.tls.connector.connect(server_name(cluster), tcp).await;
        let tls = tls.map_err(|error| match mistaken_for(&error) {
            Some(other) => Error::unreachable(format!(
                "{gateway} is a gateway of cluster {other}, not of {cluster}; correct the list by \
                 `maprcli cluster gateway set -dstcluster {cluster}`"
            )),
            None => unreachable(gateway, &error),
        })?;
        let peer = PeerIdentity::of(tls.get_ref().1.peer_certificates())?.id;
        let (reader, writer) = split(TlsStream::Client(tls));
        Ok(Dialled { reader, writer, peer })
    };
    match timeout(DIAL_TIMEOUT, connect).await {
        Ok(result) => result,
        Err(_) => Err(Error::unreachable(format!("gateway {gateway} does not answer"))),
    }
}

/// Asks one thing of a cluster, at the gateway given.
pub(crate) async fn ask(
    ctx: &Context,
    cluster: &ClusterName,
    gateway: &str,
    request: Request,
) -> Result<Reply, Error> {
    let mut dialled = dial(ctx, cluster, gateway).await?;
    let reply = exchange(&mut dialled, gateway, request, DIAL_TIMEOUT).await?;
    // It has answered; that it hears no more is its own affair.
    let _ = timeout(DIAL_TIMEOUT, dialled.writer.shutdown()).await;
    Ok(reply)
}

/// Asks one thing more over a connection that stands.
pub(crate) async fn exchange(
    dialled: &mut Dialled,
    gateway: &str,
    request: Request,
    patience: Duration,
) -> Result<Reply, Error> {
    let exchange = async {
        dialled.writer.push(&request.into());
        dialled.writer.write_all().await?;
        dialled.reader.next().await
    };
    let frame = timeout(patience, exchange)
        .await
        .map_err(|_| Error::unreachable(format!("gateway {gateway} does not answer")))??;
    match frame {
        Frame::Reply(reply) if reply.cluster_id == dialled.peer => Ok(reply),
        Frame::Reply(_) => Err(Error::denied(format!(
            "gateway {gateway} answers for another cluster than its certificate names"
        ))),
        other => {
            Err(Error::corrupt(format!("gateway {gateway} answers a request by {}", other.name())))
        }
    }
}

fn unreachable(gateway: &str, error: &std::io::Error) -> Error {
    Error::unreachable(format!("gateway {gateway} cannot be reached: {error}"))
}
