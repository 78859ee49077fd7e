//! Events become state. Whatever `decide` made can be applied; anything else is our own fault.

use std::sync::Arc;

use mainstem_types::{CatalogSeq, OriginTopicId, PartitionNo, StreamId, Term, TermId, TopicName};

use crate::names::dotted;
use crate::{Catalog, Event, Owner, PartitionHome, RowKey, Stream, Tombstone, Topic};

/// What one event changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows to store anew, or to delete where [`Catalog::row`] has none.
    pub rows: Vec<RowKey>,
    /// Partitions that began.
    pub partitions_added: Vec<PartitionNo>,
    /// Partitions that are gone, with the stream and topic they belonged to.
    pub partitions_removed: Vec<(PartitionNo, PartitionHome)>,
    /// Partitions that somebody else wrote and that this cluster writes from here on.
    pub partitions_taken_over: Vec<PartitionNo>,
    /// Partitions that this cluster goes on writing in a new term.
    pub partitions_renewed: Vec<PartitionNo>,
    /// Partitions that another stream owns from here on.
    pub partitions_given_up: Vec<PartitionNo>,
    /// Topics that this cluster wrote in that term and that somebody else writes from here on.
    pub given_up: Vec<(StreamId, OriginTopicId, TermId)>,
}

impl Applied {
    fn row(key: RowKey) -> Self {
        Self { rows: vec![key], ..Self::default() }
    }

    /// Gives `topic` its owner, and notes what that means for whom.
    fn change_owner(&mut self, stream: StreamId, topic: &mut Topic, owner: Owner) {
        assert!(topic.owner.term.number <= owner.term.number, "terms never go down");
        let before = std::mem::replace(&mut topic.owner, owner);
        match (before.stream == stream, owner.stream == stream) {
            (false, true) => self.partitions_taken_over.extend(&topic.partitions),
            (true, true) if before.term != owner.term => {
                self.partitions_renewed.extend(&topic.partitions);
            }
            (true, false) => {
                self.given_up.push((stream, topic.origin, before.term.id));
                self.partitions_given_up.extend(&topic.partitions);
            }
            _ => {}
        }
    }
}

impl Catalog {
    /// Applies an event that [`Catalog::decide`] made against this very state.
    ///
    /// # Panics
    /// On an event that does not fit the state.
    pub fn apply(&mut self, event: &Event) -> Applied {
        match event {
            Event::ClusterFounded { id, name, incarnation } => {
                self.cluster.id = *id;
                self.cluster.name = name.clone();
                if self.cluster.incarnation != *incarnation {
                    self.cluster.next_producer_id = 0;
                }
                self.cluster.incarnation = *incarnation;
                Applied::row(RowKey::Cluster)
            }
            Event::ProducerIdsReserved { incarnation, next } => {
                assert!(
                    self.cluster.incarnation != *incarnation
                        || self.cluster.next_producer_id < *next,
                    "producer ids are given out once"
                );
                self.cluster.incarnation = *incarnation;
                self.cluster.next_producer_id = *next;
                Applied::row(RowKey::Cluster)
            }
            Event::GatewaysSet { cluster, gateways } => {
                self.gateways.insert(cluster.clone(), gateways.clone());
                Applied::row(RowKey::Gateways(cluster.clone()))
            }
            Event::GatewaysDeleted { cluster } => {
                self.gateways.remove(cluster);
                Applied::row(RowKey::Gateways(cluster.clone()))
            }
            Event::GrantIssued { grant } => {
                self.grants.insert(grant.id, grant.clone());
                Applied::row(RowKey::Grant(grant.id))
            }
            Event::GrantDropped { grant } => {
                self.grants.remove(grant);
                Applied::row(RowKey::Grant(*grant))
            }
            Event::UndoBegun { undo } => {
                self.undos.insert(undo.job, undo.clone());
                Applied::row(RowKey::Undo(undo.job))
            }
            Event::UndoEnded { job } => {
                self.undos.remove(job);
                Applied::row(RowKey::Undo(*job))
            }
            Event::StreamCreated { .. } | Event::StreamDeleted { .. } => self.apply_stream(event),
            Event::StreamEdited { stream, settings } => {
                self.stream_mut(*stream).settings = settings.clone();
                Applied::row(RowKey::Stream(*stream))
            }
            Event::TopicCreated { .. } => self.apply_topic_created(event),
            Event::TopicChanged { .. } => self.apply_topic_changed(event),
            Event::TopicRenamed { stream, origin, name, seq, owner_seq } => {
                self.apply_topic_renamed(*stream, *origin, name, (*seq, *owner_seq))
            }
            Event::TopicTold { stream, origin, upstream } => {
                self.topic_mut(*stream, *origin).told_by.push(*upstream);
                Applied::row(RowKey::Topic(*stream, *origin))
            }
            Event::TopicDeleted { .. }
            | Event::TombstonesFreed { .. }
            | Event::TombstoneWaits { .. } => self.apply_deletion(event),
            Event::OwnerChanged { stream, topics, owner, seq } => {
                self.apply_owner_changed(*stream, topics, *owner, *seq)
            }
            Event::TermSeen { stream, term } => {
                self.stream_mut(*stream).see_term(*term);
                Applied::row(RowKey::Stream(*stream))
            }
            Event::SetAsideCreated { .. } => self.apply_set_aside(event),
            Event::ReplicaSet { .. }
            | Event::ReplicaRemoved { .. }
            | Event::UpstreamSet { .. }
            | Event::UpstreamRemoved { .. } => self.apply_agreement(event),
            Event::ReplicaDegraded { .. }
            | Event::RiskWidened { .. }
            | Event::ReplicaInForce { .. } => self.apply_synchrony(event),
        }
    }

    /// The stream, to be changed; other clones of the catalog keep what they have.
    fn stream_mut(&mut self, id: StreamId) -> &mut Stream {
        Arc::make_mut(self.streams.get_mut(&id).expect("events name streams that exist"))
    }

    fn apply_stream(&mut self, event: &Event) -> Applied {
        match event {
            Event::StreamCreated { id, path, settings, term, created_ms } => {
                let stream = Stream {
                    id: *id,
                    path: path.clone(),
                    settings: settings.clone(),
                    term: *term,
                    catalog_seq: Default::default(),
                    link_epoch: Default::default(),
                    created_ms: *created_ms,
                    seen: *term,
                    topics: Default::default(),
                    names: Default::default(),
                    tombstones: Default::default(),
                    replicas: Vec::new(),
                    upstreams: Vec::new(),
                };
                self.insert_stream(stream);
                Applied::row(RowKey::Stream(*id))
            }
            Event::StreamDeleted { stream } => self.remove_stream(*stream),
            _ => unreachable!("called for streams only"),
        }
    }

    pub(crate) fn insert_stream(&mut self, stream: Stream) {
        let (id, path) = (stream.id, stream.path.clone());
        let taken = self.paths.insert(path.clone(), id).is_some()
            | self.prefixes.insert(dotted(&path), id).is_some()
            | self.streams.insert(id, Arc::new(stream)).is_some();
        assert!(!taken, "one stream per uuid, path and prefix of Kafka names");
    }

    fn remove_stream(&mut self, id: StreamId) -> Applied {
        let stream = self.streams.remove(&id).expect("events name streams that exist");
        self.paths.remove(&stream.path);
        self.prefixes.remove(&dotted(&stream.path));
        let mut applied = Applied::row(RowKey::Stream(id));
        for topic in stream.topics.values() {
            self.forget_topic(id, topic, &mut applied);
        }
        let rows = &mut applied.rows;
        rows.extend(stream.tombstones.keys().map(|origin| RowKey::Tombstone(id, *origin)));
        rows.extend(stream.replicas.iter().map(|replica| RowKey::Replica(id, replica.idx)));
        rows.extend(stream.upstreams.iter().map(|upstream| RowKey::Upstream(id, upstream.idx)));
        applied
    }

    fn forget_topic(&mut self, stream: StreamId, topic: &Topic, applied: &mut Applied) {
        self.kafka_ids.remove(&topic.kafka_id);
        for no in &topic.partitions {
            let home = self.partitions.remove(no).expect("every partition has a home");
            applied.partitions_removed.push((*no, home));
        }
        applied.rows.push(RowKey::Topic(stream, topic.origin));
    }

    fn apply_topic_created(&mut self, event: &Event) -> Applied {
        let Event::TopicCreated {
            stream,
            origin,
            kafka_id,
            name,
            first_partition,
            partitions,
            timestamp_type,
            config,
            owner,
            seq,
            owner_seq,
            created_ms,
        } = event
        else {
            unreachable!("called for created topics only")
        };
        let home = self.stream_mut(*stream);
        home.see_term(owner.term);
        let outlived = home.tombstones.remove(origin).map(|_| RowKey::Tombstone(*stream, *origin));
        let topic = Topic {
            origin: *origin,
            kafka_id: *kafka_id,
            name: name.clone(),
            first_seq: *seq,
            changed_seq: *seq,
            owner_seq: *owner_seq,
            partitions: self.take_partitions(*first_partition, *partitions),
            timestamp_type: *timestamp_type,
            config: config.clone(),
            owner: *owner,
            created_ms: *created_ms,
            told_by: Vec::new(),
            aside: None,
        };
        let mut applied = self.add_topic(*stream, topic);
        applied.rows.extend(outlived);
        applied
    }

    /// A topic that is new here.
    fn add_topic(&mut self, stream: StreamId, topic: Topic) -> Applied {
        let (origin, partitions_added) = (topic.origin, topic.partitions.clone());
        self.raise_seq(stream, topic.changed_seq);
        self.insert_topic(stream, topic);
        Applied {
            rows: vec![RowKey::Topic(stream, origin), RowKey::Stream(stream), RowKey::Cluster],
            partitions_added,
            ..Applied::default()
        }
    }

    fn apply_set_aside(&mut self, event: &Event) -> Applied {
        let Event::SetAsideCreated {
            stream,
            origin,
            kafka_id,
            name,
            first_partition,
            partitions,
            timestamp_type,
            config,
            seq,
            aside,
        } = event
        else {
            unreachable!("called for what is set aside only")
        };
        let topic = Topic {
            origin: *origin,
            kafka_id: *kafka_id,
            name: name.clone(),
            first_seq: *seq,
            changed_seq: *seq,
            owner_seq: *seq,
            partitions: self.take_partitions(*first_partition, *partitions),
            timestamp_type: *timestamp_type,
            config: config.clone(),
            owner: self.streams[stream].as_owner(),
            created_ms: aside.set_aside_ms,
            told_by: Vec::new(),
            aside: Some(aside.clone()),
        };
        self.add_topic(*stream, topic)
    }

    /// Topics change hands in one step, whoever wrote them before; each counts as one change.
    fn apply_owner_changed(
        &mut self,
        stream: StreamId,
        topics: &[OriginTopicId],
        owner: Owner,
        first_seq: CatalogSeq,
    ) -> Applied {
        let mut applied = Applied::row(RowKey::Stream(stream));
        let home = self.stream_mut(stream);
        home.see_term(owner.term);
        if owner.stream == stream && owner.term.number >= home.term.number {
            home.term = owner.term;
        }
        let mut seq = first_seq;
        assert!(home.catalog_seq < seq, "a stream's sequence only rises");
        for origin in topics {
            let name = home.names.get(origin).expect("events name topics that exist");
            let topic = Arc::make_mut(home.topics.get_mut(name).expect("names lead to topics"));
            // What the new owner says next of the topic is news, whatever its count.
            let owner_seq = if owner.stream == stream { seq } else { CatalogSeq(0) };
            applied.change_owner(stream, topic, owner);
            (topic.changed_seq, topic.owner_seq) = (seq, owner_seq);
            applied.rows.push(RowKey::Topic(stream, *origin));
            home.catalog_seq = seq;
            seq = seq.next();
        }
        applied
    }

    pub(crate) fn insert_topic(&mut self, stream: StreamId, topic: Topic) {
        self.home_partitions(stream, topic.origin, 0, &topic.partitions);
        let home = self.kafka_ids.insert(topic.kafka_id, (stream, topic.origin));
        assert!(home.is_none(), "one topic per Kafka id");
        let owner = self.stream_mut(stream);
        let rival = owner.names.insert(topic.origin, topic.name.clone()).is_some()
            | owner.topics.insert(topic.name.clone(), Arc::new(topic)).is_some();
        assert!(!rival, "I5: one topic per name and per origin in a stream");
    }

    fn apply_topic_changed(&mut self, event: &Event) -> Applied {
        let Event::TopicChanged {
            stream,
            origin,
            first_partition,
            added,
            timestamp_type,
            config,
            owner,
            seq,
            owner_seq,
        } = event
        else {
            unreachable!("called for changed topics only")
        };
        let more = self.take_partitions(*first_partition, *added);
        self.raise_seq(*stream, *seq);
        self.stream_mut(*stream).see_term(owner.term);
        let topic = self.topic_mut(*stream, *origin);
        let first_index = topic.partition_count();
        let mut applied = Applied::default();
        applied.change_owner(*stream, topic, *owner);
        topic.partitions.extend(&more);
        topic.timestamp_type = *timestamp_type;
        topic.config = config.clone();
        topic.changed_seq = *seq;
        topic.owner_seq = *owner_seq;
        self.home_partitions(*stream, *origin, first_index, &more);
        applied.rows =
            vec![RowKey::Topic(*stream, *origin), RowKey::Stream(*stream), RowKey::Cluster];
        applied.partitions_added = more;
        applied
    }

    fn topic_mut(&mut self, stream: StreamId, origin: OriginTopicId) -> &mut Topic {
        let home = self.stream_mut(stream);
        let name = home.names.get(&origin).expect("events name topics that exist");
        Arc::make_mut(home.topics.get_mut(name).expect("names lead to topics"))
    }

    fn apply_topic_renamed(
        &mut self,
        stream: StreamId,
        origin: OriginTopicId,
        name: &TopicName,
        (seq, owner_seq): (CatalogSeq, CatalogSeq),
    ) -> Applied {
        self.raise_seq(stream, seq);
        let home = self.stream_mut(stream);
        let before =
            home.names.insert(origin, name.clone()).expect("events name topics that exist");
        let mut topic = home.topics.remove(&before).expect("names lead to topics");
        let renamed = Arc::make_mut(&mut topic);
        renamed.name = name.clone();
        (renamed.changed_seq, renamed.owner_seq) = (seq, owner_seq);
        let rival = home.topics.insert(name.clone(), topic);
        assert!(rival.is_none(), "I5: one topic per name in a stream");
        let rows = vec![RowKey::Topic(stream, origin), RowKey::Stream(stream)];
        Applied { rows, ..Applied::default() }
    }

    fn apply_deletion(&mut self, event: &Event) -> Applied {
        match event {
            Event::TopicDeleted { stream, origin, seq, owner_seq, term } => {
                self.raise_seq(*stream, *seq);
                let home = self.stream_mut(*stream);
                let name = home.names.remove(origin).expect("events name topics that exist");
                let topic = home.topics.remove(&name).expect("names lead to topics");
                let stone = Tombstone {
                    origin: *origin,
                    name,
                    seq: *seq,
                    owner_seq: *owner_seq,
                    waits_for: topic.told_by.clone(),
                    term: Some(term.unwrap_or(topic.owner.term.number)),
                    owner: Some(topic.owner.stream),
                };
                home.tombstones.insert(*origin, stone);
                let mut applied = Applied::row(RowKey::Stream(*stream));
                applied.rows.push(RowKey::Tombstone(*stream, *origin));
                self.forget_topic(*stream, &topic, &mut applied);
                applied
            }
            Event::TombstoneWaits { stream, origin, waits_for } => {
                let home = self.stream_mut(*stream);
                let stone = home.tombstones.get_mut(origin).expect("events name what is deleted");
                stone.waits_for.clone_from(waits_for);
                Applied::row(RowKey::Tombstone(*stream, *origin))
            }
            Event::TombstonesFreed { stream, through } => {
                let home = self.stream_mut(*stream);
                let freed: Vec<OriginTopicId> = home.freed_by(*through).collect();
                for origin in &freed {
                    home.tombstones.remove(origin);
                }
                let rows = freed.into_iter().map(|origin| RowKey::Tombstone(*stream, origin));
                Applied { rows: rows.collect(), ..Applied::default() }
            }
            _ => unreachable!("called for deletions only"),
        }
    }

    fn apply_agreement(&mut self, event: &Event) -> Applied {
        let (id, row, epoch) = match event {
            Event::ReplicaSet { stream, replica } => {
                put(&mut self.stream_mut(*stream).replicas, replica.clone(), |r| r.idx);
                (*stream, RowKey::Replica(*stream, replica.idx), replica.link_epoch)
            }
            Event::ReplicaRemoved { stream, idx, link_epoch } => {
                self.stream_mut(*stream).replicas.retain(|replica| replica.idx != *idx);
                (*stream, RowKey::Replica(*stream, *idx), *link_epoch)
            }
            Event::UpstreamSet { stream, upstream } => {
                put(&mut self.stream_mut(*stream).upstreams, upstream.clone(), |u| u.idx);
                (*stream, RowKey::Upstream(*stream, upstream.idx), upstream.link_epoch)
            }
            Event::UpstreamRemoved { stream, idx, link_epoch } => {
                self.stream_mut(*stream).upstreams.retain(|upstream| upstream.idx != *idx);
                (*stream, RowKey::Upstream(*stream, *idx), *link_epoch)
            }
            _ => unreachable!("called for agreements only"),
        };
        let stream = self.stream_mut(id);
        stream.link_epoch = stream.link_epoch.max(epoch);
        Applied { rows: vec![row, RowKey::Stream(id)], ..Applied::default() }
    }

    fn apply_synchrony(&mut self, event: &Event) -> Applied {
        let (Event::ReplicaDegraded { stream, idx, .. }
        | Event::RiskWidened { stream, idx, .. }
        | Event::ReplicaInForce { stream, idx, .. }) = event
        else {
            unreachable!("called for synchronous replicas only")
        };
        let replicas = &mut self.stream_mut(*stream).replicas;
        let replica = replicas.iter_mut().find(|replica| replica.idx == *idx);
        let replica = replica.expect("events name replicas that exist");
        match event {
            Event::ReplicaDegraded { window, .. } => replica.degrade(window.clone()),
            Event::RiskWidened { ranges, is_partial, .. } => replica.widen(ranges, *is_partial),
            Event::ReplicaInForce { at_ms, ends, .. } => replica.bring_in_force(*at_ms, ends),
            _ => unreachable!("matched above"),
        }
        Applied::row(RowKey::Replica(*stream, *idx))
    }

    /// The next `count` partition numbers, which must begin at `first`: none is ever given twice.
    fn take_partitions(&mut self, first: PartitionNo, count: u32) -> Vec<PartitionNo> {
        if count == 0 {
            return Vec::new();
        }
        assert!(first == self.cluster.next_partition, "partition numbers are given out in order");
        self.cluster.next_partition = PartitionNo(first.0 + u64::from(count));
        (first.0..first.0 + u64::from(count)).map(PartitionNo).collect()
    }

    fn home_partitions(
        &mut self,
        stream: StreamId,
        topic: OriginTopicId,
        first_index: u32,
        numbers: &[PartitionNo],
    ) {
        for (index, no) in (first_index..).zip(numbers) {
            let home = PartitionHome { stream, topic, index };
            let taken = self.partitions.insert(*no, home);
            assert!(taken.is_none(), "partition numbers are never reused");
        }
    }

    fn raise_seq(&mut self, stream: StreamId, seq: CatalogSeq) {
        let stream = self.stream_mut(stream);
        assert!(stream.catalog_seq < seq, "a stream's sequence only rises");
        stream.catalog_seq = seq;
    }
}

impl Stream {
    /// The tombstones that go when all replicas know of all deletions up to and with `through`.
    pub(crate) fn freed_by(&self, through: CatalogSeq) -> impl Iterator<Item = OriginTopicId> {
        let is_due = move |stone: &&Tombstone| stone.seq <= through && stone.waits_for.is_empty();
        self.tombstones.values().filter(is_due).map(|stone| stone.origin)
    }

    /// Takes note of a term; the highest number stays.
    fn see_term(&mut self, term: Term) {
        if term.number > self.seen.number {
            self.seen = term;
        }
    }

    /// The owner of what begins here.
    pub(crate) fn as_owner(&self) -> Owner {
        Owner { stream: self.id, term: self.term }
    }
}

/// Replaces or adds the agreement in its slot, keeping slots in order.
fn put<T>(slots: &mut Vec<T>, value: T, idx: impl Fn(&T) -> u32) {
    match slots.binary_search_by_key(&idx(&value), &idx) {
        Ok(at) => slots[at] = value,
        Err(at) => slots.insert(at, value),
    }
}
