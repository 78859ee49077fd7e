//! What a link carries into a replica's catalog. Everything here may arrive twice, late, or by
//! two ways.

use mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX;
use mainstem_types::{CatalogSeq, Error, StreamId, TopicName};

use super::topic::check_config;
use crate::{Catalog, Command, Event, Owner, Place, Stream, Topic, Upstream};

impl Catalog {
    pub(super) fn decide_apply_topic(&self, command: &Command) -> Result<Vec<Event>, Error> {
        let Command::ApplyTopic { stream, upstream, link_epoch, origin, owner, .. } = command
        else {
            unreachable!("called for that command only")
        };
        let Command::ApplyTopic { source_seq, partitions, config, name, .. } = command else {
            unreachable!("called for that command only")
        };
        let stream = self.expect_stream(*stream)?;
        let upstream_id = *upstream;
        let upstream = stream.check_link(upstream_id, *link_epoch)?;
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(partitions) {
            return Err(Error::invalid(format!(
                "topic {name} comes with {partitions} partitions; 1 to \
                 {PARTITIONS_PER_TOPIC_MAX} are possible"
            )));
        }
        check_config(config)?;
        let stone = stream.tombstones.get(origin).filter(|s| !s.is_outlived_by(owner.term));
        let is_deleted = stone.is_some();
        // Another one goes on with it, who may not be waiting to tell its deletion too.
        let is_missed = owner.stream == upstream_id
            && stone.and_then(|stone| stone.owner).is_some_and(|before| before != owner.stream);
        let mut events = if owner.stream == stream.id {
            Vec::new() // What began here is not taken back.
        } else if is_missed {
            return Err(self.deleted_here(stream, upstream, name));
        } else if is_deleted {
            Vec::from_iter(stream.wait_for(*origin, upstream_id, false)) // What was deleted stays deleted.
        } else if let Some(topic) = stream.topic_by_origin(*origin) {
            self.change_applied(stream, upstream, topic, command)?
        } else {
            self.create_applied(stream, upstream, command)?
        };
        let known = stream.topic_by_origin(*origin);
        let is_told = known.is_some_and(|topic| topic.told_by.contains(&upstream_id));
        let stands = known.is_some() || !events.is_empty();
        let is_relayed = owner.stream != upstream_id && owner.stream != stream.id;
        if is_relayed && stands && !is_told && !is_deleted {
            let (stream, origin) = (stream.id, *origin);
            events.push(Event::TopicTold { stream, origin, upstream: upstream_id });
        }
        events.extend(stream.advanced(upstream, *source_seq));
        Ok(events)
    }

    fn create_applied(
        &self,
        stream: &Stream,
        upstream: &Upstream,
        command: &Command,
    ) -> Result<Vec<Event>, Error> {
        let Command::ApplyTopic {
            origin,
            partitions,
            timestamp_type,
            config,
            owner,
            owner_seq,
            created_ms,
            ..
        } = command
        else {
            unreachable!("called for that command only")
        };
        let (mut events, name) = self.find_name(stream, upstream, command)?;
        let seq = CatalogSeq(stream.catalog_seq.next().0 + events.len() as u64);
        events.push(Event::TopicCreated {
            stream: stream.id,
            origin: *origin,
            kafka_id: self.free_kafka_id(*origin, stream.id)?,
            name,
            first_partition: self.cluster.next_partition,
            partitions: *partitions,
            timestamp_type: *timestamp_type,
            config: config.clone(),
            owner: *owner,
            seq,
            owner_seq: *owner_seq,
            created_ms: *created_ms,
        });
        Ok(events)
    }

    /// The name that a topic gets here, and what has to happen before it can have it. I5: two
    /// owners of one name; the second is refused. Two topics of one owner cannot have one name
    /// there, so the one that changed there first has another name by now, or is deleted, and is
    /// out of the way here until it is told anew.
    fn find_name(
        &self,
        stream: &Stream,
        upstream: &Upstream,
        command: &Command,
    ) -> Result<(Vec<Event>, TopicName), Error> {
        let Command::ApplyTopic { origin, name, owner, owner_seq, .. } = command else {
            unreachable!("called for that command only")
        };
        self.check_topic_name(stream, name)?;
        let Some(rival) = stream.topic(name).filter(|rival| rival.origin != *origin) else {
            return Ok((Vec::new(), name.clone()));
        };
        let is_newer = (rival.owner.term.number, rival.owner_seq) < (owner.term.number, *owner_seq);
        let stale = if is_newer { rival.origin } else { *origin };
        let aside = format!("{:.200}-{:08x}", name.as_str(), stale.0 >> 96);
        let aside = aside.parse::<TopicName>().ok().filter(|aside| {
            stream.topic(aside).is_none() && self.check_topic_name(stream, aside).is_ok()
        });
        match aside {
            Some(aside) if rival.owner.stream == owner.stream && is_newer => {
                let seq = stream.catalog_seq.next();
                Ok((vec![stream.rename(rival, &aside, seq, rival.owner_seq)], name.clone()))
            }
            Some(aside) if rival.owner.stream == owner.stream => Ok((Vec::new(), aside)),
            _ => Err(self.conflict(stream, upstream, rival, owner)),
        }
    }

    fn change_applied(
        &self,
        stream: &Stream,
        upstream: &Upstream,
        topic: &Topic,
        command: &Command,
    ) -> Result<Vec<Event>, Error> {
        let Command::ApplyTopic {
            name, partitions, timestamp_type, config, owner, owner_seq, ..
        } = command
        else {
            unreachable!("called for that command only")
        };
        let (had, has) = (topic.owner.term, owner.term);
        // A higher term was begun where this topic came to from here: it is given up (I5).
        if topic.owner.stream == stream.id && has.number <= had.number {
            return Err(self.two_owners(stream, upstream, topic, owner));
        }
        if had.number == has.number && topic.owner != *owner {
            return Err(self.two_owners(stream, upstream, topic, owner));
        }
        // Sequences of two owners cannot be compared; a higher term is newer whatever its count.
        let newer =
            has.number > had.number || (has.number == had.number && topic.owner_seq < *owner_seq);
        if !newer {
            return Ok(Vec::new());
        }
        let mut events = Vec::new();
        let next =
            |events: &Vec<Event>| CatalogSeq(stream.catalog_seq.next().0 + events.len() as u64);
        if topic.name != *name {
            let (before, name) = self.find_name(stream, upstream, command)?;
            events = before;
            if topic.name != name {
                events.push(stream.rename(topic, &name, next(&events), *owner_seq));
            }
        }
        events.push(Event::TopicChanged {
            stream: stream.id,
            origin: topic.origin,
            first_partition: self.cluster.next_partition,
            added: partitions.saturating_sub(topic.partition_count()),
            timestamp_type: *timestamp_type,
            config: config.clone(),
            owner: *owner,
            seq: next(&events),
            owner_seq: *owner_seq,
        });
        Ok(events)
    }

    pub(super) fn decide_apply_tombstone(&self, command: &Command) -> Result<Vec<Event>, Error> {
        let Command::ApplyTombstone { stream, upstream, link_epoch, origin, .. } = command else {
            unreachable!("called for that command only")
        };
        let Command::ApplyTombstone { owner_seq, term, source_seq, .. } = command else {
            unreachable!("called for that command only")
        };
        let stream = self.expect_stream(*stream)?;
        let teller = *upstream;
        let upstream = stream.check_link(teller, *link_epoch)?;
        let topic = stream.topic_by_origin(*origin);
        // Who was promoted before it heard of a deletion goes on with the topic.
        let is_due = |topic: &&Topic| topic.owner.stream != stream.id && !topic.outlives(*term);
        let mut events = match topic.map(|topic| &**topic).filter(is_due) {
            Some(topic) => stream.delete(topic, *owner_seq, Some(teller), *term),
            None => Vec::from_iter(stream.wait_for(*origin, teller, true)),
        };
        events.extend(stream.advanced(upstream, *source_seq));
        Ok(events)
    }

    /// Its owner still has what was deleted here, in a term that is not before the owner's: it is not
    /// made again, and nothing else of it is taken for complete (a hand-over would lose it).
    fn deleted_here(&self, stream: &Stream, upstream: &Upstream, name: &TopicName) -> Error {
        let here = Place { cluster: self.cluster.name.clone(), path: stream.path.clone() };
        let owner = &upstream.place;
        Error::policy(format!(
            "topic {name} was deleted at {here} in a term of its own, and {owner} goes on with it; \
             delete it there too, by `maprcli stream topic delete -path {owner} -topic {name}`, or \
             begin a higher term there, by `maprcli stream replica failover -path {owner} -again true`"
        ))
    }

    /// Says who the two are, and what people can do.
    /// Topics of two owners have one name.
    fn conflict(
        &self,
        stream: &Stream,
        upstream: &Upstream,
        topic: &Topic,
        second: &Owner,
    ) -> Error {
        let [here, first, second] = self.places(stream, upstream, topic, second);
        Error::policy(format!(
            "topic {} of {here} belongs to {first}, and {second} has another one of that name; \
             rename one of the two where it belongs, by `maprcli stream topic rename -path <stream> \
             -topic {} -to <name>`, or delete it there",
            topic.name, topic.name,
        ))
    }

    /// One topic has two owners, neither of whom is known to be the later one.
    fn two_owners(
        &self,
        stream: &Stream,
        upstream: &Upstream,
        topic: &Topic,
        second: &Owner,
    ) -> Error {
        let [here, first, second] = self.places(stream, upstream, topic, second);
        Error::policy(format!(
            "topic {} of {here} was made the own of {first} and of {second}, in term {}; say at the \
             one that is to go on `maprcli stream replica failover -path <stream> -again true`: what \
             only the other one has is set aside there",
            topic.name, topic.owner.term.number,
        ))
    }

    /// This stream, and where two owners lie, as far as that is known here.
    fn places(
        &self,
        stream: &Stream,
        upstream: &Upstream,
        topic: &Topic,
        second: &Owner,
    ) -> [String; 3] {
        let here = Place { cluster: self.cluster.name.clone(), path: stream.path.clone() };
        let place = |owner: StreamId, by: Option<&Upstream>| match stream.upstream_by_id(owner) {
            _ if owner == stream.id => here.to_string(),
            Some(upstream) => upstream.place.to_string(),
            None => {
                let by = by.map_or_else(String::new, |by| format!(" (by way of {})", by.place));
                format!("the stream with uuid {owner}{by}")
            }
        };
        let (first, second) =
            (place(topic.owner.stream, None), place(second.stream, Some(upstream)));
        [here.to_string(), first, second]
    }
}

impl Stream {
    /// That the upstream's catalog has been applied up to `seq`, if that is news.
    pub(super) fn advanced(&self, upstream: &Upstream, seq: CatalogSeq) -> Option<Event> {
        (upstream.applied_seq < seq).then(|| Event::UpstreamSet {
            stream: self.id,
            upstream: Upstream { applied_seq: seq, ..upstream.clone() },
        })
    }
}
