//! Which topics are taken from this session, and what the source is told of it.

use std::collections::HashMap;

use mainstem_link::{End, Feed, PartitionItem};
use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;
use mainstem_types::{OriginTopicId, StreamId, Term};

use super::{Key, Receiver, ReceiverAction};

/// A topic that a session is to feed, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedOrder {
    /// The topic.
    pub origin: OriginTopicId,
    /// Whether its data is wanted from this session.
    pub feed: bool,
    /// What the replica has of it durably, if the topic is to be fed.
    pub partitions: Vec<PartitionItem>,
}

/// What is taken: by an order, or else of topics that the source owns.
#[derive(Debug, Default)]
pub(super) struct Taking {
    source: Option<StreamId>,
    /// The source understands orders; otherwise everything is taken.
    chooses: bool,
    /// Whose each topic is, and in a term of which number, as far as the source knows.
    owners: HashMap<OriginTopicId, (StreamId, u64)>,
    orders: HashMap<OriginTopicId, bool>,
}

impl Taking {
    pub(super) const fn begin(&mut self, source: StreamId, chooses: bool) {
        (self.source, self.chooses) = (Some(source), chooses);
    }

    pub(super) fn note_owner(&mut self, origin: OriginTopicId, owner: StreamId, term: Term) {
        self.owners.insert(origin, (owner, term.number));
    }

    pub(super) fn owns(&self, origin: OriginTopicId) -> bool {
        self.owners.get(&origin).is_some_and(|(owner, _)| self.source == Some(*owner))
    }

    pub(super) fn term(&self, origin: OriginTopicId) -> u64 {
        self.owners.get(&origin).map_or(0, |(_, term)| *term)
    }

    pub(super) fn takes(&self, origin: OriginTopicId) -> bool {
        !self.chooses || self.orders.get(&origin).copied().unwrap_or_else(|| self.owns(origin))
    }
}

impl Receiver {
    /// Whether the source lets the replica choose which topics it feeds.
    pub fn is_choosing(&self) -> bool {
        self.taking.chooses
    }

    /// The choice among the links that could bring a topic has changed for this one.
    pub fn handle_orders(&mut self, orders: Vec<FeedOrder>) {
        let mut frames = Vec::new();
        for order in orders {
            let is_held = !self.taking.takes(order.origin);
            if !self.taking.chooses || (is_held && !order.feed) {
                continue;
            }
            self.taking.orders.insert(order.origin, order.feed);
            self.drop_queued(order.origin);
            if !order.feed {
                frames.push(Feed { hold: vec![order.origin], ..Feed::default() });
                continue;
            }
            let partitions = self.with_unmade(order.origin, order.partitions);
            for item in &partitions {
                self.begin_at((item.origin, item.partition), item.end);
            }
            self.hold_told(&partitions);
            let told = |item| Feed { partitions: vec![item], ..Feed::default() };
            frames.extend(partitions.into_iter().map(told));
            frames.push(Feed { feed: vec![order.origin], ..Feed::default() });
        }
        for frame in joined(frames) {
            self.actions.push_back(ReceiverAction::Send(frame.into()));
        }
    }

    /// Partitions that the source has told and that are about to be made here count as empty: it may
    /// have sent of them what was dropped.
    fn with_unmade(
        &self,
        origin: OriginTopicId,
        mut made: Vec<PartitionItem>,
    ) -> Vec<PartitionItem> {
        let told = self.told.get(&origin).map_or(0, |(_, partitions)| *partitions);
        let known = u32::try_from(made.len()).unwrap_or(u32::MAX);
        made.extend((known..told).map(|partition| PartitionItem {
            origin,
            partition,
            log_start: 0,
            end: 0,
            lineage: Vec::new(),
            trimmed: None,
        }));
        made
    }

    /// How far this replica is with what [`ReceiverAction::Compare`] named.
    pub fn handle_compared(&mut self, ends: Vec<End>) {
        for end in ends {
            let acked = self.acks.entry((end.origin, end.partition)).or_insert(end.offset);
            *acked = (*acked).max(end.offset);
        }
    }

    /// What this session sent before counts no more, whether it is to go on or to stop.
    fn drop_queued(&mut self, origin: OriginTopicId) {
        let mut released = 0;
        self.actions.retain(|action| match action {
            ReceiverAction::Append(token, _) if token.origin == origin => {
                released += token.bytes;
                false
            }
            _ => true,
        });
        self.release(released);
    }

    /// Data of an earlier turn may still be under way, and is taken if it begins early enough.
    fn begin_at(&mut self, key: Key, end: i64) {
        let state = self.partitions.entry(key).or_default();
        state.generation += 1;
        (state.next, state.durable, state.resync) = (end, end, Some(end));
    }

    /// Up to where consumers may read, as the source of this session says. If another one feeds the
    /// topic it is kept for this one's turn: it may not know what the owner holds back, but data
    /// that it sends comes after that word and no other.
    pub(super) fn handle_watermarks(&mut self, ends: Vec<End>) {
        let (taken, other): (Vec<End>, Vec<End>) =
            ends.into_iter().partition(|end| self.taking.takes(end.origin));
        for end in other {
            if let Some(state) = self.partitions.get_mut(&(end.origin, end.partition)) {
                state.watermark_told = Some(end.offset);
            }
        }
        if !taken.is_empty() {
            self.actions.push_back(ReceiverAction::HoldWatermarks(taken));
        }
    }

    fn hold_told(&mut self, items: &[PartitionItem]) {
        let told = items.iter().filter_map(|item| {
            let (origin, partition) = (item.origin, item.partition);
            let state = self.partitions.get_mut(&(origin, partition))?;
            Some(End { origin, partition, offset: state.watermark_told.take()? })
        });
        let told: Vec<End> = told.collect();
        if !told.is_empty() {
            self.actions.push_back(ReceiverAction::HoldWatermarks(told));
        }
    }
}

/// As few frames as their limits allow, in the same order.
fn joined(frames: Vec<Feed>) -> Vec<Feed> {
    let mut joined: Vec<Feed> = Vec::new();
    let mut items = 0;
    for frame in frames {
        let lineages = frame.partitions.iter().map(|item| item.lineage.len()).sum::<usize>();
        let more = frame.feed.len() + frame.hold.len() + frame.partitions.len() + lineages;
        match joined.last_mut().filter(|_| items + more <= LINK_CHUNK_ITEMS_MAX) {
            Some(last) => {
                last.feed.extend(frame.feed);
                last.hold.extend(frame.hold);
                last.partitions.extend(frame.partitions);
                items += more;
            }
            None => {
                joined.push(frame);
                items = more;
            }
        }
    }
    joined
}
