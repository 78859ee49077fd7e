//! How long a deletion is remembered: until every replica has applied it, and by a stream that has
//! upstreams for as long as it has any, since one of them may be late. Which of them told the topic
//! and are still to tell its deletion is kept with it.

use mainstem_types::{CatalogSeq, OriginTopicId, StreamId};

use crate::{Event, Replica, Stream, Tombstone, Topic, Upstream};

impl Stream {
    /// The topic goes, by its owner's doing here or as `teller` told, in this term of its owner or
    /// that of the topic. A link's deletions are
    /// forgotten at the earliest when all that was told with them has been applied.
    pub(super) fn delete(
        &self,
        topic: &Topic,
        owner_seq: CatalogSeq,
        teller: Option<StreamId>,
        term: Option<u64>,
    ) -> Vec<Event> {
        let (stream, origin, seq) = (self.id, topic.origin, self.catalog_seq.next());
        let term = term.filter(|term| *term > topic.owner.term.number);
        let mut events = vec![Event::TopicDeleted { stream, origin, seq, owner_seq, term }];
        let listed = |id: &&StreamId| self.upstream_by_id(**id).is_some() && Some(**id) != teller;
        let waits_for: Vec<StreamId> = topic.told_by.iter().filter(listed).copied().collect();
        let nobody = self.replicas.is_empty() && self.upstreams.is_empty();
        let is_due = teller.is_none() && waits_for.is_empty() && nobody;
        if waits_for != topic.told_by {
            events.push(Event::TombstoneWaits { stream, origin, waits_for });
        }
        if is_due {
            events.push(Event::TombstonesFreed { stream, through: seq });
        }
        events
    }

    /// An upstream has told a topic that is deleted here, or `told` its deletion as well.
    pub(super) fn wait_for(
        &self,
        origin: OriginTopicId,
        upstream: StreamId,
        told: bool,
    ) -> Option<Event> {
        let stone = self.tombstones.get(&origin)?;
        if stone.waits_for.contains(&upstream) != told {
            return None;
        }
        let mut waits_for = stone.waits_for.clone();
        if told {
            waits_for.retain(|waiting| *waiting != upstream);
        } else {
            waits_for.push(upstream);
        }
        Some(Event::TombstoneWaits { stream: self.id, origin, waits_for })
    }

    /// An upstream that goes tells nothing more, and brings nothing back.
    pub(super) fn wait_no_more_for(&self, upstream: &Upstream) -> Vec<Event> {
        let Some(id) = upstream.stream_id else { return Vec::new() };
        let waiting =
            self.tombstones.values().filter_map(|stone| self.wait_for(stone.origin, id, true));
        let mut events: Vec<Event> = waiting.collect();
        events.extend(self.freed(None, |stone| stone.waits_for.iter().all(|other| *other == id)));
        events
    }

    /// Tombstones that nobody waits for, once a replica is as in `instead`.
    pub(super) fn freeable(&self, instead: Option<&Replica>) -> Option<Event> {
        self.freed(instead, |stone| stone.waits_for.is_empty())
    }

    fn freed(
        &self,
        instead: Option<&Replica>,
        nobody_waits: impl Fn(&Tombstone) -> bool,
    ) -> Option<Event> {
        // A way into this stream may learn so late of a topic, or come back so late, that it tells
        // the topic when its deletion is long forgotten here: it would live again for a while.
        if !self.upstreams.is_empty() {
            return None;
        }
        let acked = |replica: &Replica| match instead {
            Some(instead) if instead.idx == replica.idx => instead.acked_tombstone_seq,
            _ => replica.acked_tombstone_seq,
        };
        // What every replica has applied; without replicas, everything.
        let through = self.replicas.iter().map(acked).min().unwrap_or(self.catalog_seq);
        let any = self.tombstones.values().any(|stone| stone.seq <= through && nobody_waits(stone));
        any.then_some(Event::TombstonesFreed { stream: self.id, through })
    }
}
