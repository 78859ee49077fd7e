//! Opening and closing: sockets, tasks, limits.

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::Arc;

use mainstem_engine::Engine;
use mainstem_env::Env;
use mainstem_types::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::connection;
use crate::context::Context;
use crate::fetch_room::FetchRoom;
use crate::groups::Groups;
use crate::key_checks::KeyChecks;
use crate::node::{Listener, Node};
use crate::settings::KafkaSettings;

/// An open door. It owns a task per listener and one for the groups' timers; [`Self::close`] ends
/// them all.
pub struct KafkaDoor {
    addresses: Vec<SocketAddr>,
    closing: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl KafkaDoor {
    /// Binds every listener and begins to serve.
    ///
    /// # Errors
    /// Of kind [`Exists`](mainstem_types::ErrorKind::Exists) for an address that is taken; the text
    /// names it.
    pub async fn open(engine: Engine, env: Env, settings: KafkaSettings) -> Result<Self, Error> {
        let groups = Groups::new(settings.groups, env.clock.clone());
        let (fetch_room, key_checks) = (FetchRoom::new(), KeyChecks::new());
        let node = Arc::new(Node { engine, env, groups, fetch_room, key_checks });
        let (closing, closed) = watch::channel(false);
        let room = Arc::new(Semaphore::new(settings.connections_max));
        let mut sockets = Vec::new();
        for listener in settings.listeners {
            let socket = TcpListener::bind(listener.listen).await;
            let bound = socket.and_then(|socket| socket.local_addr().map(|at| (socket, at)));
            let (socket, at) = bound.map_err(|error| taken(listener.listen, &error))?;
            let view = Listener::new(at, listener.advertised, listener.default_stream);
            sockets.push((socket, at, Arc::new(view)));
        }
        let mut door = Self { addresses: Vec::new(), closing, tasks: Vec::new() };
        for (socket, at, listener) in sockets {
            door.addresses.push(at);
            let accepting = accept(
                socket,
                node.clone(),
                listener,
                room.clone(),
                settings.idle_timeout_ms,
                closed.clone(),
            );
            door.tasks.push(tokio::spawn(accepting));
        }
        door.tasks.push(tokio::spawn(async move { node.groups.keep_time(closed).await }));
        Ok(door)
    }

    /// Where it listens, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes no more requests, gives the answers that are under way a moment, and ends.
    pub async fn close(self) {
        self.closing.send_replace(true);
        for task in self.tasks {
            check_ended(task.await);
        }
    }
}

fn taken(address: SocketAddr, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return Error::exists(format!(
            "the Kafka address {address} is taken by another program; stop it or choose another"
        ));
    }
    Error::unreachable(format!("cannot listen for Kafka clients on {address}: {error}"))
}

async fn accept(
    socket: TcpListener,
    node: Arc<Node>,
    listener: Arc<Listener>,
    room: Arc<Semaphore>,
    idle_timeout_ms: u64,
    mut closing: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(ended) = connections.join_next() => {
                check_ended(ended);
                continue;
            }
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a client that left while it waited. The pause keeps
                // the former from spinning.
                tracing::warn!(%error, "a Kafka client could not be let in");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(%client, "too many Kafka connections; this one is turned away");
            continue;
        };
        let client_host: Arc<str> = format!("/{}", client.ip()).into();
        let ctx = Context { node: node.clone(), listener: listener.clone(), client_host };
        let closing = closing.clone();
        connections.spawn(async move {
            let _permit = permit;
            open_connection(ctx, stream, idle_timeout_ms, closing).await;
        });
    }
    drop(socket);
    while let Some(ended) = connections.join_next().await {
        check_ended(ended);
    }
}

/// A connection's task that panicked found our own state wrong: nothing here may go on.
fn check_ended(ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        resume_unwind(panic);
    }
}

async fn open_connection(
    ctx: Context,
    stream: TcpStream,
    idle_timeout_ms: u64,
    closing: watch::Receiver<bool>,
) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a Kafka connection was gone before it was served");
        return;
    }
    Box::pin(connection::serve(ctx, stream, idle_timeout_ms, closing)).await;
}
