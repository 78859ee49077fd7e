//! The source's shell: what the gateway door does around a sender, without sockets.

use std::collections::BTreeMap;

use bytes::BytesMut;
use mainstem_catalog::{Catalog, Command, Place, Replica, Stream};
use mainstem_engine::Partition;
use mainstem_env::{Clock, Random};
use mainstem_gateway::translate;
use mainstem_link::{Ack, Code, Cursors, End, Frame, Mode};
use mainstem_record::{patch_base_offset, patch_leader_epoch};
use mainstem_replicate::{
    Account, PartitionView, ReadRequest, ReceiverIdentity, Sender, SenderAction, SenderSettings,
    SourceBatch,
};
use mainstem_types::{Error, OriginTopicId};

use crate::Plant;
use crate::connection::{Connection, SenderSide};
use crate::node::Purpose;
use crate::world::World;

type Key = (OriginTopicId, u32);

impl World {
    /// Calls the replica's gateway, if its agreement asks for a session and none is there.
    pub(crate) fn dial(&mut self, link: usize) {
        if !self.connections.values().any(|c| c.link == link && c.sender.is_some()) {
            self.call(link);
        }
    }

    /// Calls whether or not a session is there: a second process of the source, which nobody should
    /// run, or a first one that believes its session lost.
    pub(crate) fn call(&mut self, link: usize) {
        let (source, place) = (self.links[link].source, self.replica_place(link));
        let catalog = self.catalog(source);
        let wanted = self.find_replica(&catalog, link).is_some_and(|(_, replica)| !replica.paused);
        if self.links[link].raising || self.links[link].deciding || !wanted {
            return;
        }
        self.links[link].raising = true;
        let stream = self.id(source);
        let raise = Command::RaiseReplicaEpoch { stream, replica: place };
        self.node_mut(source).change(Purpose::Raise { link }, raise);
    }

    /// The epoch is raised: the session begins with its Hello.
    pub(crate) fn handle_raised(&mut self, link: usize, result: Result<Catalog, Error>) {
        self.links[link].raising = false;
        let Ok(catalog) = result else { return };
        let source = self.links[link].source;
        let Some((stream, replica)) = self.find_replica(&catalog, link) else { return };
        let here = identity(&catalog);
        let hello =
            translate::hello(&here, &stream, &replica, Mode::Replicate, self.wall_ms(source));
        let settings =
            SenderSettings { read_bytes_max: 2_000, reads_max: 2, ..SenderSettings::default() };
        let side = SenderSide {
            sender: Sender::new(settings, hello, self.now_ms(source)),
            epoch: replica.link_epoch,
            told_seq: None,
            views: BTreeMap::new(),
            replica_id: replica.replica_id,
            is_welcomed: false,
            told_terms: BTreeMap::new(),
            handover: None,
            next_commit: 0,
        };
        let id = self.next_connection;
        self.next_connection += 1;
        self.sessions += 1;
        let mut connection = Connection::new(link, side);
        connection.is_slow = self.random.below(10) == 0;
        self.connections.insert(id, connection);
    }

    /// Lets a sender see what has become durable, and do what it wants to do.
    pub(crate) fn pump_sender(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if self.links[connection.link].deciding {
            // Its source waits for an answer of its own.
            self.connections.insert(id, connection);
            return;
        }
        if let Some(mut side) = connection.sender.take() {
            self.tell_sender(connection.link, &mut side, &mut connection);
            self.tell_handover(id, connection.link, &mut side, &mut connection);
            let mut open = true;
            while let Some(action) = side.sender.poll_action() {
                open &= self.do_sender(id, &mut connection, &mut side, action);
            }
            connection.sender = open.then_some(side);
        }
        self.connections.insert(id, connection);
    }

    /// Takes one frame off the network and gives it to the sender.
    pub(crate) fn deliver_up(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(mut frame) = connection.take_up() else { return };
        let link = connection.link;
        let now_ms = self.nodes[self.sites[self.links[link].source].node].clock.monotonic_ms();
        if self.plant == Plant::RememberEnds
            && let Frame::Welcome(welcome) = &mut frame
        {
            for item in &mut welcome.partitions {
                let known = self.links[link].remembered.get(&(item.origin, item.partition));
                item.end = known.copied().unwrap_or(0).max(item.end);
            }
        }
        if self.plant == Plant::TellTrimsOnce
            && let Frame::Welcome(welcome) = &mut frame
        {
            welcome.partitions.iter_mut().for_each(|item| item.trimmed = Some(i64::MAX));
        }
        let misaligned = match &frame {
            // Where a log has rejoined its owner's history, the source is told by such a fault too.
            Frame::Fault(fault) if fault.code == Code::Misaligned && !self.topology.reigns => {
                Some(fault.message.clone())
            }
            _ => None,
        };
        // What comes late, from a session that was given up, is not looked at.
        if let Some(mut side) = connection.sender.take() {
            self.note_frame(id, link, false, &frame);
            note_held(&mut self.links[link].account, &mut side, &frame);
            self.hear_of_terms(link, &mut side, &mut frame);
            side.sender.handle_frame(frame, now_ms);
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.sender = Some(side);
            }
        }
        if let Some(message) = misaligned {
            self.violate("exact next offset", message);
        }
    }

    fn do_sender(
        &mut self,
        id: u64,
        connection: &mut Connection,
        side: &mut SenderSide,
        action: SenderAction,
    ) -> bool {
        let link = connection.link;
        let source = self.links[link].source;
        match action {
            SenderAction::Send(frame) => {
                self.check_send(link, side, &frame);
                if let Frame::Batches(batches) = &frame {
                    self.note_sent(link, side, batches);
                }
                connection.send_down(&frame);
            }
            SenderAction::Read(request) => self.read(link, side, request),
            SenderAction::Welcomed(welcomed) => {
                let command = Command::SetReplicaId {
                    stream: self.id(source),
                    replica: self.replica_place(link),
                    link_epoch: side.epoch,
                    replica_id: welcomed.replica_id,
                };
                side.replica_id = Some(welcomed.replica_id);
                self.node_mut(source).change(Purpose::Pin { connection: id }, command);
            }
            SenderAction::Drained => self.offer(id, link, side),
            SenderAction::Meet(seen, terms) => self.meet(id, link, seen, &terms),
            // All are told at every turn.
            SenderAction::TellCursors => {}
            SenderAction::Grow(origin, count) => {
                let command = translate::grow(self.id(source), origin, count);
                self.node_mut(source).change(Purpose::Whatever, command);
            }
            SenderAction::Applied(seq) => {
                let command = Command::AckTombstones {
                    stream: self.id(source),
                    replica: self.replica_place(link),
                    link_epoch: side.epoch,
                    seq,
                };
                self.node_mut(source).change(Purpose::Whatever, command);
            }
            SenderAction::Acked(ends) => self.note_acked(link, side, &ends),
            SenderAction::Close(_) => return false,
        }
        true
    }

    /// I6 at the source: batches leave only while its half of the agreement stands in the
    /// session's epoch.
    fn check_send(&mut self, link: usize, side: &SenderSide, frame: &Frame) {
        let Frame::Batches(batches) = frame else { return };
        self.frames += 1;
        self.gaps += u64::from(batches.gap_from.is_some());
        self.bytes += batches.payload_bytes() as u64;
        let key = (batches.origin, batches.partition);
        self.links[link].remembered.insert(key, batches.to);
        if self.plant == Plant::SentCountsAsHeld {
            let end = End { origin: key.0, partition: key.1, offset: batches.to };
            let ack = Ack { ends: vec![end], ..Ack::default() };
            self.links[link].account.handle_ack(&ack);
        }
        let (source, replica) = (self.links[link].source, self.links[link].replica);
        let catalog = self.catalog(source);
        let topic = catalog.stream(self.id(source)).and_then(|s| s.topic_by_origin(batches.origin));
        if topic.is_some_and(|topic| topic.owner.stream == self.id(replica)) {
            self.violate("not sent back", format!("a batch of {} went home", batches.origin));
        }
        let stands = self
            .find_replica(&catalog, link)
            .is_some_and(|(_, replica)| replica.link_epoch == side.epoch && !replica.paused);
        if !stands {
            self.violate("I6", "the source sent batches without its half of the agreement".into());
        }
    }

    pub(crate) fn tell_sender(
        &mut self,
        link: usize,
        side: &mut SenderSide,
        connection: &mut Connection,
    ) {
        let source = self.links[link].source;
        let catalog = self.catalog(source);
        let found = self.find_replica(&catalog, link);
        let stands = found
            .as_ref()
            .is_some_and(|(_, replica)| replica.link_epoch == side.epoch && !replica.paused);
        if !stands && self.plant != Plant::IgnoreRemoval {
            side.sender.stop(Code::Removed, "the agreement was changed at the source");
            return;
        }
        let Some(stream) = catalog.stream(self.id(source)).cloned() else { return };
        if side.told_seq != Some(stream.catalog_seq) {
            side.told_seq = Some(stream.catalog_seq);
            let tombstones = translate::tombstone_items(&stream);
            let mut topics = translate::topic_items(&stream);
            if self.plant == Plant::SendBack {
                topics.iter_mut().for_each(|topic| topic.owner = stream.id);
            }
            side.sender.handle_catalog(stream.catalog_seq, topics, tombstones);
        }
        self.tell_commits(source, side);
        self.tell_partitions(source, &stream, side);
        let engine = self.engine(source);
        let mut cursors = translate::cursor_items(engine, &stream, side.replica_id);
        if self.plant == Plant::CursorsEarly && side.sender.is_open() && !cursors.is_empty() {
            connection.send_down(&Cursors { cursors: cursors.clone() }.into());
        }
        if self.plant == Plant::KeepDeletedCursors {
            cursors.retain(|cursor| cursor.offset >= 0);
        }
        side.sender.handle_cursors(cursors);
    }

    /// Before readers see any of their markers: what is read at this turn is told after them.
    fn tell_commits(&self, source: usize, side: &mut SenderSide) {
        let (commits, next) = self.engine(source).commits_to_tell(side.next_commit);
        side.next_commit = next;
        let told = |commit| translate::transaction_decision(self.id(source), commit);
        side.sender.handle_decisions(commits.iter().filter_map(told));
    }

    fn tell_partitions(&self, source: usize, stream: &Stream, side: &mut SenderSide) {
        for topic in stream.topics.values() {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let Some(partition) = self.engine(source).partition(*no) else { continue };
                let key = (topic.origin, index);
                let early = self.early(source, key).map_or(0, |(_, count)| i64::from(count));
                let view = PartitionView {
                    log_start: partition.log_start(),
                    durable_end: partition.durable_end() + early,
                    trimmed: match self.plant {
                        Plant::CarryRetention => partition.log_start(),
                        _ => partition.marks().trimmed,
                    },
                    lineage: (*partition.lineage()).clone(),
                    watermark: partition.held_watermark(),
                };
                if side.views.get(&key) != Some(&view) {
                    side.views.insert(key, view.clone());
                    side.sender.handle_partition(topic.origin, index, view);
                }
            }
        }
    }

    /// For a planted bug: a batch that lies in the engine's queue and is not durable.
    fn early(&self, source: usize, (origin, index): Key) -> Option<(BytesMut, i32)> {
        if self.plant != Plant::ShipBeyondDurable {
            return None;
        }
        let queued = self.producers.iter().filter_map(|producer| producer.outstanding.as_ref());
        let mut of_partition = queued.filter(|sent| {
            let target = sent.target;
            sent.is_queued && (target.site, target.origin, target.index) == (source, origin, index)
        });
        let first = of_partition.next()?;
        Some((BytesMut::from(&first.batch[..]), first.count))
    }

    fn read(&mut self, link: usize, side: &mut SenderSide, request: ReadRequest) {
        let source = self.links[link].source;
        let key = (request.origin, request.partition);
        let Some(partition) = self.partition(source, key) else {
            let message = "the partition is gone".to_owned();
            side.sender.handle_read_failed(request, Code::NoTopic, message);
            return;
        };
        if self.plant == Plant::GapWithinBatch && request.from < partition.log_start() {
            side.sender.handle_read(request, partition.log_start(), Vec::new());
            return;
        }
        let mut batches = Vec::new();
        let mut empty_to = partition.log_start();
        let from = request.from.max(partition.log_start());
        if from < partition.durable_end() {
            let read = partition.read(from, request.bytes_max).expect("durable bytes");
            empty_to = empty_to.max(request.to);
            batches.extend(read.into_iter().map(|batch| SourceBatch {
                base_offset: batch.base_offset,
                next_offset: batch.next_offset,
                arrival_ms: batch.arrival_ms,
                bytes: batch.bytes,
            }));
        } else if let Some((mut bytes, count)) = self.early(source, key) {
            let base_offset = partition.durable_end();
            patch_base_offset(&mut bytes, base_offset);
            patch_leader_epoch(&mut bytes, partition.leader_epoch());
            batches.push(SourceBatch {
                base_offset,
                next_offset: base_offset + i64::from(count),
                arrival_ms: self.wall_ms(source),
                bytes: bytes.freeze(),
            });
        }
        let marks = partition.marks();
        let gaps = marks.gaps.iter().map(|gap| (gap.from, gap.to));
        side.sender.handle_kept(&request, partition.log_start(), marks.compacted, gaps);
        side.sender.handle_read(request, empty_to, batches);
    }

    /// A partition of a site's stream.
    pub(crate) fn partition(
        &self,
        site: usize,
        (origin, index): Key,
    ) -> Option<std::sync::Arc<Partition>> {
        let stream = self.stream(site)?;
        self.engine(site).partition(stream.topic_by_origin(origin)?.partition(index)?)
    }

    pub(crate) fn now_ms(&self, site: usize) -> u64 {
        self.node(site).clock.monotonic_ms()
    }

    pub(crate) fn wall_ms(&self, site: usize) -> i64 {
        self.node(site).clock.wall_ms()
    }

    pub(crate) fn replica_place(&self, link: usize) -> Place {
        self.place(self.links[link].replica)
    }

    pub(crate) fn find_replica(&self, catalog: &Catalog, link: usize) -> Option<(Stream, Replica)> {
        let stream = catalog.stream(self.id(self.links[link].source))?;
        let replica = stream.replica(&self.replica_place(link))?;
        Some(((**stream).clone(), replica.clone()))
    }
}

/// What the replica says it holds, as the door takes it down.
fn note_held(account: &mut Account, side: &mut SenderSide, frame: &Frame) {
    match frame {
        Frame::Welcome(chunk) => {
            account.handle_welcome(chunk, !std::mem::replace(&mut side.is_welcomed, true));
        }
        Frame::Ack(ack) => account.handle_ack(ack),
        Frame::Feed(feed) => account.handle_held(&feed.partitions),
        _ => {}
    }
}

/// How a node presents itself.
pub(crate) fn identity(catalog: &Catalog) -> ReceiverIdentity {
    let cluster = catalog.cluster();
    ReceiverIdentity {
        cluster_id: cluster.id,
        cluster_name: cluster.name.clone(),
        producer_prefix: cluster.id.0 as u64,
        node_id: cluster.id.node_id(),
    }
}
