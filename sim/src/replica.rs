//! The replica's shell: what the gateway door does around a receiver, without sockets.

use std::collections::BTreeMap;

use mainstem_catalog::{Catalog, Command};
use mainstem_env::Random;
use mainstem_gateway::translate;
use mainstem_link::{Batches, Code, Frame, Hello, Refused, TopicItem};
use mainstem_replicate::{AppendToken, Receiver, ReceiverAction};
use mainstem_types::{Error, Term, TermId};

use crate::Plant;
use crate::connection::{Connection, ReceiverSide};
use crate::node::{Answer, Purpose};
use crate::source::identity;
use crate::world::{Fence, World};

impl World {
    /// Takes one frame off the network and gives it to the receiver, unless that waits for an
    /// answer of its engine.
    pub(crate) fn deliver_down(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if connection.is_new {
            connection.receiver = Some(self.answer_call(connection.link));
            connection.is_new = false;
        }
        let site = self.links[connection.link].replica;
        let now_ms = self.now_ms(site);
        if let Some(mut side) = connection.receiver.take() {
            if !side.blocked
                && let Some(frame) = connection.take_down()
                && let Some(frame) = self.tamper(site, &mut side, frame)
            {
                self.note_frame(id, connection.link, true, &frame);
                side.receiver.handle_frame(frame, now_ms);
            }
            connection.receiver = Some(side);
        } else {
            connection.take_down();
        }
        self.connections.insert(id, connection);
    }

    fn answer_call(&self, link: usize) -> ReceiverSide {
        let (source, replica) = (self.links[link].source, self.links[link].replica);
        let here = identity(&self.catalog(replica));
        let peer = self.catalog(source).cluster().id;
        ReceiverSide {
            receiver: Receiver::new(here, peer, self.now_ms(replica), self.wall_ms(replica)),
            link: None,
            opened_at: 0,
            blocked: false,
            is_entered: false,
            opened_in: None,
            hello_term: None,
            terms: BTreeMap::new(),
            terms_seq: None,
            next: BTreeMap::new(),
            mistaken: BTreeMap::new(),
        }
    }

    /// Does what a receiver wants to be done.
    pub(crate) fn pump_receiver(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if let Some(mut side) = connection.receiver.take() {
            self.see_agreement(connection.link, &mut side);
            self.check_cuts(connection.link, &mut side);
            self.tell_orders(connection.link, id, &mut side);
            self.tell_terms(connection.link, &mut side);
            let mut open = true;
            while !side.blocked
                && let Some(action) = side.receiver.poll_action()
            {
                open &= self.do_receiver(id, &mut connection, &mut side, action);
            }
            connection.receiver = open.then_some(side);
        }
        self.connections.insert(id, connection);
    }

    fn check_cuts(&self, link: usize, side: &mut ReceiverSide) {
        let site = self.links[link].replica;
        side.receiver
            .handle_cut(|origin, index| Some(self.partition(site, (origin, index))?.durable_end()));
    }

    /// Now and then the shell sees that the agreement was taken away; the engine always does.
    fn see_agreement(&mut self, link: usize, side: &mut ReceiverSide) {
        let Some(name) = side.link else { return };
        if self.plant == Plant::SkipEpochCheck || self.random.below(4) != 0 {
            return;
        }
        let catalog = self.catalog(self.links[link].replica);
        let stream = catalog.expect_stream(name.stream);
        let stands = stream.and_then(|s| s.check_link(name.upstream, name.link_epoch).map(drop));
        if let Err(error) = stands {
            side.receiver.shut(Code::Fenced, error.message());
        }
    }

    fn do_receiver(
        &mut self,
        id: u64,
        connection: &mut Connection,
        side: &mut ReceiverSide,
        action: ReceiverAction,
    ) -> bool {
        let site = self.links[connection.link].replica;
        side.blocked = !matches!(
            action,
            ReceiverAction::Send(_)
                | ReceiverAction::Append(..)
                | ReceiverAction::ApplyTopic(_)
                | ReceiverAction::ApplyTombstone(_)
                | ReceiverAction::HoldWatermarks(_)
                | ReceiverAction::KeepDecisions(_)
                | ReceiverAction::Rejoin(..)
                | ReceiverAction::Close(_)
        );
        match action {
            ReceiverAction::Send(frame) => connection.send_up(&frame),
            ReceiverAction::Open(hello) => self.open(id, site, side, &hello),
            ReceiverAction::ApplyTopic(item) => {
                self.note_owner(id, site, side, &item);
                if self.plant == Plant::ConflictOverwrites {
                    self.delete_rival(site, &item);
                }
                let purpose = Purpose::Topic { connection: id, origin: item.origin };
                let command = translate::apply_topic(self.link_name(site, side), item);
                self.node_mut(site).change(purpose, command);
            }
            ReceiverAction::ApplyTombstone(item) => {
                let name = self.link_name(site, side);
                if !translate::outlives(&self.catalog(site), name, &item) {
                    self.sites[site].feeders.forget(item.origin);
                }
                let purpose = Purpose::Topic { connection: id, origin: item.origin };
                let command = translate::apply_tombstone(name, &item);
                self.node_mut(site).change(purpose, command);
            }
            ReceiverAction::Advance(seq) => {
                let name = self.link_name(site, side);
                let command = Command::AdvanceUpstream {
                    stream: name.stream,
                    upstream: name.upstream,
                    link_epoch: name.link_epoch,
                    source_seq: seq,
                };
                self.node_mut(site).change(Purpose::Advance { connection: id, seq }, command);
            }
            ReceiverAction::Append(token, batches) => {
                self.check_feeder(id, site, side, batches.origin);
                self.append_replica(id, site, side, token, batches);
            }
            ReceiverAction::HoldWatermarks(ends) => {
                let name = self.link_name(site, side);
                let engine = self.engine(site).clone();
                self.node_mut(site).submit(Purpose::Whatever, async move {
                    let marks = translate::held_watermarks(&ends);
                    Answer::Done(engine.hold_watermarks(name, marks).await)
                });
            }
            ReceiverAction::TakeOver(term, ends) => {
                self.take_over(id, connection.link, side, term, &ends);
            }
            ReceiverAction::KeepDecisions(_) if self.plant == Plant::DecisionsUntold => {}
            ReceiverAction::KeepDecisions(told) => {
                let name = self.link_name(site, side);
                let decisions = translate::link_decisions(name.stream, &told);
                let engine = self.engine(site).clone();
                self.node_mut(site).submit(Purpose::Whatever, async move {
                    Answer::Done(engine.keep_decisions(name, decisions).await)
                });
            }
            ReceiverAction::Rejoin(token, frame) => self.rejoin(id, site, side, token, frame),
            ReceiverAction::KeepCursors(items) => {
                let name = self.link_name(site, side);
                let cursors_of = items.iter().map(|item| item.origin).collect();
                let entry = |item| translate::cursor_entry(name.stream, item);
                let cursors: Result<Vec<_>, _> = items.into_iter().map(entry).collect();
                let cursors = cursors.expect("groups of the simulation have legal ids");
                let engine = self.engine(site).clone();
                let kept = Purpose::Kept { connection: id, site, cursors_of };
                self.node_mut(site).submit(kept, async move {
                    Answer::Done(engine.apply_cursors(name, cursors).await)
                });
            }
            ReceiverAction::Trim(starts) => {
                let name = self.link_name(site, side);
                let starts = translate::trim_starts(&self.catalog(site), name, &starts);
                let engine = self.engine(site).clone();
                let kept = Purpose::Kept { connection: id, site, cursors_of: Vec::new() };
                self.node_mut(site).submit(kept, async move {
                    Answer::Done(engine.trim_replica(name, starts).await)
                });
            }
            ReceiverAction::Compare(theirs) => {
                side.blocked = false;
                self.compare(id, site, side, &theirs);
            }
            ReceiverAction::Close(_) => return false,
        }
        true
    }

    /// For a planted bug: whoever has the name makes room for who comes by the link.
    fn delete_rival(&mut self, site: usize, item: &TopicItem) {
        let Some(stream) = self.stream(site) else { return };
        if let Some(rival) = stream.topic(&item.name).filter(|rival| rival.origin != item.origin) {
            let (stream, topic) = (stream.id, rival.origin);
            self.node_mut(site).change(Purpose::Whatever, Command::DeleteTopic { stream, topic });
        }
    }

    fn open(&mut self, id: u64, site: usize, side: &mut ReceiverSide, hello: &Hello) {
        let catalog = self.catalog(site);
        let Some(stream) = catalog.stream_at(&hello.replica_path) else {
            side.blocked = false;
            let message = "no such stream".to_owned();
            let refused = Refused { code: Code::NoStream, message, may_retry: true };
            side.receiver.handle_opened(Err(refused));
            return;
        };
        let command = Command::OpenLink {
            stream: stream.id,
            source: translate::source_place(hello),
            source_id: hello.source_id,
            source_seq: hello.catalog_seq,
        };
        let fence = self.fences.len();
        let purpose = Purpose::Open { connection: id, fence };
        let at = self.node_mut(site).change(purpose, command);
        self.fences.push(Fence { site, upstream: hello.source_id, at, stands: false });
        side.opened_at = at;
        side.hello_term = Some(hello.term);
        // Known in full once the answer is there.
        side.link = None;
    }

    /// The engine has opened the session, or refused it.
    pub(crate) fn handle_opened(&mut self, id: u64, fence: usize, result: Result<Catalog, Error>) {
        self.fences[fence].stands = result.is_ok();
        if result.as_ref().is_ok_and(|catalog| !self.is_term_met(id, fence, catalog)) {
            return;
        }
        let Some(link) = self.connections.get(&id).map(|c| &self.links[c.link]) else { return };
        let (site, source) = (link.replica, self.id(link.source));
        let (replica, engine) = (self.id(site), self.engine(site).clone());
        let side = self.connections.get_mut(&id).and_then(|c| c.receiver.as_mut());
        let Some(side) = side else { return };
        side.blocked = false;
        let seen = side.hello_term.unwrap_or(Term { number: 0, id: TermId(0) });
        let result = match (side.opened_in.take(), result) {
            (Some(opened), Ok(now)) => {
                translate::check_same_epoch(&opened, &now, replica, source).map(|()| now)
            }
            (_, result) => result,
        };
        let opened =
            result.and_then(|catalog| translate::opened(&engine, &catalog, replica, source, seen));
        if let Ok(opened) = &opened {
            side.link = Some(translate::link_name(opened.replica_id, source, opened.link_epoch));
            side.terms = opened.terms.iter().map(|item| (item.origin, item.clone())).collect();
            for item in &opened.partitions {
                side.next.insert((item.origin, item.partition), item.end);
            }
        }
        let entered = opened.as_ref().ok().filter(|_| side.receiver.is_choosing());
        let entered = entered.map(|o| o.owned.iter().map(|item| item.origin).collect::<Vec<_>>());
        side.is_entered = entered.is_some();
        side.receiver.handle_opened(opened.map_err(|error| Refused {
            code: mainstem_replicate::code_of(&error),
            message: error.message().to_owned(),
            may_retry: true,
        }));
        if let Some(owned) = entered {
            self.enter(id, site, source, &owned);
        }
    }

    fn append_replica(
        &mut self,
        id: u64,
        site: usize,
        side: &mut ReceiverSide,
        token: AppendToken,
        batches: Batches,
    ) {
        let to = batches.to;
        let mut append = translate::replica_append(self.link_name(site, side), token.term, batches);
        if self.plant == Plant::CompactedUntold {
            append.compacted = 0;
        }
        let engine = self.engine(site).clone();
        let at = self.node(site).next_number();
        let purpose = Purpose::Append { connection: id, site, token, at };
        self.node_mut(site).submit(purpose, async move {
            let answer = match engine.append_replica(append).await {
                Ok(answer) => answer.await.and_then(|result| result),
                Err(error) => Err(error),
            };
            Answer::Replicated(answer)
        });
        if self.plant == Plant::AckBeforeDurable {
            side.receiver.handle_appended(token, Ok(to));
        }
    }

    /// An append was answered. I6: it may have been taken only if no later session was opened, and
    /// the upstream not removed, between the session's opening and the append.
    pub(crate) fn handle_appended(
        &mut self,
        id: u64,
        site: usize,
        token: AppendToken,
        at: u64,
        result: &Result<i64, Error>,
    ) {
        if result.is_ok() {
            self.note_brought(id, site, &[token.origin]);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(side) = &mut connection.receiver else { return };
        if self.plant != Plant::AckBeforeDurable {
            side.receiver.handle_appended(token, result.clone());
        }
        let upstream = side.link.map(|link| link.upstream);
        let opened_at = side.opened_at;
        let fenced = self.fences.iter().any(|fence| {
            fence.stands
                && fence.site == site
                && Some(fence.upstream) == upstream
                && (opened_at + 1..at).contains(&fence.at)
        });
        if fenced && result.is_ok() {
            self.violate("I6", "a superseded session's append was taken".into());
        }
    }

    pub(crate) fn link_name(&self, site: usize, side: &ReceiverSide) -> mainstem_engine::LinkName {
        let mut name = side.link.expect("nothing is written before the link is open");
        if self.plant == Plant::SkipEpochCheck {
            let catalog = self.catalog(site);
            let now = catalog
                .stream(name.stream)
                .and_then(|stream| stream.upstream_by_id(name.upstream))
                .map(|upstream| upstream.link_epoch);
            name.link_epoch = now.unwrap_or(name.link_epoch);
        }
        name
    }

    /// What a planted bug makes of a frame on its way to the receiver; `None` loses it.
    fn tamper(&mut self, site: usize, side: &mut ReceiverSide, frame: Frame) -> Option<Frame> {
        match (self.plant, frame) {
            (Plant::AcceptMisaligned, Frame::Batches(mut batches)) => {
                if self.random.below(8) == 0 {
                    return None;
                }
                let next = side.next.entry((batches.origin, batches.partition)).or_default();
                if batches.gap_from.is_none() && batches.from > *next {
                    batches.gap_from = Some(*next);
                }
                *next = batches.to;
                Some(batches.into())
            }
            (Plant::NameForUuid, Frame::Topics(mut topics)) => {
                topics.tombstones.clear();
                let catalog = self.catalog(site);
                let stream = catalog.stream(self.id(site))?;
                for topic in &mut topics.topics {
                    if let Some(rival) = stream.topic(&topic.name)
                        && rival.origin != topic.origin
                    {
                        side.mistaken.insert(topic.origin, rival.origin);
                        topic.origin = rival.origin;
                    }
                }
                Some(topics.into())
            }
            (Plant::NameForUuid, Frame::Batches(mut batches)) => {
                let taken_for = side.mistaken.get(&batches.origin).copied();
                batches.origin = taken_for.unwrap_or(batches.origin);
                Some(batches.into())
            }
            (_, frame) => Some(frame),
        }
    }
}
