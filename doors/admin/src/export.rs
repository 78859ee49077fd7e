//! What an export says of a stream, and digests of what the stream keeps.

use mainstem_api::{Arguments, Row};
use mainstem_catalog::{Stream, Topic};
use mainstem_link::DigestRange;
use mainstem_types::limits::DIGEST_STRIDE_OFFSETS;
use mainstem_types::{Error, TopicName};
use serde_json::{Value, json};

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::{info_row, row};

impl AdminDoor {
    /// All that a copy of the stream needs besides its batches.
    pub(crate) fn describe_export(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let place = catalog.place(&stream);
        let upstreams = stream.upstreams.iter().filter(|upstream| upstream.copy.is_none());
        let upstreams = upstreams.map(|upstream| {
            json!({
                "place": upstream.place.to_string(),
                "uuid": upstream.stream_id.map(|id| id.to_string()),
            })
        });
        let topics = stream.topics.values().map(|topic| self.topic_export(topic));
        Ok(vec![row(json!({
            "place": place.to_string(),
            "uuid": stream.id.to_string(),
            "settings": info_row(&stream),
            "upstreams": upstreams.collect::<Vec<_>>(),
            "topics": topics.collect::<Vec<_>>(),
        }))])
    }

    fn topic_export(&self, topic: &Topic) -> Value {
        let partitions = self.partitions(topic).map(|partition| {
            let lineage = partition.lineage();
            let entries = lineage.entries().iter().map(|entry| {
                json!({
                    "leaderEpoch": entry.leader_epoch,
                    "startOffset": entry.start_offset,
                    "term": entry.term_id.to_string(),
                    "owner": entry.owner.to_string(),
                    "markers": entry.markers,
                })
            });
            json!({
                "logStart": partition.log_start(),
                "end": partition.durable_end(),
                "compacted": partition.marks().compacted,
                "lineage": entries.collect::<Vec<_>>(),
            })
        });
        json!({
            "name": topic.name.as_str(),
            "origin": topic.origin.to_string(),
            "timestampType": topic.timestamp_type.to_string(),
            "config": topic.config,
            "owner": topic.owner.stream.to_string(),
            "termNumber": topic.owner.term.number,
            "term": topic.owner.term.id.to_string(),
            "ownerSeq": topic.owner_seq.0,
            "createdMs": topic.created_ms,
            "partitions": partitions.collect::<Vec<_>>(),
        })
    }

    /// One answer about one partition, as a gateway would give it.
    pub(crate) fn digests(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let topic = named_topic(&stream, arguments)?;
        let offset = |flag| {
            let number = arguments.number(flag).unwrap_or(0);
            i64::try_from(number).unwrap_or(i64::MAX)
        };
        let range = DigestRange {
            origin: topic.origin,
            partition: arguments.number32("partition").unwrap_or(0),
            from: offset("from"),
            to: offset("to"),
            batches: false,
            records: false,
        };
        let answers = self.engine.digests(stream.id, DIGEST_STRIDE_OFFSETS, &[range]);
        let one = |answer: &mainstem_link::DigestAnswer| -> Result<Row, Error> {
            if let (Some(code), message) = (answer.code, &answer.message) {
                let reason = message.as_deref().unwrap_or("it is not there");
                return Err(Error::storage(format!("{code}: {reason}")));
            }
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let parts = answer
                .parts
                .iter()
                .map(|part| json!({"from": part.from, "to": part.to, "digest": hex(&part.digest)}));
            Ok(row(json!({
                "logStart": answer.log_start,
                "end": answer.end,
                "upto": answer.upto,
                "parts": parts.collect::<Vec<_>>(),
            })))
        };
        answers.iter().map(one).collect()
    }
}

/// The topic that `-topic` names.
pub(crate) fn named_topic<'a>(
    stream: &'a Stream,
    arguments: &Arguments,
) -> Result<&'a Topic, Error> {
    let name: TopicName = arguments.required("topic")?;
    stream.topic(&name).map(|topic| &**topic).ok_or_else(|| {
        Error::not_found(format!(
            "{name} is not a topic of {}; see `stream topic list -path {}`",
            stream.path, stream.path
        ))
    })
}
