//! `stream topic create|edit|rename|delete|info|list`.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_api::{Arguments, Row};
use mainstem_catalog::{Command, Stream, Topic, TopicPatch};
use mainstem_engine::Partition;
use mainstem_types::{Error, KafkaName, OriginTopicId, StreamId, TopicName};
use serde_json::json;

use crate::cursor::Position;
use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::fail_over::provenance;
use crate::link::gap_value;
use crate::stream::row;
use crate::time::{shown, time_at};

impl AdminDoor {
    pub(crate) async fn create_topic(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let command = Command::CreateTopic {
            stream: stream.id,
            name: arguments.required("topic")?,
            partitions: arguments.number32("partitions"),
            timestamp_type: arguments.parsed("timestamptype")?,
            config: BTreeMap::new(),
        };
        self.engine.change(command).await?;
        Ok(Vec::new())
    }

    pub(crate) async fn edit_topic(&self, arguments: &Arguments) -> Answer {
        let (stream, topic) = self.named_topic(arguments)?;
        let patch = TopicPatch {
            partitions: arguments.number32("partitions"),
            timestamp_type: arguments.parsed("timestamptype")?,
            config: BTreeMap::new(),
        };
        let (stream, topic): (StreamId, OriginTopicId) = (stream.id, topic.origin);
        self.engine.change(Command::EditTopic { stream, topic, patch }).await?;
        Ok(Vec::new())
    }

    pub(crate) async fn rename_topic(&self, arguments: &Arguments) -> Answer {
        let (stream, topic) = self.named_topic(arguments)?;
        let name = arguments.required("to")?;
        let command = Command::RenameTopic { stream: stream.id, topic: topic.origin, name };
        self.engine.change(command).await?;
        Ok(Vec::new())
    }

    pub(crate) async fn delete_topic(&self, arguments: &Arguments) -> Answer {
        let (stream, topic) = self.named_topic(arguments)?;
        let command = Command::DeleteTopic { stream: stream.id, topic: topic.origin };
        self.engine.change(command).await?;
        Ok(Vec::new())
    }

    pub(crate) fn named_topic(
        &self,
        arguments: &Arguments,
    ) -> Result<(Arc<Stream>, Arc<Topic>), Error> {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let name: TopicName = arguments.required("topic")?;
        let topic = stream.topic(&name).cloned().ok_or_else(|| {
            Error::not_found(format!(
                "{name} is not a topic of {}; see `stream topic list -path {}`",
                stream.path, stream.path
            ))
        })?;
        Ok((stream, topic))
    }

    pub(crate) fn topic_bytes(&self, topic: &Topic) -> Result<u64, Error> {
        let mut bytes = 0;
        for partition in self.partitions(topic) {
            bytes += partition.size()?.0;
        }
        Ok(bytes)
    }

    pub(crate) fn topic_info(&self, arguments: &Arguments) -> Answer {
        let (stream, topic) = self.named_topic(arguments)?;
        let positions = self.positions(&stream);
        let mut rows = Vec::new();
        for partition in self.partitions(&topic) {
            rows.push(self.partition_row(&stream, &topic, &partition, &positions)?);
        }
        Ok(rows)
    }

    fn partition_row(
        &self,
        stream: &Stream,
        topic: &Topic,
        partition: &Partition,
        positions: &[Position],
    ) -> Result<Row, Error> {
        let bytes = partition.size()?.0;
        let here = |p: &&Position| p.topic == topic.origin && p.partition == partition.index;
        let slowest = positions.iter().filter(here).map(|p| p.committed).min();
        let slowest_time = slowest.map(|offset| time_at(partition, offset)).transpose()?.flatten();
        let last = partition.batch_of_max_timestamp()?.map(|batch| batch.max_timestamp_ms);
        let marks = partition.marks();
        let removed = partition.removed_by_compaction();
        let gaps: Vec<_> =
            marks.gaps.iter().map(|gap| gap_value(gap.from, gap.to, gap.at_ms)).collect();
        Ok(row(json!({
            "partitionid": partition.index,
            "physicalsize": bytes,
            "logicalsize": bytes,
            "maxoffset": partition.high_watermark() - 1,
            "minoffset": partition.log_start(),
            "minoffsetacrossconsumers": slowest.unwrap_or(-1),
            "mintimestamp": shown(time_at(partition, partition.log_start())?),
            "maxtimestamp": shown(last),
            "mintimestampacrossconsumers": shown(slowest_time),
            "fid": partition.no.to_string(),
            "master": self.settings.node_address,
            "servers": self.settings.node_address,
            "timestamptype": topic.timestamp_type.to_string(),
            "owner": topic.owner.stream.to_string(),
            "term": topic.owner.term.number,
            "setAside": topic.aside.as_ref().map(provenance),
            "kafkaname": kafka_name(stream, topic),
            "trimmedoffset": marks.trimmed,
            "gaps": gaps,
            "compactedoffset": marks.compacted,
            "cleanedoffset": marks.cleaned,
            "recordscompacted": removed.0,
            "bytescompacted": removed.1,
        })))
    }

    pub(crate) fn list_topics(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let positions = self.positions(&stream);
        let mut rows = Vec::new();
        for topic in stream.topics.values() {
            let of_topic = || positions.iter().filter(|p| p.topic == topic.origin);
            let mut groups: Vec<&str> = of_topic().map(|p| p.group.as_str()).collect();
            groups.dedup();
            let bytes = self.topic_bytes(topic)?;
            rows.push(row(json!({
                "topic": topic.name.as_str(),
                "partitions": topic.partition_count(),
                "consumers": groups.len(),
                "physicalsize": bytes,
                "logicalsize": bytes,
                "maxlag": of_topic().map(|p| p.end - p.committed).max().unwrap_or(0),
                "kafkaname": kafka_name(&stream, topic),
                "replicated": topic.owner.stream != stream.id,
                "config": topic.config,
            })));
        }
        Ok(rows)
    }
}

fn kafka_name(stream: &Stream, topic: &Topic) -> String {
    KafkaName::of(&stream.path, &topic.name).map_or_else(|_| String::new(), |n| n.to_string())
}
