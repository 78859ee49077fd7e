//! Asking a cluster's admin door.

use std::time::Duration;

use bytes::Bytes;
use mainstem_api::{CommandSpec, Envelope, Failure, Method, Row};
use mainstem_types::{Error, ErrorKind};

use crate::clusters::KnownCluster;

/// Far above the longest answer.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a command failed: here, or at the server, which gives the number that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: i64,
    pub(crate) message: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { errno: error.kind().errno().into(), message: error.message().to_owned() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { errno: failure.id, message: failure.desc }
    }
}

impl Refusal {
    /// Whether what was named is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.errno == i64::from(ErrorKind::NotFound.errno())
    }

    /// Whether what is stored is damaged, which says nothing of what is stored elsewhere.
    pub(crate) fn is_damage(&self) -> bool {
        let damage = [ErrorKind::Corrupt, ErrorKind::Storage].map(|kind| i64::from(kind.errno()));
        damage.contains(&self.errno)
    }

    /// Whether the cluster could not be reached.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.errno == i64::from(ErrorKind::Unreachable.errno())
    }
}

pub(crate) struct Client {
    agent: ureq::Agent,
}

impl Client {
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        Self { agent: config.into() }
    }

    /// The rows that the cluster answers.
    pub(crate) fn ask(
        &self,
        cluster: &KnownCluster,
        command: &CommandSpec,
        pairs: &[(String, String)],
    ) -> Result<Vec<Row>, Refusal> {
        rows(self.envelope(cluster, command, pairs)?)
    }

    /// Batches of a partition, as they are kept.
    pub(crate) fn read_data(
        &self,
        cluster: &KnownCluster,
        query: &[(String, String)],
    ) -> Result<Bytes, Refusal> {
        let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let answer = self.agent.get(&data_url(cluster)).query_pairs(query).call();
        let mut answer = answer.map_err(|error| unreachable(cluster, &error))?;
        let kind = answer.headers().get("content-type");
        let is_data = kind.is_some_and(|kind| kind.as_bytes() == b"application/octet-stream");
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| unreachable(cluster, &error))?;
        if is_data {
            return Ok(body.into());
        }
        rows(parse(cluster, &body)?).map(|_| Bytes::new())
    }

    /// Appends batches to a partition.
    pub(crate) fn write_data(
        &self,
        cluster: &KnownCluster,
        query: &[(String, String)],
        batches: &[u8],
    ) -> Result<Vec<Row>, Refusal> {
        let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = self.agent.post(&data_url(cluster)).query_pairs(query);
        let answer = request.content_type("application/octet-stream").send(batches);
        let mut answer = answer.map_err(|error| unreachable(cluster, &error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| unreachable(cluster, &error))?;
        rows(parse(cluster, &body)?)
    }

    fn envelope(
        &self,
        cluster: &KnownCluster,
        command: &CommandSpec,
        pairs: &[(String, String)],
    ) -> Result<Envelope, Error> {
        let url = format!("http://{}{}", cluster.admin, command.rest_path());
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let answer = match command.method {
            Method::Get => self.agent.get(&url).query_pairs(pairs).call(),
            Method::Post => self.agent.post(&url).send_form(pairs),
        };
        let mut answer = answer.map_err(|error| unreachable(cluster, &error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| unreachable(cluster, &error))?;
        parse(cluster, &body)
    }
}

fn data_url(cluster: &KnownCluster) -> String {
    format!("http://{}/rest/stream/data", cluster.admin)
}

fn parse(cluster: &KnownCluster, body: &[u8]) -> Result<Envelope, Error> {
    Envelope::parse(body).map_err(|_| {
        Error::corrupt(format!(
            "{} does not answer as the admin door of {} does; see clusters.toml",
            cluster.admin, cluster.name
        ))
    })
}

fn rows(envelope: Envelope) -> Result<Vec<Row>, Refusal> {
    envelope.outcome.map_err(|failures| {
        failures.into_iter().next().map_or_else(
            || Error::corrupt("the server refused and gave no reason").into(),
            Refusal::from,
        )
    })
}

fn unreachable(cluster: &KnownCluster, error: &ureq::Error) -> Error {
    let reason = match error {
        ureq::Error::Timeout(_) => " (it does not answer in time)",
        _ => "",
    };
    Error::unreachable(format!(
        "cannot reach {} at {}{reason}; start it with `mainstem dev start {}`",
        cluster.name, cluster.admin, cluster.name
    ))
}
