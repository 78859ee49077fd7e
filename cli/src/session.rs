//! What a command needs to be carried out: the known clusters, and a way to ask them.

use std::path::Path;

use mainstem_api::{CommandSpec, Kind, Row, find_command};
use mainstem_env::SystemClock;
use mainstem_types::{Error, StreamRef};
use serde_json::Value;

use crate::client::{Client, Refusal};
use crate::clusters::{Clusters, KnownCluster};

/// All that a command needs to be carried out.
pub(crate) struct Session {
    pub(crate) clusters: Clusters,
    pub(crate) client: Client,
    pub(crate) clock: SystemClock,
}

impl Session {
    pub(crate) fn open(home: &Path) -> Result<Self, Error> {
        Ok(Self {
            clusters: Clusters::load(&Clusters::file(home))?,
            client: Client::new(),
            clock: SystemClock::new(),
        })
    }

    /// The cluster that `-cluster` or the stream's path names, or the first known one.
    pub(crate) fn choose_cluster(
        &self,
        command: &CommandSpec,
        pairs: &[(String, String)],
    ) -> Result<&KnownCluster, Error> {
        let by_flag = value(pairs, "cluster");
        let path = command
            .flags
            .first()
            .filter(|flag| flag.name == "path" || flag.kind == Kind::Stream)
            .and_then(|flag| value(pairs, flag.name));
        let by_path = path
            .and_then(|path| path.strip_prefix("/mapr/"))
            .map(|rest| rest.split('/').next().unwrap_or_default());
        match (by_flag, by_path) {
            (Some(flag), Some(path)) if flag != path => Err(Error::invalid(format!(
                "-cluster says {flag}, but the path is in {path}; leave -cluster out"
            ))),
            (None, None) => self.clusters.first(),
            (named, other) => self.clusters.find(&named.or(other).unwrap_or_default().parse()?),
        }
    }

    /// The cluster of a stream that was named in full.
    pub(crate) fn cluster_of(&self, stream: &StreamRef) -> Result<&KnownCluster, Error> {
        match &stream.cluster {
            Some(cluster) => self.clusters.find(cluster),
            None => self.clusters.first(),
        }
    }
}

/// Streams that were named without a cluster are in this one.
pub(crate) fn name_clusters(
    command: &CommandSpec,
    pairs: &mut [(String, String)],
    here: &str,
) -> Result<(), Error> {
    for (name, value) in pairs {
        if command.flag(name).is_some_and(|flag| flag.kind == Kind::Stream) {
            let mut stream: StreamRef = value.parse()?;
            stream.cluster = Some(stream.cluster.map_or_else(|| here.parse(), Ok)?);
            *value = stream.to_string();
        }
    }
    Ok(())
}

/// The value of a flag.
pub(crate) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
}

/// The stream that a flag names.
pub(crate) fn stream(pairs: &[(String, String)], name: &str) -> Result<StreamRef, Error> {
    value(pairs, name).unwrap_or_default().parse()
}

/// `stream info` of a stream, at its own cluster.
pub(crate) fn info(session: &Session, of: &StreamRef) -> Result<Row, Refusal> {
    let there = session.cluster_of(of)?;
    let command = find_command(&["stream", "info"])?;
    let path = vec![("path".to_owned(), of.to_string())];
    first(session.client.ask(there, command, &path)?)
}

pub(crate) fn first(rows: Vec<Row>) -> Result<Row, Refusal> {
    let row = rows.into_iter().next();
    row.ok_or_else(|| Error::corrupt("the server answered nothing where a row belongs").into())
}

/// The text of a row's value.
pub(crate) fn text(row: &Row, key: &str) -> String {
    row.get(key).map(plain).unwrap_or_default()
}

pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
