//! Which topics the replica wants from this link, and what is said of the others.

use std::collections::{BTreeMap, HashMap, HashSet};

use mainstem_link::{Code, End, Feed, Positions};
use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;
use mainstem_types::{Lineage, OriginTopicId};

use super::partition::SendPartition;
use super::{Key, Sender, SenderAction};

/// The replica's choice. What it did not speak of is sent by the owner and by nobody else.
#[derive(Debug, Default)]
pub(crate) struct Feeding {
    /// The replica chooses; otherwise everything is sent.
    is_asked: bool,
    orders: HashMap<OriginTopicId, bool>,
    /// Partitions whose position was told while they are not fed.
    offered: HashSet<Key>,
}

impl Feeding {
    /// The replica has said that it chooses.
    pub(crate) const fn begin(&mut self) {
        self.is_asked = true;
    }

    pub(crate) fn handle_feed(&mut self, feed: &Feed) {
        self.orders.extend(feed.feed.iter().map(|origin| (*origin, true)));
        self.orders.extend(feed.hold.iter().map(|origin| (*origin, false)));
    }

    /// Whether data of a topic is sent; `owned` says that the source owns it.
    pub(crate) fn feeds(&self, origin: OriginTopicId, owned: bool) -> bool {
        !self.is_asked || self.orders.get(&origin).copied().unwrap_or(owned)
    }

    pub(crate) fn keep(&mut self, stands: impl Fn(OriginTopicId) -> bool) {
        self.orders.retain(|origin, _| stands(*origin));
        self.offered.retain(|(origin, _)| stands(*origin));
    }

    /// Positions of what is not fed: each once, and on a `beat` all that the replica does not have
    /// yet, since it is by these that it sees another link stand still.
    pub(crate) fn take_positions<'a>(
        &mut self,
        held: impl Iterator<Item = (Key, &'a SendPartition)>,
        beat: bool,
    ) -> Vec<Positions> {
        if !self.is_asked {
            return Vec::new();
        }
        let mut ends = Vec::new();
        for (key, partition) in held {
            let Some(view) = &partition.view else { continue };
            let is_first = self.offered.insert(key);
            if is_first || (beat && partition.acked < view.durable_end) {
                let (origin, partition) = key;
                ends.push(End { origin, partition, offset: view.durable_end });
            }
        }
        let chunks = ends.chunks(LINK_CHUNK_ITEMS_MAX);
        chunks.map(|ends| Positions { ends: ends.to_vec() }).collect()
    }
}

impl Sender {
    /// The replica takes topics from this link, or from another one instead.
    pub(super) fn handle_feed(&mut self, feed: &Feed) {
        for item in &feed.partitions {
            let key = (item.origin, item.partition);
            let Some(lineage) = Lineage::from_entries(item.lineage.clone()) else {
                self.stop(Code::Protocol, "the lineage in a Feed does not rise");
                return;
            };
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            let is_ours = partition.view.as_ref().is_some_and(|v| v.lineage.continues(&lineage));
            if is_ours && self.is_beyond(key, item.end) {
                self.stop(Code::Fenced, "the replica's history is to be compared anew");
                return;
            }
            if let Some(partition) = self.partitions.get_mut(&key) {
                partition.resume(item.end, lineage);
            }
        }
        self.feeding.handle_feed(feed);
        if !feed.feed.is_empty() {
            // The other link may have brought cursors as well, of an owner of before.
            let fed: HashSet<OriginTopicId> = feed.feed.iter().copied().collect();
            self.cursors.forget(|origin, _| fed.contains(&origin));
            self.actions.push_back(SenderAction::TellCursors);
        }
        for origin in &feed.feed {
            let keys: Vec<Key> =
                of_topic(&mut self.partitions, *origin).map(|(key, _)| *key).collect();
            self.moved.extend(&keys);
            for key in keys {
                self.start(key);
                self.queue(key);
            }
        }
        (self.cursors_dirty, self.positions_dirty) = (true, true);
    }

    /// The replica's end lies within a batch of ours, so that it does not have our history.
    pub(super) fn handle_straddling(&mut self, key: Key, offset: i64) {
        let is_told = self.partitions.get(&key).is_some_and(|held| held.is_welcomed_at(offset));
        if !is_told && self.may_have_parted(key.0) {
            self.stop(Code::Fenced, "the replica's history is to be compared anew");
            return;
        }
        let message = format!(
            "the replica ends at offset {offset}, within a batch of the source: of one reign the two \
             hold other records, as after one was restored from an older copy; keep what only the \
             replica has by `mapr exportstream`, then remove and delete it and set it up anew"
        );
        self.stop_partition(key, Code::Diverged, message, true);
    }

    /// We own the topic, and the replica may have taken it from another link, be it one that an
    /// owner of before still fed, since this session began: what it has may be another history, which
    /// only a Welcome tells.
    pub(super) fn may_have_parted(&mut self, origin: OriginTopicId) -> bool {
        let is_inherited = self.topics.term(origin).is_some_and(|term| term.number > 1);
        self.topics.owner(origin) == Some(self.source)
            && (is_inherited
                || of_topic(&mut self.partitions, origin).any(|(_, held)| held.is_resumed))
    }

    /// The replica has more of a topic of ours than we do, from an owner of before whose link still
    /// brought it as this session began.
    pub(super) fn is_beyond(&self, key: Key, offset: i64) -> bool {
        let end = self.partitions.get(&key).and_then(|partition| partition.view.as_ref());
        self.topics.owner(key.0) == Some(self.source)
            && end.is_some_and(|view| offset > view.durable_end)
    }

    pub(super) fn is_fed(&self, origin: OriginTopicId) -> bool {
        self.feeding.feeds(origin, self.topics.owner(origin) == Some(self.source))
    }

    pub(super) fn send_positions(&mut self, beat: bool) {
        let (topics, source) = (&self.topics, self.source);
        let is_held = |origin| {
            let owned = topics.owner(origin) == Some(source);
            !self.feeding.feeds(origin, owned)
        };
        let held: Vec<Key> = self
            .partitions
            .keys()
            .filter(|key| topics.is_told(key.0, key.1) && is_held(key.0))
            .copied()
            .collect();
        let held = held.into_iter().map(|key| (key, &self.partitions[&key]));
        for frame in self.feeding.take_positions(held, beat) {
            self.actions.push_back(SenderAction::Send(frame.into()));
        }
    }
}

/// The partitions of a topic.
pub(crate) fn of_topic(
    partitions: &mut BTreeMap<Key, SendPartition>,
    origin: OriginTopicId,
) -> impl Iterator<Item = (&Key, &mut SendPartition)> {
    partitions.range_mut((origin, 0)..=(origin, u32::MAX))
}
