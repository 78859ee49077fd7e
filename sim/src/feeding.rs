//! Which session of a replica feeds which topic: the shell around the table that decides it.

use mainstem_gateway::translate;
use mainstem_link::{End, TopicItem};
use mainstem_types::{OriginTopicId, StreamId};

use crate::Plant;
use crate::connection::ReceiverSide;
use crate::world::World;

impl World {
    /// A session was opened: topics that its source owns come from it.
    pub(crate) fn enter(
        &mut self,
        id: u64,
        site: usize,
        source: StreamId,
        owned: &[OriginTopicId],
    ) {
        let is_mutual = self.stream(site).is_some_and(|stream| {
            stream.upstream_by_id(source).is_some_and(|u| stream.is_multimaster_with(u))
        });
        let feeders = &mut self.sites[site].feeders;
        feeders.open(id, source, is_mutual, owned);
        self.tell_others(site);
    }

    pub(crate) fn note_owner(
        &mut self,
        id: u64,
        site: usize,
        side: &mut ReceiverSide,
        item: &TopicItem,
    ) {
        let is_owner = side.link.is_some_and(|link| link.upstream == item.owner);
        if side.is_entered {
            let is_inherited = translate::is_inherited(item.term);
            self.sites[site].feeders.handle_told(id, item.origin, is_owner, is_inherited);
            self.tell_others(site);
        }
    }

    pub(crate) fn compare(
        &mut self,
        id: u64,
        site: usize,
        side: &mut ReceiverSide,
        theirs: &[End],
    ) {
        let Some(stream) = self.stream(site) else { return };
        let positions = translate::positions(self.engine(site), &stream, theirs);
        let now_ms = self.now_ms(site);
        if side.is_entered {
            let feeders = &mut self.sites[site].feeders;
            positions.iter().for_each(|at| feeders.handle_position(id, *at, now_ms));
            self.tell_others(site);
        }
        side.receiver.handle_compared(translate::our_ends(&positions));
    }

    /// Batches or cursors of a session were taken.
    pub(crate) fn note_brought(&mut self, id: u64, site: usize, of: &[OriginTopicId]) {
        let Some(stream) = self.stream(site) else { return };
        let term = |origin| stream.topic_by_origin(origin).map(|topic| topic.owner.term);
        for origin in of.iter().filter(|origin| term(**origin).is_some_and(translate::is_inherited))
        {
            self.sites[site].feeders.handle_brought(id, *origin);
        }
        self.tell_others(site);
    }

    /// Sessions that are gone feed nothing.
    pub(crate) fn close_feeders(&mut self) {
        for site in 0..self.sites.len() {
            let gone: Vec<u64> = self.sites[site]
                .feeders
                .sessions()
                .filter(|id| self.connections.get(id).is_none_or(|c| c.receiver.is_none()))
                .collect();
            gone.into_iter().for_each(|id| self.sites[site].feeders.close(id));
            self.tell_others(site);
        }
    }

    /// All sessions of a site that stand aside hear of a change before anything else happens.
    fn tell_others(&mut self, site: usize) {
        let waiting: Vec<u64> = self.sites[site].feeders.ordered().collect();
        for id in waiting {
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            if let Some(side) = &mut connection.receiver {
                self.tell_orders(connection.link, id, side);
            }
            self.connections.insert(id, connection);
        }
    }

    /// A session hears which topics it is to feed, and which not any more.
    pub(crate) fn tell_orders(&mut self, link: usize, id: u64, side: &mut ReceiverSide) {
        let site = self.links[link].replica;
        let orders = self.sites[site].feeders.take_orders(id);
        let Some(stream) = self.stream(site) else { return };
        let engine = self.engine(site);
        let order = |(origin, feed)| {
            let feed = feed || self.plant == Plant::TwoFeeders;
            translate::feed_order(engine, &stream, origin, feed)
        };
        side.receiver.handle_orders(orders.into_iter().map(order).collect());
    }

    /// What a session appends is its own to feed.
    pub(crate) fn check_feeder(
        &mut self,
        id: u64,
        site: usize,
        side: &ReceiverSide,
        origin: OriginTopicId,
    ) {
        let feeders = &self.sites[site].feeders;
        // One that a newer session has replaced is refused by the engine, whatever it brings (I6).
        let stands = side.is_entered && feeders.sessions().any(|session| session == id);
        if stands && !feeders.feeds(id, origin) {
            self.violate(
                "one feeder",
                format!("session {id} brings topic {origin} besides another"),
            );
        }
    }
}
