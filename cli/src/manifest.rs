//! What an export says of itself: `manifest.json`, written first as unfinished and last as whole.

use std::collections::BTreeMap;
use std::path::Path;

use mainstem_api::{Row, find_command};
use mainstem_types::{Error, ErrorKind, StreamRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Refusal;
use crate::session::{Session, first};

/// The version of the format.
const FORMAT: u32 = 1;
/// A manifest of ten thousand topics is a tenth of this.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A stream, or what one stream lacks of another, in a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) format: u32,
    #[serde(default)]
    pub(crate) kind: Kind,
    /// Whether everything that it names is there.
    #[serde(default)]
    pub(crate) complete: bool,
    /// `/mapr/<cluster>/<path>` of the stream.
    pub(crate) place: String,
    pub(crate) uuid: String,
    pub(crate) settings: Row,
    #[serde(default)]
    pub(crate) upstreams: Vec<UpstreamEntry>,
    pub(crate) topics: Vec<TopicEntry>,
}

/// What the directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// All that a stream kept.
    #[default]
    Export,
    /// What another stream lacked of it.
    Operations,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpstreamEntry {
    pub(crate) place: String,
    pub(crate) uuid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicEntry {
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) timestamp_type: String,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) owner: String,
    pub(crate) term_number: u64,
    pub(crate) term: String,
    pub(crate) owner_seq: u64,
    pub(crate) created_ms: i64,
    pub(crate) partitions: Vec<PartitionEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartitionEntry {
    pub(crate) log_start: i64,
    pub(crate) end: i64,
    /// Below it log compaction may have taken records; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) compacted: i64,
    pub(crate) lineage: Vec<Value>,
    /// Its file, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<FileEntry>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
const fn is_zero(offset: &i64) -> bool {
    *offset == 0
}

/// What a file must be to be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) bytes: u64,
    pub(crate) batches: u64,
    /// CRC32C over all of it.
    pub(crate) crc: u32,
}

impl Manifest {
    /// What the stream is now, as its cluster says.
    pub(crate) fn ask(session: &Session, of: &StreamRef) -> Result<Self, Refusal> {
        let there = session.cluster_of(of)?;
        let command = find_command(&["stream", "export"])?;
        let path = vec![("path".to_owned(), of.to_string())];
        let row = first(session.client.ask(there, command, &path)?)?;
        let odd =
            |error| Error::corrupt(format!("{of} is described otherwise than agreed: {error}"));
        let manifest: Self = serde_json::from_value(Value::Object(row)).map_err(odd)?;
        Ok(Self { format: FORMAT, ..manifest })
    }

    /// Reads the one in a directory; `None` if there is none.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join("manifest.json");
        let text = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, &error)),
            Ok(about) if about.len() > MANIFEST_BYTES_MAX => {
                return Err(Error::limit(format!("{} is too large for one", path.display())));
            }
            Ok(_) => std::fs::read(&path).map_err(|error| failed(&path, &error))?,
        };
        let odd = |error| {
            Error::corrupt(format!("{} is not a manifest: {error}; export again", path.display()))
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(odd)?;
        if manifest.format != FORMAT {
            return Err(Error::unsupported(format!(
                "{} has format {}, and this version reads {FORMAT}; use the version that wrote it",
                path.display(),
                manifest.format
            )));
        }
        Ok(Some(manifest))
    }

    /// Writes it, whole or not at all.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), Error> {
        let (path, new) = (folder.join("manifest.json"), folder.join("manifest.json.new"));
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::invalid(e.to_string()))?;
        let write = || {
            std::fs::write(&new, text)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| failed(&path, &error))
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&TopicEntry> {
        self.topics.iter().find(|topic| topic.name == name)
    }
}

/// The file of a partition; no topic's name has a slash, and none ends like this.
pub(crate) fn file_name(topic: &str, partition: usize) -> String {
    format!("{topic}.{partition}.kept")
}

pub(crate) fn failed(path: &Path, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_directory_refuses_has_the_errno_that_it_has_elsewhere() {
        let errno = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            failed(Path::new("out"), &error).kind().errno()
        };
        assert_eq!([13, 17, 5, 28].map(errno), [13, 17, 5, 5]);
    }
}
