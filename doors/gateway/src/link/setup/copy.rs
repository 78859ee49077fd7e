//! The acts of a copy after which the topics belong to the destination.

use std::collections::BTreeSet;

use mainstem_catalog::Command;
use mainstem_link::{CheckCopy, Code, CopyTopic, PartitionItem, TakeOver};
use mainstem_replicate::SetupEvent;
use mainstem_types::{OriginTopicId, StreamId};

use super::Act;
use crate::link::Next;

/// Partitions in one question to the destination, each with its lineage.
const PARTITIONS_PER_CHECK: usize = 512;
/// Topics in one list to take over.
const TOPICS_PER_LIST: usize = 1024;

impl Act<'_> {
    /// Before anything is changed: no topic stands against the copy. All of it may be there.
    pub(super) async fn check_destination(&mut self) -> SetupEvent {
        let Some(stream) = self.replica.replica_id else { return self.no_uuid() };
        let items = self.copied_partitions(stream);
        let mut chunks: Vec<&[PartitionItem]> = items.chunks(PARTITIONS_PER_CHECK).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let (mut whole, total) = (0, items.len() as u64);
        for chunk in chunks {
            let mut request = self.request();
            let topics = self.topics_of(chunk);
            let check = CheckCopy { stream, topics, partitions: chunk.to_vec() };
            request.check_copy = Some(Box::new(check));
            match self.ask_for(request).await {
                Ok(reply) => whole += reply.whole.unwrap_or(0),
                Err(event) => return event,
            }
        }
        match whole {
            0 => SetupEvent::Checked,
            _ if whole == total => SetupEvent::AlreadyThere,
            _ => {
                let message = format!(
                    "some topics of {} were copied before and belong to {} now, others are new; \
                     delete those there, or copy into another stream. Nothing was changed",
                    self.stream.path, self.replica.place
                );
                SetupEvent::Refused(Code::Conflict, message)
            }
        }
    }

    /// What the source has now, but for what began at the destination.
    fn copied_partitions(&self, replica: StreamId) -> Vec<PartitionItem> {
        let mut items = Vec::new();
        for topic in self.stream.carried_topics().filter(|t| t.owner.stream != replica) {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let Some(partition) = self.task.ctx.engine.partition(*no) else { continue };
                items.push(PartitionItem {
                    origin: topic.origin,
                    partition: index,
                    log_start: partition.log_start(),
                    end: partition.durable_end(),
                    lineage: partition.lineage().entries().to_vec(),
                    trimmed: None,
                });
            }
        }
        items
    }

    fn topics_of(&self, partitions: &[PartitionItem]) -> Vec<CopyTopic> {
        let origins: BTreeSet<OriginTopicId> =
            partitions.iter().map(|partition| partition.origin).collect();
        let named = |origin| {
            let topic = self.stream.topic_by_origin(origin)?;
            Some(CopyTopic { origin, name: topic.name.clone() })
        };
        origins.into_iter().filter_map(named).collect()
    }

    /// The destination knows the source's own topics; those of others are named to it.
    pub(super) async fn take_over(&mut self) -> SetupEvent {
        let Some(stream) = self.replica.replica_id else { return self.no_uuid() };
        let here = self.stream.id;
        let topics = self.stream.topics.values();
        let passed_on = topics.filter(|t| t.owner.stream != here && t.owner.stream != stream);
        let origins: Vec<OriginTopicId> = passed_on.map(|topic| topic.origin).collect();
        let mut lists: Vec<&[OriginTopicId]> = origins.chunks(TOPICS_PER_LIST).collect();
        let last = lists.pop().unwrap_or_default();
        let lists = lists.into_iter().map(|list| (list, true)).chain([(last, false)]);
        for (list, more) in lists {
            let mut request = self.request();
            request.take_over = Some(Box::new(TakeOver { stream, topics: list.to_vec(), more }));
            match self.ask(request).await {
                SetupEvent::Done => {}
                event => return event,
            }
        }
        SetupEvent::Done
    }

    /// The copy is over, well or not: its half of the agreement goes, and whoever waits is told.
    pub(super) async fn end_copy(&mut self, refused: Option<String>) -> Next {
        let (stream, replica) = (self.stream.id, self.replica.place.clone());
        self.task.ctx.board.note_ended(self.setup.job, refused);
        let end = Command::EndCopy { stream, replica, job: self.setup.job };
        match self.task.ctx.engine.change(end).await {
            Ok(_) => Next::Again,
            Err(error) => self.stuck(&error),
        }
    }
}
