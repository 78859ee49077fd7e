//! `stream cursor list|delete`.

use mainstem_api::Arguments;
use mainstem_catalog::Stream;
use mainstem_group::{Cursor, CursorKey};
use mainstem_types::{Error, GroupId, OriginTopicId, TopicName};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::row;
use crate::time::{shown, time_at};

/// Where one group is in one partition.
pub(crate) struct Position {
    pub(crate) group: GroupId,
    pub(crate) topic: OriginTopicId,
    pub(crate) name: TopicName,
    pub(crate) partition: u32,
    /// The next offset that the group reads.
    pub(crate) committed: i64,
    /// The next offset that will be written.
    pub(crate) end: i64,
    cursor: Cursor,
}

impl AdminDoor {
    /// All positions in a stream by topic, partition and group.
    pub(crate) fn positions(&self, stream: &Stream) -> Vec<Position> {
        let mut positions: Vec<Position> = self
            .engine
            .cursors(stream.id)
            .into_iter()
            .filter_map(|(key, cursor)| {
                let topic = stream.topic_by_origin(key.topic)?;
                let partition = self.engine.partition(topic.partition(key.partition)?)?;
                let end = partition.high_watermark();
                let (term, epoch) = (topic.owner.term.id, partition.leader_epoch());
                let committed = cursor.effective(term, end, epoch)?.offset;
                let name = topic.name.clone();
                let CursorKey { group, topic, partition, .. } = key;
                Some(Position { group, topic, name, partition, committed, end, cursor })
            })
            .collect();
        positions.sort_by(|a, b| {
            (&a.group, &a.name, a.partition).cmp(&(&b.group, &b.name, b.partition))
        });
        positions
    }

    /// The positions that the flags ask for.
    fn chosen(&self, stream: &Stream, arguments: &Arguments) -> Result<Vec<Position>, Error> {
        let group: Option<GroupId> = arguments.parsed("consumergroup")?;
        let topic: Option<TopicName> = arguments.parsed("topic")?;
        let partition = arguments.number32("partition");
        if partition.is_some() && topic.is_none() {
            return Err(Error::invalid("-partition needs -topic; give both"));
        }
        if let Some(name) = topic.as_ref().filter(|name| stream.topic(name).is_none()) {
            return Err(Error::not_found(format!(
                "{name} is not a topic of {}; see `stream topic list -path {}`",
                stream.path, stream.path
            )));
        }
        let mut positions = self.positions(stream);
        positions.retain(|position| {
            group.as_ref().is_none_or(|group| position.group == *group)
                && topic.as_ref().is_none_or(|name| position.name == *name)
                && partition.is_none_or(|index| position.partition == index)
        });
        Ok(positions)
    }

    pub(crate) fn list_cursors(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let mut rows = Vec::new();
        for position in self.chosen(&stream, arguments)? {
            let topic = stream.topic_by_origin(position.topic);
            let no = topic.and_then(|topic| topic.partition(position.partition));
            let Some(partition) = no.and_then(|no| self.engine.partition(no)) else { continue };
            let produced = time_at(&partition, position.end - 1)?;
            let consumed = time_at(&partition, (position.committed - 1).max(0))?;
            let behind = position.committed < position.end;
            let lag_ms = match (produced, consumed) {
                (Some(produced), Some(consumed)) if behind => (produced - consumed).max(0),
                _ => 0,
            };
            let offset = |value: Option<i64>| value.map_or_else(String::new, |v| v.to_string());
            // Numbers as text: the original's clients parse them so.
            rows.push(row(json!({
                "consumergroup": position.group.as_str(),
                "topic": position.name.as_str(),
                "partitionid": position.partition.to_string(),
                "produceroffset": (position.end - 1).to_string(),
                "committedoffset": position.committed.to_string(),
                "producertimestamp": shown(produced),
                "consumertimestamp": shown(consumed),
                "consumerlagmillis": lag_ms.to_string(),
                "localoffset": offset(position.cursor.local.map(|value| value.offset)),
                "replicatedoffset": offset(position.cursor.replicated.map(|value| value.offset)),
            })));
        }
        Ok(rows)
    }

    pub(crate) async fn delete_cursors(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let chosen = self.chosen(&stream, arguments)?;
        if chosen.is_empty() {
            return Err(Error::not_found(format!(
                "no such cursor; see `stream cursor list -path {}`",
                stream.path
            )));
        }
        let keys = chosen.into_iter().map(|position| CursorKey {
            stream: stream.id,
            group: position.group,
            topic: position.topic,
            partition: position.partition,
        });
        self.engine.delete_cursors(keys.collect()).await?;
        Ok(Vec::new())
    }
}
