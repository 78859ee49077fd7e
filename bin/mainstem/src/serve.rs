//! `mainstem serve`: one cluster's server, its parts put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstem_admin::{AdminDoor, AdminSettings, OpenAdminDoor};
use mainstem_catalog::Command;
use mainstem_cli::Clusters;
use mainstem_engine::{CleanerSettings, Engine, EngineSettings, LogSettings};
use mainstem_env::{Disk, Env, SystemDisk};
use mainstem_gateway::{
    CertificatePem, Directory, Gateway, GatewaySettings, LinkTls, Relay, RelaySettings,
};
use mainstem_kafka::{KafkaDoor, KafkaSettings, ListenerSettings};
use mainstem_types::{ClusterId, ClusterName, Error};

use crate::settings::{GatewayListener, RelayFile, ServeSettings};

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Everything: data, Kafka, gateway, REST.
    Server,
    /// A gateway that passes links on to the server.
    Gateway,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// A setting is wrong, an address is taken, or the data cannot be opened.
pub(crate) fn run(config: &Path, role: Role, env: Env) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::storage(format!("no threads to serve with: {e}")))?;
    match role {
        Role::Server => runtime.block_on(serve(ServeSettings::load(config)?, env)),
        Role::Gateway => runtime.block_on(serve_gateway(RelayFile::load(config)?)),
    }
}

/// A gateway and nothing else.
async fn serve_gateway(settings: RelayFile) -> Result<(), Error> {
    let relay = RelaySettings {
        listen: settings.gateway.listen,
        cluster: settings.cluster_name()?,
        server: settings.server.clone(),
        connections_max: GatewaySettings::default().connections_max,
    };
    let tls = link_tls(&settings.gateway)?;
    tls.check_own(&relay.cluster, None)?;
    let relay = Relay::start(tls, relay).await?;
    tracing::info!(
        cluster = settings.name,
        gateway = %relay.address(),
        server = settings.server,
        "ready"
    );
    wait_for_signal().await?;
    tracing::info!("stopping");
    relay.close().await;
    Ok(())
}

async fn serve(settings: ServeSettings, env: Env) -> Result<(), Error> {
    let engine = open_engine(&settings, &env)?;
    found_cluster(&engine, &settings, &env).await?;
    let gateway = open_gateway(&settings, &engine, &env).await?;
    let kafka = open_kafka(&settings, &engine, &env).await?;
    // Last, because its answering tells that all is open.
    let admin = open_admin(&settings, &engine, &env, &gateway).await?;
    tracing::info!(
        cluster = settings.name,
        kafka = %settings.kafka.listen,
        gateway = %settings.gateway.listen,
        admin = %settings.admin.listen,
        "ready"
    );
    wait_for_signal().await?;
    tracing::info!("stopping");
    admin.close().await;
    kafka.close().await;
    gateway.close().await;
    engine.close().await;
    Ok(())
}

fn open_engine(settings: &ServeSettings, env: &Env) -> Result<Engine, Error> {
    let disk = SystemDisk::open(&settings.data)
        .map_err(|e| Error::storage(format!("{}: {e}", settings.data.display())))?;
    let engine_settings = EngineSettings {
        log: LogSettings {
            segment_bytes: settings.log.segment_bytes,
            tail_cache_bytes: settings.log.tail_cache_bytes,
            ..LogSettings::default()
        },
        disk_free_bytes_min: settings.log.disk_free_bytes_min,
        ..EngineSettings::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let (engine, sequencer) = Engine::open(env.clone(), disk, engine_settings)
        .map_err(|e| e.context(settings.data.display()))?;
    // It ends with the process: at once when the disk fails, else after `Engine::close`.
    sequencer.spawn()?;
    engine.cleaner(env.clone(), CleanerSettings::default()).spawn()?;
    Ok(engine)
}

/// The first start gives the data directory its cluster; later ones check that it is the same.
async fn found_cluster(engine: &Engine, settings: &ServeSettings, env: &Env) -> Result<(), Error> {
    let name = settings.cluster_name()?;
    let catalog = engine.catalog();
    if catalog.is_founded() {
        let cluster = catalog.cluster();
        let is_same =
            cluster.name == name && settings.cluster_id()?.is_none_or(|id| id == cluster.id);
        if !is_same {
            return Err(Error::invalid(format!(
                "{} holds the data of cluster {} ({}), not of {name}; give each cluster a data \
                 directory of its own",
                settings.data.display(),
                cluster.name,
                cluster.id
            )));
        }
        return Ok(());
    }
    let drawn = || ClusterId::from_random(env.random.next_u128());
    let id = settings.cluster_id()?.unwrap_or_else(drawn);
    let incarnation = env.random.next_u64();
    engine.change(Command::FoundCluster { id, name, incarnation }).await?;
    Ok(())
}

async fn open_kafka(
    settings: &ServeSettings,
    engine: &Engine,
    env: &Env,
) -> Result<KafkaDoor, Error> {
    let advertised = settings.kafka.advertised.as_deref().map(host_and_port).transpose()?;
    let mut kafka = KafkaSettings::listening_on(settings.kafka.listen);
    kafka.listeners = vec![ListenerSettings {
        listen: settings.kafka.listen,
        advertised,
        default_stream: settings.default_stream()?,
    }];
    KafkaDoor::open(engine.clone(), env.clone(), kafka).await
}

fn host_and_port(text: &str) -> Result<(String, u16), Error> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts
        .ok_or_else(|| Error::invalid(format!("kafka.advertised = \"{text}\" is not host:port")))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

pub(crate) async fn wait_for_signal() -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e| Error::storage(format!("signals cannot be received: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn open_gateway(
    settings: &ServeSettings,
    engine: &Engine,
    env: &Env,
) -> Result<Gateway, Error> {
    let tls = link_tls(&settings.gateway)?;
    let catalog = engine.catalog();
    let cluster = catalog.cluster();
    tls.check_own(&cluster.name, Some(cluster.id))?;
    let directory = known_gateways(settings.clusters.clone());
    let gateway = GatewaySettings {
        listen: settings.gateway.listen,
        dns: settings.gateway.dns()?,
        ..GatewaySettings::default()
    };
    Gateway::start(env.clone(), engine.clone(), tls, directory, gateway).await
}

fn link_tls(files: &GatewayListener) -> Result<LinkTls, Error> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|e| Error::storage(format!("{}: {e}", path.display())))
    };
    let own = CertificatePem { certificate: read(&files.certificate)?, key: read(&files.key)? };
    LinkTls::from_pem(&read(&files.ca)?, &own)
}

/// The gateways of clusters as `clusters.toml` has them at the moment of asking.
fn known_gateways(file: Option<PathBuf>) -> Directory {
    Arc::new(move |name: &ClusterName| {
        // A list that cannot be read is as good as none: links say that they know no gateway.
        let clusters =
            file.as_deref().map(Clusters::load).unwrap_or_else(|| Ok(Default::default()));
        let clusters = clusters.unwrap_or_default();
        clusters.find(name).map(|cluster| cluster.gateways.clone()).unwrap_or_default()
    })
}

async fn open_admin(
    settings: &ServeSettings,
    engine: &Engine,
    env: &Env,
    gateway: &Gateway,
) -> Result<OpenAdminDoor, Error> {
    let door = AdminSettings {
        creator: creator(),
        node_address: settings.kafka.listen.to_string(),
        insecure: settings.insecure,
    };
    let door = AdminDoor::new(engine.clone(), gateway.links(), env.clone(), door);
    door.open(settings.admin.listen).await
}

/// Whom a new stream's permissions name: until users are authenticated, whoever runs the server.
fn creator() -> String {
    std::env::var("USER").unwrap_or_else(|_| "mainstem".into())
}
