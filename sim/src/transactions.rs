//! Transactional producers amid everything else: they write to several partitions, move cursors,
//! commit, abort, leave what they began to its time-out, and fence each other.

use std::collections::{BTreeMap, VecDeque};

use mainstem_engine::CursorCommit;
use mainstem_env::Random;
use mainstem_group::CursorKey;
use mainstem_types::{Error, ErrorKind, GroupId};

use crate::Plant;
use crate::node::{Answer, Purpose};
use crate::producer::Target;
use crate::transactional::{Attempt, Deed, TransactionalClient};
use crate::world::World;

/// Two of them fence each other.
const IDS: [&str; 4] = ["shared", "shared", "t1", "t2"];
/// Keys that are written where anybody compacts: the same as others write.
const KEYS: i32 = 9;

impl World {
    /// In every fifth seed there are transactional producers.
    pub(crate) fn switch_transactions_on(&mut self, seed: u64) {
        if seed % 5 == 2 {
            self.transactional.clients =
                IDS.iter().copied().map(TransactionalClient::new).collect();
        }
    }

    pub(crate) fn is_transactional(&self) -> bool {
        !self.transactional.clients.is_empty()
    }

    /// Now and then one of them goes a step further.
    pub(crate) fn transact(&mut self) {
        if !self.is_transactional() {
            return;
        }
        if self.transactional.promotes_at.is_some_and(|at| at <= self.event()) {
            self.transactional.promotes_at = None;
            self.fail_over();
        }
        if self.random.below(3) == 0 {
            return;
        }
        let at = self.pick(IDS.len());
        if self.transactional.clients[at].waits_for.is_some() {
            // The answer may come late or never: it asks again.
            if self.random.below(10) == 0 {
                self.transactional.clients[at].waits_for = None;
            }
            return;
        }
        if self.transactional.clients[at].deeds.is_empty() {
            self.mean_a_transaction(at);
        }
        self.ask_for_a_deed(at);
    }

    /// What a producer will do next, drawn.
    fn mean_a_transaction(&mut self, at: usize) {
        let site = self.some_source();
        let targets = self.owned(site);
        if targets.is_empty() {
            return;
        }
        let attempt = self.transactional.attempts.len();
        let mut deeds = VecDeque::new();
        let has_moved = self.transactional.clients[at].site != site;
        let client = &self.transactional.clients[at];
        let is_new = has_moved || client.held.is_none() || client.must_begin;
        if is_new || self.random.below(4) == 0 {
            deeds.push_back(Deed::Begin { goes_on: !has_moved && self.random.below(2) == 0 });
        }
        let count = 1 + self.pick(3);
        let mut chosen: Vec<Target> = Vec::new();
        for _ in 0..count {
            let target = targets[self.pick(targets.len())];
            if !chosen.contains(&target) {
                chosen.push(target);
            }
        }
        deeds.push_back(Deed::Add(chosen.iter().map(|target| target.no).collect()));
        for _ in 0..1 + self.pick(4) {
            let target = chosen[self.pick(chosen.len())];
            let count = 1 + i32::try_from(self.random.below(3)).expect("a small number");
            deeds.push_back(Deed::Append { target, count });
        }
        if self.random.below(3) == 0 {
            let target = targets[self.pick(targets.len())];
            let end = self.engine(site).partition(target.no).map_or(0, |p| p.durable_end());
            let offset = self.random.below(u64::try_from(end).unwrap_or(0) + 1);
            let offset = i64::try_from(offset).expect("an offset");
            deeds.extend([Deed::AddGroup, Deed::Move { target, offset }]);
        }
        // What is not ended is left to its time-out, or to the next of its id.
        if self.random.below(8) != 0 {
            deeds.push_back(Deed::End { commit: self.random.below(4) != 0 });
        }
        let client = &mut self.transactional.clients[at];
        if has_moved {
            client.held = None;
        }
        (client.site, client.attempt, client.deeds) = (site, attempt, deeds);
        client.timeout_ms = 200 + i32::try_from(self.random.below(3_000)).expect("a small number");
        let (client, parts, cursors) = (at, Vec::new(), Vec::new());
        let attempt = Attempt { client, site, is_decided: false, parts, cursors };
        self.transactional.attempts.push(attempt);
    }

    /// Asks for the next deed, unless an answer is still to come.
    pub(crate) fn ask_for_a_deed(&mut self, at: usize) {
        let keys = if self.compacts { KEYS } else { 0 };
        let client = &mut self.transactional.clients[at];
        let Some(deed) = client.deeds.front().cloned().filter(|_| client.waits_for.is_none())
        else {
            return;
        };
        let (request, producer, site) = (client.ask(), client.as_held(), client.site);
        let (held, timeout_ms) = (client.held, client.timeout_ms);
        let engine = self.nodes[self.sites[site].node].engine.clone();
        let purpose = Purpose::Transact { client: at, request };
        let attempt = client.attempt;
        match deed {
            Deed::Begin { goes_on } => {
                let known = held.filter(|_| goes_on);
                self.node_mut(site).submit(purpose, async move {
                    Answer::Begun(engine.begin_producer(&producer.id, known, timeout_ms).await)
                });
            }
            Deed::Add(partitions) => {
                self.node_mut(site).submit(purpose, async move {
                    Answer::Done(engine.add_to_transaction(producer, partitions).await)
                });
            }
            Deed::Append { target, count } => {
                let batch = client.batch(&target, count, keys);
                let (id, epoch) = (producer.producer_id, producer.epoch);
                let id = (target.origin, target.index, id, epoch, client.sequence(&target));
                self.transactional.of_batch.insert(id, attempt);
                let parts = &mut self.transactional.attempts[attempt].parts;
                if !parts.contains(&(target.origin, target.index)) {
                    parts.push((target.origin, target.index));
                }
                self.append(site, purpose, target.no, batch);
            }
            Deed::AddGroup => {
                let group = group_of(at);
                self.node_mut(site).submit(purpose, async move {
                    Answer::Done(engine.add_group_to_transaction(producer, group).await)
                });
            }
            Deed::Move { target, offset } => self.move_with_commit(at, purpose, target, offset),
            Deed::End { commit } => {
                self.transactional.attempts[attempt].is_decided |= commit;
                self.node_mut(site).submit(purpose, async move {
                    Answer::Done(engine.end_transaction(producer, commit).await)
                });
            }
        }
    }

    fn move_with_commit(&mut self, at: usize, purpose: Purpose, target: Target, offset: i64) {
        let client = &self.transactional.clients[at];
        let (producer, site, attempt) = (client.as_held(), client.site, client.attempt);
        let key = CursorKey {
            stream: self.id(site),
            group: group_of(at),
            topic: target.origin,
            partition: target.index,
        };
        self.transactional.attempts[attempt].cursors.push(key.clone());
        let metadata = attempt.to_string();
        let commit = CursorCommit { key, offset, leader_epoch: 0, metadata };
        let is_at_once = self.plant == Plant::CursorsAtOnce;
        let engine = self.engine(site).clone();
        self.node_mut(site).submit(purpose, async move {
            Answer::Done(match is_at_once {
                true => engine.commit_cursors(vec![commit]).await,
                false => engine.commit_cursors_in_transaction(producer, vec![commit]).await,
            })
        });
    }

    /// An answer, be it one that nobody waits for any more.
    pub(crate) fn handle_transacted(&mut self, at: usize, request: u64, answer: Answer) {
        let client = &mut self.transactional.clients[at];
        if client.waits_for != Some(request) {
            return;
        }
        client.waits_for = None;
        let Some(deed) = client.deeds.front().cloned() else { return };
        let result = match answer {
            Answer::Begun(result) => result.map(|held| client.begun(held)),
            Answer::Appended(Ok(appended)) => {
                self.note_stored(at, &deed, appended.base_offset);
                Ok(())
            }
            Answer::Appended(Err(error)) => Err(error),
            Answer::Done(result) => result,
            _ => return,
        };
        self.note_deed(|| format!("transactional producer {at}: {deed:?}: {result:?}"));
        match result {
            Ok(()) => {
                let client = &mut self.transactional.clients[at];
                client.deeds.pop_front();
                let is_end = matches!(deed, Deed::End { .. });
                client.must_begin |= client.deeds.is_empty() && !is_end;
                if matches!(deed, Deed::End { commit: true }) {
                    self.handle_committed(at);
                }
            }
            Err(error) => self.handle_refused(at, &deed, &error),
        }
    }

    fn note_stored(&mut self, at: usize, deed: &Deed, base_offset: i64) {
        let Deed::Append { target, count } = deed else { return };
        let client = &mut self.transactional.clients[at];
        let promise = client.acknowledge(target, *count, base_offset);
        self.check_in_force(target.site, &promise);
        self.acknowledged.push(promise);
    }

    fn handle_committed(&mut self, at: usize) {
        self.transactional.committed += 1;
        if self.topology.reigns && self.random.below(3) == 0 {
            self.transactional.promotes_at = Some(self.event() + self.random.below(15));
        }
        let attempt = self.transactional.clients[at].attempt;
        self.check_committed(attempt);
    }

    fn handle_refused(&mut self, at: usize, deed: &Deed, error: &Error) {
        let (client, reigns) = (&mut self.transactional.clients[at], self.topology.reigns);
        match error.kind() {
            // Done or not, it is asked for again.
            ErrorKind::ReplicaMissing | ErrorKind::ReplicaLate => {}
            ErrorKind::HandingOver if reigns => {}
            // Another one has its id; or the cluster has aborted what it had open, and then it may
            // go on with a new epoch.
            ErrorKind::ProducerFenced | ErrorKind::InvalidProducerEpoch => {
                client.give_up(matches!(deed, Deed::Begin { .. }));
                if !matches!(deed, Deed::Begin { .. }) {
                    client.must_begin = true;
                }
            }
            // A topic was deleted: the rest is aborted, if anything was begun.
            ErrorKind::NotFound => {
                client.give_up(matches!(deed, Deed::End { .. }));
                match deed {
                    // Asked before without an answer, it may have begun.
                    Deed::Add(_) => client.must_begin = true,
                    Deed::End { .. } => {}
                    _ => client.deeds.push_back(Deed::End { commit: false }),
                }
            }
            // Somebody else is the owner by now, and knows nothing of it.
            ErrorKind::Policy
            | ErrorKind::UnknownTransaction
            | ErrorKind::OutOfOrderSequence
            | ErrorKind::UnknownProducerId
                if reigns =>
            {
                client.give_up(true);
            }
            _ => self.violate("producers are served", format!("{deed:?}: {error}")),
        }
    }

    /// A node has lost its memory. It still knows the last commit of each transactional id, if no
    /// other transaction of that id has begun; what it may have heard of others' it knows from
    /// batches alone.
    pub(crate) fn forget_commits(&mut self, node: usize) {
        let mut newest = BTreeMap::new();
        for (number, attempt) in self.transactional.attempts.iter().enumerate() {
            newest.insert((self.sites[attempt.site].node, IDS[attempt.client]), number);
        }
        for (number, attempt) in self.transactional.attempts.iter().enumerate() {
            let key = (self.sites[attempt.site].node, IDS[attempt.client]);
            let is_known = key.0 == node && newest[&key] == number;
            if attempt.is_decided && !is_known {
                self.transactional.forgotten.insert((node, number));
            }
        }
        for client in &mut self.transactional.clients {
            if self.sites[client.site].node == node {
                client.waits_for = None;
            }
        }
    }
}

fn group_of(client: usize) -> GroupId {
    format!("tg{client}").parse().expect("a legal group")
}
