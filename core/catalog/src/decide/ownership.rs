//! Who owns what is changed: fail-over, meeting a higher term, and a place for what is left behind.

use std::collections::BTreeMap;

use mainstem_types::{Error, KafkaName, OriginTopicId, StreamId, Term, TermId, TopicName};

use super::Draw;
use crate::{
    Aside, Catalog, Event, Owner, Place, Replica, RiskWindow, Stream, SyncState, Topic, Upstream,
};

impl Catalog {
    pub(super) fn decide_fail_over(
        &self,
        stream: StreamId,
        upstream: Option<&Place>,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        if stream.handing_over().is_some() && upstream.is_none() {
            let why = "taken back by a fail-over, without hearing the replica".to_owned();
            return Ok(stream.taken_back(why, draw));
        }
        let topics = stream.fail_over_topics(upstream)?;
        let origins = topics.iter().map(|topic| topic.origin).collect();
        // Whatever is under way from the old owner is not sequenced any more.
        let fenced = upstream.and_then(|place| stream.upstream(place));
        let fenced = fenced.or(stream.upstreams.first());
        let fence = fenced.map(|upstream| Event::UpstreamSet {
            stream: stream.id,
            upstream: Upstream { link_epoch: stream.link_epoch.next(), ..upstream.clone() },
        });
        let owner = Owner { stream: stream.id, term: stream.next_term(draw) };
        let events = fence.into_iter().chain([stream.owner_changed(origins, owner)]);
        Ok(events.chain(stream.doubted(draw.now_ms)).collect())
    }

    pub(super) fn decide_renew(&self, stream: StreamId, draw: &Draw) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        let topics = stream.renewable_topics()?.iter().map(|topic| topic.origin).collect();
        let owner = Owner { stream: stream.id, term: stream.next_term(draw) };
        Ok([vec![stream.owner_changed(topics, owner)], stream.doubted(draw.now_ms)].concat())
    }

    pub(super) fn decide_meet_terms(
        &self,
        stream: StreamId,
        seen: Term,
        terms: &[(OriginTopicId, Owner)],
    ) -> Result<Vec<Event>, Error> {
        let mut stream = (**self.expect_stream(stream)?).clone();
        let mut by_owner: BTreeMap<(StreamId, TermId), (Owner, Vec<OriginTopicId>)> =
            BTreeMap::new();
        for (origin, owner) in terms {
            let higher = stream.topic_by_origin(*origin).is_some_and(|topic| {
                topic.aside.is_none() && topic.owner.term.number < owner.term.number
            });
            // Nobody else gives a term to this stream.
            if higher && owner.stream != stream.id {
                let key = (owner.stream, owner.term.id);
                by_owner.entry(key).or_insert_with(|| (*owner, Vec::new())).1.push(*origin);
            }
        }
        let mut events = Vec::new();
        for (owner, mut origins) in by_owner.into_values() {
            origins.sort_unstable();
            origins.dedup();
            let next = origins.len() as u64;
            events.push(stream.owner_changed(origins, owner));
            stream.catalog_seq.0 += next;
        }
        events.extend(stream.handed_over(terms.iter().map(|(_, owner)| owner.term)));
        let highest = stream.highest_term().number;
        if seen.number > highest {
            events.push(Event::TermSeen { stream: stream.id, term: seen });
        }
        Ok(events)
    }

    pub(super) fn decide_make_aside(
        &self,
        stream: StreamId,
        topic: OriginTopicId,
        (written_by, written_in): (StreamId, TermId),
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        let topic = stream.expect_topic(topic)?;
        let origin = topic.origin.set_aside(stream.id, topic.owner.term.id, written_in);
        let seq = stream.catalog_seq.next();
        if let Some(there) = stream.topic_by_origin(origin) {
            let added = topic.partition_count().saturating_sub(there.partition_count());
            let grown = (added > 0).then(|| Event::TopicChanged {
                stream: stream.id,
                origin,
                first_partition: self.cluster.next_partition,
                added,
                timestamp_type: there.timestamp_type,
                config: there.config.clone(),
                owner: there.owner,
                seq,
                owner_seq: seq,
            });
            return Ok(grown.into_iter().collect());
        }
        Ok(vec![Event::SetAsideCreated {
            stream: stream.id,
            origin,
            kafka_id: self.free_kafka_id(origin, stream.id)?,
            name: self.aside_name(stream, topic, written_in, origin)?,
            first_partition: self.cluster.next_partition,
            partitions: topic.partition_count(),
            timestamp_type: topic.timestamp_type,
            // A person decides what becomes of it, not the time (I8).
            config: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
            seq,
            aside: Aside {
                origin: topic.origin,
                name: topic.name.clone(),
                written_by,
                written_in,
                displaced_by: topic.owner,
                set_aside_ms: draw.now_ms,
            },
        }])
    }

    /// `<topic>.setaside-<term>`, or what is like it where that is taken or too long.
    fn aside_name(
        &self,
        stream: &Stream,
        topic: &Topic,
        written_in: TermId,
        aside: OriginTopicId,
    ) -> Result<TopicName, Error> {
        let number = topic.owner.term.number;
        let mark = u32::try_from(written_in.0 & 0xffff_ffff).expect("32 bits");
        let origin = aside.0;
        let names = [
            format!("{}.setaside-{number}", topic.name),
            format!("{}.setaside-{number}-{mark:08x}", topic.name),
            format!("setaside-{number}-{origin:032x}"),
            format!("{origin:032x}"),
        ];
        let fits = |name: &TopicName| {
            stream.topic(name).is_none()
                && KafkaName::of(&stream.path, name).is_ok()
                && self.check_topic_name(stream, name).is_ok()
        };
        names.iter().filter_map(|name| name.parse().ok()).find(fits).ok_or_else(|| {
            Error::policy(format!(
                "no name is free in {} for what is to be set aside of topic {}; rename or delete \
                 what has its names",
                stream.path, topic.name
            ))
        })
    }
}

impl Stream {
    /// What a fail-over would make this stream's own.
    ///
    /// # Errors
    /// There is nothing, or several upstreams and none is named.
    pub fn fail_over_topics(&self, upstream: Option<&Place>) -> Result<Vec<&Topic>, Error> {
        if self.handing_over().is_some() && upstream.is_none() {
            return Ok(self.own_topics().collect());
        }
        let named = match upstream {
            Some(place) => Some(self.expect_upstream(place)?),
            None if self.upstreams.len() > 1 => {
                return Err(Error::invalid(format!(
                    "{} has {} upstreams; say by -upstream from which one to take over",
                    self.path,
                    self.upstreams.len()
                )));
            }
            None => self.upstreams.first(),
        };
        // With one upstream, or none any more, everything that is replicated came by it.
        let all = self.upstreams.len() <= 1;
        let is_meant = |topic: &&Topic| {
            let owner = topic.owner.stream;
            owner != self.id && (all || named.is_some_and(|u| u.stream_id == Some(owner)))
        };
        let topics: Vec<&Topic> = self.topics.values().map(|t| &**t).filter(is_meant).collect();
        if topics.is_empty() {
            let from = named.map_or_else(String::new, |named| format!(" of {}", named.place));
            return Err(Error::policy(format!(
                "{} has no topic{from} that belongs to another stream, so there is nothing to fail \
                 over; see `maprcli stream topic list -path {}`",
                self.path, self.path
            )));
        }
        Ok(topics)
    }

    /// What this stream owns, and may go on with in a higher term.
    ///
    /// # Errors
    /// There is nothing, or it is being handed over.
    pub fn renewable_topics(&self) -> Result<Vec<&Topic>, Error> {
        self.check_not_handing_over()?;
        let topics: Vec<&Topic> = self.own_topics().filter(|topic| topic.aside.is_none()).collect();
        if topics.is_empty() {
            return Err(Error::policy(format!(
                "{} owns no topic, so that there is nothing to decide for it; to make it the \
                 owner, leave -again out",
                self.path
            )));
        }
        Ok(topics)
    }

    /// The highest term that this stream has seen.
    pub fn highest_term(&self) -> Term {
        let of_topics = self.topics.values().map(|topic| topic.owner.term);
        let all = of_topics.chain([self.term, self.seen]);
        all.max_by_key(|term| term.number).expect("a stream has a term of its own")
    }

    /// A term above all that this stream has seen.
    pub(super) fn next_term(&self, draw: &Draw) -> Term {
        let number = self.highest_term().number + 1;
        Term { number, id: TermId::from_random((draw.random)()) }
    }

    /// Nobody knows what a synchronous replica has of topics that were not owned here until now:
    /// what sessions say that stand was said of another history, and acknowledgements wait for the
    /// replica again once it has everything of this one.
    pub(super) fn doubted(&self, now_ms: i64) -> Vec<Event> {
        let synchronous = self.replicas.iter().filter(|r| r.sync_state != SyncState::Async);
        // An upstream's may be raised before.
        let mut link_epoch = self.link_epoch.next();
        let mut events = Vec::new();
        for replica in synchronous {
            link_epoch = link_epoch.next();
            let (stream, idx) = (self.id, replica.idx);
            let raised = Replica { link_epoch, ..replica.clone() };
            events.push(Event::ReplicaSet { stream, replica: raised });
            if replica.sync_state == SyncState::InForce {
                let window = RiskWindow { from_ms: now_ms, ..RiskWindow::default() };
                events.push(Event::ReplicaDegraded { stream, idx, window });
            }
        }
        events
    }

    pub(super) fn owner_changed(&self, topics: Vec<OriginTopicId>, owner: Owner) -> Event {
        Event::OwnerChanged { stream: self.id, topics, owner, seq: self.catalog_seq.next() }
    }
}
