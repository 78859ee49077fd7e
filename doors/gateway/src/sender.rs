//! The sending end of one session: joins the pure sender to the engine and a socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstem_catalog::{Catalog, Command, Place, Replica, ReplicaSettings, Stream};
use mainstem_engine::{Partition, ReplicaLink, StoredBatch, Subscription};
use mainstem_link::{Batches, Code, End, FEATURE_PACKING, Frame, Mode, Packing, TermItem};
use mainstem_replicate::{
    Closing, HandoverView, PartitionView, ReadRequest, Sender, SenderAction, SourceBatch, Welcomed,
};
use mainstem_types::{
    CatalogSeq, Error, ErrorKind, LinkEpoch, OriginTopicId, PartitionNo, StreamCompression,
    StreamId, Term,
};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::board::{GapNote, LinkKey};
use crate::context::Context;
use crate::dial::Dialled;
use crate::handover::take_back_if_overdue;
use crate::mode::{mode_of, sender_settings};
use crate::translate;
use crate::wire::{FrameReader, FrameWriter};

/// Bytes that may wait for the socket before the sender is asked for more.
const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long commits of cursors are gathered before they are looked up.
const CURSOR_LINGER_MS: u64 = 50;

/// How long what stopped stays stopped before all is tried again in a new session: a disk may have
/// been repaired, a topic restored.
const FAULTS_MS_MAX: u64 = 30_000;

/// Why a session ended.
#[derive(Debug)]
pub(crate) struct SessionEnd {
    pub(crate) closing: Closing,
    /// The Welcome had come.
    pub(crate) opened: bool,
    /// Something stopped: a bounded session that finishes with faults did not copy everything.
    pub(crate) faulty: bool,
}

type ReadAnswer = (ReadRequest, Result<Vec<StoredBatch>, Error>);

struct Session<'a> {
    ctx: &'a Context,
    key: &'a LinkKey,
    place: Place,
    mode: Mode,
    epoch: LinkEpoch,
    peer: mainstem_types::ClusterId,
    /// Which was called.
    gateway: String,
    replica_id: Option<StreamId>,
    settings: ReplicaSettings,
    sender: Sender,
    subscription: Arc<Subscription>,
    partitions: HashMap<(OriginTopicId, u32), Arc<Partition>>,
    watched: HashMap<PartitionNo, (OriginTopicId, u32)>,
    told_seq: Option<CatalogSeq>,
    /// The number of the next commit to tell.
    next_commit: u64,
    cursors_due_ms: Option<u64>,
    reads: mpsc::Sender<ReadAnswer>,
    acked_tombstones: CatalogSeq,
    /// The first part of the Welcome has come.
    welcomed: bool,
    /// Since when something stands stopped.
    faulty_ms: Option<u64>,
    /// The hand-over that the sender was told of.
    handover: Option<HandoverView>,
}

/// Runs one session until it ends, over a connection that stands.
pub(crate) async fn run_session(
    ctx: &Context,
    key: &LinkKey,
    mode: Mode,
    (dialled, gateway): (Dialled, String),
    stop: &mut watch::Receiver<bool>,
) -> Result<SessionEnd, Error> {
    let place = key.1.clone();
    let command = Command::RaiseReplicaEpoch { stream: key.0, replica: place.clone() };
    let catalog = ctx.engine.change(command).await?;
    let (stream, replica) = find(&catalog, key)?;
    let hello = translate::hello(&ctx.identity(&catalog), &stream, &replica, mode, ctx.wall_ms());
    let settings = sender_settings(&replica, mode);
    let (reads, answers) = mpsc::channel(settings.reads_max);
    let subscription = ctx.engine.subscribe();
    ctx.engine.watch_cursors(stream.id, &subscription);
    let mut session = Session {
        ctx,
        key,
        place,
        mode,
        epoch: replica.link_epoch,
        peer: dialled.peer,
        gateway,
        replica_id: replica.replica_id,
        settings: replica.settings,
        sender: Sender::new(settings, hello, ctx.now_ms()),
        subscription,
        partitions: HashMap::new(),
        watched: HashMap::new(),
        told_seq: None,
        next_commit: 0,
        cursors_due_ms: Some(ctx.now_ms()),
        reads,
        acked_tombstones: replica.acked_tombstone_seq,
        welcomed: false,
        faulty_ms: None,
        handover: None,
    };
    session.tell_catalog(&stream);
    session.tell_handover(&replica);
    // It may have been taken off the list while it was called.
    session.is_listed(&catalog);
    let end = session.run(dialled.reader, dialled.writer, answers, stop).await;
    ctx.board.note_sending(key, |note| {
        note.connected = false;
        note.connected_since_ms = None;
        note.faults = session.sender.faults();
    });
    end
}

const fn packing_of(compression: StreamCompression) -> Option<Packing> {
    match compression {
        StreamCompression::Off => None,
        StreamCompression::Lz4 | StreamCompression::Lzf => Some(Packing::Lz4),
        StreamCompression::Zlib => Some(Packing::Gzip),
        StreamCompression::Zstd => Some(Packing::Zstd),
    }
}

impl Session<'_> {
    async fn run(
        &mut self,
        mut reader: FrameReader,
        mut writer: FrameWriter,
        mut answers: mpsc::Receiver<ReadAnswer>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<SessionEnd, Error> {
        let mut catalog = self.ctx.engine.watch_catalog();
        let subscription = self.subscription.clone();
        loop {
            self.look_at_handover().await;
            if let Some(closing) = self.do_actions(&mut writer).await? {
                return Ok(self.finish(closing, &mut writer).await);
            }
            let wait_ms = self.wait_ms();
            tokio::select! {
                frame = reader.next() => match frame {
                    Ok(frame) => self.handle_frame(frame),
                    Err(error) => return Ok(self.lost(&error)),
                },
                written = writer.write_some(), if writer.has_work() => {
                    if let Err(error) = written {
                        return Ok(self.lost(&error));
                    }
                }
                Some((request, result)) = answers.recv() => self.handle_read(request, result),
                moved = subscription.changed() => self.handle_moved(&moved),
                changed = catalog.changed() => {
                    if changed.is_err() {
                        self.sender.stop(Code::Stopping, "the source is stopping");
                    } else {
                        let now = catalog.borrow_and_update().clone();
                        self.handle_catalog(&now);
                    }
                }
                _ = stop.changed() => self.sender.stop(Code::Stopping, "the source is stopping"),
                () = sleep(Duration::from_millis(wait_ms)) => self.handle_time(),
            }
        }
    }

    /// Milliseconds until something is due though nothing happens.
    fn wait_ms(&self) -> u64 {
        let timeout = self.sender.next_timeout_ms();
        let next = self.cursors_due_ms.map_or(timeout, |due| due.min(timeout));
        next.saturating_sub(self.ctx.now_ms())
    }

    async fn do_actions(&mut self, writer: &mut FrameWriter) -> Result<Option<Closing>, Error> {
        if self.settings.throttle {
            self.sender.handle_load(self.ctx.engine.is_loaded());
        }
        self.tell_commits();
        // A peer that reads nothing must not keep a session from ending.
        while writer.waiting_bytes() < OUT_BYTES_MAX || self.sender.is_closed() {
            let Some(action) = self.sender.poll_action() else { return Ok(None) };
            match action {
                SenderAction::Send(frame) => {
                    self.note_sent(&frame);
                    writer.push(&frame);
                }
                SenderAction::Read(request) => self.start_read(request),
                SenderAction::Welcomed(welcomed) => {
                    let unpacks = welcomed.features & FEATURE_PACKING != 0;
                    let packing = packing_of(self.settings.network_compression);
                    writer.pack_by(packing.filter(|_| unpacks));
                    self.handle_welcomed(welcomed).await;
                }
                SenderAction::Drained => self.offer().await,
                SenderAction::Meet(seen, terms) => self.meet(seen, &terms).await,
                SenderAction::TellCursors => self.tell_cursors(),
                SenderAction::Grow(origin, count) => self.grow(origin, count).await,
                SenderAction::Applied(seq) => self.note_applied(seq).await,
                SenderAction::Acked(ends) => self.note_acked(&ends).await?,
                SenderAction::Close(closing) => return Ok(Some(closing)),
            }
        }
        Ok(None)
    }

    fn note_sent(&self, frame: &Frame) {
        if let Frame::Batches(batches) = frame {
            let bytes = batches.payload_bytes() as u64;
            let records = u64::try_from(batches.to - batches.from).unwrap_or(0);
            self.ctx.board.note_sending(self.key, |note| {
                note.bytes_sent += bytes;
                note.records_sent += records;
            });
            // What compaction took is no loss, and a first copy begins with what is kept; what
            // retention takes while that is under way is lost to it.
            let is_lost = batches.from > batches.compacted;
            let begins = |from: i64| self.mode == Mode::Copy && from == 0;
            if let Some(from) = batches.gap_from.filter(|from| is_lost && !begins(*from)) {
                self.note_gap(batches, from);
            }
        }
    }

    /// I8: what the replica will never hold is said; what the owner deleted is missing nowhere.
    fn note_gap(&self, batches: &Batches, from: i64) {
        let partition = self.partitions.get(&(batches.origin, batches.partition));
        if partition.is_none_or(|partition| partition.marks().trimmed >= batches.from) {
            return;
        }
        let gap = GapNote {
            origin: batches.origin,
            partition: batches.partition,
            from,
            to: batches.from,
            at_ms: self.ctx.wall_ms(),
        };
        tracing::warn!(
            replica = %self.place, topic = %gap.origin, gap.partition, gap.from, gap.to,
            "retention took records before this replica had them; the gap is declared to it"
        );
        self.ctx.board.note_sending(self.key, |note| note.note_gap(gap));
    }

    fn handle_frame(&mut self, frame: Frame) {
        let now_ms = self.ctx.wall_ms();
        let first =
            matches!(frame, Frame::Welcome(_)) && !std::mem::replace(&mut self.welcomed, true);
        self.ctx.board.note_sending(self.key, |note| {
            note.last_contact_ms = Some(now_ms);
            match &frame {
                Frame::Welcome(chunk) => note.account.handle_welcome(chunk, first),
                Frame::Ack(ack) => note.account.handle_ack(ack),
                Frame::Heartbeat(beat) if beat.echo_ms > 0 => {
                    // A clock that was set back in between tells nothing.
                    note.round_trip_ms = u64::try_from(now_ms.saturating_sub(beat.echo_ms)).ok();
                }
                Frame::Feed(feed) => note.account.handle_held(&feed.partitions),
                _ => {}
            }
        });
        match &frame {
            Frame::Welcome(chunk) if !chunk.more => {
                self.look_at(self.partitions.keys().copied().collect());
            }
            Frame::Feed(feed) => {
                self.look_at(
                    feed.partitions.iter().map(|item| (item.origin, item.partition)).collect(),
                );
            }
            _ => {}
        }
        let is_news = matches!(frame, Frame::Fault(_) | Frame::Welcome(_));
        let is_ack = matches!(frame, Frame::Ack(_));
        let was_open = self.sender.is_open();
        self.sender.handle_frame(frame, self.ctx.now_ms());
        if self.sender.is_open() {
            self.ctx.board.note_sending(self.key, |note| note.stood_ms = Some(now_ms));
        }
        if is_news || (is_ack && self.mode == Mode::Copy) {
            let (faults, copy) = (self.sender.faults(), self.sender.copy_progress());
            let is_copy = self.mode == Mode::Copy;
            self.ctx.board.note_sending(self.key, |note| {
                note.faults = faults;
                note.copy = is_copy.then_some(copy);
            });
        }
        self.note_open(was_open);
    }

    /// The session may have been opened by the last frame, or by what had to be durable first.
    fn note_open(&mut self, was_open: bool) {
        if was_open || !self.sender.is_open() {
            return;
        }
        // What the replica knows and is gone here can be told now.
        self.cursors_due_ms = Some(self.ctx.now_ms());
        let now_ms = self.ctx.wall_ms();
        self.ctx.board.note_sending(self.key, |note| {
            note.connected = true;
            note.error = None;
            note.sessions += 1;
            note.connected_since_ms = Some(now_ms);
            note.round_trip_ms = None;
        });
    }

    async fn handle_welcomed(&mut self, welcomed: Welcomed) {
        if welcomed.cluster_id != self.peer {
            let message = "the gateway answers for another cluster than its certificate names";
            self.sender.stop(Code::WrongCluster, message);
            return;
        }
        if self.replica_id == Some(welcomed.replica_id) {
            return;
        }
        let command = Command::SetReplicaId {
            stream: self.key.0,
            replica: self.place.clone(),
            link_epoch: self.epoch,
            replica_id: welcomed.replica_id,
        };
        match self.ctx.engine.change(command).await {
            Ok(_) => self.replica_id = Some(welcomed.replica_id),
            Err(error) => self.sender.stop(Code::AnotherStream, error.message()),
        }
    }

    /// The engine decides what of it lets acknowledgements go.
    async fn note_acked(&self, ends: &[End]) -> Result<(), Error> {
        if !self.settings.synchronous {
            return Ok(());
        }
        let link =
            ReplicaLink { stream: self.key.0, replica: self.place.clone(), link_epoch: self.epoch };
        self.ctx.engine.note_acked(link, translate::acked_ends(ends)).await
    }

    /// Written down before it is sent: from now on only the replica knows who is the owner.
    async fn offer(&mut self) {
        let command = Command::OfferHandover {
            stream: self.key.0,
            replica: self.place.clone(),
            link_epoch: self.epoch,
        };
        match self.ctx.engine.change(command).await {
            Ok(catalog) => self.handle_catalog(&catalog),
            Err(error) => self.sender.stop(Code::Fenced, error.message()),
        }
    }

    /// What is overdue is taken back.
    async fn look_at_handover(&mut self) {
        let catalog = self.ctx.engine.catalog();
        let Ok((_, replica)) = find(&catalog, self.key) else { return };
        let is_safe = self.sender.is_open() && !self.sender.is_offer_sent();
        let fault = self.sender.faults().first().map(|fault| fault.message.clone());
        let done = take_back_if_overdue(self.ctx, self.key.0, &replica, is_safe, fault).await;
        if let Err(error) = done {
            tracing::warn!(replica = %self.place, %error, "a hand-over could not be taken back");
        }
    }

    /// I5: what somebody else owns in a higher term is given up, durably, before anything more is
    /// said or sent.
    async fn meet(&mut self, seen: Term, terms: &[TermItem]) {
        match self.ctx.engine.change(translate::meet_terms(self.key.0, seen, terms)).await {
            Ok(catalog) => {
                for item in terms {
                    tracing::warn!(
                        topic = %item.origin, owner = %item.owner, term = item.term.number,
                        "the topic belongs to another stream from now on"
                    );
                }
                self.handle_catalog(&catalog);
                let was_open = self.sender.is_open();
                self.sender.handle_met();
                self.note_open(was_open);
            }
            Err(error) => self.sender.stop(Code::Storage, error.message()),
        }
    }

    async fn grow(&self, topic: OriginTopicId, partitions: u32) {
        match self.ctx.engine.change(translate::grow(self.key.0, topic, partitions)).await {
            Ok(_) => tracing::info!(
                %topic, partitions, "the topic has the partitions that an owner of before gave it"
            ),
            Err(error) => tracing::warn!(%topic, partitions, %error, "the topic cannot grow"),
        }
    }

    /// Deletions that the replica has applied need not be told to it again.
    async fn note_applied(&mut self, seq: CatalogSeq) {
        let catalog = self.ctx.engine.catalog();
        let waits = catalog.stream(self.key.0).is_some_and(|stream| {
            stream.tombstones.values().any(|t| t.seq > self.acked_tombstones && t.seq <= seq)
        });
        if !waits {
            return;
        }
        let command = Command::AckTombstones {
            stream: self.key.0,
            replica: self.place.clone(),
            link_epoch: self.epoch,
            seq,
        };
        match self.ctx.engine.change(command).await {
            Ok(_) => self.acked_tombstones = seq,
            Err(error) => self.sender.stop(Code::Fenced, error.message()),
        }
    }

    /// What the engine keeps in memory is read at once; the disk is read where blocking is allowed.
    fn start_read(&mut self, request: ReadRequest) {
        let Some(partition) = self.partitions.get(&(request.origin, request.partition)).cloned()
        else {
            let message = "the partition is gone".to_owned();
            self.sender.handle_read_failed(request, Code::NoTopic, message);
            return;
        };
        let from = request.from.max(partition.log_start());
        if from >= partition.durable_end() {
            // All was deleted up to an end that was; there a batch begins, or will.
            self.sender.handle_read(request, from, Vec::new());
            return;
        }
        if let Some(batches) = partition.read_tail(from, request.bytes_max)
            && !batches.is_empty()
        {
            self.handle_read(request, Ok(batches));
            return;
        }
        let reads = self.reads.clone();
        tokio::task::spawn_blocking(move || {
            let result = partition.read(from, request.bytes_max);
            // The session may be over, and then nobody waits for it.
            let _ = reads.blocking_send((request, result));
        });
    }

    fn handle_read(&mut self, request: ReadRequest, result: Result<Vec<StoredBatch>, Error>) {
        let key = (request.origin, request.partition);
        let partition = self.partitions.get(&key);
        let log_start = partition.map_or(0, |partition| partition.log_start());
        // Asked after the read: what was written anew meanwhile lies below.
        let marks = partition.map(|partition| partition.marks()).unwrap_or_default();
        let gaps = marks.gaps.iter().map(|gap| (gap.from, gap.to));
        self.sender.handle_kept(&request, log_start, marks.compacted, gaps);
        self.tell_commits();
        match result {
            // A gap up to the end, here as at the owner: retention took it before it came.
            Ok(batches) if batches.is_empty() => {
                self.sender.handle_read(request, log_start.max(request.to), Vec::new());
            }
            Ok(batches) => {
                let batches = batches.into_iter().map(source_batch).collect();
                self.sender.handle_read(request, log_start, batches);
            }
            // A trim overtook the read. It may lie within a batch, so what is there now is read, and
            // the gap declared before that; each attempt needs another trim.
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => self.start_read(request),
            Err(error) => {
                let code = mainstem_replicate::code_of(&error);
                self.sender.handle_read_failed(request, code, error.message().to_owned());
            }
        }
    }

    /// What the replica has by another way may be newer than what this session has seen move, and
    /// must not look as if it were ahead of the source.
    fn look_at(&mut self, keys: Vec<(OriginTopicId, u32)>) {
        for key in keys {
            if let Some(partition) = self.partitions.get(&key) {
                self.sender.handle_partition(key.0, key.1, view_of(partition));
            }
        }
    }

    fn handle_moved(&mut self, moved: &[PartitionNo]) {
        for no in moved {
            if let Some((origin, index)) = self.watched.get(no).copied()
                && let Some(partition) = self.partitions.get(&(origin, index))
            {
                let view = view_of(partition);
                self.sender.handle_partition(origin, index, view);
            }
        }
        if self.subscription.take_cursors() && self.cursors_due_ms.is_none() {
            self.cursors_due_ms = Some(self.ctx.now_ms() + CURSOR_LINGER_MS);
        }
    }

    fn handle_catalog(&mut self, catalog: &Catalog) {
        let (stream, replica) = match find(catalog, self.key) {
            Ok(found) => found,
            Err(error) => {
                let gone = catalog.stream(self.key.0).is_none();
                let code = if gone { Code::SourceGone } else { Code::Removed };
                self.sender.stop(code, error.message());
                return;
            }
        };
        if replica.link_epoch != self.epoch {
            let message = "the replica's settings were changed at the source";
            let code = if replica.paused { Code::Paused } else { Code::Fenced };
            self.sender.stop(code, message);
        } else if mode_of(&replica) != Some(self.mode) {
            self.sender.stop(Code::Fenced, "the replica's job has changed");
        } else if !self.is_listed(catalog) {
            // The link moves to one that is.
        } else {
            self.tell_catalog(&stream);
            self.tell_handover(&replica);
        }
    }

    /// Whether the gateway that was called is one of those that are to be.
    fn is_listed(&mut self, catalog: &Catalog) -> bool {
        let is_listed = self.ctx.lists(catalog, &self.place.cluster, &self.gateway);
        if !is_listed {
            self.sender.stop(Code::Fenced, "another list of gateways was set");
        }
        is_listed
    }

    /// Nothing is written any more once the catalog shows a hand-over, so what is told now is all.
    fn tell_handover(&mut self, replica: &Replica) {
        let view = translate::handover_view(replica);
        if view == self.handover {
            return;
        }
        self.handover = view;
        if view.is_some() {
            for ((origin, index), partition) in &self.partitions {
                self.sender.handle_partition(*origin, *index, view_of(partition));
            }
            self.tell_cursors();
        }
        self.sender.handle_handover(view);
    }

    fn tell_catalog(&mut self, stream: &Stream) {
        if self.told_seq == Some(stream.catalog_seq) {
            return;
        }
        self.told_seq = Some(stream.catalog_seq);
        for topic in stream.topics.values() {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                if !self.watched.contains_key(no) {
                    self.watch(topic.origin, index, *no);
                }
            }
        }
        self.partitions.retain(|(origin, _), _| stream.topic_by_origin(*origin).is_some());
        let partitions = &self.partitions;
        self.watched.retain(|_, key| partitions.contains_key(key));
        self.sender.handle_catalog(
            stream.catalog_seq,
            translate::topic_items(stream),
            translate::tombstone_items(stream),
        );
    }

    /// Commits are known before readers see any of their markers: whatever was read or seen to have
    /// moved by now is told after them.
    fn tell_commits(&mut self) {
        let (commits, next) = self.ctx.engine.commits_to_tell(self.next_commit);
        self.next_commit = next;
        let told = |commit| translate::transaction_decision(self.key.0, commit);
        self.sender.handle_decisions(commits.iter().filter_map(told));
    }

    fn tell_cursors(&mut self) {
        let catalog = self.ctx.engine.catalog();
        if let Some(stream) = catalog.stream(self.key.0) {
            let items = translate::cursor_items(&self.ctx.engine, stream, self.replica_id);
            self.sender.handle_cursors(items);
        }
    }

    fn watch(&mut self, origin: OriginTopicId, index: u32, no: PartitionNo) {
        let Some(partition) = self.ctx.engine.partition(no) else { return };
        self.subscription.add(&partition);
        self.sender.handle_partition(origin, index, view_of(&partition));
        self.watched.insert(no, (origin, index));
        self.partitions.insert((origin, index), partition);
    }

    fn handle_time(&mut self) {
        let now_ms = self.ctx.now_ms();
        if self.cursors_due_ms.is_some_and(|due| due <= now_ms) {
            self.cursors_due_ms = None;
            self.tell_cursors();
        }
        if now_ms >= self.sender.next_timeout_ms() {
            self.sender.handle_pending(self.ctx.board.sampled(self.key).pending);
            self.sender.handle_time(now_ms, self.ctx.wall_ms());
            self.look_at_faults(now_ms);
        }
    }

    fn look_at_faults(&mut self, now_ms: u64) {
        let faults = self.sender.faults();
        // Conflicts are told again by the sender itself.
        let stuck = faults.iter().find(|fault| fault.code != Code::Conflict);
        let since = stuck.map(|_| self.faulty_ms.unwrap_or(now_ms));
        self.faulty_ms = since;
        if self.mode == Mode::Replicate
            && let Some(fault) = stuck
            && since.is_some_and(|since| now_ms >= since + FAULTS_MS_MAX)
        {
            let message = format!("what stopped is tried again: {}", fault.message);
            self.sender.stop(Code::Busy, &message);
        }
        self.ctx.board.log_faults(self.key, &faults);
        // What stopped on this side, and what was cured, the peer does not tell.
        self.ctx.board.note_sending(self.key, |note| note.faults = faults);
    }

    async fn finish(&mut self, closing: Closing, writer: &mut FrameWriter) -> SessionEnd {
        /// How long the last words may take to leave.
        const GOODBYE: Duration = Duration::from_secs(1);
        let _ = tokio::time::timeout(GOODBYE, async {
            if writer.write_all().await.is_ok() {
                writer.shutdown().await;
            }
        })
        .await;
        self.end(closing)
    }

    fn lost(&mut self, error: &Error) -> SessionEnd {
        self.end(Closing::lost(error))
    }

    fn end(&self, closing: Closing) -> SessionEnd {
        let faulty = !self.sender.faults().is_empty();
        let opened = self.ctx.board.sending(self.key).is_some_and(|note| note.connected);
        SessionEnd { closing, opened, faulty }
    }
}

/// The stream and its replica, or what is gone.
pub(crate) fn find(catalog: &Catalog, key: &LinkKey) -> Result<(Arc<Stream>, Replica), Error> {
    let stream =
        catalog.stream(key.0).ok_or_else(|| Error::not_found("the source stream is gone"))?;
    let replica = stream.replica(&key.1).ok_or_else(|| {
        Error::not_found(format!("{} is no longer a replica of {}", key.1, stream.path))
    })?;
    Ok((stream.clone(), replica.clone()))
}

/// All cursors and partitions of a stream as the engine shows them, for one view.
fn view_of(partition: &Partition) -> PartitionView {
    // The end is read before the start: both only rise, so the start is never above the end.
    let (trimmed, durable_end) = (partition.marks().trimmed, partition.durable_end());
    PartitionView {
        log_start: partition.log_start().min(durable_end),
        durable_end,
        trimmed,
        lineage: (*partition.lineage()).clone(),
        // Read after the end, whose publication it precedes.
        watermark: partition.held_watermark(),
    }
}

fn source_batch(batch: StoredBatch) -> SourceBatch {
    SourceBatch {
        base_offset: batch.base_offset,
        next_offset: batch.next_offset,
        arrival_ms: batch.arrival_ms,
        bytes: batch.bytes,
    }
}
