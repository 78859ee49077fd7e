//! Synchronous replicas: what they have acknowledged, whom acknowledgements wait for, and up to
//! where readers see (I1). `mainstem_replicate::Synchrony` decides; here it is made durable.

use std::collections::BTreeSet;

use mainstem_catalog::{Catalog, Command, Replica, SyncPolicy, SyncState};
use mainstem_replicate::{Frontiers, SyncMember, SyncWish, Synchrony};
use mainstem_types::limits::{RISK_PARTITIONS_MAX, SYNC_WAITING_MAX};
use mainstem_types::{Error, ErrorKind, PartitionNo, StreamId};

use crate::op::{Ack, AckedEnd, HeldWatermark, LinkName, ReplicaLink};
use crate::room::Need;
use crate::sequencer::Sequencer;
use crate::sync_desk::watermark_frame;
use crate::waiting::Promise;

/// How often time-outs are looked at; a fifth of the shortest.
const LOOK_MS: u64 = 20;
/// How often watermarks are written down. After a restart readers may see so much less until the
/// replicas are heard.
const LOG_MS: u64 = 1_000;

impl Sequencer {
    /// What a session says that its replica has durably.
    pub(crate) fn sequence_acked(&mut self, link: &ReplicaLink, ends: &[AckedEnd]) {
        let Some(stream) = self.state.catalog.stream(link.stream).cloned() else { return };
        let Some(replica) = stream.replica(&link.replica) else { return };
        let Some(synchrony) = self.sync.streams.get_mut(&stream.id) else { return };
        // What it has of others' topics keeps nobody waiting here, nor if they are taken over later.
        let numbers = ends.iter().filter_map(|end| {
            let topic = stream.topic_by_origin(end.topic)?;
            let no = topic.partition(end.partition).filter(|_| topic.owner.stream == stream.id)?;
            Some((no, end.offset))
        });
        let numbers: Vec<(PartitionNo, i64)> = numbers.collect();
        self.group.partitions.extend(numbers.iter().map(|(no, _)| *no));
        let now_ms = self.env.clock.monotonic_ms();
        synchrony.handle_acked(replica.idx, link.link_epoch, numbers, now_ms);
    }

    /// Up to where consumers of a replica may read, as its source says.
    pub(crate) fn sequence_held(
        &mut self,
        link: LinkName,
        marks: &[HeldWatermark],
    ) -> Result<(), Error> {
        let stream = self.state.catalog.expect_stream(link.stream)?.clone();
        stream.check_link(link.upstream, link.link_epoch)?;
        for mark in marks {
            let Some(topic) = stream.topic_by_origin(mark.topic) else { continue };
            if topic.owner.stream == stream.id {
                continue;
            }
            let Some(no) = topic.partition(mark.partition) else { continue };
            let seen = self.published_end(no);
            let partition = self.state.partitions.get_mut(&no).expect("the catalog lists it");
            // What the owner itself holds back only the owner lets go: a relay may still tell of a
            // time before. What a relay brings is held back as it says.
            let is_owners = topic.owner.stream == link.upstream;
            if mark.watermark.is_none() && partition.held_by_owner && !is_owners {
                continue;
            }
            let before = partition.held;
            partition.held = mark.watermark.map(|held| held.max(before.unwrap_or(seen)));
            partition.held_by_owner =
                partition.held.is_some() && (is_owners || partition.held_by_owner);
            if before.is_some() != partition.held.is_some() {
                // Whether it is held is written before anything beyond is.
                self.log_watermark(no);
            } else if before != partition.held {
                self.sync.unlogged.insert(no);
            }
            self.group.partitions.insert(no);
        }
        Ok(())
    }

    /// Without any upstream nobody says up to where a replica may be read: all that it has is shown.
    pub(crate) fn show_orphans(&mut self, stream: StreamId) {
        let Some(stream) = self.state.catalog.stream(stream).cloned() else { return };
        if !stream.upstreams.is_empty() {
            return;
        }
        let foreign = stream.topics.values().filter(|topic| topic.owner.stream != stream.id);
        for no in foreign.flat_map(|topic| topic.partitions.iter().copied()) {
            let partition = self.state.partitions.get_mut(&no).expect("the catalog lists it");
            if partition.held.take().is_some() {
                self.log_watermark(no);
                self.group.partitions.insert(no);
            }
        }
    }

    /// Refuses what asks for replicas that are not there, before anything is written.
    pub(crate) fn check_replicas(&self, no: PartitionNo, ack: Ack) -> Result<(), Error> {
        if ack != Ack::Durable || self.sync.streams.is_empty() {
            return Ok(());
        }
        let Some(home) = self.state.catalog.partition(no) else { return Ok(()) };
        let Some(synchrony) = self.sync.streams.get(&home.stream) else { return Ok(()) };
        if synchrony.missing().is_some() {
            return Err(self.missing(home.stream, ErrorKind::ReplicaMissing));
        }
        if synchrony.floor(no).is_some() { self.check_waiting() } else { Ok(()) }
    }

    /// Refuses one more to wait for synchronous replicas where too many do.
    pub(crate) fn check_waiting(&self) -> Result<(), Error> {
        let waiting = self.sync.waiting.count() + self.group.promises;
        if waiting >= SYNC_WAITING_MAX {
            return Err(Error::new(
                ErrorKind::ReplicaMissing,
                format!("{waiting} batches wait for synchronous replicas; try again later"),
            ));
        }
        Ok(())
    }

    /// The error for who asked for a replica that does not answer.
    fn missing(&self, stream: StreamId, kind: ErrorKind) -> Error {
        let idx = self.sync.streams.get(&stream).and_then(Synchrony::missing);
        let replica = self
            .state
            .catalog
            .stream(stream)
            .and_then(|stream| stream.replicas.iter().find(|replica| Some(replica.idx) == idx));
        let place = replica.map_or_else(|| "a replica".into(), |replica| replica.place.to_string());
        Error::new(
            kind,
            format!(
                "the synchronous replica {place} does not keep up and its policy is refuse; see \
                 `stream replica list`, or go on without it by `stream replica edit -syncpolicy \
                 degrade`"
            ),
        )
    }

    /// Whether an `acks=all` answer has to wait, or can only be given up. A partition that was given
    /// up since its batch was written promises nothing: the batch may be set aside (I1).
    pub(crate) fn take_promises(
        &mut self,
        waiter: tokio::sync::oneshot::Sender<crate::waiting::Answers>,
        mut promises: Vec<Result<Promise, Error>>,
        given_up: &BTreeSet<PartitionNo>,
    ) {
        for promise in &mut promises {
            if promise.as_ref().is_ok_and(|promise| given_up.contains(&promise.partition)) {
                *promise = Err(another_owner());
            }
        }
        let held = |promise: &Promise| {
            let partition = self.state.partitions.get(&promise.partition)?;
            let is_held = partition.held.is_some_and(|held| promise.next_offset > held);
            is_held.then_some(partition.home.stream)
        };
        for promise in &mut promises {
            let late = promise.as_ref().ok().and_then(&held).filter(|stream| {
                self.sync.streams.get(stream).is_some_and(|sync| sync.missing().is_some())
            });
            if let Some(stream) = late {
                *promise = Err(self.missing(stream, ErrorKind::ReplicaLate));
            }
        }
        let partitions = &self.state.partitions;
        self.sync.waiting.take(waiter, promises, |promise| {
            let partition = partitions.get(&promise.partition);
            partition.and_then(|p| p.held).is_some_and(|held| promise.next_offset > held)
        });
    }

    /// The catalog says something new of a stream: its members and partitions may be others.
    pub(crate) fn follow_synchrony(&mut self, id: StreamId) {
        let stream = self.state.catalog.stream(id).cloned();
        let members: Vec<SyncMember> =
            stream.iter().flat_map(|stream| &stream.replicas).filter_map(member).collect();
        if members.is_empty() {
            if let Some(before) = self.sync.streams.remove(&id) {
                self.group.partitions.extend(before.partitions());
                self.show_missing();
            }
            return;
        }
        let stream = stream.expect("it has members");
        let synchrony = self.sync.streams.entry(id).or_default();
        synchrony.handle_members(&members);
        // What was set aside stays here, and is shown.
        let owned: BTreeSet<PartitionNo> = stream
            .carried_topics()
            .filter(|topic| topic.owner.stream == id)
            .flat_map(|topic| topic.partitions.iter().copied())
            .collect();
        let known: BTreeSet<PartitionNo> = synchrony.partitions().collect();
        known.difference(&owned).for_each(|no| synchrony.handle_gone(*no));
        self.group.partitions.extend(&known | &owned);
        let now_ms = self.env.clock.monotonic_ms();
        for no in owned.difference(&known) {
            let end = self.published_end(*no);
            if let Some(synchrony) = self.sync.streams.get_mut(&id) {
                synchrony.handle_end(*no, end, now_ms);
            }
        }
    }

    /// After a start: what was written down of watermarks holds until the replicas are heard.
    pub(crate) fn recover_synchrony(&mut self) {
        let streams: Vec<StreamId> = self.state.catalog.streams().map(|stream| stream.id).collect();
        for id in streams {
            self.follow_synchrony(id);
            let Some(synchrony) = self.sync.streams.get_mut(&id) else { continue };
            let floor = |no| Some((no, self.state.partitions.get(&no)?.held?));
            let floors: Frontiers = synchrony.partitions().filter_map(floor).collect();
            synchrony.handle_recovered(&floors);
        }
    }

    /// Looks at time-outs, and carries out what is due. Before the group is written.
    pub(crate) fn keep_synchrony(&mut self) {
        if self.sync.streams.is_empty() && self.sync.unlogged.is_empty() {
            return;
        }
        let now_ms = self.env.clock.monotonic_ms();
        if now_ms >= self.sync.looked_at_ms + LOOK_MS {
            self.sync.looked_at_ms = now_ms;
            self.sync.streams.values_mut().for_each(|synchrony| synchrony.handle_time(now_ms));
        }
        self.carry_out(true);
        self.widen_risks();
        if now_ms >= self.sync.logged_at_ms + LOG_MS {
            self.sync.logged_at_ms = now_ms;
            for no in std::mem::take(&mut self.sync.unlogged) {
                self.log_watermark(no);
            }
        }
    }

    /// Without room in the log nothing can be made durable: what is wished is wished again later.
    pub(crate) fn carry_out(&mut self, has_room: bool) {
        let streams: Vec<StreamId> = self.sync.streams.keys().copied().collect();
        for id in streams {
            while let Some(wish) = self.sync.streams.get_mut(&id).and_then(Synchrony::poll_wish) {
                match wish {
                    SyncWish::GiveUp { idx } => self.give_up(id, idx),
                    _ if !has_room => {}
                    SyncWish::Degrade { idx, since_ms, at_risk } => {
                        self.degrade(id, idx, since_ms, at_risk);
                    }
                    SyncWish::BringInForce { idx, ends } => self.bring_in_force(id, idx, ends),
                }
            }
        }
        for synchrony in self.sync.streams.values_mut() {
            if synchrony.take_unsettled() {
                self.group.partitions.extend(synchrony.partitions());
            }
        }
        self.show_missing();
    }

    /// Whether an answer may have to wait for a replica.
    pub(crate) fn has_synchrony(&self) -> bool {
        !self.sync.streams.is_empty()
    }

    /// A partition is gone, and what waits for it.
    pub(crate) fn forget_waiting(&mut self, no: PartitionNo) {
        let error = Error::not_found("the topic was deleted before a synchronous replica had this");
        self.sync.waiting.fail(no, &error);
        self.sync.unlogged.remove(&no);
    }

    /// Another stream owns the partition from here on: who waits turns to that.
    pub(crate) fn turn_away(&mut self, no: PartitionNo) {
        self.sync.waiting.fail(no, &another_owner());
    }

    fn degrade(
        &mut self,
        stream: StreamId,
        idx: u32,
        since_ms: u64,
        at_risk: Vec<(PartitionNo, i64)>,
    ) {
        let age_ms = self.env.clock.monotonic_ms().saturating_sub(since_ms);
        let since_ms = self.now_ms.saturating_sub_unsigned(age_ms);
        let partitions = at_risk.len();
        let command = Command::DegradeReplica { stream, idx, since_ms, at_risk };
        if self.sequence_change(&command).is_ok() {
            tracing::warn!(
                %stream, replica = idx, partitions, age_ms,
                "a synchronous replica does not keep up; acknowledgements go on without it, and \
                 what it lacks is at risk until it has caught up; see `stream replica list`"
            );
        }
    }

    /// The watermarks that hold from here on are written before the event: a group that is cut
    /// between them leaves no replica in force without them.
    fn bring_in_force(&mut self, stream: StreamId, idx: u32, ends: Frontiers) {
        let synchrony = self.sync.streams.get(&stream);
        let numbers: Vec<PartitionNo> =
            synchrony.map(|synchrony| synchrony.partitions().collect()).unwrap_or_default();
        for no in numbers {
            let seen = self.published_end(no);
            if let Some(partition) = self.state.partitions.get_mut(&no) {
                partition.held.get_or_insert(seen);
                self.log_watermark(no);
            }
        }
        let command = Command::BringInForce { stream, idx, ends };
        if self.sequence_change(&command).is_ok() {
            tracing::info!(
                %stream, replica = idx,
                "a synchronous replica has caught up; acknowledgements wait for it"
            );
        }
    }

    /// Who waits for a replica that policy wants is told that its records are here and not there.
    fn give_up(&mut self, stream: StreamId, idx: u32) {
        tracing::warn!(
            %stream, replica = idx,
            "a synchronous replica does not keep up; acks=all is refused until it does"
        );
        let error = self.missing(stream, ErrorKind::ReplicaLate);
        let Some(synchrony) = self.sync.streams.get(&stream) else { return };
        for no in synchrony.partitions() {
            self.sync.waiting.fail(no, &error);
        }
    }

    /// What waited for a replica that a person has paused is acknowledged without it. Gives the
    /// catalog that says so.
    pub(crate) fn doubt_paused(&mut self, command: &Command) -> Option<Catalog> {
        let Command::PauseReplica { stream, replica } = command else { return None };
        let home = self.state.catalog.stream(*stream)?;
        let paused = home.replica(replica).filter(|paused| paused.open_window().is_some())?;
        let (stream, idx) = (*stream, paused.idx);
        let at_risk = self.sync.streams.get(&stream)?.lacking(idx);
        self.sequence_change(&Command::WidenRisk { stream, idx, at_risk }).ok()
    }

    /// What is acknowledged while a replica is not in force belongs to its window at risk.
    fn widen_risks(&mut self) {
        let mut wider: Vec<Command> = Vec::new();
        for (stream, synchrony) in &self.sync.streams {
            let Some(stream) = self.state.catalog.stream(*stream) else { continue };
            for replica in &stream.replicas {
                let Some(window) = replica.open_window().filter(|window| !window.is_partial) else {
                    continue;
                };
                let known: BTreeSet<PartitionNo> =
                    window.ranges.iter().map(|range| range.partition).collect();
                let moved = self.group.partitions.iter().filter_map(|no| {
                    let partition = self.state.partitions.get(no)?;
                    let seen = self.published_end(*no);
                    let is_new = synchrony.knows(*no) && !known.contains(no);
                    (is_new && partition.end > seen).then_some((*no, seen))
                });
                let at_risk: Vec<(PartitionNo, i64)> =
                    moved.take(RISK_PARTITIONS_MAX + 1).collect();
                if !at_risk.is_empty() {
                    let (stream, idx) = (stream.id, replica.idx);
                    wider.push(Command::WidenRisk { stream, idx, at_risk });
                }
            }
        }
        for command in wider {
            // The replica was removed by this very group, and its window with it.
            let _ = self.sequence_change(&command);
        }
    }

    /// Up to where readers of a partition see, now that everything staged is durable; and answers
    /// what waited for that.
    pub(crate) fn settle_watermark(&mut self, no: PartitionNo) {
        let Some(partition) = self.state.partitions.get(&no) else { return };
        let (stream, before, end) = (partition.home.stream, partition.held, partition.end);
        let synchrony = self.sync.streams.get_mut(&stream);
        if before.is_none() && synchrony.is_none() {
            return;
        }
        let home = self.state.catalog.stream(stream);
        let topic = home.and_then(|home| home.topic_by_origin(partition.home.topic));
        let is_owned = topic.is_some_and(|topic| topic.owner.stream == stream);
        let held = if topic.is_some_and(|topic| topic.aside.is_some()) {
            None
        } else if is_owned {
            let now_ms = self.env.clock.monotonic_ms();
            let seen = self.published_end(no);
            self.sync.streams.get_mut(&stream).and_then(|synchrony| {
                synchrony.handle_end(no, end, now_ms);
                let floor = synchrony.floor(no)?;
                Some(before.unwrap_or(seen).max(floor).min(end))
            })
        } else {
            // As the source says, who may be ahead of us.
            before
        };
        if held != before {
            self.sync.unlogged.insert(no);
            let partition = self.state.partitions.get_mut(&no).expect("looked up above");
            partition.held = held;
        }
        self.sync.waiting.release(no, held.unwrap_or(i64::MAX));
    }

    /// The most that synchronous replicas add to a group.
    pub(crate) fn need_of_synchrony(&self) -> Need {
        const EVENT_BYTES: usize = 64 * RISK_PARTITIONS_MAX;
        let mut need = Need { payload_bytes: 0, frames: self.sync.unlogged.len() };
        for (stream, synchrony) in &self.sync.streams {
            let replicas = self.state.catalog.stream(*stream).map_or(0, |s| s.replicas.len());
            need.payload_bytes += 2 * replicas * EVENT_BYTES;
            need.frames += 2 * replicas + synchrony.partitions().count();
        }
        need
    }

    /// Lets others see without whom writes are refused (I9).
    fn show_missing(&self) {
        let missing = self.sync.streams.iter().filter_map(|(id, s)| Some((*id, s.missing()?)));
        let missing: BTreeSet<(StreamId, u32)> = missing.collect();
        let mut shown = self.shared.missing.lock();
        if *shown != missing {
            *shown = missing;
        }
    }

    fn log_watermark(&mut self, no: PartitionNo) {
        let Some(partition) = self.state.partitions.get(&no) else { return };
        self.group.frames.push(watermark_frame(no, partition.held));
        self.sync.unlogged.remove(&no);
        self.state.dirty.partitions.insert(no);
    }

    fn published_end(&self, no: PartitionNo) -> i64 {
        self.shared.partitions.read().get(&no).map_or(0, |partition| partition.durable_end())
    }
}

fn another_owner() -> Error {
    Error::new(
        ErrorKind::HandingOver,
        "the topic has passed to another owner; send the same there, where it is stored once",
    )
}

fn member(replica: &Replica) -> Option<SyncMember> {
    (replica.sync_state != SyncState::Async).then(|| SyncMember {
        idx: replica.idx,
        is_in_force: replica.sync_state == SyncState::InForce,
        link_epoch: replica.link_epoch,
        timeout_ms: replica.settings.sync_timeout_ms.0.into(),
        refuses: replica.settings.sync_policy == SyncPolicy::Refuse,
    })
}
