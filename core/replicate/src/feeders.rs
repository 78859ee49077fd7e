//! Which of a stream's upstreams feeds which of its topics.
//!
//! A topic may come by several ways: from its owner, and from others who have it from there. One
//! of them sends its data, the others say only how far they are. The owner goes first; otherwise
//! who offered it first goes on, until its link ends, or stands still while another has more.
//! Nothing of this is durable: data that came twice is dropped as it is appended.

use std::collections::{BTreeMap, HashMap};

use mainstem_types::limits::FEEDER_TIMEOUT_MS;
use mainstem_types::{OriginTopicId, StreamId};

/// How good an upstream is as a topic's source, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is fed by us as well, and may have the topic from here.
    Mutual,
    /// It passes the topic on.
    Relay,
    /// It owns the topic.
    Owner,
}

/// How far an upstream is in a partition, and how far this replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub origin: OriginTopicId,
    /// The partition's index.
    pub partition: u32,
    /// The upstream's durable end.
    pub theirs: i64,
    /// Ours.
    pub ours: i64,
}

#[derive(Debug)]
struct Session {
    upstream: StreamId,
    standing: Standing,
    orders: BTreeMap<OriginTopicId, bool>,
}

#[derive(Debug, Default)]
struct Topic {
    feeder: Option<u64>,
    offers: BTreeMap<u64, Offer>,
}

#[derive(Debug)]
struct Offer {
    standing: Standing,
    ends: BTreeMap<u32, i64>,
    /// Partitions in which it has more than we do: our end, and since when that has not moved.
    ahead: BTreeMap<u32, (i64, u64)>,
}

impl Offer {
    fn new(standing: Standing) -> Self {
        Self { standing, ends: BTreeMap::new(), ahead: BTreeMap::new() }
    }

    fn rank(&self) -> (Standing, i64) {
        (self.standing, self.ends.values().sum())
    }
}

/// The feeders of one stream's topics.
#[derive(Debug, Default)]
pub struct Feeders {
    sessions: BTreeMap<u64, Session>,
    topics: HashMap<OriginTopicId, Topic>,
}

impl Feeders {
    /// A session of `upstream`, which owns the topics `owned`, begins: these come unasked, from
    /// where its Welcome says. An older session of the same upstream is over.
    pub fn open(
        &mut self,
        session: u64,
        upstream: StreamId,
        is_mutual: bool,
        owned: &[OriginTopicId],
    ) {
        let of_same = |(_, known): &(&u64, &Session)| known.upstream == upstream;
        let older: Vec<u64> = self.sessions.iter().filter(of_same).map(|(no, _)| *no).collect();
        older.into_iter().for_each(|session| self.close(session));
        let standing = if is_mutual { Standing::Mutual } else { Standing::Relay };
        self.sessions.insert(session, Session { upstream, standing, orders: BTreeMap::new() });
        for origin in owned {
            self.offer(session, *origin, Standing::Owner);
            self.give(*origin, session);
        }
    }

    /// A session is over: what it fed is given to others at once.
    pub fn close(&mut self, session: u64) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        let mut orphans = Vec::new();
        for (origin, topic) in &mut self.topics {
            topic.offers.remove(&session);
            if topic.feeder == Some(session) {
                orphans.push(*origin);
            }
        }
        self.topics.retain(|_, topic| !topic.offers.is_empty());
        for origin in orphans {
            let Some(topic) = self.topics.get(&origin) else { continue };
            let best =
                topic.offers.iter().max_by_key(|(no, offer)| (offer.rank(), u64::MAX - **no));
            if let Some(next) = best.map(|(no, _)| *no) {
                self.switch(origin, next);
            }
        }
    }

    /// A session told a topic, whether its upstream owns it, and whether somebody else did before:
    /// then what another session has fed may be of another history than the owner's.
    pub fn handle_told(
        &mut self,
        session: u64,
        origin: OriginTopicId,
        is_owner: bool,
        is_inherited: bool,
    ) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        if is_owner {
            // Once, lest every change of the topic bring back an owner whose link stands still.
            if self.offer(session, origin, Standing::Owner) != Some(Standing::Owner) {
                self.give(origin, session);
                // Otherwise it comes unasked, as its session takes it to. Who fed it before may be
                // gone by now, and what it brought is here.
                if is_inherited {
                    self.order(session, origin, true);
                }
            }
            return;
        }
        let offer = self.topics.get_mut(&origin).and_then(|t| t.offers.get_mut(&session));
        if let Some(offer) = offer
            && offer.standing == Standing::Owner
        {
            // What it sent unasked as the owner, it now sends only when it is told to.
            offer.standing = known.standing;
            let feeds = self.feeds(session, origin);
            self.order(session, origin, feeds);
        }
    }

    /// A session that does not feed a topic says how far it is.
    pub fn handle_position(&mut self, session: u64, position: Position, now_ms: u64) {
        let Some(known) = self.sessions.get(&session) else { return };
        let topic = self.topics.entry(position.origin).or_default();
        let offer = topic.offers.entry(session).or_insert_with(|| Offer::new(known.standing));
        offer.ends.insert(position.partition, position.theirs);
        if topic.feeder.is_none() {
            self.switch(position.origin, session);
            return;
        }
        if topic.feeder == Some(session) || position.theirs <= position.ours {
            offer.ahead.remove(&position.partition);
            return;
        }
        let since = offer.ahead.entry(position.partition).or_insert((position.ours, now_ms));
        if since.0 != position.ours {
            *since = (position.ours, now_ms);
        }
        if now_ms >= since.1 + FEEDER_TIMEOUT_MS {
            self.switch(position.origin, session);
        }
    }

    /// Batches or cursors of a topic that changed its owner were taken from a session. If they were
    /// under way as another one became the feeder, then this one does not know of them.
    pub fn handle_brought(&mut self, session: u64, origin: OriginTopicId) {
        let feeder = self.topics.get(&origin).and_then(|topic| topic.feeder);
        if let Some(feeder) = feeder.filter(|feeder| *feeder != session) {
            self.order(feeder, origin, true);
        }
    }

    /// The topic was deleted here.
    pub fn forget(&mut self, origin: OriginTopicId) {
        if let Some(feeder) = self.topics.remove(&origin).and_then(|topic| topic.feeder) {
            self.order(feeder, origin, false);
        }
    }

    /// What a session is to be told: topics that it is to feed, or not to feed any more.
    pub fn take_orders(&mut self, session: u64) -> Vec<(OriginTopicId, bool)> {
        let known = self.sessions.get_mut(&session);
        known.map(|known| std::mem::take(&mut known.orders)).into_iter().flatten().collect()
    }

    /// Sessions that are to be told something.
    pub fn ordered(&self) -> impl Iterator<Item = u64> + '_ {
        let waiting = self.sessions.iter().filter(|(_, session)| !session.orders.is_empty());
        waiting.map(|(no, _)| *no)
    }

    /// Whether a session's data of a topic is wanted.
    pub fn feeds(&self, session: u64, origin: OriginTopicId) -> bool {
        self.topics.get(&origin).is_some_and(|topic| topic.feeder == Some(session))
    }

    /// The topics that come from an upstream.
    pub fn fed_by(&self, upstream: StreamId) -> impl Iterator<Item = OriginTopicId> + '_ {
        let of_upstream =
            move |no: u64| self.sessions.get(&no).is_some_and(|s| s.upstream == upstream);
        let fed =
            self.topics.iter().filter(move |(_, topic)| topic.feeder.is_some_and(of_upstream));
        fed.map(|(origin, _)| *origin)
    }

    /// The sessions that stand.
    pub fn sessions(&self) -> impl Iterator<Item = u64> + '_ {
        self.sessions.keys().copied()
    }

    fn offer(
        &mut self,
        session: u64,
        origin: OriginTopicId,
        standing: Standing,
    ) -> Option<Standing> {
        let offers = &mut self.topics.entry(origin).or_default().offers;
        let before = offers.get(&session).map(|offer| offer.standing);
        offers.entry(session).or_insert_with(|| Offer::new(standing)).standing = standing;
        before
    }

    fn switch(&mut self, origin: OriginTopicId, to: u64) {
        self.give(origin, to);
        self.order(to, origin, true);
    }

    /// Makes a session the feeder, and says which one was before.
    fn give(&mut self, origin: OriginTopicId, to: u64) -> Option<u64> {
        let topic = self.topics.entry(origin).or_default();
        topic.offers.values_mut().for_each(|offer| offer.ahead.clear());
        let before = topic.feeder.replace(to);
        if let Some(before) = before.filter(|before| *before != to) {
            self.order(before, origin, false);
        }
        before
    }

    fn order(&mut self, session: u64, origin: OriginTopicId, feed: bool) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.orders.insert(origin, feed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: OriginTopicId = OriginTopicId(7);

    fn at(theirs: i64, ours: i64) -> Position {
        Position { origin: TOPIC, partition: 0, theirs, ours }
    }

    fn two_relays() -> Feeders {
        let mut feeders = Feeders::default();
        feeders.open(1, StreamId(0xb), false, &[]);
        feeders.open(2, StreamId(0xc), false, &[]);
        feeders.handle_position(1, at(0, 0), 0);
        feeders.handle_position(2, at(0, 0), 0);
        assert_eq!(feeders.take_orders(1), [(TOPIC, true)]);
        assert_eq!(feeders.take_orders(2), []);
        feeders
    }

    #[test]
    fn the_first_to_offer_feeds_until_its_link_ends() {
        let mut feeders = two_relays();
        assert!(feeders.feeds(1, TOPIC) && !feeders.feeds(2, TOPIC));
        assert!(feeders.fed_by(StreamId(0xb)).eq([TOPIC]) && feeders.fed_by(StreamId(0xc)).eq([]));
        feeders.close(1);
        assert_eq!(feeders.take_orders(2), [(TOPIC, true)], "at once");
        feeders.close(2);
        assert!(!feeders.feeds(2, TOPIC));
    }

    #[test]
    fn one_that_stands_still_is_replaced_by_one_that_has_more() {
        let mut feeders = two_relays();
        feeders.handle_position(2, at(10, 5), 1_000);
        feeders.handle_position(2, at(20, 9), 3_900);
        assert_eq!(feeders.take_orders(2), [], "it is slow, and moves");
        feeders.handle_position(2, at(20, 9), 3_900 + FEEDER_TIMEOUT_MS - 1);
        assert_eq!(feeders.take_orders(2), []);
        feeders.handle_position(2, at(20, 9), 3_900 + FEEDER_TIMEOUT_MS);
        assert_eq!(feeders.take_orders(2), [(TOPIC, true)]);
        assert_eq!(feeders.take_orders(1), [(TOPIC, false)], "never two at once");
        feeders.handle_position(1, at(9, 9), 60_000);
        assert!(feeders.feeds(2, TOPIC), "who has no more does not take over");
    }

    #[test]
    fn the_owner_goes_first_and_comes_back_with_a_new_session() {
        let mut feeders = two_relays();
        feeders.open(3, StreamId(0xa), false, &[]);
        feeders.handle_told(3, TOPIC, true, true);
        assert_eq!(feeders.take_orders(1), [(TOPIC, false)]);
        assert_eq!(feeders.take_orders(3), [(TOPIC, true)]);
        feeders.handle_position(2, at(9, 1), 0);
        feeders.handle_position(2, at(9, 1), FEEDER_TIMEOUT_MS);
        assert!(feeders.feeds(2, TOPIC), "the owner's link may stand still too");
        feeders.handle_told(3, TOPIC, true, true);
        assert!(feeders.feeds(2, TOPIC), "a change of the topic is not a new link");
        feeders.open(4, StreamId(0xa), false, &[]);
        feeders.handle_told(4, TOPIC, true, true);
        assert!(feeders.feeds(4, TOPIC));
    }

    #[test]
    fn who_takes_from_us_is_chosen_last() {
        let mut feeders = Feeders::default();
        feeders.open(1, StreamId(0xa), false, &[]);
        feeders.handle_told(1, TOPIC, true, true);
        feeders.open(2, StreamId(0xb), true, &[]);
        feeders.open(3, StreamId(0xc), false, &[]);
        feeders.handle_position(2, at(9, 9), 0);
        feeders.handle_position(3, at(8, 9), 0);
        feeders.close(1);
        assert!(feeders.feeds(3, TOPIC));
    }

    #[test]
    fn an_owner_that_hands_over_is_told_what_it_sent_unasked() {
        let mut feeders = Feeders::default();
        feeders.open(1, StreamId(0xa), false, &[]);
        feeders.handle_told(1, TOPIC, true, true);
        feeders.take_orders(1);
        feeders.handle_told(1, TOPIC, false, true);
        assert_eq!(feeders.take_orders(1), [(TOPIC, true)]);
    }
}
