//! The door as a whole: opened, asked, closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstem_api::links::SharedLinks;
use mainstem_engine::Engine;
use mainstem_env::Env;
use mainstem_types::Error;
use mainstem_types::limits::DNS_FIRST_WAIT_MS;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::context::{Context, Directory};
use crate::dns::{DnsSettings, PublishedGateways};
use crate::links::LinkDesk;
use crate::listener::{answer, bind, listen};
use crate::probe::probe_gateways;
use crate::resolve::resolve_gateways;
use crate::sampler::sample_links;
use crate::supervisor::{Tasks, supervise};
use crate::tls::LinkTls;

/// How a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Where. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Under which addresses other clusters find it; empty for the one it listens on.
    pub advertised: Vec<String>,
    /// Links and requests at once: 64 upstreams of many streams, and room for calls that come to
    /// nothing.
    pub connections_max: usize,
    /// Who is asked for the gateways of other clusters.
    pub dns: DnsSettings,
    /// How long a call to a gateway that others know waits for the first answer of DNS, which goes
    /// before them.
    pub dns_first_wait_ms: u64,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7660)),
            advertised: Vec::new(),
            connections_max: 1024,
            dns: DnsSettings::default(),
            dns_first_wait_ms: DNS_FIRST_WAIT_MS,
        }
    }
}

/// Both ends of all links of a node.
pub struct Gateway {
    address: SocketAddr,
    links: Arc<LinkDesk>,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
    supervisor: JoinHandle<()>,
    sampler: JoinHandle<()>,
    probe: JoinHandle<()>,
    resolver: JoinHandle<()>,
}

impl Gateway {
    /// Listens for links, and begins to feed the replicas that the catalog lists. Call it within a
    /// Tokio runtime, once the cluster is founded.
    ///
    /// # Errors
    /// The address is taken or cannot be used.
    pub async fn start(
        env: Env,
        engine: Engine,
        tls: LinkTls,
        directory: Directory,
        settings: GatewaySettings,
    ) -> Result<Self, Error> {
        let listener = bind(settings.listen).await?;
        let address = listener.local_addr().map_err(|e| Error::invalid(e.to_string()))?;
        let own = if settings.advertised.is_empty() {
            vec![address.to_string()]
        } else {
            settings.advertised.clone()
        };
        let ctx = Context {
            env,
            engine,
            tls,
            directory,
            published: Arc::new(PublishedGateways::new(settings.dns)),
            dns_first_wait: Duration::from_millis(settings.dns_first_wait_ms),
            board: Arc::default(),
            feeding: Arc::default(),
            turns: Arc::default(),
            own_gateways: Arc::new(own),
        };
        let (stop, stopped) = watch::channel(false);
        let tasks = Arc::new(Tasks::default());
        let connections_max = settings.connections_max;
        let answering = ctx.clone();
        let answer = move |tcp, stop| {
            let ctx = answering.clone();
            async move { answer(&ctx, tcp, stop).await }
        };
        let listening = listen(listener, connections_max, stopped.clone(), answer);
        let links = Arc::new(LinkDesk {
            ctx: ctx.clone(),
            tasks: tasks.clone(),
            verifications: Arc::default(),
            stop: stopped.clone(),
        });
        Ok(Self {
            address,
            listener: tokio::spawn(listening),
            supervisor: tokio::spawn(supervise(ctx.clone(), tasks, stopped.clone())),
            probe: tokio::spawn(probe_gateways(ctx.clone(), stopped.clone())),
            resolver: tokio::spawn(resolve_gateways(ctx, stopped.clone())),
            sampler: tokio::spawn(sample_links(links.clone(), stopped)),
            links,
            stop,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the other doors may ask.
    pub fn links(&self) -> SharedLinks {
        self.links.clone()
    }

    /// Ends all links in order.
    pub async fn close(self) {
        self.stop.send_replace(true);
        // A task that panicked has been reported by its panic.
        let _ = self.supervisor.await;
        let _ = self.listener.await;
        let _ = self.sampler.await;
        let _ = self.probe.await;
        let _ = self.resolver.await;
    }
}
