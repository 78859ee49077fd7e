//! The names under which stock Kafka clients see a stream's topics.

use std::fmt;

use crate::limits::KAFKA_NAME_LENGTH_MAX;
use crate::{ClusterName, Error, StreamPath, TopicName};

/// A topic's name on the wire: the stream's path with `/` as `.`, then `.topic`. `/` and `:` are
/// illegal in Kafka topic names, so the original's `/stream:topic` cannot be used there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaName(String);

impl KafkaName {
    /// The name of `topic` in the stream at `path`; refused when clients would not take it.
    pub fn of(path: &StreamPath, topic: &TopicName) -> Result<Self, Error> {
        let name = format!("{}{topic}", Self::prefix(path));
        if name.len() > KAFKA_NAME_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "the Kafka name {name} would be longer than {KAFKA_NAME_LENGTH_MAX} characters; \
                 shorten the path or the topic"
            )));
        }
        Ok(Self(name))
    }

    /// What the names of all topics of a stream begin with: `/apps/orders` → `apps.orders.`.
    pub fn prefix(path: &StreamPath) -> String {
        let mut prefix = path.as_str()[1..].replace('/', ".");
        prefix.push('.');
        prefix
    }

    /// The original's way to write a topic, `/path/stream:topic`, also with this cluster's name
    /// before it. `None` if `text` is not of that form or names another cluster.
    pub fn parse_path(text: &str, here: &ClusterName) -> Option<(StreamPath, TopicName)> {
        let (stream, topic) = text.split_once(':')?;
        let stream: crate::StreamRef = stream.parse().ok()?;
        if stream.cluster.as_ref().is_some_and(|cluster| cluster != here) {
            return None;
        }
        Some((stream.path, topic.parse().ok()?))
    }

    /// The name as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KafkaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for KafkaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_prefix() {
        let path: StreamPath = "/apps/orders".parse().unwrap();
        let name = KafkaName::of(&path, &"new".parse().unwrap()).unwrap();
        assert_eq!(name.as_str(), "apps.orders.new");
        let long: TopicName = "t".repeat(240).parse().unwrap();
        assert!(KafkaName::of(&path, &long).is_err());
    }

    #[test]
    fn the_original_form_is_understood() {
        let here: ClusterName = "newyork".parse().unwrap();
        let parse = |text| KafkaName::parse_path(text, &here).map(|(p, t)| format!("{p} {t}"));
        assert_eq!(parse("/apps/orders:new").unwrap(), "/apps/orders new");
        assert_eq!(parse("/mapr/newyork/a:t").unwrap(), "/a t");
        assert_eq!(parse("/mapr/elsewhere/a:t"), None);
        assert_eq!(parse("a.t"), None);
    }
}
