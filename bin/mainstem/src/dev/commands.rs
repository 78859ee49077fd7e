//! The verbs of `mainstem dev`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use mainstem_cli::Clusters;
use mainstem_env::Env;
use mainstem_types::{ClusterName, Error};

use super::{Claim, Dev, NewClusters};
use crate::local_http;

/// How long a server may take to answer; two seconds are usual at most.
const READY_MS_MAX: u64 = 20_000;
const POLL: Duration = Duration::from_millis(10);
/// How long one question after its health may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Clusters on this machine, each a server process of its own
#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Make clusters if need be, start them, and wait until they answer
    Up {
        /// Names, with commas between them; the first takes ports 9092, 7660 and 8443, each next
        /// one 100 more [default: the clusters made before, else sanfrancisco,newyork]
        #[arg(long, value_delimiter = ',')]
        clusters: Vec<String>,
        /// Where new clusters keep their data [default: below $MAINSTEM_HOME/dev]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// How new clusters get their ports
        #[arg(long, value_enum, default_value = "documented")]
        ports: PortChoice,
    },
    /// Show what runs, and where
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Kill a cluster's server as a power cut would (kill -9)
    Kill {
        /// The cluster
        name: String,
    },
    /// Start a cluster that was killed or stopped
    Start {
        /// The cluster
        name: String,
    },
    /// Stop all clusters in good order; data stays
    Down,
    /// Stop all clusters and remove them with their data
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortChoice {
    /// 9092, 7660, 8443 and so on
    Documented,
    /// Any that are free
    Auto,
}

/// Carries out a verb and returns what to print.
pub(crate) fn run(command: DevCommand, env: Env) -> Result<String, Error> {
    let dev = Dev::new(Clusters::home()?, env);
    match command {
        DevCommand::Up { clusters, data, ports } => {
            let names = dev.names_or_default(clusters)?;
            let free_ports = ports == PortChoice::Auto;
            dev.up(&NewClusters { names: &names, data: data.as_deref(), free_ports })?;
            dev.print_status(false)
        }
        DevCommand::Status { json } => dev.print_status(json),
        DevCommand::Kill { name } => dev.kill(&name),
        DevCommand::Start { name } => {
            dev.start(&[name])?;
            dev.print_status(false)
        }
        DevCommand::Down => dev.down(),
        DevCommand::Reset => {
            dev.down()?;
            dev.remove_all()?;
            Ok("all dev clusters and their data are removed".into())
        }
    }
}

impl Dev {
    fn names_or_default(&self, names: Vec<String>) -> Result<Vec<ClusterName>, Error> {
        let mut names = if names.is_empty() { self.names()? } else { names };
        if names.is_empty() {
            names = vec!["sanfrancisco".into(), "newyork".into()];
        }
        names.iter().map(|name| name.parse()).collect()
    }

    /// Makes and starts clusters. Who stops and starts them again keeps the claims to their ports.
    pub(crate) fn up(&self, new: &NewClusters<'_>) -> Result<Vec<Claim>, Error> {
        let claims = self.prepare(new)?;
        let names: Vec<_> = new.names.iter().map(ToString::to_string).collect();
        self.start(&names)?;
        Ok(claims)
    }

    /// Starts what does not run, all at once, and waits until each answers.
    pub(crate) fn start(&self, names: &[String]) -> Result<(), Error> {
        for name in names {
            self.settings(name)?;
            if self.process(name).pid().is_none() {
                self.process(name).spawn()?;
            }
        }
        names.iter().try_for_each(|name| self.wait_ready(name))
    }

    fn wait_ready(&self, name: &str) -> Result<(), Error> {
        let settings = self.settings(name)?;
        let process = self.process(name);
        let begun_ms = self.env.clock.monotonic_ms();
        let health = format!("http://{}/health", settings.admin.listen);
        let agent = local_http::agent(HEALTH_TIMEOUT);
        let why = loop {
            if agent.get(&health).call().is_ok() {
                return Ok(());
            }
            if process.reap().is_none() {
                break "it has ended";
            }
            if self.env.clock.monotonic_ms() - begun_ms > READY_MS_MAX {
                break "it runs but does not answer";
            }
            std::thread::sleep(POLL);
        };
        Err(Error::retry(format!(
            "{name} does not come up: {why}; its log, {}, ends:\n{}",
            process.log().display(),
            process.log_tail()
        )))
    }

    /// A power cut for one cluster.
    pub(crate) fn kill(&self, name: &str) -> Result<String, Error> {
        self.settings(name)?;
        if self.process(name).kill(&*self.env.clock)? {
            Ok(format!("{name} was killed; start it again with: mainstem dev start {name}"))
        } else {
            Err(Error::not_found(format!("{name} does not run; mainstem dev start {name}")))
        }
    }

    /// Stops everything in good order.
    pub(crate) fn down(&self) -> Result<String, Error> {
        let mut stopped = 0;
        for name in self.names()? {
            stopped += usize::from(self.process(&name).terminate(&*self.env.clock)?);
        }
        Ok(format!("{stopped} stopped"))
    }
}
