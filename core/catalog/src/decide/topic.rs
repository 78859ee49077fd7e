//! Topics that begin here.

use std::collections::BTreeMap;

use mainstem_types::limits::METADATA_LENGTH_MAX;
use mainstem_types::{CatalogSeq, Error, KafkaTopicId, OriginTopicId, StreamId, TopicName};

use super::Draw;
use super::stream::check_partition_count;
use crate::{Catalog, Command, Event, Stream, Topic, TopicPatch};

/// Configs of one topic.
const CONFIGS_MAX: usize = 64;

impl Catalog {
    pub(super) fn decide_create_topic(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let Command::CreateTopic { stream, name, partitions, timestamp_type, config } = command
        else {
            unreachable!("called for that command only")
        };
        let stream = self.expect_stream(*stream)?;
        stream.check_not_handing_over()?;
        if stream.topic(name).is_some() {
            return Err(Error::exists(format!(
                "topic {name} is already in {}; choose another name or delete it first",
                stream.path
            )));
        }
        let partitions = partitions.unwrap_or(stream.settings.default_partitions);
        check_partition_count(partitions)?;
        check_config(config)?;
        self.check_topic_name(stream, name)?;
        let origin = OriginTopicId::from_random((draw.random)());
        let seq = stream.catalog_seq.next();
        Ok(vec![Event::TopicCreated {
            stream: stream.id,
            origin,
            kafka_id: self.free_kafka_id(origin, stream.id)?,
            name: name.clone(),
            first_partition: self.cluster.next_partition,
            partitions,
            timestamp_type: timestamp_type.unwrap_or(stream.settings.default_timestamp_type),
            config: config.clone(),
            owner: stream.as_owner(),
            seq,
            owner_seq: seq,
            created_ms: draw.now_ms,
        }])
    }

    /// The topic's id for Kafka clients: its origin, unless another stream here has that already.
    pub(super) fn free_kafka_id(
        &self,
        origin: OriginTopicId,
        stream: StreamId,
    ) -> Result<KafkaTopicId, Error> {
        let candidates = [KafkaTopicId::from(origin), KafkaTopicId::derived(origin, stream)];
        candidates.into_iter().find(|id| !self.kafka_ids.contains_key(id)).ok_or_else(|| {
            Error::policy(format!("both Kafka ids of topic {origin} are taken in this cluster"))
        })
    }

    pub(super) fn decide_edit_topic(
        &self,
        stream: StreamId,
        topic: OriginTopicId,
        patch: &TopicPatch,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        let topic = stream.expect_topic(topic)?;
        stream.check_owned(topic, "change it there")?;
        stream.check_not_handing_over()?;
        let has = topic.partition_count();
        let wants = patch.partitions.unwrap_or(has);
        check_partition_count(wants)?;
        if wants < has {
            return Err(Error::invalid(format!(
                "topic {} has {has} partitions, and they can only become more; give {} or more",
                topic.name,
                has + 1
            )));
        }
        if wants > has && stream.settings.is_changelog {
            return Err(Error::policy(format!(
                "{} is a changelog, whose topics keep their number of partitions; create another \
                 topic",
                stream.path
            )));
        }
        let mut config = topic.config.clone();
        for (key, value) in &patch.config {
            match value {
                Some(value) => config.insert(key.clone(), value.clone()),
                None => config.remove(key),
            };
        }
        check_config(&config)?;
        let timestamp_type = patch.timestamp_type.unwrap_or(topic.timestamp_type);
        if wants == has && timestamp_type == topic.timestamp_type && config == topic.config {
            return Ok(Vec::new());
        }
        let seq = stream.catalog_seq.next();
        Ok(vec![Event::TopicChanged {
            stream: stream.id,
            origin: topic.origin,
            first_partition: self.cluster.next_partition,
            added: wants - has,
            timestamp_type,
            config,
            owner: topic.owner,
            seq,
            owner_seq: seq,
        }])
    }

    pub(super) fn decide_delete_topic(
        &self,
        stream: StreamId,
        topic: OriginTopicId,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        let topic = stream.expect_topic(topic)?;
        stream.check_not_handing_over()?;
        // Without its upstream nobody brings it back, and nobody else can delete it any more.
        if !stream.is_stray(topic) {
            stream.check_owned(topic, "delete it there, or end that agreement first")?;
        }
        Ok(stream.delete(topic, stream.catalog_seq.next(), None, None))
    }

    pub(super) fn decide_rename_topic(
        &self,
        stream: StreamId,
        topic: OriginTopicId,
        name: &TopicName,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        let topic = stream.expect_topic(topic)?;
        stream.check_owned(topic, "rename it there")?;
        if topic.name == *name {
            return Ok(Vec::new());
        }
        if stream.topic(name).is_some() {
            return Err(Error::exists(format!(
                "topic {name} is already in {}; choose another name",
                stream.path
            )));
        }
        self.check_topic_name(stream, name)?;
        let seq = stream.catalog_seq.next();
        Ok(vec![stream.rename(topic, name, seq, seq)])
    }
}

impl Stream {
    pub(super) fn rename(
        &self,
        topic: &Topic,
        name: &TopicName,
        seq: CatalogSeq,
        owner_seq: CatalogSeq,
    ) -> Event {
        let (stream, origin, name) = (self.id, topic.origin, name.clone());
        Event::TopicRenamed { stream, origin, name, seq, owner_seq }
    }

    pub(super) fn expect_topic(&self, origin: OriginTopicId) -> Result<&Topic, Error> {
        let topic = self.topic_by_origin(origin).ok_or_else(|| {
            Error::not_found(format!(
                "that topic is no longer in {}; see `stream topic list -path {}`",
                self.path, self.path
            ))
        })?;
        Ok(topic)
    }
}

pub(super) fn check_config(config: &BTreeMap<String, String>) -> Result<(), Error> {
    if config.len() > CONFIGS_MAX {
        return Err(Error::limit(format!("a topic has at most {CONFIGS_MAX} configs; give fewer")));
    }
    let long = |text: &String| text.len() > METADATA_LENGTH_MAX;
    match config.iter().find(|(key, value)| long(key) || long(value) || key.is_empty()) {
        Some((key, _)) => Err(Error::invalid(format!(
            "the config {:?} is empty or longer than {METADATA_LENGTH_MAX} bytes; shorten it",
            key.chars().take(40).collect::<String>()
        ))),
        None => Ok(()),
    }
}
