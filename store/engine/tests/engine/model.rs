//! What an engine should hold, beside one that is driven at random and crashes.
//!
//! The operations of one step become durable together. When the power goes in the midst of it, the
//! engine must come back either as it was before or as it would have been after.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{Ack, Append, CursorCommit, LinkName, ReplicaAppend, ReplicaBatch};
use mainstem_env::CrashPolicy;
use mainstem_group::{CursorKey, CursorValue};
use mainstem_record::{patch_base_offset, patch_leader_epoch};
use mainstem_types::{Error, LineageEntry, OriginTopicId, PartitionNo, StreamId};

use crate::world::{REPLICA, SOURCE, START_MS, TERM, TOPIC, World, batch};

const PRODUCER: i64 = 5;
const TTL_MS: i64 = 5_000;
const GROUPS: u64 = 3;

/// What should be.
#[derive(Clone, Default)]
struct Model {
    streams: BTreeMap<StreamId, Stream>,
}

#[derive(Clone)]
struct Stream {
    expires: bool,
    topic: Option<Topic>,
}

/// The one topic of a stream, of one partition.
#[derive(Clone, Default)]
struct Topic {
    /// Not known yet for one whose making nobody was told of.
    place: Option<(OriginTopicId, PartitionNo)>,
    log_start: i64,
    batches: Vec<Batch>,
    sequence: i32,
    /// Committed offsets by group: local, replicated.
    cursors: BTreeMap<u64, (Option<i64>, Option<i64>)>,
}

#[derive(Clone)]
struct Batch {
    next_offset: i64,
    /// What is not stamped by the engine.
    body: Bytes,
    arrival_ms: i64,
}

impl Topic {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next_offset)
    }
}

type Doing = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// One seed.
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) crashes: u64,
    model: Model,
    link: LinkName,
    version: u64,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let mut model = Model::default();
        for at in 0..3 {
            let ttl_seconds = if at == 0 { TTL_MS as u64 / 1000 } else { 0 };
            let settings = StreamSettings { ttl_seconds, ..StreamSettings::default() };
            let no = world.owned(&format!("/s{at}"), settings);
            let partition = world.engine.partition(no).unwrap();
            let topic = Topic { place: Some((partition.topic, no)), ..Topic::default() };
            let stream = Stream { expires: at == 0, topic: Some(topic) };
            model.streams.insert(partition.stream, stream);
        }
        let (link, no) = world.replica();
        let topic = Topic { place: Some((TOPIC, no)), ..Topic::default() };
        model.streams.insert(REPLICA, Stream { expires: false, topic: Some(topic) });
        Self { world, crashes: 0, model, link, version: 0 }
    }

    /// Some operations at once, perhaps in the hour of death, and then a look at everything.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let mut after = self.model.clone();
        let count = self.world.below(4);
        let mut doing: Vec<Doing> = (0..count).map(|_| self.begin(&mut after)).collect();
        if self.world.below(6) == 0 {
            self.world.disk.die_after(self.world.below(8));
        }
        poll(&mut doing)?;
        let stepped = self.world.sequencer.step();
        // What was answered is true, even if the disk died right afterwards.
        let unanswered = poll(&mut doing)?;
        let is_dead = self.world.disk.is_dead();
        if let (Err(error), false) = (&stepped, is_dead) {
            return Err(format!("only a dead disk fails: {error}"));
        }
        let is_known = unanswered == 0 && count > 0;
        if is_known {
            self.model = after.clone();
        }
        if is_dead || self.world.below(12) == 0 {
            self.crash(after)?;
        } else {
            self.model = after;
        }
        self.world.clock.advance_ms(self.world.below(600));
        self.model.check(&self.world)?;
        self.model.follow(&self.world);
        Ok(())
    }

    /// Everything that can expire is gone in the end, and the rest survives once more.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        // A death that was still to come does not.
        self.crash(self.model.clone())?;
        self.world.clock.advance_ms(10 * TTL_MS as u64);
        self.world.sequencer.step().map_err(|e| e.to_string())?;
        let model = self.model.clone();
        self.crash(model)?;
        for stream in self.model.streams.values().filter(|stream| stream.expires) {
            let Some(topic) = &stream.topic else { continue };
            let (_, no) = topic.place.ok_or("a topic without a place")?;
            let partition = self.world.engine.partition(no).ok_or("a partition is gone")?;
            if partition.log_start() != topic.end() {
                return Err(format!("{no} kept what has expired"));
            }
        }
        Ok(())
    }

    fn crash(&mut self, after: Model) -> Result<(), String> {
        self.crashes += 1;
        self.world.disk.crash(CrashPolicy::Seeded);
        self.world.try_open().map_err(|error| format!("does not start: {error}"))?;
        if let Err(not_before) = self.model.check(&self.world) {
            let not_after = after.check(&self.world);
            not_after.map_err(|why| format!("neither {not_before}, nor {why}"))?;
            self.model = after;
        }
        self.model.follow(&self.world);
        Ok(())
    }

    /// Begins an operation that must succeed after those before it, and does it to the model.
    fn begin(&mut self, model: &mut Model) -> Doing {
        let at = usize::try_from(self.world.below(model.streams.len() as u64)).unwrap();
        let (id, stream) = model.streams.iter_mut().nth(at).unwrap();
        let id = *id;
        let Some(topic) = &mut stream.topic else {
            stream.topic = Some(Topic::default());
            return self.create(id);
        };
        // Its number is known once it was made durably.
        let Some((origin, no)) = topic.place else { return self.nothing() };
        match self.world.below(10) {
            0 if id != REPLICA => {
                stream.topic = None;
                self.change(Command::DeleteTopic { stream: id, topic: origin })
            }
            0 | 1 => self.trim(no, id == REPLICA, topic),
            2 => self.delete_cursor(id, origin, topic),
            3 | 4 => self.commit(id, origin, topic),
            _ if id == REPLICA => self.append_replica(topic),
            _ => self.append(no, topic),
        }
    }

    fn nothing(&self) -> Doing {
        Box::pin(async { Ok(()) })
    }

    fn change(&self, command: Command) -> Doing {
        let engine = self.world.engine.clone();
        Box::pin(async move { engine.change(command).await.map(drop) })
    }

    fn create(&self, stream: StreamId) -> Doing {
        self.change(Command::CreateTopic {
            stream,
            name: "t".parse().unwrap(),
            partitions: Some(1),
            timestamp_type: None,
            config: BTreeMap::default(),
        })
    }

    fn body(&self, topic: &mut Topic) -> (i64, Bytes) {
        let count = 1 + i64::try_from(self.world.below(20)).unwrap();
        let mark = format!("{}", self.world.below(1 << 40));
        let bytes = batch(count, Some((PRODUCER, topic.sequence)), &mark);
        topic.sequence += i32::try_from(count).unwrap();
        let next_offset = topic.end() + count;
        let arrival_ms = START_MS.max(self.world.env_now_ms());
        topic.batches.push(Batch { next_offset, body: bytes.slice(21..), arrival_ms });
        (next_offset - count, bytes)
    }

    fn append(&self, no: PartitionNo, topic: &mut Topic) -> Doing {
        let (base, bytes) = self.body(topic);
        let engine = self.world.engine.clone();
        Box::pin(async move {
            let append = Append { partition: no, batch: bytes };
            let appended = engine.append(vec![append], Ack::Durable).await?.await?.remove(0)?;
            assert_eq!(appended.base_offset, base, "offsets continue");
            Ok(())
        })
    }

    fn append_replica(&self, topic: &mut Topic) -> Doing {
        let entry = LineageEntry {
            leader_epoch: 0,
            start_offset: 0,
            term_id: TERM.id,
            owner: SOURCE,
            markers: 0,
        };
        let (base, bytes) = self.body(topic);
        let mut bytes = bytes.to_vec();
        patch_base_offset(&mut bytes, base);
        patch_leader_epoch(&mut bytes, 0);
        let append = ReplicaAppend {
            link: self.link,
            topic: TOPIC,
            partition: 0,
            lineage: vec![entry],
            gap_to: None,
            compacted: 0,
            compacted_in: 0,
            batches: vec![ReplicaBatch { arrival_ms: START_MS, bytes: bytes.into() }],
        };
        let (engine, end) = (self.world.engine.clone(), topic.end());
        Box::pin(async move {
            assert_eq!(engine.append_replica(append).await?.await??, end, "the durable end");
            Ok(())
        })
    }

    fn trim(&self, no: PartitionNo, by_link: bool, topic: &mut Topic) -> Doing {
        let span = u64::try_from(topic.end() - topic.log_start + 1).unwrap();
        let to = topic.log_start + i64::try_from(self.world.below(span)).unwrap();
        topic.log_start = to;
        let (engine, link) = (self.world.engine.clone(), self.link);
        Box::pin(async move {
            match by_link {
                true => engine.trim_replica(link, vec![(no, to)]).await,
                false => engine.trim(no, to).await.map(drop),
            }
        })
    }

    fn commit(&mut self, id: StreamId, origin: OriginTopicId, topic: &mut Topic) -> Doing {
        let group = self.world.below(GROUPS);
        let offset = i64::try_from(self.world.below(100)).unwrap();
        let key = key(id, origin, group);
        let (engine, link) = (self.world.engine.clone(), self.link);
        let columns = topic.cursors.entry(group).or_default();
        if id == REPLICA {
            columns.1 = Some(offset);
            self.version += 1;
            let value = CursorValue {
                offset,
                leader_epoch: 0,
                metadata: String::new(),
                commit_ms: START_MS,
                version: self.version,
                term: TERM.id,
            };
            return Box::pin(async move { engine.apply_cursors(link, vec![(key, value)]).await });
        }
        columns.0 = Some(offset);
        let commit = CursorCommit { key, offset, leader_epoch: -1, metadata: "m".into() };
        Box::pin(async move { engine.commit_cursors(vec![commit]).await })
    }

    fn delete_cursor(&self, id: StreamId, origin: OriginTopicId, topic: &mut Topic) -> Doing {
        let group = self.world.below(GROUPS);
        topic.cursors.remove(&group);
        let (engine, key) = (self.world.engine.clone(), key(id, origin, group));
        Box::pin(async move { engine.delete_cursors(vec![key]).await })
    }
}

fn key(stream: StreamId, topic: OriginTopicId, group: u64) -> CursorKey {
    CursorKey { stream, group: format!("g{group}").parse().unwrap(), topic, partition: 0 }
}

/// Asks all once; how many have no answer yet. An answer that is an error is one too many, unless
/// it says that nothing is known.
fn poll(doing: &mut Vec<Doing>) -> Result<usize, String> {
    let mut context = Context::from_waker(Waker::noop());
    let mut failed = None;
    doing.retain_mut(|future| match future.as_mut().poll(&mut context) {
        std::task::Poll::Pending => true,
        std::task::Poll::Ready(Ok(())) => false,
        std::task::Poll::Ready(Err(error)) => {
            failed.get_or_insert(error);
            false
        }
    });
    match failed {
        Some(error) if error.kind() != mainstem_types::ErrorKind::Retry => Err(error.to_string()),
        Some(_) => Ok(doing.len() + 1),
        None => Ok(doing.len()),
    }
}

impl Model {
    fn check(&self, world: &World) -> Result<(), String> {
        let mut partitions = 0;
        for (id, stream) in &self.streams {
            let catalog = world.engine.catalog();
            let found = catalog.stream(*id).ok_or("a stream is gone")?.topics.values().next();
            match (&stream.topic, found) {
                (None, None) => {}
                (Some(topic), Some(found)) => {
                    let no = found.partitions[0];
                    if topic.place.is_some_and(|place| place != (found.origin, no)) {
                        return Err(format!("{no} is another topic"));
                    }
                    topic.check(world, stream.expires, no)?;
                    topic.check_cursors(world, *id, found.origin)?;
                    partitions += 1;
                }
                (Some(_), None) => return Err("a topic is gone".into()),
                (None, Some(_)) => return Err("a topic is there again".into()),
            }
            let cursors = world.engine.cursors(*id).len();
            let wanted = stream.topic.as_ref().map_or(0, |topic| topic.cursors.len());
            if cursors != wanted {
                return Err(format!("{cursors} cursors instead of {wanted}"));
            }
        }
        let known = (1..200).filter(|no| world.engine.partition(PartitionNo(*no)).is_some());
        if known.count() != partitions {
            return Err("a deleted partition is there".into());
        }
        Ok(())
    }

    /// Takes over what nobody could foretell: numbers of new topics, and what has expired.
    fn follow(&mut self, world: &World) {
        let catalog = world.engine.catalog();
        for (id, stream) in &mut self.streams {
            let Some(topic) = &mut stream.topic else { continue };
            let found = catalog.stream(*id).unwrap().topics.values().next().unwrap();
            let no = found.partitions[0];
            topic.place = Some((found.origin, no));
            // What was shown was durable and does not come back.
            topic.log_start = world.engine.partition(no).unwrap().log_start();
        }
    }
}

impl Topic {
    fn check(&self, world: &World, expires: bool, no: PartitionNo) -> Result<(), String> {
        let partition = world.engine.partition(no).ok_or("a partition has no handle")?;
        let (start, end) = (partition.log_start(), partition.durable_end());
        if end != self.end() {
            return Err(format!("{no} ends at {end} instead of {}", self.end()));
        }
        if start != self.log_start {
            let kept_ms = world.env_now_ms() - TTL_MS;
            let lost = self.batches.iter().filter(|batch| batch.next_offset <= start);
            let is_expiry = expires
                && start > self.log_start
                && lost.clone().all(|batch| batch.arrival_ms < kept_ms)
                && lost.last().is_some_and(|batch| batch.next_offset == start);
            if !is_expiry {
                return Err(format!("{no} starts at {start} instead of {}", self.log_start));
            }
        }
        let kept = self.batches.iter().filter(|batch| batch.next_offset > start);
        let wanted: Vec<&Bytes> = kept.map(|batch| &batch.body).collect();
        let read = world.try_read_all(no).map_err(|error| error.to_string())?;
        let found: Vec<Bytes> = read.iter().map(|bytes| bytes.slice(21..)).collect();
        if !found.iter().eq(wanted) {
            return Err(format!("{no} holds other batches"));
        }
        let size = partition.pending_from(start).map_err(|error| error.to_string())?;
        let bytes: usize = read.iter().map(Bytes::len).sum();
        if size.bytes != bytes as u64 {
            return Err(format!("{no} tells of {} bytes instead of {bytes}", size.bytes));
        }
        Ok(())
    }

    fn check_cursors(
        &self,
        world: &World,
        id: StreamId,
        origin: OriginTopicId,
    ) -> Result<(), String> {
        for (group, wanted) in &self.cursors {
            let found = world.engine.cursor(&key(id, origin, *group)).unwrap_or_default();
            let offset = |value: Option<CursorValue>| value.map(|value| value.offset);
            if (offset(found.local), offset(found.replicated)) != *wanted {
                return Err(format!("the cursor of group {group} is not {wanted:?}"));
            }
        }
        Ok(())
    }
}
