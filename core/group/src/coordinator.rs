//! All groups of a node: bounds, timers, lists.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_types::GroupId;
use mainstem_types::limits::{
    CONSUMER_GROUPS_MAX, COORDINATOR_BYTES_MAX, GROUP_MEMBER_BYTES_MAX, GROUP_MEMBERS_MAX,
    SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
};

use crate::group::Group;
use crate::member::join_bytes;
use crate::request::{
    Action, GroupDescription, GroupError, JoinGroup, JoinRefused, MemberRef, SyncGroup, Waiter,
};

/// How a coordinator behaves. The defaults suit a node of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorSettings {
    /// How long a group that was empty waits for company after each newcomer before it starts to
    /// work: members that start together then share the first assignment.
    pub initial_rebalance_delay_ms: i64,
    /// Groups with members.
    pub groups_max: usize,
    /// Members of one group.
    pub members_max: usize,
    /// Bytes that all members may leave here.
    pub bytes_max: usize,
}

impl Default for CoordinatorSettings {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 300,
            groups_max: CONSUMER_GROUPS_MAX,
            members_max: GROUP_MEMBERS_MAX,
            bytes_max: COORDINATOR_BYTES_MAX,
        }
    }
}

/// The coordinator of all groups of a node. Events go in by `handle_x` with a monotonic time,
/// answers that were waited for come out of [`Coordinator::poll_action`], and
/// [`Coordinator::handle_time`] is to be called at [`Coordinator::next_deadline_ms`].
///
/// A group is here while it has members; what it committed is kept by the engine.
#[derive(Debug)]
pub struct Coordinator {
    settings: CoordinatorSettings,
    groups: BTreeMap<GroupId, Seat>,
    /// (deadline, group): each group's stands in its seat too.
    timers: BTreeSet<(i64, GroupId)>,
    bytes: usize,
    actions: std::collections::VecDeque<Action>,
}

#[derive(Debug)]
struct Seat {
    group: Group,
    deadline_ms: Option<i64>,
    bytes: usize,
}

impl Coordinator {
    /// A coordinator without groups.
    pub fn new(settings: CoordinatorSettings) -> Self {
        Self {
            settings,
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            actions: std::collections::VecDeque::new(),
        }
    }

    /// A member wants in. Answered by [`Action::Joined`].
    pub fn handle_join(&mut self, waiter: Waiter, join: &JoinGroup, now_ms: i64) {
        if let Err(error) = self.check_join(join) {
            let result = Err(JoinRefused { error, member_id: join.member_id.clone() });
            self.actions.push_back(Action::Joined { waiter, result });
            return;
        }
        let delay_ms = self.settings.initial_rebalance_delay_ms;
        self.groups.entry(join.group.clone()).or_insert_with(|| Seat {
            group: Group::new(delay_ms),
            deadline_ms: None,
            bytes: 0,
        });
        self.step(&join.group, |group, actions| group.handle_join(waiter, join, now_ms, actions));
    }

    fn check_join(&self, join: &JoinGroup) -> Result<(), GroupError> {
        let timeouts = SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX;
        if !timeouts.contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let names = join.member_id.len()
            + join.instance_id.as_ref().map_or(0, String::len)
            + join.client_id.len()
            + join.client_host.len()
            + join.protocol_type.len();
        let bytes = names + join_bytes(&join.protocols);
        if bytes > GROUP_MEMBER_BYTES_MAX || self.bytes + bytes > self.settings.bytes_max {
            return Err(GroupError::Full);
        }
        match self.groups.get(&join.group) {
            None if !join.member_id.is_empty() => Err(GroupError::UnknownMember),
            None if self.groups.len() >= self.settings.groups_max => Err(GroupError::Full),
            Some(seat)
                if join.member_id.is_empty() && seat.group.size() >= self.settings.members_max =>
            {
                Err(GroupError::Full)
            }
            None | Some(_) => Ok(()),
        }
    }

    /// A member asks for its share, or brings everyone's. Answered by [`Action::Synced`].
    pub fn handle_sync(&mut self, waiter: Waiter, sync: &SyncGroup, now_ms: i64) {
        let bytes: usize = sync.assignments.iter().map(|(id, share)| id.len() + share.len()).sum();
        let refused = if !self.groups.contains_key(&sync.group) {
            Some(GroupError::UnknownMember)
        } else if self.bytes + bytes > self.settings.bytes_max {
            Some(GroupError::Full)
        } else {
            None
        };
        if let Some(error) = refused {
            self.actions.push_back(Action::Synced { waiter, result: Err(error) });
            return;
        }
        self.step(&sync.group, |group, actions| group.handle_sync(waiter, sync, now_ms, actions));
    }

    /// A member says that it lives.
    pub fn handle_heartbeat(
        &mut self,
        group: &GroupId,
        member: &MemberRef,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        // A heartbeat only moves deadlines back, so the group's timer may stay: a timer that goes
        // off early finds nothing to do and is set anew.
        let seat = self.groups.get_mut(group).ok_or(GroupError::UnknownMember)?;
        seat.group.handle_heartbeat(member, now_ms)
    }

    /// Whether this member may commit cursors now.
    pub fn handle_commit(
        &mut self,
        group: &GroupId,
        member: &MemberRef,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        match self.groups.get_mut(group) {
            Some(seat) => seat.group.handle_commit(member, now_ms),
            None if member.generation < 0 => Ok(()),
            // As after a restart of this node: the member joins again.
            None => Err(GroupError::UnknownMember),
        }
    }

    /// Whether cursors may be committed for this member as part of a producer's transaction. Clients
    /// that name nobody are guarded by the producer's fencing alone.
    pub fn check_transactional_commit(
        &self,
        group: &GroupId,
        member: &MemberRef,
    ) -> Result<(), GroupError> {
        let names_nobody = member.member_id.is_empty() && member.instance_id.is_none();
        match self.groups.get(group) {
            _ if names_nobody && member.generation < 0 => Ok(()),
            Some(seat) => seat.group.check_transactional_commit(member),
            None if member.generation < 0 => Ok(()),
            // As after a restart of this node: the member joins again.
            None => Err(GroupError::UnknownMember),
        }
    }

    /// A member leaves: by its id, or by its lasting name with an empty id.
    pub fn handle_leave(
        &mut self,
        group: &GroupId,
        member_id: &str,
        instance_id: Option<&str>,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        if !self.groups.contains_key(group) {
            return Err(GroupError::UnknownMember);
        }
        self.step(group, |group, actions| {
            group.handle_leave(member_id, instance_id, now_ms, actions)
        })
    }

    /// Nobody is there any more to hear this waiter's answer.
    pub fn handle_gone(&mut self, group: &GroupId, waiter: Waiter, now_ms: i64) {
        if self.groups.contains_key(group) {
            self.step(group, |group, actions| group.handle_gone(waiter, now_ms, actions));
        }
    }

    /// Time has come to [`Self::next_deadline_ms`], or passed it.
    pub fn handle_time(&mut self, now_ms: i64) {
        while let Some((deadline_ms, group)) = self.timers.first().cloned() {
            if deadline_ms > now_ms {
                break;
            }
            self.step(&group, |group, actions| group.handle_time(now_ms, actions));
        }
    }

    /// The next time at which something happens if nobody speaks.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// The next answer to give.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A group with members, as tools see it.
    pub fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        let seat = self.groups.get(group)?;
        seat.group.has_members().then(|| seat.group.describe())
    }

    /// Groups with members: (group, protocol type, state).
    pub fn list(&self) -> impl Iterator<Item = (&GroupId, &str, &'static str)> {
        let seats = self.groups.iter().filter(|(_, seat)| seat.group.has_members());
        seats.map(|(id, seat)| (id, seat.group.protocol_type(), seat.group.state_name()))
    }

    /// Whether a group's cursors may be deleted: it has no members.
    pub fn check_delete(&self, group: &GroupId) -> Result<(), GroupError> {
        match self.groups.get(group) {
            Some(seat) if seat.group.has_members() => Err(GroupError::NonEmpty),
            Some(_) | None => Ok(()),
        }
    }

    /// Lets an event into a group, then settles what it changed: answers, timer, bytes, and the
    /// group itself if nobody is left in it.
    fn step<T>(
        &mut self,
        id: &GroupId,
        event: impl FnOnce(&mut Group, &mut Vec<Action>) -> T,
    ) -> T {
        let seat = self.groups.get_mut(id).expect("callers have looked");
        let mut actions = Vec::new();
        let result = event(&mut seat.group, &mut actions);
        seat.group.assert_consistent();
        self.actions.extend(actions);
        self.bytes -= seat.bytes;
        if let Some(deadline_ms) = seat.deadline_ms.take() {
            self.timers.remove(&(deadline_ms, id.clone()));
        }
        if seat.group.is_forgettable() {
            self.groups.remove(id);
            return result;
        }
        seat.bytes = seat.group.bytes();
        self.bytes += seat.bytes;
        seat.deadline_ms = seat.group.deadline_ms();
        if let Some(deadline_ms) = seat.deadline_ms {
            self.timers.insert((deadline_ms, id.clone()));
        }
        result
    }
}
