//! The gateway's listener: who calls, and for what.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstem_link::{Code, Forwarded, Frame, Hello, Refused};
use mainstem_types::{Error, ErrorKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::context::Context;
use crate::receiver::serve_link;
use crate::request::serve_requests;
use crate::tls::PeerIdentity;
use crate::wire::{FrameReader, FrameWriter, split};

/// How long a caller may take until it has said what it wants.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener for links.
pub(crate) async fn bind(listen: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(listen).await.map_err(|error| {
        Error::invalid(format!(
            "the gateway cannot listen on {listen}: {error}; stop what uses it or choose another \
             port"
        ))
    })
}

/// Takes calls until told to stop; then waits for those under way to end.
pub(crate) async fn listen<A, F>(
    listener: TcpListener,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(TcpStream, watch::Receiver<bool>) -> F,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(connections_max));
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, from)) => {
                    let Ok(permit) = room.clone().try_acquire_owned() else {
                        tracing::warn!(%from, connections_max, "too many links; call refused");
                        continue;
                    };
                    let answered = answer(tcp, stop.clone());
                    calls.spawn(async move {
                        match answered.await {
                            Ok(()) => {}
                            // Who only looks whether the gateway lives hangs up like this.
                            Err(error) if error.kind() == ErrorKind::Unreachable => {
                                tracing::debug!(%from, %error, "a call came to nothing");
                            }
                            Err(error) => {
                                tracing::warn!(%from, %error, "a call to the gateway failed");
                            }
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give others time to close theirs.
                    tracing::warn!(%error, "the gateway cannot accept calls");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = calls.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    while calls.join_next().await.is_some() {}
}

/// What the cluster's server does with a call.
pub(crate) async fn answer(
    ctx: &Context,
    tcp: TcpStream,
    stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let lost = |error: std::io::Error| Error::unreachable(format!("handshake: {error}"));
    tcp.set_nodelay(true).map_err(lost)?;
    let opening = async {
        let tls = ctx.tls.acceptor.accept(tcp).await.map_err(lost)?;
        let peer = PeerIdentity::of(tls.get_ref().1.peer_certificates())?;
        let (mut reader, writer) = split(TlsStream::Server(tls));
        let first = reader.next().await?;
        let Frame::Forwarded(forwarded) = first else {
            return Ok::<_, Error>((peer, reader, writer, first));
        };
        let peer = caller_behind(ctx, &peer, forwarded)?;
        let first = reader.next().await?;
        Ok((peer, reader, writer, first))
    };
    let (peer, reader, writer, first) = timeout(HELLO_TIMEOUT, opening)
        .await
        .map_err(|_| Error::invalid("the caller said nothing for five seconds"))??;
    match first {
        Frame::Hello(hello) => meet(ctx, &peer, hello, reader, writer, stop).await,
        Frame::Request(request) => serve_requests(ctx, &peer, request, reader, writer, stop).await,
        other => Err(Error::invalid(format!("a call begins with {}", other.name()))),
    }
}

/// Only another gateway of this very cluster may say who calls: it has the cluster's own key.
fn caller_behind(
    ctx: &Context,
    gateway: &PeerIdentity,
    forwarded: Forwarded,
) -> Result<PeerIdentity, Error> {
    let catalog = ctx.engine.catalog();
    let here = catalog.cluster();
    if gateway.id != here.id || !gateway.is_named(&here.name) {
        return Err(Error::denied(format!(
            "cluster {} speaks for cluster {}; only a gateway with a certificate of {} may",
            gateway.id, forwarded.cluster_id, here.name
        )));
    }
    Ok(PeerIdentity::forwarded(forwarded.cluster_id, forwarded.names))
}

async fn meet(
    ctx: &Context,
    peer: &PeerIdentity,
    hello: Hello,
    reader: FrameReader,
    mut writer: FrameWriter,
    stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    if !peer.is_named(&hello.cluster_name) {
        let message = format!(
            "the certificate is not one of cluster {}; correct the certificate",
            hello.cluster_name
        );
        let refused = Refused { code: Code::WrongCluster, message, may_retry: false };
        writer.push(&refused.into());
        timeout(HELLO_TIMEOUT, writer.write_all())
            .await
            .map_err(|_| Error::unreachable("the caller does not listen"))??;
        return Err(Error::denied("the certificate and the Hello name different clusters"));
    }
    serve_link(ctx, peer, hello, reader, writer, stop).await;
    Ok(())
}
