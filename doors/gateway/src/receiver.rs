//! The receiving end of one session: joins the pure receiver to the engine and a socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstem_api::links::LinkError;
use mainstem_catalog::{Catalog, Command, Place};
use mainstem_engine::{Changing, LinkName, ReplicaAppending};
use mainstem_link::{Code, CursorItem, End, Frame, Hello, Refused, TermItem, TopicItem};
use mainstem_replicate::{
    AppendToken, Closing, Feeders, Opened, Pending, Receiver, ReceiverAction,
};
use mainstem_types::{CatalogSeq, Error, ErrorKind, OriginTopicId, PartitionNo};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::board::UpstreamKey;
use crate::context::Context;
use crate::tls::PeerIdentity;
use crate::translate;
use crate::wire::{FrameReader, FrameWriter};

static SESSIONS: AtomicU64 = AtomicU64::new(1);

struct Session<'a> {
    ctx: &'a Context,
    number: u64,
    receiver: Receiver,
    source: Place,
    link: Option<LinkName>,
    /// What the engine has in its queue, in its order.
    queued: VecDeque<Queued>,
    /// Where partitions end that have rejoined their owner's history, which may take its time.
    rejoined: mpsc::UnboundedSender<(AppendToken, Result<i64, Error>)>,
    /// What was told of owners and terms, as of which catalog.
    terms: BTreeMap<OriginTopicId, TermItem>,
    terms_seq: CatalogSeq,
    /// Answers of before the last cut that are still to come.
    stale_answers: usize,
    /// The damaged partitions that were looked at.
    damaged: Vec<PartitionNo>,
}

enum Queued {
    Append(AppendToken, ReplicaAppending),
    Topic(OriginTopicId, Changing),
}

enum Answered {
    Append(AppendToken, Result<i64, Error>),
    Topic(OriginTopicId, Result<(), Error>),
}

/// Serves a link from its Hello to its end.
pub(crate) async fn serve_link(
    ctx: &Context,
    peer: &PeerIdentity,
    hello: Hello,
    mut reader: FrameReader,
    mut writer: FrameWriter,
    mut stop: watch::Receiver<bool>,
) {
    let catalog = ctx.engine.catalog();
    let identity = ctx.identity(&catalog);
    // Bounded by the partitions, each of which rejoins once in a session.
    let (rejoined, mut answers) = mpsc::unbounded_channel();
    let mut session = Session {
        ctx,
        number: SESSIONS.fetch_add(1, Ordering::Relaxed),
        receiver: Receiver::new(identity, peer.id, ctx.now_ms(), ctx.wall_ms()),
        source: translate::source_place(&hello),
        link: None,
        queued: VecDeque::new(),
        rejoined,
        terms: BTreeMap::new(),
        terms_seq: CatalogSeq::default(),
        stale_answers: 0,
        damaged: Vec::new(),
    };
    session.receiver.handle_frame(hello.into(), ctx.now_ms());
    let closing = session.run(&mut reader, &mut writer, &mut answers, &mut stop).await;
    session.settle().await;
    session.leave();
    session.note_end(&closing);
    /// How long the last words may take to leave.
    const GOODBYE: Duration = Duration::from_secs(1);
    let _ = tokio::time::timeout(GOODBYE, async {
        if writer.write_all().await.is_ok() {
            writer.shutdown().await;
        }
    })
    .await;
}

impl Session<'_> {
    async fn run(
        &mut self,
        reader: &mut FrameReader,
        writer: &mut FrameWriter,
        rejoined: &mut mpsc::UnboundedReceiver<(AppendToken, Result<i64, Error>)>,
        stop: &mut watch::Receiver<bool>,
    ) -> Closing {
        let mut catalog = self.ctx.engine.watch_catalog();
        let mut cuts = self.ctx.engine.watch_cuts();
        let wake = self.ctx.feeding.wake_of(self.number);
        loop {
            while let Some(action) = self.receiver.poll_action() {
                if let ReceiverAction::Close(closing) = action {
                    return closing;
                }
                self.do_action(action, writer).await;
            }
            let wait_ms = self.receiver.next_timeout_ms().saturating_sub(self.ctx.now_ms());
            tokio::select! {
                frame = reader.next() => match frame {
                    Ok(frame) => self.handle_frame(frame),
                    Err(error) => return Closing::lost(&error),
                },
                written = writer.write_some(), if writer.has_work() => {
                    if let Err(error) = written {
                        return Closing::lost(&error);
                    }
                }
                answered = next_answer(&mut self.queued) => self.handle_answered(answered),
                Some((token, result)) = rejoined.recv() => {
                    self.receiver.handle_rejoined(token, result);
                }
                changed = catalog.changed() => {
                    if changed.is_err() {
                        self.receiver.shut(Code::Stopping, "the destination is stopping");
                    } else {
                        let now = catalog.borrow_and_update().clone();
                        self.check_agreement(&now);
                        self.tell_terms(&now);
                    }
                }
                Ok(()) = cuts.changed() => {
                    self.stale_answers = self.queued.len();
                    self.check_cuts();
                }
                () = wake.notified() => self.tell_orders(),
                _ = stop.changed() => {
                    self.receiver.shut(Code::Stopping, "the destination is stopping");
                }
                () = sleep(Duration::from_millis(wait_ms)) => {
                    self.receiver.handle_time(self.ctx.now_ms(), self.ctx.wall_ms());
                    self.tell_damaged();
                }
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame) {
        let beat = matches!(frame, Frame::Heartbeat(_) | Frame::Fault(_));
        let source_ms = match &frame {
            Frame::Heartbeat(beat) => Some(beat.now_ms),
            _ => None,
        };
        let (bytes, records) = match &frame {
            Frame::Batches(batches) => {
                (batches.payload_bytes() as u64, u64::try_from(batches.to - batches.from).ok())
            }
            _ => (0, None),
        };
        self.receiver.handle_frame(frame, self.ctx.now_ms());
        if let Some(key) = self.key() {
            let (now_ms, heard_ms) = (self.ctx.wall_ms(), self.ctx.now_ms());
            let (number, pending) = (self.number, self.receiver.pending());
            let faults = beat.then(|| self.receiver.faults());
            self.ctx.board.log_faults(&key, faults.as_deref().unwrap_or_default());
            self.ctx.board.note_receiving(&key, |note| {
                if note.session == number {
                    note.last_contact_ms = Some(now_ms);
                    note.heard_ms = heard_ms;
                    note.pending = pending;
                    note.bytes_received += bytes;
                    note.records_received += records.unwrap_or(0);
                    if let Some(source_ms) = source_ms {
                        note.ahead_ms = now_ms.saturating_sub(source_ms);
                    }
                    if let Some(faults) = faults {
                        note.faults = faults;
                    }
                }
            });
        }
    }

    async fn do_action(&mut self, action: ReceiverAction, writer: &mut FrameWriter) {
        match action {
            ReceiverAction::Send(frame) => writer.push(&frame),
            ReceiverAction::Open(hello) => {
                let opened = self.open(&hello).await;
                self.receiver.handle_opened(opened);
                self.tell_damaged();
            }
            ReceiverAction::ApplyTopic(item) => {
                let origin = item.origin;
                self.note_owner(&item);
                self.queue_topic(origin, translate::apply_topic(self.link(), item)).await;
            }
            ReceiverAction::ApplyTombstone(item) => {
                let command = translate::apply_tombstone(self.link(), &item);
                if !translate::outlives(&self.ctx.engine.catalog(), self.link(), &item) {
                    self.feed(|feeders, _| feeders.forget(item.origin));
                }
                self.queue_topic(item.origin, command).await;
            }
            ReceiverAction::Advance(source_seq) => {
                let advance = |link: LinkName| Command::AdvanceUpstream {
                    stream: link.stream,
                    upstream: link.upstream,
                    link_epoch: link.link_epoch,
                    source_seq,
                };
                let result = self.change(advance).await;
                self.receiver.handle_advanced(source_seq, result);
            }
            ReceiverAction::Append(token, batches) => {
                let append = translate::replica_append(self.link(), token.term, batches);
                match self.ctx.engine.append_replica(append).await {
                    Ok(answer) => self.queued.push_back(Queued::Append(token, answer)),
                    Err(error) => self.receiver.handle_appended(token, Err(error)),
                }
            }
            ReceiverAction::HoldWatermarks(ends) => {
                let marks = translate::held_watermarks(&ends);
                if let Err(error) = self.ctx.engine.hold_watermarks(self.link(), marks).await {
                    self.receiver.handle_kept(Err(error));
                }
            }
            ReceiverAction::KeepDecisions(told) => {
                let decisions = translate::link_decisions(self.link().stream, &told);
                if let Err(error) = self.ctx.engine.keep_decisions(self.link(), decisions).await {
                    self.receiver.handle_kept(Err(error));
                }
            }
            ReceiverAction::Rejoin(token, frame) => {
                let rejoin = translate::rejoin(self.link(), frame);
                let (engine, rejoined) = (self.ctx.engine.clone(), self.rejoined.clone());
                tokio::spawn(async move {
                    // The session may be over, and then nobody waits for it.
                    let _ = rejoined.send((token, engine.rejoin(rejoin).await));
                });
            }
            ReceiverAction::TakeOver(term, ends) => {
                let result =
                    self.change(|link| translate::accept_handover(link, term, &ends)).await;
                self.receiver.handle_taken_over(result);
            }
            ReceiverAction::KeepCursors(items) => {
                let origins: BTreeSet<_> = items.iter().map(|item| item.origin).collect();
                let result = self.keep_cursors(items).await;
                if result.is_ok() {
                    origins.into_iter().for_each(|origin| self.note_brought(origin));
                }
                self.receiver.handle_kept(result);
            }
            ReceiverAction::Trim(starts) => {
                let result = self.trim(starts).await;
                self.receiver.handle_kept(result);
            }
            ReceiverAction::Compare(theirs) => self.compare(&theirs),
            ReceiverAction::Close(_) => unreachable!("taken by the loop"),
        }
    }

    async fn queue_topic(&mut self, origin: OriginTopicId, command: Command) {
        match self.ctx.engine.queue_change(command).await {
            Ok(answer) => self.queued.push_back(Queued::Topic(origin, answer)),
            Err(error) => self.receiver.handle_topic_applied(origin, Err(error)),
        }
    }

    fn handle_answered(&mut self, answered: Answered) {
        match answered {
            Answered::Append(token, result) => {
                if result.is_ok() {
                    self.note_brought(token.origin);
                }
                self.receiver.handle_appended(token, result);
            }
            Answered::Topic(origin, result) => {
                let here = self.ctx.engine.catalog().cluster().name.clone();
                let result = result.map_err(|error| error.from_cluster(here.as_str()));
                self.receiver.handle_topic_applied(origin, result);
            }
        }
        if self.stale_answers > 0 {
            self.stale_answers -= 1;
            if self.stale_answers == 0 {
                self.check_cuts();
            }
        }
    }

    /// What was given to the engine may still be appended, which those who feed its topics after us
    /// must hear of.
    async fn settle(&mut self) {
        while !self.queued.is_empty() {
            let answered = next_answer(&mut self.queued).await;
            self.handle_answered(answered);
        }
    }

    /// Checks the agreement and raises its epoch, durably, before anything is promised (I6).
    async fn open(&mut self, hello: &Hello) -> Result<Opened, Refused> {
        let refuse = |code, message: String, may_retry| Refused { code, message, may_retry };
        let catalog = self.ctx.engine.catalog();
        let Some(stream) = catalog.stream_at(&hello.replica_path) else {
            let message = format!(
                "/mapr/{}{} is not a valid stream; where it was deleted, remove the replica and set it up \
                 anew, else correct its place by `maprcli stream replica edit -newreplica`",
                hello.replica_cluster, hello.replica_path
            );
            return Err(refuse(Code::NoStream, message, true));
        };
        if hello.replica_id.is_some_and(|id| id != stream.id) {
            let message = format!(
                "/mapr/{}{} is another stream than the one agreed on; remove the replica and add \
                 it again",
                hello.replica_cluster, hello.replica_path
            );
            return Err(refuse(Code::AnotherStream, message, false));
        }
        let backwards = stream
            .upstream_by_id(hello.source_id)
            .is_some_and(|upstream| hello.catalog_seq < upstream.applied_seq);
        let command = Command::OpenLink {
            stream: stream.id,
            source: self.source.clone(),
            source_id: hello.source_id,
            source_seq: hello.catalog_seq,
        };
        let replica = stream.id;
        let opened = match self.open_link(hello, command).await {
            Ok(catalog) => {
                let (engine, source) = (&self.ctx.engine, hello.source_id);
                translate::opened(engine, &catalog, replica, source, hello.term)
            }
            Err(error) => Err(error),
        };
        let opened = opened.map_err(|error| {
            let error = error.from_cluster(hello.replica_cluster.as_str());
            let code = match error.kind() {
                _ if backwards => Code::SourceWentBackwards,
                ErrorKind::Policy => Code::AnotherStream,
                _ => mainstem_replicate::code_of(&error),
            };
            let may_retry = matches!(error.kind(), ErrorKind::Denied | ErrorKind::Retry);
            self.note_refusal(replica, code, error.message());
            refuse(code, error.message().to_owned(), may_retry)
        })?;
        self.link = Some(translate::link_name(replica, hello.source_id, opened.link_epoch));
        self.terms = opened.terms.iter().map(|item| (item.origin, item.clone())).collect();
        self.note_open();
        self.enter(&opened);
        Ok(opened)
    }

    /// From here on this session may be given topics to feed.
    fn enter(&self, opened: &Opened) {
        let link = self.link();
        let catalog = self.ctx.engine.catalog();
        let is_mutual = catalog.stream(link.stream).is_some_and(|stream| {
            stream.upstream_by_id(link.upstream).is_some_and(|u| stream.is_multimaster_with(u))
        });
        self.feed(|feeders, number| {
            let owned: Vec<_> = opened.owned.iter().map(|item| item.origin).collect();
            feeders.open(number, link.upstream, is_mutual, &owned);
        });
    }

    fn leave(&self) {
        self.ctx.feeding.leave(self.link.map(|link| link.stream), self.number);
    }

    /// Changes who feeds the replica's topics, unless the source sends everything anyway.
    fn feed(&self, change: impl FnOnce(&mut Feeders, u64)) {
        if self.receiver.is_choosing() {
            let number = self.number;
            self.ctx.feeding.change(self.link().stream, |feeders| change(feeders, number));
        }
    }

    fn note_owner(&self, item: &TopicItem) {
        let (is_owner, is_inherited) =
            (item.owner == self.link().upstream, translate::is_inherited(item.term));
        self.feed(|feeders, number| {
            feeders.handle_told(number, item.origin, is_owner, is_inherited);
        });
    }

    /// What was taken from this session may be of another history than that of the feeder which has
    /// taken its place.
    fn note_brought(&self, origin: OriginTopicId) {
        let stream = self.link().stream;
        if self.ctx.feeding.feeds(stream, self.number, origin) {
            return;
        }
        let catalog = self.ctx.engine.catalog();
        let topic = catalog.stream(stream).and_then(|stream| stream.topic_by_origin(origin));
        if topic.is_some_and(|topic| translate::is_inherited(topic.owner.term)) {
            self.feed(|feeders, number| feeders.handle_brought(number, origin));
        }
    }

    fn check_cuts(&mut self) {
        let Some(link) = self.link else { return };
        let engine = &self.ctx.engine;
        let catalog = engine.catalog();
        let Some(stream) = catalog.stream(link.stream) else { return };
        self.receiver.handle_cut(|origin, partition| {
            let no = stream.topic_by_origin(origin)?.partition(partition)?;
            Some(engine.partition(no)?.durable_end())
        });
    }

    /// The source would not hear of damage before it has something more to send.
    fn tell_damaged(&mut self) {
        let Some(link) = self.link else { return };
        let damaged = self.ctx.engine.health().damaged;
        let numbers: Vec<PartitionNo> = damaged.iter().map(|(no, _)| *no).collect();
        if self.damaged == numbers {
            return;
        }
        self.damaged = numbers;
        let catalog = self.ctx.engine.catalog();
        let Some(stream) = catalog.stream(link.stream) else { return };
        for (no, why) in damaged {
            let home = catalog.partition(no).filter(|home| home.stream == stream.id);
            let Some(home) = home else { continue };
            let topic = stream.topic_by_origin(home.topic);
            if topic.is_some_and(|t| t.aside.is_none() && t.owner.stream != stream.id) {
                let message = format!("what the replica keeps of it is damaged: {why}");
                self.receiver.handle_damaged(home.topic, home.index, &message);
            }
        }
    }

    fn compare(&mut self, theirs: &[End]) {
        let catalog = self.ctx.engine.catalog();
        let Some(stream) = catalog.stream(self.link().stream) else { return };
        let positions = translate::positions(&self.ctx.engine, stream, theirs);
        let now_ms = self.ctx.now_ms();
        self.feed(|feeders, number| {
            positions.iter().for_each(|at| feeders.handle_position(number, *at, now_ms));
        });
        self.receiver.handle_compared(translate::our_ends(&positions));
    }

    fn tell_orders(&mut self) {
        let Some(link) = self.link else { return };
        let catalog = self.ctx.engine.catalog();
        let Some(stream) = catalog.stream(link.stream) else { return };
        let orders = self.ctx.feeding.take_orders(link.stream, self.number).into_iter();
        let engine = &self.ctx.engine;
        let order = |(origin, feed)| translate::feed_order(engine, stream, origin, feed);
        self.receiver.handle_orders(orders.map(order).collect());
    }

    /// The source's highest term is durable here before anything is answered to it.
    async fn open_link(&self, hello: &Hello, command: Command) -> Result<Catalog, Error> {
        let catalog = self.ctx.engine.change(command).await?;
        let replica = catalog.stream_at(&hello.replica_path);
        match replica.filter(|replica| replica.highest_term().number < hello.term.number) {
            Some(replica) => {
                let meet = translate::meet_terms(replica.id, hello.term, &[]);
                let met = self.ctx.engine.change(meet).await?;
                translate::check_same_epoch(&catalog, &met, replica.id, hello.source_id)?;
                Ok(met)
            }
            None => Ok(catalog),
        }
    }

    /// The source hears of owners and terms that changed here, or that another link brought.
    fn tell_terms(&mut self, catalog: &Catalog) {
        let Some(link) = self.link else { return };
        let Some(stream) = catalog.stream(link.stream) else { return };
        if std::mem::replace(&mut self.terms_seq, stream.catalog_seq) != stream.catalog_seq {
            let now = translate::term_items(stream, link.upstream);
            let is_news = |item: &TermItem| self.terms.get(&item.origin) != Some(item);
            let news: Vec<TermItem> = now.iter().filter(|item| is_news(item)).cloned().collect();
            self.receiver.handle_terms(stream.highest_term(), &news);
            self.terms.extend(news.into_iter().map(|item| (item.origin, item)));
        }
    }

    fn link(&self) -> LinkName {
        self.link.expect("nothing is written before the link is open")
    }

    fn key(&self) -> Option<UpstreamKey> {
        Some((self.link?.stream, self.source.clone()))
    }

    async fn change(&self, command: impl FnOnce(LinkName) -> Command) -> Result<(), Error> {
        self.ctx.engine.change(command(self.link())).await.map(|_| ())
    }

    async fn keep_cursors(&self, items: Vec<CursorItem>) -> Result<(), Error> {
        let link = self.link();
        let cursors: Result<Vec<_>, _> =
            items.into_iter().map(|item| translate::cursor_entry(link.stream, item)).collect();
        self.ctx.engine.apply_cursors(link, cursors?).await
    }

    async fn trim(&self, starts: Vec<End>) -> Result<(), Error> {
        let starts = translate::trim_starts(&self.ctx.engine.catalog(), self.link(), &starts);
        self.ctx.engine.trim_replica(self.link(), starts).await
    }

    /// I6: an agreement taken away ends the link at once, not only at the next append.
    fn check_agreement(&mut self, catalog: &Catalog) {
        let Some(link) = self.link else { return };
        let stands = catalog
            .expect_stream(link.stream)
            .and_then(|stream| stream.check_link(link.upstream, link.link_epoch).map(|_| ()));
        if let Err(error) = stands {
            let listed = catalog
                .stream(link.stream)
                .is_some_and(|stream| stream.upstream_by_id(link.upstream).is_some());
            let code = if listed { Code::Fenced } else { Code::Removed };
            self.receiver.shut(code, error.message());
        }
    }

    fn note_open(&self) {
        let Some(key) = self.key() else { return };
        let catalog = self.ctx.engine.catalog();
        self.ctx.board.keep_receiving(|(stream, source)| {
            catalog.stream(*stream).is_some_and(|stream| stream.upstream(source).is_some())
        });
        let (number, now_ms) = (self.number, self.ctx.wall_ms());
        let heard_ms = self.ctx.now_ms();
        self.ctx.board.note_receiving(&key, |note| {
            note.session = number;
            note.connected = true;
            note.sessions += 1;
            note.connected_since_ms = Some(now_ms);
            // What an older session was told may be long overtaken.
            note.pending = Pending::default();
            note.last_contact_ms = Some(now_ms);
            note.heard_ms = heard_ms;
            note.error = None;
            note.faults.clear();
        });
    }

    fn note_refusal(&self, replica: mainstem_types::StreamId, code: Code, message: &str) {
        // Only of upstreams that are listed: a peer must not fill the board with names.
        let catalog = self.ctx.engine.catalog();
        if catalog.stream(replica).is_none_or(|stream| stream.upstream(&self.source).is_none()) {
            return;
        }
        let key = (replica, self.source.clone());
        let error = self.link_error(code, message);
        self.ctx.board.note_receiving(&key, |note| {
            if !note.connected {
                note.error = Some(error);
            }
        });
    }

    fn note_end(&self, closing: &Closing) {
        tracing::info!(
            source = %self.source, code = %closing.code, by_peer = closing.by_peer,
            "a link ended: {}", closing.message
        );
        let Some(key) = self.key() else { return };
        let error = self.link_error(closing.code, &closing.message);
        self.ctx.board.note_receiving(&key, |note| {
            if note.session == self.number {
                note.connected = false;
                note.connected_since_ms = None;
                note.error = (closing.code != Code::Finished).then_some(error);
            }
        });
    }

    fn link_error(&self, code: Code, message: &str) -> LinkError {
        LinkError {
            code: code.word().to_owned(),
            host: self.ctx.engine.catalog().cluster().name.to_string(),
            message: message.to_owned(),
            at_ms: self.ctx.wall_ms(),
        }
    }
}

/// The answer to the oldest in the queue. The engine answers in its order, so waiting for the
/// oldest delays no other.
async fn next_answer(queued: &mut VecDeque<Queued>) -> Answered {
    let Some(oldest) = queued.front_mut() else { return std::future::pending().await };
    let answered = match oldest {
        Queued::Append(token, answer) => {
            Answered::Append(*token, answer.await.and_then(|result| result))
        }
        Queued::Topic(origin, answer) => {
            Answered::Topic(*origin, answer.await.and_then(|result| result.map(drop)))
        }
    };
    queued.pop_front();
    answered
}
