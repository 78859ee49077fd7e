//! Which topic a Kafka name means. Every name has at most one meaning: a topic's stream is always
//! the one with the longest prefix of the name, and what would break that is refused.

use std::sync::Arc;

use mainstem_types::{Error, KafkaName, StreamPath, TopicName};

use crate::{Catalog, Stream, Topic};

/// What a name stands for within its stream.
#[derive(Clone, Debug, PartialEq)]
pub enum ResolvedTopic {
    /// A topic that exists.
    Existing(Arc<Topic>),
    /// None yet; it would have this name.
    Missing(TopicName),
}

impl Catalog {
    /// The stream, and the topic in it, that a client means by `name`: `apps.orders.new`,
    /// `/apps/orders:new` or `/mapr/<this cluster>/apps/orders:new`. `None` when no stream fits.
    pub fn resolve(&self, name: &str) -> Option<(&Arc<Stream>, ResolvedTopic)> {
        let (stream, topic) = if name.contains([':', '/']) {
            let (path, topic) = KafkaName::parse_path(name, &self.cluster.name)?;
            (self.stream_at(&path)?, topic)
        } else {
            let stream = self.longest_prefix(name)?;
            let bare = &name[KafkaName::prefix(&stream.path).len()..];
            (stream, bare.parse().ok()?)
        };
        Some(match stream.topic(&topic) {
            Some(found) => (stream, ResolvedTopic::Existing(found.clone())),
            None => (stream, ResolvedTopic::Missing(topic)),
        })
    }

    /// The stream with the longest prefix that leaves something of `name` for the topic.
    fn longest_prefix(&self, name: &str) -> Option<&Arc<Stream>> {
        name.rmatch_indices('.')
            .filter(|(at, _)| at + 1 < name.len())
            .find_map(|(at, _)| self.prefixes.get(&name[..at]))
            .map(|id| &self.streams[id])
    }

    /// Refuses a topic whose Kafka name is too long or means something in another stream.
    pub(crate) fn check_topic_name(&self, stream: &Stream, name: &TopicName) -> Result<(), Error> {
        let kafka = KafkaName::of(&stream.path, name)?;
        match self.longest_prefix(kafka.as_str()) {
            Some(rival) if rival.id != stream.id => Err(Error::policy(format!(
                "the Kafka name {kafka} would have two meanings, since {} is a stream too; \
                 choose another topic name",
                rival.path
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses a path whose topics would have names that mean something in another stream.
    pub(crate) fn check_stream_names(&self, path: &StreamPath) -> Result<(), Error> {
        let dotted = dotted(path);
        if let Some(id) = self.prefixes.get(&dotted) {
            return Err(Error::policy(format!(
                "topics of {path} and of {} would have the same Kafka names {dotted}.…; \
                 choose another path",
                self.streams[id].path
            )));
        }
        for (at, _) in dotted.match_indices('.') {
            let Some(id) = self.prefixes.get(&dotted[..at]) else { continue };
            let shorter = &self.streams[id];
            let start = format!("{}.", &dotted[at + 1..]);
            // Names are ordered as text, so those with the prefix follow one another.
            let taken = match start.parse::<TopicName>() {
                Ok(from) => shorter.topics.range(from..).next().map(|(name, _)| name),
                Err(_) => shorter.topics.keys().find(|name| name.as_str().starts_with(&start)),
            };
            let taken = taken.filter(|name| name.as_str().starts_with(&start));
            if let Some(topic) = taken {
                return Err(Error::policy(format!(
                    "the Kafka name {} is topic {topic} of {}, and would have two meanings with \
                     a stream at {path}; choose another path",
                    format_args!("{}.{topic}", &dotted[..at]),
                    shorter.path
                )));
            }
        }
        Ok(())
    }
}

/// `/apps/orders` → `apps.orders`.
pub(crate) fn dotted(path: &StreamPath) -> String {
    let mut prefix = KafkaName::prefix(path);
    prefix.pop();
    prefix
}
