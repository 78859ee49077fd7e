//! One consumer group: Kafka's classic protocol as a state machine.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::member::Member;
use crate::request::{
    Action, GroupDescription, GroupError, JoinGroup, JoinRefused, Joined, JoinedMember, MemberRef,
    SyncGroup, Synced, Waiter,
};

/// Where a group stands between two assignments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No members.
    Empty,
    /// Waiting for members to join, until `end_ms` at the latest. A group that was empty waits a
    /// little for company, `initial_max_ms` at the very latest.
    Preparing { end_ms: i64, initial_max_ms: Option<i64> },
    /// All know the generation; the leader has yet to say who does what, until `end_ms`.
    Completing { end_ms: i64 },
    /// At work.
    Stable,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    state: State,
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Instance id → member id.
    statics: BTreeMap<String, String>,
    /// Ids that were given to newcomers who have not come back with them, and until when.
    pending: BTreeMap<String, i64>,
    initial_delay_ms: i64,
}

type Actions = Vec<Action>;

impl Group {
    pub(crate) fn new(initial_delay_ms: i64) -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            initial_delay_ms,
        }
    }

    /// Whether nobody is in it or on the way into it.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    pub(crate) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Members and ids given out: what the limit counts.
    pub(crate) fn size(&self) -> usize {
        self.members.len() + self.pending.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        let pending: usize = self.pending.keys().map(String::len).sum();
        self.members.values().map(Member::bytes).sum::<usize>() + pending
    }

    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Preparing { .. } => "PreparingRebalance",
            State::Completing { .. } => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    pub(crate) fn describe(&self) -> GroupDescription {
        let protocol = match self.state {
            State::Stable | State::Completing { .. } => self.protocol.clone(),
            State::Empty | State::Preparing { .. } => String::new(),
        };
        GroupDescription {
            state: self.state_name(),
            protocol_type: self.protocol_type.clone(),
            members: self.members.values().map(|member| member.describe(&protocol)).collect(),
            protocol,
        }
    }

    // --- joining

    /// A join whose time-outs and sizes were found to be within limits.
    pub(crate) fn handle_join(
        &mut self,
        waiter: Waiter,
        join: &JoinGroup,
        now_ms: i64,
        actions: &mut Actions,
    ) {
        if let Err((error, member_id)) = self.join(waiter, join, now_ms, actions) {
            let result = Err(JoinRefused { error, member_id });
            actions.push(Action::Joined { waiter, result });
        }
    }

    fn join(
        &mut self,
        waiter: Waiter,
        join: &JoinGroup,
        now_ms: i64,
        actions: &mut Actions,
    ) -> Result<(), (GroupError, String)> {
        let refuse = |error| Err((error, join.member_id.clone()));
        if !self.agrees(join) {
            return refuse(GroupError::InconsistentProtocol);
        }
        if !join.member_id.is_empty() {
            if self.pending.contains_key(&join.member_id) {
                let name = join.instance_id.as_ref();
                if name.is_some_and(|name| self.statics.contains_key(name)) {
                    return refuse(GroupError::FencedInstance);
                }
                self.pending.remove(&join.member_id);
                self.add(join.member_id.clone(), waiter, join, now_ms, actions);
                return Ok(());
            }
            return match self.check_member(&join.member_id, join.instance_id.as_deref()) {
                Err(error) => refuse(error),
                Ok(()) => {
                    self.rejoin(waiter, join, now_ms, actions);
                    Ok(())
                }
            };
        }
        let named = join.instance_id.as_deref().unwrap_or(&join.client_id);
        let member_id = format!("{named}-{:032x}", join.fresh_id);
        if let Some(name) = &join.instance_id
            && let Some(old) = self.statics.get(name).cloned()
        {
            self.replace_static(&old, &member_id, waiter, join, now_ms, actions);
        } else if join.member_id_required && join.instance_id.is_none() {
            self.pending.insert(member_id.clone(), now_ms + i64::from(join.session_timeout_ms));
            return Err((GroupError::MemberIdRequired, member_id));
        } else {
            self.add(member_id, waiter, join, now_ms, actions);
        }
        Ok(())
    }

    /// Whether a member's protocols have one in common that all *other* members know.
    fn agrees(&self, join: &JoinGroup) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let replaced = join.instance_id.as_ref().and_then(|name| self.statics.get(name));
        let is_self = |id: &String| *id == join.member_id || Some(id) == replaced;
        let others = || self.members.iter().filter(|(id, _)| !is_self(id)).map(|(_, m)| m);
        if others().next().is_none() {
            return true;
        }
        let known_to_all = |name: &str| others().all(|member| member.knows(name));
        join.protocol_type == self.protocol_type
            && join.protocols.iter().any(|protocol| known_to_all(&protocol.name))
    }

    fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(name) = instance_id {
            return match self.statics.get(name) {
                None => Err(GroupError::UnknownMember),
                Some(member) if member == id => Ok(()),
                Some(_) => Err(GroupError::FencedInstance),
            };
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    fn add(
        &mut self,
        id: String,
        waiter: Waiter,
        join: &JoinGroup,
        now_ms: i64,
        actions: &mut Actions,
    ) {
        let mut member = Member::new(id.clone(), join, now_ms);
        member.joining = Some(waiter);
        if self.members.is_empty() {
            self.leader.clone_from(&id);
        }
        self.protocol_type.clone_from(&join.protocol_type);
        if let Some(name) = &member.instance_id {
            self.statics.insert(name.clone(), id.clone());
        }
        self.members.insert(id, member);
        match &mut self.state {
            State::Preparing { end_ms, initial_max_ms: Some(max_ms) } => {
                *end_ms = (now_ms + self.initial_delay_ms).min(*max_ms);
            }
            State::Preparing { .. } => {}
            State::Empty | State::Completing { .. } | State::Stable => {
                self.prepare(now_ms, actions);
            }
        }
        self.complete_if_all_joined(now_ms, actions);
    }

    /// A known member joins again.
    fn rejoin(&mut self, waiter: Waiter, join: &JoinGroup, now_ms: i64, actions: &mut Actions) {
        let member = self.members.get_mut(&join.member_id).expect("the caller found the member");
        let changed = member.protocols() != join.protocols.as_slice();
        member.update(join, now_ms);
        member.knows_its_id = true;
        self.protocol_type.clone_from(&join.protocol_type);
        let rebalance = match self.state {
            State::Empty => unreachable!("a group with a member is not empty"),
            State::Preparing { .. } => false,
            // The answer to the first join may have been lost on the way.
            State::Completing { .. } => changed,
            // A leader that joins again wants to assign anew.
            State::Stable => changed || join.member_id == self.leader,
        };
        let answer_now = !rebalance && !matches!(self.state, State::Preparing { .. });
        if answer_now {
            let joined = self.joined(&join.member_id);
            actions.push(Action::Joined { waiter, result: Ok(joined) });
            return;
        }
        if rebalance {
            self.prepare(now_ms, actions);
        }
        self.set_joining(&join.member_id, waiter, actions);
        self.complete_if_all_joined(now_ms, actions);
    }

    fn set_joining(&mut self, id: &str, waiter: Waiter, actions: &mut Actions) {
        let member = self.members.get_mut(id).expect("the caller found the member");
        if let Some(waiter) = member.joining.replace(waiter) {
            let error = GroupError::RebalanceInProgress;
            let result = Err(JoinRefused { error, member_id: id.to_owned() });
            actions.push(Action::Joined { waiter, result });
        }
    }

    /// A static member came back under a new id, as after a restart of its process. If it says
    /// of itself what it said before, the others need not be disturbed.
    fn replace_static(
        &mut self,
        old_id: &str,
        id: &str,
        waiter: Waiter,
        join: &JoinGroup,
        now_ms: i64,
        actions: &mut Actions,
    ) {
        let mut member = self.members.remove(old_id).expect("statics name members");
        let same = member.metadata(&self.protocol)
            == join
                .protocols
                .iter()
                .find(|p| p.name == self.protocol)
                .map_or_else(Bytes::new, |protocol| protocol.metadata.clone());
        dismiss(&mut member, GroupError::FencedInstance, actions);
        id.clone_into(&mut member.id);
        member.update(join, now_ms);
        member.knows_its_id = false;
        let name = member.instance_id.clone().expect("a static member has a lasting name");
        self.statics.insert(name, id.to_owned());
        self.members.insert(id.to_owned(), member);
        let was_leader = self.leader == old_id;
        if was_leader {
            id.clone_into(&mut self.leader);
        }
        if self.state == State::Stable && same && self.choose_protocol() == self.protocol {
            let mut joined = self.joined(id);
            joined.skip_assignment = was_leader && join.skips_assignment;
            if was_leader && !join.skips_assignment {
                // An older client that heard itself called the leader would assign anew.
                joined.leader = old_id.to_owned();
                joined.members.clear();
            }
            self.members.get_mut(id).expect("just put there").knows_its_id = true;
            actions.push(Action::Joined { waiter, result: Ok(joined) });
            return;
        }
        if !matches!(self.state, State::Preparing { .. }) {
            self.prepare(now_ms, actions);
        }
        self.set_joining(id, waiter, actions);
        self.complete_if_all_joined(now_ms, actions);
    }

    /// Calls everyone back. Members learn of it by their next heartbeat.
    fn prepare(&mut self, now_ms: i64, actions: &mut Actions) {
        for member in self.members.values_mut() {
            if let Some(waiter) = member.syncing.take() {
                let result = Err(GroupError::RebalanceInProgress);
                actions.push(Action::Synced { waiter, result });
                member.refresh(now_ms);
            }
        }
        let end_ms = now_ms + self.rebalance_timeout_ms();
        self.state = if self.state == State::Empty && self.initial_delay_ms > 0 {
            let first_end_ms = (now_ms + self.initial_delay_ms).min(end_ms);
            State::Preparing { end_ms: first_end_ms, initial_max_ms: Some(end_ms) }
        } else {
            State::Preparing { end_ms, initial_max_ms: None }
        };
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn complete_if_all_joined(&mut self, now_ms: i64, actions: &mut Actions) {
        let all = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        if all && matches!(self.state, State::Preparing { initial_max_ms: None, .. }) {
            self.complete_join(now_ms, actions);
        }
    }

    /// Starts the next generation with those who have joined, and static members in any case.
    fn complete_join(&mut self, now_ms: i64, actions: &mut Actions) {
        let gone = self.members.values().filter(|m| m.joining.is_none() && !m.is_static());
        let gone: Vec<String> = gone.map(|member| member.id.clone()).collect();
        gone.iter().for_each(|id| drop(self.members.remove(id)));
        if self.members.is_empty() {
            self.become_empty();
            return;
        }
        let Some(first) = self.members.values().find(|member| member.joining.is_some()) else {
            // Only static members, all away: wait on until they return or their sessions end.
            let end_ms = now_ms + self.rebalance_timeout_ms();
            self.state = State::Preparing { end_ms, initial_max_ms: None };
            return;
        };
        if self.members.get(&self.leader).is_none_or(|leader| leader.joining.is_none()) {
            self.leader = first.id.clone();
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.choose_protocol();
        self.state = State::Completing { end_ms: now_ms + self.rebalance_timeout_ms() };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let member = self.members.get_mut(&id).expect("ids are of members");
            member.synced = false;
            member.assignment = Bytes::new();
            if let Some(waiter) = member.joining.take() {
                member.refresh(now_ms);
                member.knows_its_id = true;
                actions.push(Action::Joined { waiter, result: Ok(joined) });
            }
        }
    }

    fn become_empty(&mut self) {
        self.state = State::Empty;
        self.leader.clear();
        self.protocol.clear();
        self.statics.clear();
    }

    /// The protocol that all know and most would rather use; the lesser name on a tie.
    fn choose_protocol(&self) -> String {
        let all_know = |name: &str| self.members.values().all(|member| member.knows(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favourite = member.protocols().iter().find(|protocol| all_know(&protocol.name));
            if let Some(protocol) = favourite {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        let most = votes.values().max().copied();
        let chosen = votes.iter().find(|(_, count)| Some(**count) == most);
        (*chosen.expect("no member is let in without a protocol that all know").0).to_owned()
    }

    fn joined(&self, id: &str) -> Joined {
        let everyone = self.members.values().filter(|_| id == self.leader);
        let members = everyone.map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&self.protocol),
        });
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: id.to_owned(),
            members: members.collect(),
            skip_assignment: false,
        }
    }

    // --- syncing, living, leaving

    pub(crate) fn handle_sync(
        &mut self,
        waiter: Waiter,
        sync: &SyncGroup,
        now_ms: i64,
        actions: &mut Actions,
    ) {
        match self.sync(waiter, sync, now_ms, actions) {
            Ok(None) => {}
            Ok(Some(synced)) => actions.push(Action::Synced { waiter, result: Ok(synced) }),
            Err(error) => actions.push(Action::Synced { waiter, result: Err(error) }),
        }
    }

    fn sync(
        &mut self,
        waiter: Waiter,
        sync: &SyncGroup,
        now_ms: i64,
        actions: &mut Actions,
    ) -> Result<Option<Synced>, GroupError> {
        self.check_generation(&sync.member)?;
        let differs = |ours: &str, theirs: &Option<String>| {
            theirs.as_ref().is_some_and(|theirs| theirs != ours)
        };
        if differs(&self.protocol_type, &sync.protocol_type)
            || differs(&self.protocol, &sync.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let id = &sync.member.member_id;
        match self.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            State::Stable => {
                let member = self.members.get_mut(id).expect("checked above");
                member.refresh(now_ms);
                Ok(Some(self.synced(id)))
            }
            State::Completing { .. } => {
                let member = self.members.get_mut(id).expect("checked above");
                member.synced = true;
                if let Some(waiter) = member.syncing.replace(waiter) {
                    let result = Err(GroupError::RebalanceInProgress);
                    actions.push(Action::Synced { waiter, result });
                }
                if *id == self.leader {
                    self.assign(&sync.assignments, now_ms, actions);
                }
                Ok(None)
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map_or_else(Bytes::new, |m| m.assignment.clone()),
        }
    }

    fn assign(&mut self, shares: &[(String, Bytes)], now_ms: i64, actions: &mut Actions) {
        for (id, assignment) in shares {
            if let Some(member) = self.members.get_mut(id) {
                member.assignment = assignment.clone();
            }
        }
        // A member that has not asked yet keeps the time it had for asking: its session.
        self.state = State::Stable;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            let member = self.members.get_mut(&id).expect("ids are of members");
            if let Some(waiter) = member.syncing.take() {
                member.refresh(now_ms);
                actions.push(Action::Synced { waiter, result: Ok(synced) });
            }
        }
    }

    fn check_generation(&self, member: &MemberRef) -> Result<(), GroupError> {
        self.check_member(&member.member_id, member.instance_id.as_deref())?;
        if member.generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    pub(crate) fn handle_heartbeat(
        &mut self,
        member: &MemberRef,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        self.check_generation(member)?;
        let beating = self.members.get_mut(&member.member_id).expect("checked above");
        beating.refresh(now_ms);
        match self.state {
            State::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            State::Empty | State::Completing { .. } | State::Stable => Ok(()),
        }
    }

    /// Whether this caller may commit cursors now. A commit is a sign of life.
    pub(crate) fn handle_commit(
        &mut self,
        member: &MemberRef,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        if member.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_generation(member)?;
        if matches!(self.state, State::Completing { .. }) {
            return Err(GroupError::RebalanceInProgress);
        }
        self.members.get_mut(&member.member_id).expect("checked above").refresh(now_ms);
        Ok(())
    }

    /// The same for a commit that is part of a transaction. It comes from a producer, so it is no
    /// sign that the member lives; and producers cannot wait for the end of a rebalance: to them an
    /// answer that says so is fatal. What the member read belongs to its generation, which stands.
    pub(crate) fn check_transactional_commit(&self, member: &MemberRef) -> Result<(), GroupError> {
        if member.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_generation(member)
    }

    /// A member goes, by its id or by its lasting name alone.
    pub(crate) fn handle_leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now_ms: i64,
        actions: &mut Actions,
    ) -> Result<(), GroupError> {
        if self.pending.remove(member_id).is_some() {
            self.complete_if_all_joined(now_ms, actions);
            return Ok(());
        }
        let id = match instance_id {
            Some(name) if member_id.is_empty() => {
                self.statics.get(name).cloned().ok_or(GroupError::UnknownMember)?
            }
            _ => {
                self.check_member(member_id, instance_id)?;
                member_id.to_owned()
            }
        };
        self.remove(&id, now_ms, actions);
        Ok(())
    }

    /// The connection that a waiter stood on is gone.
    pub(crate) fn handle_gone(&mut self, waiter: Waiter, now_ms: i64, actions: &mut Actions) {
        let waiting = |m: &&mut Member| m.joining == Some(waiter) || m.syncing == Some(waiter);
        let Some(member) = self.members.values_mut().find(waiting) else {
            return;
        };
        member.joining = member.joining.filter(|joining| *joining != waiter);
        member.syncing = member.syncing.filter(|syncing| *syncing != waiter);
        member.refresh(now_ms);
        if !member.knows_its_id {
            let id = member.id.clone();
            self.remove(&id, now_ms, actions);
        }
    }

    fn remove(&mut self, id: &str, now_ms: i64, actions: &mut Actions) {
        let mut member = self.members.remove(id).expect("callers name members");
        if let Some(name) = &member.instance_id {
            self.statics.remove(name);
        }
        dismiss(&mut member, GroupError::UnknownMember, actions);
        if self.members.is_empty() {
            self.generation = self.generation.checked_add(1).unwrap_or(1);
            self.become_empty();
            return;
        }
        if self.leader == id {
            self.leader = self.members.keys().next().expect("not empty").clone();
        }
        if !matches!(self.state, State::Preparing { .. }) {
            self.prepare(now_ms, actions);
        }
        self.complete_if_all_joined(now_ms, actions);
    }

    // --- time

    /// When something happens here if nobody speaks; never later than the truth.
    pub(crate) fn deadline_ms(&self) -> Option<i64> {
        let state = match self.state {
            State::Preparing { end_ms, .. } | State::Completing { end_ms } => Some(end_ms),
            State::Empty | State::Stable => None,
        };
        let sessions = self.members.values().filter_map(Member::session_end_ms);
        sessions.chain(self.pending.values().copied()).chain(state).min()
    }

    pub(crate) fn handle_time(&mut self, now_ms: i64, actions: &mut Actions) {
        let pending = self.pending.len();
        self.pending.retain(|_, end_ms| *end_ms > now_ms);
        if self.pending.len() != pending {
            self.complete_if_all_joined(now_ms, actions);
        }
        let silent = |m: &&Member| m.session_end_ms().is_some_and(|end_ms| end_ms <= now_ms);
        let silent: Vec<String> =
            self.members.values().filter(silent).map(|m| m.id.clone()).collect();
        for id in silent {
            self.remove(&id, now_ms, actions);
        }
        match self.state {
            State::Preparing { end_ms, .. } if end_ms <= now_ms => {
                self.complete_join(now_ms, actions);
            }
            State::Completing { end_ms } if end_ms <= now_ms => {
                // The leader is among them, or this would be over.
                let late: Vec<String> =
                    self.members.values().filter(|m| !m.synced).map(|m| m.id.clone()).collect();
                for id in late {
                    self.remove(&id, now_ms, actions);
                }
            }
            State::Empty | State::Preparing { .. } | State::Completing { .. } | State::Stable => {}
        }
    }

    /// Everything that must hold between two events.
    pub(crate) fn assert_consistent(&self) {
        assert_eq!(self.members.is_empty(), self.state == State::Empty, "empty means no members");
        for (id, member) in &self.members {
            assert_eq!(*id, member.id);
            let preparing = matches!(self.state, State::Preparing { .. });
            assert!(
                member.joining.is_none() || preparing,
                "{id} waits to join in {:?}",
                self.state
            );
            let completing = matches!(self.state, State::Completing { .. });
            assert!(
                member.syncing.is_none() || completing,
                "{id} waits to sync in {:?}",
                self.state
            );
            if let Some(name) = &member.instance_id {
                assert_eq!(self.statics.get(name), Some(id), "a static member is listed once");
            }
        }
        assert!(self.statics.values().all(|id| self.members.contains_key(id)));
        assert!(self.members.is_empty() || self.members.contains_key(&self.leader));
    }
}

/// Answers whatever a member that is no longer one was waiting for.
fn dismiss(member: &mut Member, error: GroupError, actions: &mut Actions) {
    if let Some(waiter) = member.joining.take() {
        let result = Err(JoinRefused { error, member_id: member.id.clone() });
        actions.push(Action::Joined { waiter, result });
    }
    if let Some(waiter) = member.syncing.take() {
        actions.push(Action::Synced { waiter, result: Err(error) });
    }
}
