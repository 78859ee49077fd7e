//! Which topics the replica was told of in this session.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mainstem_link::{TermItem, TombstoneItem, TopicItem, Topics};
use mainstem_types::{CatalogSeq, OriginTopicId, StreamId, Term};

/// Topics in one frame; configs may be long, so far fewer than a frame's limit of items.
const TOPICS_PER_FRAME: usize = 128;

/// The source's topics and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct ToldTopics {
    topics: BTreeMap<OriginTopicId, TopicItem>,
    tombstones: BTreeMap<OriginTopicId, TombstoneItem>,
    seq: CatalogSeq,
    told_to: Option<CatalogSeq>,
    told: HashMap<OriginTopicId, CatalogSeq>,
    /// In which term each topic was owned as the catalog was told last, whoever owns it.
    terms: HashMap<OriginTopicId, Term>,
    /// The number of the term in which the replica said last that it goes on with its own.
    renewed: HashMap<OriginTopicId, u64>,
    /// Topics and their partitions that the Welcome listed.
    held: HashMap<OriginTopicId, u32>,
}

impl ToldTopics {
    /// Says whether a topic has passed to an owner other than `replica`.
    pub(crate) fn handle_catalog(
        &mut self,
        seq: CatalogSeq,
        topics: Vec<TopicItem>,
        tombstones: Vec<TombstoneItem>,
        replica: Option<StreamId>,
    ) -> bool {
        let has_passed = |topic: &TopicItem| {
            let before = self.terms.get(&topic.origin);
            before.is_some_and(|term| *term != topic.term) && Some(topic.owner) != replica
        };
        let passed = topics.iter().any(has_passed);
        self.terms = topics.iter().map(|topic| (topic.origin, topic.term)).collect();
        self.seq = seq;
        self.topics = topics.into_iter().map(|topic| (topic.origin, topic)).collect();
        self.tombstones = tombstones.into_iter().map(|item| (item.origin, item)).collect();
        passed
    }

    pub(crate) fn handle_held(&mut self, origin: OriginTopicId) {
        *self.held.entry(origin).or_default() += 1;
    }

    pub(crate) fn handle_welcome(&mut self, applied: CatalogSeq, replica: StreamId) {
        self.topics.retain(|_, topic| topic.owner != replica);
        self.told_to = Some(applied);
    }

    /// Whether batches of a topic may be sent.
    pub(crate) fn is_told(&self, origin: OriginTopicId, partition: u32) -> bool {
        self.told.contains_key(&origin)
            && self.topics.get(&origin).is_some_and(|topic| partition < topic.partitions)
    }

    /// The topic is to be told again, whatever the replica is known to hold.
    pub(crate) fn forget_told(&mut self, origin: OriginTopicId) {
        self.told.remove(&origin);
        self.held.remove(&origin);
    }

    /// The catalog's sequence.
    pub(crate) fn seq(&self) -> CatalogSeq {
        self.seq
    }

    /// Who owns a topic that the replica is told of.
    pub(crate) fn owner(&self, origin: OriginTopicId) -> Option<StreamId> {
        self.topics.get(&origin).map(|topic| topic.owner)
    }

    /// How many partitions it has.
    pub(crate) fn partitions(&self, origin: OriginTopicId) -> Option<u32> {
        self.topics.get(&origin).map(|topic| topic.partitions)
    }

    /// In which term it is owned.
    pub(crate) fn term(&self, origin: OriginTopicId) -> Option<Term> {
        self.topics.get(&origin).map(|topic| topic.term)
    }

    /// Somebody owns the topic in a higher term: until the catalog says so too, it is not ours to
    /// send. Says whether that is news.
    pub(crate) fn handle_met(&mut self, item: &TermItem) -> bool {
        let Some(topic) = self.topics.get_mut(&item.origin) else {
            // The replica's own: others who hear of it by us may follow a rival.
            let Some(known) = self.terms.get(&item.origin) else { return false };
            let renewed = self.renewed.entry(item.origin).or_default();
            let is_news = known.number.max(*renewed) < item.term.number;
            *renewed = item.term.number.max(*renewed);
            return is_news;
        };
        let is_higher = topic.term.number < item.term.number;
        if is_higher {
            (topic.owner, topic.term) = (item.owner, item.term);
            // All else is as the former owner left it, and older than whatever the new one says.
            topic.owner_seq = CatalogSeq(0);
            self.told.remove(&item.origin);
        }
        is_higher
    }

    /// Everything up to here was told.
    pub(crate) fn told_to(&self) -> Option<CatalogSeq> {
        self.told_to
    }

    /// The frames that bring the replica up to date. What began at the replica is not sent back.
    pub(crate) fn take_frames(&mut self, replica: StreamId) -> Vec<Topics> {
        let Some(told_to) = self.told_to else { return Vec::new() };
        self.topics.retain(|_, topic| topic.owner != replica);
        let mut topics = Vec::new();
        for topic in self.topics.values() {
            let held = self.held.get(&topic.origin).is_some_and(|n| *n >= topic.partitions);
            let due = match self.told.get(&topic.origin) {
                Some(told) => topic.seq > *told,
                None => topic.seq > told_to || !held,
            };
            if due {
                topics.push(topic.clone());
            }
            self.told.insert(topic.origin, topic.seq);
        }
        let tombstones: Vec<TombstoneItem> =
            self.tombstones.values().filter(|item| item.seq > told_to).cloned().collect();
        let gone: BTreeSet<OriginTopicId> = tombstones.iter().map(|item| item.origin).collect();
        self.told.retain(|origin, _| !gone.contains(origin));
        if topics.is_empty() && tombstones.is_empty() && self.seq <= told_to {
            return Vec::new();
        }
        self.told_to = Some(self.seq.max(told_to));
        chunks(topics, tombstones, told_to, self.seq.max(told_to))
    }
}

/// Deletions first, so that a name is free before its next topic comes.
fn chunks(
    mut topics: Vec<TopicItem>,
    mut tombstones: Vec<TombstoneItem>,
    before: CatalogSeq,
    after: CatalogSeq,
) -> Vec<Topics> {
    topics.sort_by_key(|topic| topic.seq);
    tombstones.sort_by_key(|item| item.seq);
    let mut frames: Vec<Topics> = tombstones
        .chunks(TOPICS_PER_FRAME)
        .map(|items| Topics {
            tombstones: items.to_vec(),
            complete_to: before,
            ..Topics::default()
        })
        .collect();
    frames.extend(topics.chunks(TOPICS_PER_FRAME).map(|items| Topics {
        topics: items.to_vec(),
        complete_to: before,
        ..Topics::default()
    }));
    if frames.is_empty() {
        frames.push(Topics::default());
    }
    frames.last_mut().expect("just made sure of one").complete_to = after;
    frames
}
