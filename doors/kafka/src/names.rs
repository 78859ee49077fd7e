//! Which topic a name means on a listener, and by which name a topic is listed there.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_catalog::{Catalog, ResolvedTopic, Stream, Topic};
use mainstem_types::{KafkaName, KafkaTopicId, PartitionNo, StreamPath, TopicName};

/// A catalog as one listener shows it.
pub(crate) struct Names<'a> {
    catalog: &'a Catalog,
    /// The stream whose topics go by their bare names, if it exists.
    default: Option<&'a Arc<Stream>>,
}

/// A topic and the stream that holds it.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) stream: Arc<Stream>,
    pub(crate) topic: Arc<Topic>,
}

/// What a name stands for.
pub(crate) enum Meaning {
    Topic(Found),
    /// No topic yet, but a stream that it would be in.
    Missing(Arc<Stream>, TopicName),
    /// No stream that it could be in, or not a name.
    Nothing,
}

impl Meaning {
    pub(crate) fn found(self) -> Option<Found> {
        match self {
            Self::Topic(found) => Some(found),
            Self::Missing(..) | Self::Nothing => None,
        }
    }
}

impl<'a> Names<'a> {
    pub(crate) fn new(catalog: &'a Catalog, default: Option<&StreamPath>) -> Self {
        Self { catalog, default: default.and_then(|path| catalog.stream_at(path)) }
    }

    /// A bare name in the default stream comes first, then full names, then a topic that could be
    /// made in the stream whose prefix fits, and last one in the default stream.
    pub(crate) fn resolve(&self, name: &str) -> Meaning {
        let bare: Option<TopicName> = name.parse().ok();
        if let (Some(stream), Some(bare)) = (self.default, &bare)
            && let Some(topic) = stream.topic(bare)
        {
            return Meaning::Topic(Found { stream: stream.clone(), topic: topic.clone() });
        }
        match (self.catalog.resolve(name), self.default, bare) {
            (Some((stream, ResolvedTopic::Existing(topic))), _, _) => {
                Meaning::Topic(Found { stream: stream.clone(), topic })
            }
            (Some((stream, ResolvedTopic::Missing(name))), _, _) => {
                Meaning::Missing(stream.clone(), name)
            }
            (None, Some(stream), Some(bare)) => Meaning::Missing(stream.clone(), bare),
            (None, _, _) => Meaning::Nothing,
        }
    }

    pub(crate) fn by_id(&self, id: KafkaTopicId) -> Option<Found> {
        let (stream, topic) = self.catalog.topic_by_kafka_id(id)?;
        Some(Found { stream: stream.clone(), topic: topic.clone() })
    }

    /// The partition of a topic by name and index.
    pub(crate) fn partition(&self, name: &str, index: i32) -> Option<(Found, PartitionNo)> {
        let found = self.resolve(name).found()?;
        let no = found.partition(index)?;
        Some((found, no))
    }

    /// The one name by which a topic is listed here.
    pub(crate) fn listed(&self, found: &Found) -> String {
        if self.default.is_some_and(|stream| stream.id == found.stream.id) {
            return found.topic.name.to_string();
        }
        format!("{}{}", KafkaName::prefix(&found.stream.path), found.topic.name)
    }

    /// All topics by their listed names. A bare name shadows an equal full one, as in
    /// [`Self::resolve`].
    pub(crate) fn all(&self) -> BTreeMap<String, Found> {
        let mut all = BTreeMap::new();
        let others = self.catalog.streams().filter(|s| self.default.is_none_or(|d| d.id != s.id));
        for stream in others.chain(self.default) {
            for topic in stream.topics.values() {
                let found = Found { stream: stream.clone(), topic: topic.clone() };
                all.insert(self.listed(&found), found);
            }
        }
        all
    }
}

impl Found {
    pub(crate) fn partition(&self, index: i32) -> Option<PartitionNo> {
        self.topic.partition(u32::try_from(index).ok()?)
    }

    /// The id to give out under `asked`: zero under any name but the listed one, so that no client
    /// meets one id under two names.
    pub(crate) fn id_under(&self, asked: &str, names: &Names<'_>) -> KafkaTopicId {
        if names.listed(self) == asked { self.topic.kafka_id } else { KafkaTopicId(0) }
    }
}
