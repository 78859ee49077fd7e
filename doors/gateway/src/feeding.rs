//! The feeders of all replicas here, shared by their sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_catalog::Stream;
use mainstem_replicate::Feeders;
use mainstem_types::{OriginTopicId, StreamId};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Lasts as long as the process: a new one begins with what its sessions offer.
#[derive(Default)]
pub(crate) struct FeedDesk(Mutex<Desk>);

#[derive(Default)]
struct Desk {
    streams: BTreeMap<StreamId, Feeders>,
    wakes: BTreeMap<u64, Arc<Notify>>,
}

impl FeedDesk {
    /// Changes who feeds a stream's topics, and wakes the sessions that are to be told.
    pub(crate) fn change(&self, stream: StreamId, change: impl FnOnce(&mut Feeders)) {
        let mut desk = self.0.lock();
        let feeders = desk.streams.entry(stream).or_default();
        change(feeders);
        let ordered: Vec<u64> = feeders.ordered().collect();
        if feeders.sessions().next().is_none() {
            desk.streams.remove(&stream);
        }
        for session in ordered {
            if let Some(wake) = desk.wakes.get(&session) {
                wake.notify_one();
            }
        }
    }

    /// What wakes a session when it is to be told something, until it leaves.
    pub(crate) fn wake_of(&self, session: u64) -> Arc<Notify> {
        self.0.lock().wakes.entry(session).or_default().clone()
    }

    /// The session is over; `stream` if it was ever opened.
    pub(crate) fn leave(&self, stream: Option<StreamId>, session: u64) {
        if let Some(stream) = stream {
            self.change(stream, |feeders| feeders.close(session));
        }
        self.0.lock().wakes.remove(&session);
    }

    pub(crate) fn take_orders(&self, stream: StreamId, session: u64) -> Vec<(OriginTopicId, bool)> {
        let mut desk = self.0.lock();
        desk.streams.get_mut(&stream).map_or_else(Vec::new, |feeders| feeders.take_orders(session))
    }

    /// Whether a session feeds a topic.
    pub(crate) fn feeds(&self, stream: StreamId, session: u64, origin: OriginTopicId) -> bool {
        let desk = self.0.lock();
        desk.streams.get(&stream).is_some_and(|feeders| feeders.feeds(session, origin))
    }

    /// How many topics of a stream come from an upstream now. Who fed a topic that the stream owns
    /// by now may feed it again once it is handed on, and does not meanwhile.
    pub(crate) fn fed_by(&self, stream: &Stream, upstream: StreamId) -> u64 {
        let is_foreign = |origin: &OriginTopicId| {
            stream.topic_by_origin(*origin).is_none_or(|topic| topic.owner.stream != stream.id)
        };
        let desk = self.0.lock();
        let fed = desk.streams.get(&stream.id).map(|feeders| feeders.fed_by(upstream));
        fed.map_or(0, |topics| topics.filter(is_foreign).count() as u64)
    }
}
