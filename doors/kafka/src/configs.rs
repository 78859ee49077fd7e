//! Settings of topics and of the broker, in Kafka's words.

use mainstem_types::TimestampType;
use mainstem_types::limits::BATCH_BYTES_MAX;
use mainstem_wire::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, KafkaError,
};

use crate::answer::Refusal;
use crate::context::Context;
use crate::distinct::distinct;
use crate::names::Found;

pub(crate) const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The topic's own setting.
const SOURCE_TOPIC: i8 = 1;
/// The broker's file.
const SOURCE_STATIC_BROKER: i8 = 4;
/// Nobody has set it.
const SOURCE_DEFAULT: i8 = 5;

/// Decides whose clock stamps records; kept as a property of the topic.
pub(crate) const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Text,
    Int,
    Long,
    Double,
    List,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Some of some words, with commas between them.
    Words(&'static [&'static str]),
}

/// Where a topic's setting comes from when the topic does not say.
#[derive(Clone, Copy, Debug)]
enum Fallback {
    Fixed(&'static str),
    Cleanup,
    DeleteRetention,
    MaxBatchBytes,
    MinCompactionLag,
    Retention,
    Timestamps,
}

const FOREVER: &str = "9223372036854775807";
const DELETE: &str = "delete";
const COMPACT: &str = "compact";

/// The settings that a topic can have. Those which change nothing here are kept and shown, since
/// programs that create topics set them and then look whether they took.
const TOPIC_CONFIGS: &[(&str, Kind, Fallback)] = {
    use Fallback::{
        Cleanup, DeleteRetention, Fixed, MaxBatchBytes, MinCompactionLag, Retention, Timestamps,
    };
    use Kind::{Boolean, Double, Int, List, Long, Text, Word, Words};
    &[
        ("cleanup.policy", Words(&[DELETE, COMPACT]), Cleanup),
        (
            "compression.type",
            Word(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
            Fixed("producer"),
        ),
        ("delete.retention.ms", Long, DeleteRetention),
        ("file.delete.delay.ms", Long, Fixed("60000")),
        ("flush.messages", Long, Fixed("1")),
        ("flush.ms", Long, Fixed("0")),
        ("follower.replication.throttled.replicas", List, Fixed("")),
        ("index.interval.bytes", Int, Fixed("4096")),
        ("leader.replication.throttled.replicas", List, Fixed("")),
        ("local.retention.bytes", Long, Fixed("-2")),
        ("local.retention.ms", Long, Fixed("-2")),
        ("max.compaction.lag.ms", Long, Fixed(FOREVER)),
        ("max.message.bytes", Int, MaxBatchBytes),
        ("message.downconversion.enable", Boolean, Fixed("false")),
        ("message.format.version", Text, Fixed("3.0-IV1")),
        ("message.timestamp.after.max.ms", Long, Fixed(FOREVER)),
        ("message.timestamp.before.max.ms", Long, Fixed(FOREVER)),
        ("message.timestamp.difference.max.ms", Long, Fixed(FOREVER)),
        (TIMESTAMP_TYPE, Word(&["CreateTime", "LogAppendTime"]), Timestamps),
        ("min.cleanable.dirty.ratio", Double, Fixed("0.5")),
        ("min.compaction.lag.ms", Long, MinCompactionLag),
        ("min.insync.replicas", Int, Fixed("1")),
        ("preallocate", Boolean, Fixed("true")),
        ("remote.storage.enable", Boolean, Fixed("false")),
        ("retention.bytes", Long, Fixed("-1")),
        ("retention.ms", Long, Retention),
        ("segment.bytes", Int, Fixed("268435456")),
        ("segment.index.bytes", Int, Fixed("10485760")),
        ("segment.jitter.ms", Long, Fixed("0")),
        ("segment.ms", Long, Fixed("604800000")),
        ("unclean.leader.election.enable", Boolean, Fixed("false")),
    ]
};

/// What the broker says of itself. `inter.broker.protocol.version` tells tools which pages to show.
const BROKER_CONFIGS: &[(&str, Kind, &str)] = &[
    ("auto.create.topics.enable", Kind::Boolean, "true"),
    ("compression.type", Kind::Text, "producer"),
    ("default.replication.factor", Kind::Int, "1"),
    ("delete.topic.enable", Kind::Boolean, "true"),
    ("inter.broker.protocol.version", Kind::Text, "3.9"),
    ("log.cleanup.policy", Kind::List, DELETE),
    ("log.retention.ms", Kind::Long, "604800000"),
    ("min.insync.replicas", Kind::Int, "1"),
    ("num.partitions", Kind::Int, "1"),
    ("offsets.topic.replication.factor", Kind::Int, "1"),
];

impl Kind {
    /// Kafka's number for the type.
    const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Text | Self::Word(_) => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List | Self::Words(_) => 7,
        }
    }

    fn allows(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Text | Self::List => true,
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            Self::Double => value.parse::<f64>().is_ok(),
            Self::Word(words) => words.contains(&value),
            Self::Words(words) => value.split(',').all(|word| words.contains(&word.trim())),
        }
    }
}

/// One setting of a topic.
pub(crate) struct TopicConfig {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: i8,
    kind: Kind,
}

/// Whether topics have this setting, or a sentence that says so.
pub(crate) fn check_topic_config_name(name: &str) -> Result<(), String> {
    kind_of(name).map(drop)
}

/// Whether a topic may be given this setting, or a sentence that says why not.
pub(crate) fn check_topic_config(name: &str, value: &str) -> Result<(), String> {
    let kind = kind_of(name)?;
    if kind.allows(value) { Ok(()) } else { Err(format!("{name} cannot be \"{value}\"")) }
}

fn kind_of(name: &str) -> Result<Kind, String> {
    let known = TOPIC_CONFIGS.iter().find(|(known, ..)| *known == name);
    known.map(|(_, kind, _)| *kind).ok_or_else(|| format!("topics have no setting {name}"))
}

/// Whether a setting is a list, of which words may be added and taken away.
pub(crate) fn is_list(name: &str) -> bool {
    matches!(kind_of(name), Ok(Kind::List | Kind::Words(_)))
}

/// All settings of a topic: its own, else its stream's, else Kafka's defaults as they hold here.
pub(crate) fn topic_configs(found: &Found) -> Vec<TopicConfig> {
    let configs = TOPIC_CONFIGS.iter().map(|(name, kind, fallback)| {
        let own = found.topic.config.get(*name).cloned();
        let source = if own.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT };
        let value = own.unwrap_or_else(|| fallback.value(found));
        TopicConfig { name, value, source, kind: *kind }
    });
    configs.collect()
}

impl Fallback {
    fn value(self, found: &Found) -> String {
        let settings = &found.stream.settings;
        match self {
            Self::Fixed(value) => value.to_owned(),
            // A stream's time to live goes on to hold when it is compacted.
            Self::Cleanup => match (settings.compact, settings.ttl_seconds) {
                (true, 0) => COMPACT.to_owned(),
                (true, _) => format!("{COMPACT},{DELETE}"),
                (false, _) => DELETE.to_owned(),
            },
            Self::DeleteRetention => settings.delete_retention_ms.to_string(),
            Self::MaxBatchBytes => BATCH_BYTES_MAX.to_string(),
            Self::MinCompactionLag => settings.min_compaction_lag_ms.to_string(),
            Self::Retention => match settings.ttl_seconds {
                0 => "-1".to_owned(),
                seconds => seconds.saturating_mul(1000).min(i64::MAX as u64).to_string(),
            },
            Self::Timestamps => match found.topic.timestamp_type {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            }
            .to_owned(),
        }
    }
}

pub(crate) fn handle(ctx: &Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let key = |of: &DescribeConfigsResource| (of.resource_type, of.resource_name.clone());
    let resources = distinct(request.resources, key);
    let results = resources.into_iter().map(|resource| {
        let described = match resource.resource_type {
            TOPIC => topic(ctx, &resource),
            BROKER => broker(ctx, &resource),
            other => {
                Err((KafkaError::InvalidRequest, format!("resources of type {other} have none")))
            }
        };
        let (error_code, error_message, configs) = match described {
            Ok(configs) => (0, None, configs),
            Err((error, sentence)) => (error.code(), Some(sentence), Vec::new()),
        };
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

fn topic(
    ctx: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let catalog = ctx.node.catalog();
    let found = ctx.names(&catalog).resolve(&resource.resource_name).found().ok_or_else(|| {
        let sentence = format!("there is no topic {} here", resource.resource_name);
        (KafkaError::UnknownTopicOrPartition, sentence)
    })?;
    let configs = topic_configs(&found).into_iter().filter(|c| resource.asks_for(c.name));
    let configs =
        configs.map(|config| entry(config.name, config.value, config.source, config.kind, false));
    Ok(configs.collect())
}

fn broker(
    ctx: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let node_id = ctx.node.node_id();
    // An empty name asks for what holds for all brokers: nothing is set so.
    if resource.resource_name.is_empty() {
        return Ok(Vec::new());
    }
    if resource.resource_name.parse() != Ok(node_id) {
        let sentence = format!("there is no broker {}; this is {node_id}", resource.resource_name);
        return Err((KafkaError::InvalidRequest, sentence));
    }
    let own = [
        ("broker.id", Kind::Int, node_id.to_string()),
        (
            "advertised.listeners",
            Kind::Text,
            format!("PLAINTEXT://{}:{}", ctx.listener.host, ctx.listener.port),
        ),
        ("message.max.bytes", Kind::Int, BATCH_BYTES_MAX.to_string()),
    ];
    let own = own.into_iter().map(|(n, k, v)| entry(n, v, SOURCE_STATIC_BROKER, k, true));
    let fixed = BROKER_CONFIGS
        .iter()
        .map(|(name, kind, value)| entry(name, (*value).to_owned(), SOURCE_DEFAULT, *kind, true));
    Ok(own.chain(fixed).filter(|config| resource.asks_for(&config.name)).collect())
}

trait AsksFor {
    fn asks_for(&self, name: &str) -> bool;
}

impl AsksFor for DescribeConfigsResource {
    fn asks_for(&self, name: &str) -> bool {
        let keys = self.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|key| key == name))
    }
}

fn entry(
    name: &str,
    value: String,
    config_source: i8,
    kind: Kind,
    read_only: bool,
) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: Some(value),
        read_only,
        config_source,
        config_type: kind.code(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_by_their_kind() {
        for (name, good, bad) in [
            ("cleanup.policy", "compact,delete", "burn"),
            ("retention.ms", "-1", "a week"),
            ("preallocate", "true", "yes"),
            (TIMESTAMP_TYPE, "LogAppendTime", "logappend"),
        ] {
            assert_eq!(check_topic_config(name, good), Ok(()));
            assert!(check_topic_config(name, bad).is_err(), "{name}={bad}");
        }
        assert!(check_topic_config("no.such.setting", "1").is_err());
    }

    #[test]
    fn every_fixed_default_is_allowed() {
        for (name, kind, fallback) in TOPIC_CONFIGS {
            if let Fallback::Fixed(value) = fallback {
                assert!(kind.allows(value), "{name}={value}");
            }
        }
    }
}
