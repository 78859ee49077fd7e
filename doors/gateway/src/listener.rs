//! The gateway's listener: who calls, and for what.

use std::sync::Arc;
use std::time::Duration;

use mainstem_link::{Code, Frame, Hello, Refused};
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
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes calls until told to stop; then waits for those under way to end.
pub(crate) async fn listen(
    ctx: Context,
    listener: TcpListener,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) {
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
                    let (ctx, stop) = (ctx.clone(), stop.clone());
                    calls.spawn(async move {
                        match answer(&ctx, tcp, stop).await {
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

async fn answer(ctx: &Context, tcp: TcpStream, stop: watch::Receiver<bool>) -> Result<(), Error> {
    let lost = |error: std::io::Error| Error::unreachable(format!("handshake: {error}"));
    tcp.set_nodelay(true).map_err(lost)?;
    let opening = async {
        let tls = ctx.tls.acceptor.accept(tcp).await.map_err(lost)?;
        let peer = PeerIdentity::of(tls.get_ref().1.peer_certificates())?;
        let (mut reader, writer) = split(TlsStream::Server(tls));
        let first = reader.next().await?;
        Ok::<_, Error>((peer, reader, writer, first))
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
