//! What people and clients do.

use std::collections::BTreeMap;

use mainstem_catalog::{Command, StreamPatch, TopicPatch};
use mainstem_engine::{Ack, Append, CursorCommit};
use mainstem_env::Random;
use mainstem_group::CursorKey;
use mainstem_types::{ErrorKind, OriginTopicId, PartitionNo};

use crate::node::{Answer, Purpose};
use crate::producer::{Producer, Target};
use crate::topology::NAMES;
use crate::world::{Fence, World};

/// Begins names that several sites may use.
const SHARED: &str = "x";

/// Keys that are written where anybody compacts.
const KEYS: u64 = 9;

/// The retention of a source that has one.
const TTL_SECONDS: u64 = 30;

impl World {
    /// Partitions of topics that begin at a site, with their home.
    pub(crate) fn owned(&self, site: usize) -> Vec<Target> {
        let Some(stream) = self.stream(site) else { return Vec::new() };
        let topics = stream.carried_topics().filter(|topic| topic.owner.stream == stream.id);
        let partitions = topics.flat_map(|topic| {
            (0u32..).zip(&topic.partitions).map(|(index, no)| (topic.origin, index, *no))
        });
        partitions.map(|(origin, index, no)| Target { site, no, origin, index }).collect()
    }

    pub(crate) fn produce(&mut self) {
        let at = self.pick(self.producers.len());
        if self.producers[at].outstanding.is_none() {
            let site = self.some_source();
            let targets = self.owned(site);
            if targets.is_empty() {
                return;
            }
            let target = targets[self.pick(targets.len())];
            let count = 1 + i32::try_from(self.random.below(5)).expect("a small number");
            let size = self.pick(300);
            let packed = self.random.below(3) == 0;
            let keys = if self.compacts { KEYS } else { 0 };
            self.producers[at].make(target, count, size, packed, keys);
        }
        self.send(at);
    }

    pub(crate) fn send(&mut self, at: usize) {
        if self.producers[at].outstanding.as_ref().is_none_or(|sent| sent.is_queued)
            || (self.topology.reigns && !self.turn_to_an_owner(at))
        {
            return;
        }
        let Some(sent) = &mut self.producers[at].outstanding else { return };
        sent.is_queued = true;
        let (no, batch, site) = (sent.target.no, sent.batch.clone(), sent.target.site);
        self.append(site, Purpose::Produce { producer: at }, no, batch);
    }

    pub(crate) fn append(
        &mut self,
        site: usize,
        purpose: Purpose,
        no: PartitionNo,
        batch: bytes::Bytes,
    ) {
        let engine = self.engine(site).clone();
        self.node_mut(site).submit(purpose, async move {
            let append = Append { partition: no, batch };
            let answers = match engine.append(vec![append], Ack::Durable).await {
                Ok(answers) => answers.await,
                Err(error) => Err(error),
            };
            Answer::Appended(answers.and_then(|mut answers| answers.remove(0)))
        });
    }

    pub(crate) fn handle_produced(
        &mut self,
        at: usize,
        result: Result<mainstem_engine::Appended, mainstem_types::Error>,
    ) {
        match result {
            Ok(appended) => {
                let site = self.producers[at].outstanding.as_ref().map(|sent| sent.target.site);
                let promise = self.producers[at].acknowledge(appended.base_offset);
                if let (Some(site), Some(promise)) = (site, &promise) {
                    self.check_in_force(site, promise);
                }
                self.acknowledged.extend(promise);
            }
            // Stored or not, it is sent again as the same.
            Err(error)
                if matches!(error.kind(), ErrorKind::ReplicaMissing | ErrorKind::ReplicaLate) =>
            {
                if let Some(sent) = &mut self.producers[at].outstanding {
                    sent.is_queued = false;
                }
            }
            // Somebody else is the owner by now.
            Err(error)
                if self.topology.reigns
                    && matches!(error.kind(), ErrorKind::Policy | ErrorKind::HandingOver) =>
            {
                if let Some(sent) = &mut self.producers[at].outstanding {
                    sent.is_queued = false;
                }
            }
            // What it wrote before was set aside: a client begins anew, with another id.
            Err(error) if self.topology.reigns && is_of_producer(error.kind()) => {
                self.producers[at].begin_anew();
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.producers[at].give_up(),
            Err(error) => {
                self.violate("producers are served", error.to_string());
            }
        }
    }

    /// A local producer at a replica: always refused (I5).
    pub(crate) fn intrude(&mut self) {
        let site = self.links[self.pick(self.links.len())].replica;
        let Some(stream) = self.stream(site) else { return };
        let foreign = stream.topics.values().find(|topic| topic.owner.stream != stream.id);
        let Some(no) = foreign.and_then(|topic| topic.partition(0)) else { return };
        let mut intruder = Producer::new(9_000);
        let target = Target { site, no, origin: OriginTopicId(0), index: 0 };
        intruder.make(target, 1, 1, false, 0);
        let batch = intruder.outstanding.expect("just made").batch;
        self.append(site, Purpose::Intrude, no, batch);
    }

    pub(crate) fn commit_cursor(&mut self) {
        let site = self.some_source();
        let targets = self.owned(site);
        if targets.is_empty() {
            return;
        }
        let target = targets[self.pick(targets.len())];
        let Some(partition) = self.engine(site).partition(target.no) else { return };
        let end = u64::try_from(partition.durable_end()).unwrap_or(0);
        let group = if self.random.below(2) == 0 { "g1" } else { "g2" };
        let commit = CursorCommit {
            key: CursorKey {
                stream: self.id(site),
                group: group.parse().expect("a legal group"),
                topic: target.origin,
                partition: target.index,
            },
            offset: i64::try_from(self.random.below(end + 1)).expect("an offset"),
            leader_epoch: 0,
            metadata: String::new(),
        };
        let engine = self.engine(site).clone();
        self.node_mut(site).submit(Purpose::Whatever, async move {
            Answer::Done(engine.commit_cursors(vec![commit]).await)
        });
    }

    /// The owner deletes records, up to any offset, be it within a batch.
    pub(crate) fn delete_records(&mut self) {
        let site = self.some_source();
        let targets = self.owned(site);
        if targets.is_empty() {
            return;
        }
        let no = targets[self.pick(targets.len())].no;
        let Some(partition) = self.engine(site).partition(no) else { return };
        let end = u64::try_from(partition.durable_end()).unwrap_or(0);
        let to = i64::try_from(self.random.below(end + 1)).expect("an offset");
        let engine = self.engine(site).clone();
        self.node_mut(site).submit(Purpose::Whatever, async move {
            Answer::Done(engine.trim(no, to).await.map(drop))
        });
    }

    /// A group is deleted where it has committed.
    pub(crate) fn delete_cursor(&mut self) {
        let site = self.some_source();
        let cursors = self.engine(site).cursors(self.id(site));
        let local = cursors.into_iter().filter(|(_, cursor)| cursor.local.is_some());
        let keys: Vec<CursorKey> = local.map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.pick(keys.len())].clone();
        let engine = self.engine(site).clone();
        self.node_mut(site).submit(Purpose::Whatever, async move {
            Answer::Done(engine.delete_cursors(vec![key]).await)
        });
    }

    pub(crate) fn create_topic(&mut self) {
        let site = self.some_source();
        let name = self.some_name(site);
        let create = Command::CreateTopic {
            stream: self.id(site),
            name: name.parse().expect("a legal name"),
            partitions: Some(1 + u32::try_from(self.random.below(3)).expect("small")),
            timestamp_type: None,
            config: BTreeMap::new(),
        };
        self.node_mut(site).change(Purpose::Whatever, create);
    }

    /// A name of the site's own, or now and then one that other sites use too.
    fn some_name(&self, site: usize) -> String {
        let is_shared = !self.topology.reigns && self.random.below(8) == 0;
        let owner = if is_shared { SHARED } else { NAMES[site] };
        let number = self.random.below(4);
        match self.topology.reigns {
            // What was deleted may live on under its name at who is promoted meanwhile.
            true => format!("{owner}{number}-{}", self.unwanted.len()),
            false => format!("{owner}{number}"),
        }
    }

    pub(crate) fn rename_topic(&mut self) {
        let site = self.some_source();
        let targets = self.owned(site);
        if targets.is_empty() {
            return;
        }
        let (stream, topic) = (self.id(site), targets[self.pick(targets.len())].origin);
        let name = self.some_name(site).parse().expect("a legal name");
        let rename = Command::RenameTopic { stream, topic, name };
        self.node_mut(site).change(Purpose::Whatever, rename);
    }

    /// Two sites own topics of one name: the way out is to give them other names.
    pub(crate) fn end_conflicts(&mut self) {
        for (site, mark) in NAMES.iter().enumerate().take(self.sites.len()) {
            let Some(stream) = self.stream(site) else { continue };
            let owned = stream.topics.values().filter(|topic| topic.owner.stream == stream.id);
            for topic in owned.filter(|topic| topic.name.as_str().starts_with(SHARED)) {
                let name = format!("{mark}-{}", topic.name);
                let name = name.parse().expect("a legal name");
                let rename = Command::RenameTopic { stream: stream.id, topic: topic.origin, name };
                self.node_mut(site).change(Purpose::Whatever, rename);
            }
        }
    }

    /// Retention takes what is old at the source, whether or not a link has carried it yet.
    pub(crate) fn expire(&mut self) {
        let site = self.some_source();
        let ttl_seconds = Some(if self.random.below(2) == 0 { 0 } else { TTL_SECONDS });
        let patch = StreamPatch { ttl_seconds, ..StreamPatch::default() };
        let path = self.place(site).path;
        self.node_mut(site).change(Purpose::Whatever, Command::EditStream { path, patch });
        if self.random.below(2) == 0 {
            // Nobody waits so long in a storm: links see a silent peer and begin anew.
            self.pass_time(TTL_SECONDS * 1_000);
        }
    }

    pub(crate) fn grow_topic(&mut self) {
        let site = self.some_source();
        let targets = self.owned(site);
        let Some(last) = targets.last() else { return };
        let patch = TopicPatch { partitions: Some(last.index + 2), ..TopicPatch::default() };
        let (stream, topic) = (self.id(site), last.origin);
        self.node_mut(site).change(Purpose::Whatever, Command::EditTopic { stream, topic, patch });
    }

    pub(crate) fn delete_topic(&mut self) {
        let site = self.some_source();
        let targets = self.owned(site);
        if targets.is_empty() {
            return;
        }
        let (stream, topic) = (self.id(site), targets[self.pick(targets.len())].origin);
        self.wanted.remove(&(site, topic));
        self.unwanted.insert(topic);
        self.node_mut(site).change(Purpose::Whatever, Command::DeleteTopic { stream, topic });
    }

    pub(crate) fn pause_or_resume(&mut self) {
        let link = self.pick(self.links.len());
        let (site, replica) = (self.links[link].source, self.replica_place(link));
        let stream = self.id(site);
        let command = if self.random.below(2) == 0 {
            Command::PauseReplica { stream, replica }
        } else {
            Command::ResumeReplica { stream, replica }
        };
        self.node_mut(site).change(Purpose::Whatever, command);
    }

    pub(crate) fn remove_replica(&mut self) {
        self.halves_removed += 1;
        let link = self.pick(self.links.len());
        let (site, replica) = (self.links[link].source, self.replica_place(link));
        let stream = self.id(site);
        self.node_mut(site).change(Purpose::Whatever, Command::RemoveReplica { stream, replica });
    }

    pub(crate) fn remove_upstream(&mut self) {
        self.halves_removed += 1;
        let link = self.pick(self.links.len());
        let (source, site) = (self.links[link].source, self.links[link].replica);
        let (stream, upstream) = (self.id(site), self.place(source));
        let fence = self.fences.len();
        let remove = Command::RemoveUpstream { stream, upstream };
        let at = self.node_mut(site).change(Purpose::RemoveUpstream { fence }, remove);
        let upstream = self.id(source);
        self.fences.push(Fence { site, upstream, at, stands: false });
    }

    /// Declares whatever half of an agreement is missing.
    pub(crate) fn make_agreements(&mut self) {
        for link in 0..self.links.len() {
            let (source, site) = (self.links[link].source, self.links[link].replica);
            let (replica, upstream) = (self.replica_place(link), self.place(source));
            if self.find_replica(&self.catalog(source), link).is_none() {
                let add = Command::AddReplica {
                    stream: self.id(source),
                    replica,
                    replica_id: None,
                    settings: self.replica_settings(),
                    paused: false,
                    setup: None,
                };
                self.node_mut(source).change(Purpose::Whatever, add);
            }
            if self.stream(site).is_some_and(|stream| stream.upstream(&upstream).is_none()) {
                let stream = self.id(site);
                let add = Command::AddUpstream { stream, upstream, stream_id: None };
                self.node_mut(site).change(Purpose::Whatever, add);
            }
        }
    }

    /// A stream that feeds another, drawn.
    pub(crate) fn some_source(&self) -> usize {
        self.links[self.pick(self.links.len())].source
    }
}

fn is_of_producer(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::OutOfOrderSequence
            | ErrorKind::UnknownProducerId
            | ErrorKind::InvalidProducerEpoch
    )
}
