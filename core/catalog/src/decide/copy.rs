//! A copy whose topics belong to the destination afterwards: an agreement for its time only, and
//! the take-over that ends it.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_types::{Error, OriginTopicId, StreamId, Term, TermId, TopicName};

use super::Draw;
use super::grant::check_fresh;
use crate::{Catalog, Event, Grant, GrantId, Owner, Place, Stream, Topic, Upstream};

impl Catalog {
    /// Refuses a copy that could not be finished, before anything is changed: a topic of the same
    /// name and another origin, or one that is replicated here from elsewhere. Gives those topics
    /// that an earlier copy brought and that belong to the destination already.
    ///
    /// # Errors
    /// `Denied` for a grant that is not a copy's, `Policy` for a conflict.
    pub fn check_copy<'a>(
        &self,
        grant: GrantId,
        replica_id: StreamId,
        topics: impl IntoIterator<Item = (OriginTopicId, &'a TopicName)>,
    ) -> Result<BTreeSet<OriginTopicId>, Error> {
        let grant = self.check_grant(grant, replica_id)?;
        let mut here = BTreeSet::new();
        let Some(stream) = self.stream_at(&grant.replica_path) else { return Ok(here) };
        let stream = self.granted_stream(grant).map(|_| stream)?;
        let others = stream.upstreams.iter().any(|upstream| upstream.copy.is_none());
        for (origin, name) in topics {
            let by_origin = stream.topic_by_origin(origin);
            match by_origin.or_else(|| stream.topic(name)) {
                None => self.check_topic_name(stream, name)?,
                Some(topic) if topic.origin != origin => {
                    return Err(Error::policy(format!(
                        "{} has a topic {name} of its own; rename or delete one of the two, or \
                         copy into another stream. Nothing was changed",
                        stream.path
                    )));
                }
                Some(topic) if topic.owner.stream == stream.id => {
                    here.insert(origin);
                }
                Some(topic) if others && topic.owner.stream != grant.source_id => {
                    return Err(Error::policy(format!(
                        "topic {name} of {} is replicated there by another agreement; end that \
                         first, or copy into another stream. Nothing was changed",
                        stream.path
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(here)
    }

    /// The topics become the destination's own; with the last of them the agreement goes, and the
    /// grant begins nothing any more.
    pub(super) fn take_over(
        &self,
        grant: &Grant,
        topics: &[OriginTopicId],
        more: bool,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        if !grant.copy {
            return Err(Error::denied("this grant is for an autosetup, which takes nothing over"));
        }
        let stream = self.granted_stream(grant)?;
        // Without the agreement this was done before, or it was ended by hand.
        let Some(upstream) = stream.copied_by(grant.id) else { return Ok(Vec::new()) };
        let is_copied = |topic: &Topic| {
            topic.owner.stream != stream.id
                && (topic.owner.stream == grant.source_id || topics.contains(&topic.origin))
        };
        // Nobody was promoted: a link that is ever made between the two is to show two owners of one
        // topic, and not to take the source for an old master. So each topic keeps its term's number.
        let mut copied: BTreeMap<u64, Vec<OriginTopicId>> = BTreeMap::new();
        for topic in stream.topics.values().filter(|topic| is_copied(topic)) {
            copied.entry(topic.owner.term.number).or_default().push(topic.origin);
        }
        let mut events = Vec::new();
        let mut after = stream.clone();
        for (number, topics) in copied {
            let drawn = || Term { number, id: TermId::from_random((draw.random)()) };
            let term = if number == stream.term.number { stream.term } else { drawn() };
            let count = topics.len() as u64;
            events.push(after.owner_changed(topics, Owner { stream: stream.id, term }));
            after.catalog_seq.0 += count;
        }
        if !more {
            let link_epoch = stream.link_epoch.next();
            let (stream, idx) = (stream.id, upstream.idx);
            events.push(Event::UpstreamRemoved { stream, idx, link_epoch });
            let expires_ms = grant.expires_ms.min(draw.now_ms);
            // What is done can be confirmed, and is not for a rollback to delete.
            let grant = Grant { use_existing: true, expires_ms, ..grant.clone() };
            events.push(Event::GrantIssued { grant });
        }
        Ok(events)
    }

    /// Ends a copy's agreement. Copied topics stay, so that the same copy can go on another time;
    /// a stream that was made for nothing goes.
    pub(super) fn rollback_copy(&self, grant: &Grant) -> Vec<Event> {
        let mut events = vec![Event::GrantDropped { grant: grant.id }];
        if let Ok(stream) = self.granted_stream(grant) {
            let upstream = stream.copied_by(grant.id);
            let others = stream.upstreams.len() - usize::from(upstream.is_some());
            let is_empty = stream.topics.is_empty() && stream.replicas.is_empty() && others == 0;
            if is_empty && !grant.use_existing {
                events.push(Event::StreamDeleted { stream: stream.id });
            } else if let Some(upstream) = upstream {
                let (stream, link_epoch) = (stream.id, stream.link_epoch.next());
                let idx = upstream.idx;
                events.push(Event::UpstreamRemoved { stream, idx, link_epoch });
            }
        }
        events
    }
}

impl Stream {
    /// The agreement that stands for the copy under this grant only.
    fn copied_by(&self, grant: GrantId) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.copy == Some(grant))
    }

    fn listed(&self, place: &Place, id: StreamId) -> Option<&Upstream> {
        self.upstream_by_id(id).or_else(|| self.upstream(place))
    }

    /// Refuses a copy under an agreement of its own where a lasting one stands.
    pub(super) fn check_not_upstream(&self, place: &Place, id: StreamId) -> Result<(), Error> {
        match self.listed(place, id) {
            Some(upstream) if upstream.copy.is_none() => Err(Error::exists(format!(
                "{} lists {} as its upstream; declare the other half by `maprcli stream replica \
                 add -path {} -replica … -paused true` and copy then, or remove the upstream",
                self.path, upstream.place, upstream.place
            ))),
            _ => Ok(()),
        }
    }

    /// Lists the source for the time of a copy; what an earlier copy left is taken on.
    pub(super) fn copy_upstream(&self, grant: &Grant, draw: &Draw) -> Result<Vec<Event>, Error> {
        self.check_not_upstream(&grant.source, grant.source_id)?;
        let left = self.listed(&grant.source, grant.source_id);
        if left.is_some_and(|upstream| upstream.copy == Some(grant.id)) {
            return Ok(Vec::new());
        }
        check_fresh(grant, draw)?;
        let event = match left {
            Some(left) => Event::UpstreamSet {
                stream: self.id,
                upstream: Upstream {
                    place: grant.source.clone(),
                    stream_id: Some(grant.source_id),
                    link_epoch: self.link_epoch.next(),
                    ..left.clone()
                },
            },
            None => {
                self.check_room_for_upstream(&grant.source, Some(grant.source_id))?;
                self.with_upstream(&grant.source, Some(grant.source_id), draw)
            }
        };
        let Event::UpstreamSet { stream, upstream } = event else {
            unreachable!("both arms set an upstream")
        };
        Ok(vec![Event::UpstreamSet {
            stream,
            upstream: Upstream { copy: Some(grant.id), ..upstream },
        }])
    }
}
