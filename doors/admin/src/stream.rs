//! `stream create|edit|info|list|delete`.

use mainstem_access::Ace;
use mainstem_api::{Arguments, Row};
use mainstem_catalog::{Catalog, Command, LAG_ALARM_SECONDS, Stream, StreamSettings};
use mainstem_types::{Error, KafkaName};
use serde_json::{Value, json};

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::settings::stream_patch;

impl AdminDoor {
    pub(crate) async fn create_stream(&self, arguments: &Arguments) -> Answer {
        let path = self.local_path(arguments, "path")?;
        let catalog = self.engine.catalog();
        let mut settings = match arguments.text("copymetafrom") {
            Some(_) => self.settings_from(&catalog, arguments)?,
            None => self.default_settings(arguments),
        };
        settings = stream_patch(arguments)?.applied_to(&settings);
        settings.is_changelog = arguments.boolean("ischangelog").unwrap_or(settings.is_changelog);
        self.engine.change(Command::CreateStream { path, id: None, settings }).await?;
        Ok(Vec::new())
    }

    /// The original's defaults: everything is its creator's.
    fn default_settings(&self, arguments: &Arguments) -> StreamSettings {
        let creator = arguments.text("creator").unwrap_or(&self.settings.creator);
        let mine = Ace::user(creator).to_string();
        // A name that no expression can hold gives nobody access, rather than somebody else.
        let mine = if mine.parse::<Ace>().is_ok() { mine } else { String::new() };
        StreamSettings {
            produceperm: mine.clone(),
            consumeperm: mine.clone(),
            topicperm: mine.clone(),
            copyperm: mine.clone(),
            adminperm: mine,
            ..StreamSettings::default()
        }
    }

    /// `-copymetafrom` a stream of this cluster.
    fn settings_from(
        &self,
        catalog: &Catalog,
        arguments: &Arguments,
    ) -> Result<StreamSettings, Error> {
        let from = self.place(catalog, arguments, "copymetafrom")?;
        if from.cluster != catalog.cluster().name {
            return Err(Error::unsupported(format!(
                "{from} is in another cluster, which this one does not ask; use the command line, \
                 or give the settings as flags"
            )));
        }
        let settings = catalog.expect_stream_at(&from.path)?.settings.clone();
        Ok(StreamSettings { compact: false, ..settings })
    }

    pub(crate) async fn edit_stream(&self, arguments: &Arguments) -> Answer {
        if arguments.boolean("force") == Some(true) && arguments.text("compact").is_none() {
            return Err(Error::invalid("-force goes with -compact only; leave it out"));
        }
        let path = self.local_path(arguments, "path")?;
        let patch = stream_patch(arguments)?;
        self.engine.change(Command::EditStream { path, patch }).await?;
        Ok(Vec::new())
    }

    pub(crate) async fn delete_stream(&self, arguments: &Arguments) -> Answer {
        let path = self.local_path(arguments, "path")?;
        self.engine.change(Command::DeleteStream { path }).await?;
        Ok(Vec::new())
    }

    pub(crate) fn stream_info(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let mut row = info_row(&stream);
        let bytes = self.stream_bytes(&stream)?;
        row.insert("physicalsize".to_owned(), json!(bytes));
        row.insert("logicalsize".to_owned(), json!(bytes));
        let all = stream.topics.values().flat_map(|topic| self.partitions(topic));
        let removed = all.map(|partition| partition.removed_by_compaction());
        let (records, bytes) =
            removed.fold((0, 0), |(records, bytes), (r, b)| (records + r, bytes + b));
        row.insert("recordscompacted".to_owned(), json!(records));
        row.insert("bytescompacted".to_owned(), json!(bytes));
        Ok(vec![row])
    }

    fn stream_bytes(&self, stream: &Stream) -> Result<u64, Error> {
        let mut bytes = 0;
        for topic in stream.topics.values() {
            bytes += self.topic_bytes(topic)?;
        }
        Ok(bytes)
    }

    pub(crate) fn list_streams(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let below = arguments.text("path").unwrap_or("/");
        let here = format!("/mapr/{}", catalog.cluster().name);
        let below = below.strip_prefix(&here).unwrap_or(below).trim_end_matches('/');
        let is_below = |stream: &&std::sync::Arc<Stream>| {
            let rest = stream.path.as_str().strip_prefix(below);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let row = |stream: &std::sync::Arc<Stream>| {
            row(json!({
                "path": stream.path.as_str(),
                "uuid": stream.id.to_string(),
                "numtopics": stream.topics.len(),
                "numreplicas": stream.replicas.len(),
                "numupstreams": stream.upstreams.len(),
                "ttl": stream.settings.ttl_seconds,
            }))
        };
        Ok(catalog.streams().filter(is_below).map(row).collect())
    }
}

pub(crate) fn info_row(stream: &Stream) -> Row {
    let settings = &stream.settings;
    row(json!({
        "path": stream.path.as_str(),
        "physicalsize": 0,
        "logicalsize": 0,
        "numtopics": stream.topics.len(),
        "defaultpartitions": settings.default_partitions,
        "ttl": settings.ttl_seconds,
        "compression": settings.compression.to_string(),
        "autocreate": settings.autocreate,
        "produceperm": settings.produceperm,
        "consumeperm": settings.consumeperm,
        "topicperm": settings.topicperm,
        "copyperm": settings.copyperm,
        "adminperm": settings.adminperm,
        "ischangelog": settings.is_changelog,
        "defaulttimestamptype": settings.default_timestamp_type.to_string(),
        "compact": settings.compact,
        "mincompactionlagms": settings.min_compaction_lag_ms,
        "deleteretentionms": settings.delete_retention_ms,
        "recordscompacted": 0,
        "bytescompacted": 0,
        "pidexpirysecs": settings.pid_expiry_seconds,
        "repllagsecalarmthresh": settings.lag_alarm_seconds.unwrap_or(LAG_ALARM_SECONDS),
        "uuid": stream.id.to_string(),
        "numreplicas": stream.replicas.len(),
        "numupstreams": stream.upstreams.len(),
        "kafkaprefix": KafkaName::prefix(&stream.path),
    }))
}

/// A row from JSON that is an object.
pub(crate) fn row(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
        other => unreachable!("rows are written as objects, not {other}"),
    }
}
