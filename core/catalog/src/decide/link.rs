//! What a link carries into a replica's catalog. Everything here may arrive twice, late, or by
//! two ways.

use mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX;
use mainstem_types::{CatalogSeq, Error};

use super::topic::check_config;
use crate::{Catalog, Command, Event, Stream, Topic, Upstream};

impl Catalog {
    pub(super) fn decide_apply_topic(&self, command: &Command) -> Result<Vec<Event>, Error> {
        let Command::ApplyTopic { stream, upstream, link_epoch, origin, owner, .. } = command
        else {
            unreachable!("called for that command only")
        };
        let Command::ApplyTopic { source_seq, partitions, config, name, .. } = command else {
            unreachable!("called for that command only")
        };
        let stream = self.expect_stream(*stream)?;
        let upstream = stream.check_link(*upstream, *link_epoch)?;
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(partitions) {
            return Err(Error::invalid(format!(
                "topic {name} comes with {partitions} partitions; 1 to \
                 {PARTITIONS_PER_TOPIC_MAX} are possible"
            )));
        }
        check_config(config)?;
        let ours = owner.stream == stream.id;
        let event = if ours || stream.tombstones.contains_key(origin) {
            None // What began here is not taken back; what was deleted stays deleted.
        } else if let Some(topic) = stream.topic_by_origin(*origin) {
            self.change_applied(stream, topic, command)?
        } else {
            Some(self.create_applied(stream, command)?)
        };
        Ok(event.into_iter().chain(stream.advanced(upstream, *source_seq)).collect())
    }

    fn create_applied(&self, stream: &Stream, command: &Command) -> Result<Event, Error> {
        let Command::ApplyTopic {
            origin,
            name,
            partitions,
            timestamp_type,
            config,
            owner,
            owner_seq,
            created_ms,
            ..
        } = command
        else {
            unreachable!("called for that command only")
        };
        if let Some(rival) = stream.topic(name) {
            return Err(conflict(stream, rival));
        }
        self.check_topic_name(stream, name)?;
        Ok(Event::TopicCreated {
            stream: stream.id,
            origin: *origin,
            kafka_id: self.free_kafka_id(*origin, stream.id)?,
            name: name.clone(),
            first_partition: self.cluster.next_partition,
            partitions: *partitions,
            timestamp_type: *timestamp_type,
            config: config.clone(),
            owner: *owner,
            seq: stream.catalog_seq.next(),
            owner_seq: *owner_seq,
            created_ms: *created_ms,
        })
    }

    fn change_applied(
        &self,
        stream: &Stream,
        topic: &Topic,
        command: &Command,
    ) -> Result<Option<Event>, Error> {
        let Command::ApplyTopic { partitions, timestamp_type, config, owner, owner_seq, .. } =
            command
        else {
            unreachable!("called for that command only")
        };
        if topic.owner.stream == stream.id {
            return Err(conflict(stream, topic));
        }
        let (had, has) = (topic.owner.term, owner.term);
        if had.number == has.number && topic.owner != *owner {
            return Err(conflict(stream, topic));
        }
        // Sequences of two owners cannot be compared; a higher term is newer whatever its count.
        let newer =
            has.number > had.number || (has.number == had.number && topic.owner_seq < *owner_seq);
        if !newer {
            return Ok(None);
        }
        Ok(Some(Event::TopicChanged {
            stream: stream.id,
            origin: topic.origin,
            first_partition: self.cluster.next_partition,
            added: partitions.saturating_sub(topic.partition_count()),
            timestamp_type: *timestamp_type,
            config: config.clone(),
            owner: *owner,
            seq: stream.catalog_seq.next(),
            owner_seq: *owner_seq,
        }))
    }

    pub(super) fn decide_apply_tombstone(&self, command: &Command) -> Result<Vec<Event>, Error> {
        let Command::ApplyTombstone { stream, upstream, link_epoch, origin, owner_seq, source_seq } =
            command
        else {
            unreachable!("called for that command only")
        };
        let stream = self.expect_stream(*stream)?;
        let upstream = stream.check_link(*upstream, *link_epoch)?;
        let gone = stream
            .topic_by_origin(*origin)
            .filter(|topic| topic.owner.stream != stream.id)
            .map(|topic| Event::TopicDeleted {
                stream: stream.id,
                origin: topic.origin,
                seq: stream.catalog_seq.next(),
                owner_seq: *owner_seq,
            });
        Ok(gone.into_iter().chain(stream.advanced(upstream, *source_seq)).collect())
    }
}

impl Stream {
    /// That the upstream's catalog has been applied up to `seq`, if that is news.
    pub(super) fn advanced(&self, upstream: &Upstream, seq: CatalogSeq) -> Option<Event> {
        (upstream.applied_seq < seq).then(|| Event::UpstreamSet {
            stream: self.id,
            upstream: Upstream { applied_seq: seq, ..upstream.clone() },
        })
    }
}

/// I5: two owners of one name; the second is refused.
fn conflict(stream: &Stream, topic: &Topic) -> Error {
    let owner = if topic.owner.stream == stream.id {
        "this stream itself".to_owned()
    } else {
        stream.upstream_by_id(topic.owner.stream).map_or_else(
            || format!("the stream with uuid {}", topic.owner.stream),
            |upstream| upstream.place.to_string(),
        )
    };
    Error::policy(format!(
        "topic {} of {} belongs to {owner}; rename or delete one of the two",
        topic.name, stream.path
    ))
}
