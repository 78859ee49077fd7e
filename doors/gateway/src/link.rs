//! The task of one replica: dials, runs sessions and set-ups, and tells why nothing flows.

mod setup;

use std::sync::Arc;
use std::time::Duration;

use mainstem_api::links::LinkError;
use mainstem_catalog::{Catalog, Replica, SetupKind};
use mainstem_link::{Code, Mode};
use mainstem_replicate::{Backoff, Closing, GatewayRing};
use mainstem_types::{ClusterName, Error};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::board::LinkKey;
use crate::context::Context;
use crate::dial::{Dialled, dial};
use crate::handover::take_back_if_overdue;
use crate::mode::{mode_of, open_setup, waits_for_load};
use crate::sender::{SessionEnd, find, run_session};

/// A session that stood so long was a good one: pauses begin short again.
const GOOD_SESSION_MS: u64 = 2_000;

/// A replica and its gateways, as far as there are any.
type Concern = Option<(Replica, bool, Vec<String>)>;

/// What the task does after a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again at once.
    Again,
    /// Wait until something changes for this replica.
    Rest,
    /// Try again after a pause, or when something changes.
    Pause,
}

/// The task's memory between sessions: nothing of what was sent, only how dialling went.
pub(crate) struct Task {
    pub(crate) ctx: Context,
    pub(crate) key: LinkKey,
    pub(crate) stop: watch::Receiver<bool>,
    nudge: Arc<Notify>,
    backoff: Backoff,
    ring: GatewayRing,
}

/// Runs until the replica is removed or the process stops.
pub(crate) async fn run_link(
    ctx: Context,
    key: LinkKey,
    stop: watch::Receiver<bool>,
    nudge: Arc<Notify>,
) {
    let backoff = Backoff::new();
    let ring = GatewayRing::beginning_at(ctx.env.random.next_u128() as usize);
    let mut task = Task { ctx, key, stop, nudge, backoff, ring };
    while !*task.stop.borrow() {
        let catalog = task.ctx.engine.catalog();
        let Ok((stream, replica)) = find(&catalog, &task.key) else { break };
        let trouble = task.ctx.board.sending(&task.key).and_then(|note| note.error);
        let trouble = trouble.map(|error| error.message);
        let back = take_back_if_overdue(&task.ctx, stream.id, &replica, false, trouble).await;
        if let Err(error) = back {
            tracing::warn!(replica = %task.key.1, %error, "a hand-over could not be taken back");
        }
        let concern = task.concern(&catalog);
        let next = match (open_setup(&replica), mode_of(&replica)) {
            (Some(_), _) if replica.paused && is_autosetup(&replica) => Next::Rest,
            (Some(_), _) if waits_for_load(&stream, &replica) => Next::Rest,
            (Some(_), _) => setup::step(&mut task, &stream, &replica).await,
            (None, Some(mode)) => task.replicate(&catalog, mode).await,
            (None, None) => Next::Rest,
        };
        match next {
            Next::Again => {}
            Next::Rest => task.rest(concern, None).await,
            Next::Pause => {
                let pause_ms = task.backoff.next_ms(task.ctx.env.random.next_u64());
                let concern = task.concern(&task.ctx.engine.catalog());
                task.rest(concern, Some(Duration::from_millis(pause_ms))).await;
            }
        }
    }
    task.ctx.board.forget_sending(&task.key);
}

fn is_autosetup(replica: &Replica) -> bool {
    replica.setup.as_ref().is_some_and(|setup| setup.kind == SetupKind::Autosetup)
}

impl Task {
    async fn replicate(&mut self, catalog: &Catalog, mode: Mode) -> Next {
        match self.session(catalog, mode).await {
            Some(end) => self.after(&end),
            None => Next::Pause,
        }
    }

    /// One session, from the call to its end; `None` if it did not come about.
    pub(crate) async fn session(&mut self, catalog: &Catalog, mode: Mode) -> Option<SessionEnd> {
        let (dialled, gateway) = self.dial_any(catalog).await?;
        let (ctx, key, started_ms) = (&self.ctx, &self.key, self.ctx.now_ms());
        ctx.board.note_sending(key, |note| note.gateway = Some(gateway.clone()));
        let end = run_session(ctx, key, mode, (dialled, gateway), &mut self.stop).await;
        match end {
            Ok(end) => {
                if end.opened && self.ctx.now_ms() >= started_ms + GOOD_SESSION_MS {
                    self.backoff.reset();
                }
                Some(end)
            }
            Err(error) => {
                self.note_error(mainstem_replicate::code_of(&error).word(), error.message());
                None
            }
        }
    }

    fn after(&mut self, end: &SessionEnd) -> Next {
        let Closing { code, message, by_peer } = &end.closing;
        tracing::info!(replica = %self.key.1, %code, by_peer, "a link ended: {message}");
        match code {
            // Our own doing: the catalog says what comes next.
            Code::Removed | Code::Paused | Code::Fenced | Code::SourceGone | Code::Stopping
                if !by_peer =>
            {
                Next::Again
            }
            _ => {
                self.note_error(code.word(), message);
                Next::Pause
            }
        }
    }

    /// Each gateway once, beginning at the next in turn.
    pub(crate) async fn dial_any(&mut self, catalog: &Catalog) -> Option<(Dialled, String)> {
        let cluster = self.key.1.cluster.clone();
        let mut stop = self.stop.clone();
        let gateways = tokio::select! {
            gateways = self.ctx.gateways_to_call(catalog, &cluster) => gateways,
            _ = stop.changed() => return None,
        };
        let concern = self.concern(catalog);
        if gateways.is_empty() {
            self.ctx.published.ask_again(&cluster, self.ctx.now_ms());
            self.note_error("ErrNoGateway", &no_gateway(&cluster));
            return None;
        }
        let mut last_error = None;
        for _ in 0..gateways.len() {
            let gateway = self.ring.next(&gateways, self.ctx.now_ms())?.to_owned();
            let attempt = tokio::select! {
                attempt = dial(&self.ctx, &cluster, &gateway) => attempt,
                _ = stop.changed() => return None,
            };
            match attempt {
                Ok(dialled) => {
                    self.ring.handle_reached(&gateway);
                    return Some((dialled, gateway));
                }
                Err(error) => {
                    self.ring.handle_unreachable(&gateway, self.ctx.now_ms());
                    last_error = Some(error);
                }
            }
            if self.concern(&self.ctx.engine.catalog()) != concern {
                // The rest of a list that was corrected meanwhile is not worth its time-outs.
                break;
            }
        }
        self.ctx.published.ask_again(&cluster, self.ctx.now_ms());
        let error = last_error.unwrap_or_else(|| Error::unreachable("none was tried"));
        let message =
            format!("All configured gateways to cluster {cluster} are unreachable: {error}");
        self.note_error("ErrAllGatewaysUnreachable", &message);
        None
    }

    pub(crate) fn note_error(&self, code: &str, message: &str) {
        let error = LinkError {
            code: code.to_owned(),
            host: self.ctx.engine.catalog().cluster().name.to_string(),
            message: message.to_owned(),
            at_ms: self.ctx.wall_ms(),
        };
        self.ctx.board.note_sending(&self.key, |note| {
            note.connected = false;
            note.connected_since_ms = None;
            note.error = Some(error);
        });
    }

    /// Waits for `pause`, or until what concerns this replica is not as `before`, or for somebody
    /// who asks.
    async fn rest(&mut self, before: Concern, pause: Option<Duration>) {
        let mut catalog = self.ctx.engine.watch_catalog();
        let mut published = self.ctx.published.watch();
        if self.concern(&catalog.borrow_and_update()) != before {
            return;
        }
        let pause = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                () = self.nudge.notified() => return,
                _ = self.stop.changed() => return,
                changed = catalog.changed() => {
                    if changed.is_err() || self.concern(&catalog.borrow_and_update()) != before {
                        return;
                    }
                }
                Ok(()) = published.changed() => {
                    if self.concern(&catalog.borrow_and_update()) != before {
                        return;
                    }
                }
            }
        }
    }

    /// What of the catalog and of DNS decides whether this link can work.
    fn concern(&self, catalog: &Catalog) -> Concern {
        let (stream, replica) = find(catalog, &self.key).ok()?;
        let gateways = self.ctx.gateways(catalog, &self.key.1.cluster);
        Some((replica, stream.is_loading(), gateways))
    }
}

pub(crate) fn no_gateway(cluster: &ClusterName) -> String {
    format!(
        "no gateway of cluster {cluster} is known; name one by `maprcli cluster gateway set \
         -dstcluster {cluster} -gateways <host:port>`, or publish gateway.{cluster} in DNS"
    )
}
