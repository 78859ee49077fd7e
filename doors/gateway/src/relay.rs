//! A gateway in a process of its own: it checks who calls and passes the call on to the cluster's
//! server. It keeps nothing, so any number of them may run, and any may end at any time: what was
//! under way is sent again from what the replica's log says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mainstem_link::{Forwarded, encode_frame};
use mainstem_types::{ClusterName, Error};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::listener::{HELLO_TIMEOUT, bind, listen};
use crate::tls::{LinkTls, PeerIdentity, server_name};

/// How long the cluster's server may take to answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// What waits in each direction of a call.
const COPY_BYTES: usize = 64 * 1024;

/// How a relay works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The cluster whose gateway it is.
    pub cluster: ClusterName,
    /// `host:port` of the gateway listener of that cluster's server.
    pub server: String,
    /// Calls at once.
    pub connections_max: usize,
}

/// A gateway that has no cluster's data.
pub struct Relay {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
}

impl Relay {
    /// Listens until it is closed. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// The address is taken or cannot be used.
    pub async fn start(tls: LinkTls, settings: RelaySettings) -> Result<Self, Error> {
        let listener: TcpListener = bind(settings.listen).await?;
        let address = listener.local_addr().map_err(|e| Error::invalid(e.to_string()))?;
        let (stop, stopped) = watch::channel(false);
        let connections_max = settings.connections_max;
        let shared = Arc::new((tls, settings));
        let answer = move |tcp, stop| {
            let shared = shared.clone();
            async move { pass_on(&shared.0, &shared.1, tcp, stop).await }
        };
        let listener = tokio::spawn(listen(listener, connections_max, stopped, answer));
        Ok(Self { address, stop, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all calls.
    pub async fn close(self) {
        self.stop.send_replace(true);
        // A task that panicked has been reported by its panic.
        let _ = self.listener.await;
    }
}

async fn pass_on(
    tls: &LinkTls,
    settings: &RelaySettings,
    caller: TcpStream,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let away = |why: String| {
        Error::unreachable(format!(
            "the server of {} at {} does not answer: {why}",
            settings.cluster, settings.server
        ))
    };
    // The server first: a gateway whose server is away looks dead, and its callers try the next.
    let server = timeout(SERVER_TIMEOUT, TcpStream::connect(&settings.server))
        .await
        .map_err(|_| away("it took too long".into()))?
        .map_err(|e| away(e.to_string()))?;
    let lost = |error: std::io::Error| Error::unreachable(format!("handshake: {error}"));
    let opening = async {
        caller.set_nodelay(true).map_err(lost)?;
        server.set_nodelay(true).map_err(lost)?;
        let caller = tls.acceptor.accept(caller).await.map_err(lost)?;
        let peer = PeerIdentity::of(caller.get_ref().1.peer_certificates())?;
        let name = server_name(&settings.cluster);
        let mut server =
            tls.connector.connect(name, server).await.map_err(|e| away(e.to_string()))?;
        let mut preface = BytesMut::new();
        let (cluster_id, names) = (peer.id, peer.names().to_vec());
        encode_frame(&Forwarded { cluster_id, names }.into(), &mut preface);
        server.write_all(&preface).await.map_err(|e| away(e.to_string()))?;
        Ok::<_, Error>((peer, caller, server))
    };
    let (peer, mut caller, mut server) = timeout(HELLO_TIMEOUT, opening)
        .await
        .map_err(|_| Error::invalid("the handshake took more than five seconds"))??;
    tracing::info!(cluster = %peer.id, "a call is passed on");
    // A silent end is the concern of the two ends, which hang up on each other.
    tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut caller, &mut server, COPY_BYTES, COPY_BYTES) => {
            let (bytes_in, bytes_out) = copied.unwrap_or_default();
            tracing::info!(cluster = %peer.id, bytes_in, bytes_out, "a call ended");
        }
        _ = stop.changed() => {}
    }
    Ok(())
}
