//! The coordinator's cases, one by one.

use bytes::Bytes;
use mainstem_group::{
    Action, Coordinator, CoordinatorSettings, GroupError, JoinGroup, Joined, MemberRef, Protocol,
    SyncGroup, Synced, Waiter,
};
use mainstem_types::GroupId;

/// A coordinator with a clock and numbered waiters.
struct Bench {
    coordinator: Coordinator,
    now_ms: i64,
    waiters: u64,
}

fn group() -> GroupId {
    "g".parse().expect("a legal name")
}

fn join(member_id: &str) -> JoinGroup {
    JoinGroup {
        group: group(),
        member_id: member_id.into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"t") }],
        member_id_required: false,
        skips_assignment: false,
        fresh_id: 0,
    }
}

fn named(member_id: &str, instance: &str) -> JoinGroup {
    JoinGroup { instance_id: Some(instance.into()), ..join(member_id) }
}

fn speaking(protocols: &[&str]) -> JoinGroup {
    let protocols = protocols
        .iter()
        .map(|name| Protocol { name: (*name).into(), metadata: Bytes::from_static(b"t") });
    JoinGroup { protocols: protocols.collect(), ..join("") }
}

impl Bench {
    fn new(initial_rebalance_delay_ms: i64) -> Self {
        let settings = CoordinatorSettings {
            initial_rebalance_delay_ms,
            members_max: 4,
            ..CoordinatorSettings::default()
        };
        Self { coordinator: Coordinator::new(settings), now_ms: 0, waiters: 0 }
    }

    fn join(&mut self, join: &JoinGroup) -> Waiter {
        self.waiters += 1;
        let join = JoinGroup { fresh_id: u128::from(self.waiters), ..join.clone() };
        self.coordinator.handle_join(Waiter(self.waiters), &join, self.now_ms);
        Waiter(self.waiters)
    }

    fn sync(&mut self, joined: &Joined, shares: &[(&str, &'static str)]) -> Waiter {
        self.waiters += 1;
        let shares = shares.iter().map(|(id, share)| ((*id).to_owned(), Bytes::from(*share)));
        let sync = SyncGroup {
            group: group(),
            member: member(joined),
            protocol_type: None,
            protocol: None,
            assignments: shares.collect(),
        };
        self.coordinator.handle_sync(Waiter(self.waiters), &sync, self.now_ms);
        Waiter(self.waiters)
    }

    fn pass_ms(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
        self.coordinator.handle_time(self.now_ms);
    }

    fn joined(&mut self, expected: Waiter) -> Result<Joined, (GroupError, String)> {
        match self.coordinator.poll_action() {
            Some(Action::Joined { waiter, result }) if waiter == expected => {
                result.map_err(|refused| (refused.error, refused.member_id))
            }
            other => panic!("expected a join's answer for {expected:?}, got {other:?}"),
        }
    }

    fn synced(&mut self, expected: Waiter) -> Result<Synced, GroupError> {
        match self.coordinator.poll_action() {
            Some(Action::Synced { waiter, result }) if waiter == expected => result,
            other => panic!("expected a sync's answer for {expected:?}, got {other:?}"),
        }
    }

    fn quiet(&mut self) {
        assert_eq!(self.coordinator.poll_action(), None);
    }

    fn heartbeat(&mut self, joined: &Joined) -> Result<(), GroupError> {
        self.coordinator.handle_heartbeat(&group(), &member(joined), self.now_ms)
    }

    /// A group of one that is at work.
    fn stable(&mut self, first: &JoinGroup) -> Joined {
        let waiter = self.join(first);
        let joined = self.joined(waiter).expect("alone");
        let waiter = self.sync(&joined, &[(&joined.member_id, "all")]);
        assert_eq!(self.synced(waiter).expect("the leader's own").assignment, "all");
        joined
    }
}

fn member(joined: &Joined) -> MemberRef {
    MemberRef {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
    }
}

#[test]
fn two_who_come_together_share_the_first_generation() {
    let mut bench = Bench::new(300);
    let first = bench.join(&join(""));
    bench.pass_ms(200);
    let second = bench.join(&join(""));
    bench.pass_ms(299);
    bench.quiet();
    bench.pass_ms(1);
    let (first, second) = (bench.joined(first).unwrap(), bench.joined(second).unwrap());
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(first.leader, first.member_id);
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    let follower = bench.sync(&second, &[]);
    bench.quiet();
    let leader = bench.sync(&first, &[(&first.member_id, "a"), (&second.member_id, "b")]);
    assert_eq!(bench.synced(leader).unwrap().assignment, "a");
    assert_eq!(bench.synced(follower).unwrap().assignment, "b");
    bench.heartbeat(&second).unwrap();
}

#[test]
fn a_newcomer_that_knows_the_flow_is_first_told_its_id() {
    let mut bench = Bench::new(0);
    let asked = JoinGroup { member_id_required: true, ..join("") };
    let waiter = bench.join(&asked);
    let (error, id) = bench.joined(waiter).unwrap_err();
    assert_eq!(error, GroupError::MemberIdRequired);
    let waiter = bench.join(&JoinGroup { member_id: id.clone(), ..asked.clone() });
    assert_eq!(bench.joined(waiter).unwrap().member_id, id);
    let waiter = bench.join(&JoinGroup { member_id: "made-up".into(), ..asked });
    assert_eq!(bench.joined(waiter).unwrap_err().0, GroupError::UnknownMember);
}

#[test]
fn an_id_that_nobody_came_back_with_is_forgotten() {
    let mut bench = Bench::new(0);
    let waiter = bench.join(&JoinGroup { member_id_required: true, ..join("") });
    let (_, id) = bench.joined(waiter).unwrap_err();
    assert_eq!(bench.coordinator.next_deadline_ms(), Some(10_000));
    bench.pass_ms(10_000);
    assert_eq!(bench.coordinator.next_deadline_ms(), None);
    let waiter = bench.join(&join(&id));
    assert_eq!(bench.joined(waiter).unwrap_err().0, GroupError::UnknownMember);
}

#[test]
fn a_second_member_calls_the_first_back() {
    let mut bench = Bench::new(0);
    let first = bench.stable(&join(""));
    let waiting = bench.join(&join(""));
    bench.quiet();
    assert_eq!(bench.heartbeat(&first), Err(GroupError::RebalanceInProgress));
    let again = bench.join(&join(&first.member_id));
    let answers = [bench.coordinator.poll_action(), bench.coordinator.poll_action()];
    for waiter in [waiting, again] {
        let answered = answers.iter().flatten().any(|action| {
            matches!(action, Action::Joined { waiter: w, result: Ok(joined) }
                if *w == waiter && joined.generation == 2 && joined.leader == first.member_id)
        });
        assert!(answered, "{waiter:?} in {answers:?}");
    }
    assert_eq!(bench.heartbeat(&first), Err(GroupError::IllegalGeneration));
}

#[test]
fn silence_ends_a_membership_and_a_heartbeat_keeps_it() {
    let mut bench = Bench::new(0);
    let only = bench.stable(&join(""));
    bench.pass_ms(9_000);
    bench.heartbeat(&only).unwrap();
    bench.pass_ms(9_000);
    bench.heartbeat(&only).unwrap();
    bench.pass_ms(10_000);
    assert_eq!(bench.heartbeat(&only), Err(GroupError::UnknownMember));
    assert!(bench.coordinator.describe(&group()).is_none());
    assert_eq!(bench.coordinator.next_deadline_ms(), None);
}

#[test]
fn a_member_that_does_not_rejoin_is_left_behind_in_time() {
    let mut bench = Bench::new(0);
    let mut slow = join("");
    slow.session_timeout_ms = 100_000;
    let first = bench.stable(&slow);
    let second = bench.join(&join(""));
    bench.pass_ms(59_999);
    bench.quiet();
    bench.pass_ms(1);
    let second = bench.joined(second).unwrap();
    assert_eq!((second.leader.clone(), second.members.len()), (second.member_id.clone(), 1));
    assert_eq!(bench.heartbeat(&first), Err(GroupError::UnknownMember));
}

#[test]
fn a_leader_that_never_assigns_is_replaced() {
    let mut bench = Bench::new(100);
    let mut long = join("");
    long.session_timeout_ms = 100_000;
    let (leader, follower) = (bench.join(&long), bench.join(&long));
    bench.pass_ms(100);
    let (leader, follower) = (bench.joined(leader).unwrap(), bench.joined(follower).unwrap());
    let waiting = bench.sync(&follower, &[]);
    bench.pass_ms(60_000);
    assert_eq!(bench.synced(waiting), Err(GroupError::RebalanceInProgress));
    assert_eq!(bench.heartbeat(&leader), Err(GroupError::UnknownMember));
    let again = bench.join(&JoinGroup { member_id: follower.member_id.clone(), ..long });
    assert_eq!(bench.joined(again).unwrap().leader, follower.member_id);
}

#[test]
fn the_protocol_is_one_that_all_know() {
    let mut bench = Bench::new(100);
    let waiters = [
        bench.join(&speaking(&["a", "b", "c"])),
        bench.join(&speaking(&["c", "b"])),
        bench.join(&speaking(&["b", "c"])),
    ];
    let odd = bench.join(&speaking(&["a"]));
    assert_eq!(bench.joined(odd).unwrap_err().0, GroupError::InconsistentProtocol);
    let foreign = bench.join(&JoinGroup { protocol_type: "connect".into(), ..join("") });
    assert_eq!(bench.joined(foreign).unwrap_err().0, GroupError::InconsistentProtocol);
    bench.pass_ms(100);
    for _ in waiters {
        let Some(Action::Joined { result: Ok(joined), .. }) = bench.coordinator.poll_action()
        else {
            panic!("all three are in");
        };
        assert_eq!(joined.protocol, "b", "two of three would rather");
    }
}

#[test]
fn leaving_calls_the_rest_back() {
    let mut bench = Bench::new(100);
    let (first, second) = (bench.join(&join("")), bench.join(&join("")));
    bench.pass_ms(100);
    let (first, second) = (bench.joined(first).unwrap(), bench.joined(second).unwrap());
    bench.coordinator.handle_leave(&group(), &first.member_id, None, bench.now_ms).unwrap();
    assert_eq!(bench.heartbeat(&second), Err(GroupError::RebalanceInProgress));
    let left = bench.coordinator.handle_leave(&group(), &first.member_id, None, bench.now_ms);
    assert_eq!(left, Err(GroupError::UnknownMember));
    assert_eq!(bench.coordinator.check_delete(&group()), Err(GroupError::NonEmpty));
    bench.coordinator.handle_leave(&group(), &second.member_id, None, bench.now_ms).unwrap();
    assert_eq!(bench.coordinator.check_delete(&group()), Ok(()));
    assert_eq!(bench.coordinator.list().count(), 0);
}

#[test]
fn a_static_member_returns_without_disturbing_anyone() {
    let mut bench = Bench::new(0);
    let first = bench.stable(&named("", "one"));
    let back = bench.join(&JoinGroup { skips_assignment: true, ..named("", "one") });
    let back = bench.joined(back).unwrap();
    assert_eq!((back.generation, back.skip_assignment), (first.generation, true));
    assert_ne!(back.member_id, first.member_id);
    let waiter = bench.sync(&back, &[]);
    assert_eq!(bench.synced(waiter).unwrap().assignment, "all");
    let old = MemberRef { instance_id: Some("one".into()), ..member(&first) };
    let beat = bench.coordinator.handle_heartbeat(&group(), &old, bench.now_ms);
    assert_eq!(beat, Err(GroupError::FencedInstance));
    // An older client is not told that it leads, so it assigns nothing.
    let old_client = bench.join(&named("", "one"));
    let old_client = bench.joined(old_client).unwrap();
    assert_eq!((old_client.leader, old_client.members.len()), (back.member_id, 0));
    bench.coordinator.handle_leave(&group(), "", Some("one"), bench.now_ms).unwrap();
    assert_eq!(bench.coordinator.list().count(), 0);
}

#[test]
fn a_static_member_that_changed_starts_a_generation() {
    let mut bench = Bench::new(0);
    let first = bench.stable(&named("", "one"));
    let mut changed = named("", "one");
    changed.protocols[0].metadata = Bytes::from_static(b"other topics");
    let waiter = bench.join(&changed);
    assert_eq!(bench.joined(waiter).unwrap().generation, first.generation + 1);
}

#[test]
fn commits_are_for_members_of_the_generation_or_for_empty_groups() {
    let mut bench = Bench::new(0);
    let outside = MemberRef { member_id: String::new(), instance_id: None, generation: -1 };
    let commit = |bench: &mut Bench, member: &MemberRef| {
        bench.coordinator.handle_commit(&group(), member, bench.now_ms)
    };
    assert_eq!(commit(&mut bench, &outside), Ok(()));
    let joined = bench.stable(&join(""));
    assert_eq!(commit(&mut bench, &outside), Err(GroupError::UnknownMember));
    assert_eq!(commit(&mut bench, &member(&joined)), Ok(()));
    let old = MemberRef { generation: 0, ..member(&joined) };
    assert_eq!(commit(&mut bench, &old), Err(GroupError::IllegalGeneration));
}

#[test]
fn a_producer_commits_for_a_member_while_its_group_rebalances_but_not_for_another_generation() {
    let mut bench = Bench::new(0);
    let check = |bench: &Bench, member: &MemberRef| {
        bench.coordinator.check_transactional_commit(&group(), member)
    };
    let nobody = MemberRef { member_id: String::new(), instance_id: None, generation: -1 };
    let stranger = MemberRef { member_id: "stranger".into(), instance_id: None, generation: 1 };
    assert_eq!(check(&bench, &nobody), Ok(()));
    assert_eq!(check(&bench, &stranger), Err(GroupError::UnknownMember));
    let waiter = bench.join(&named("", "one"));
    let joined = bench.joined(waiter).expect("alone");
    let member = MemberRef { instance_id: Some("one".into()), ..member(&joined) };
    let own = bench.coordinator.handle_commit(&group(), &member, bench.now_ms);
    assert_eq!(own, Err(GroupError::RebalanceInProgress), "nobody has shared the work out");
    assert_eq!(check(&bench, &member), Ok(()));
    assert_eq!(check(&bench, &nobody), Ok(()), "the producer's fencing guards it");
    let old = MemberRef { generation: 0, ..member.clone() };
    assert_eq!(check(&bench, &old), Err(GroupError::IllegalGeneration));
    let other = MemberRef { instance_id: Some("two".into()), ..nobody };
    assert_eq!(check(&bench, &other), Err(GroupError::UnknownMember), "a name is a name");
}

#[test]
fn limits_are_kept() {
    let mut bench = Bench::new(100);
    for _ in 0..4 {
        bench.join(&join(""));
    }
    let fifth = bench.join(&join(""));
    assert_eq!(bench.joined(fifth).unwrap_err().0, GroupError::Full);
    let hasty = bench.join(&JoinGroup { session_timeout_ms: 10, ..join("") });
    assert_eq!(bench.joined(hasty).unwrap_err().0, GroupError::InvalidSessionTimeout);
    let mut vain = join("");
    vain.protocols[0].metadata = Bytes::from(vec![0; 2 << 20]);
    let vain = bench.join(&vain);
    assert_eq!(bench.joined(vain).unwrap_err().0, GroupError::Full);
}

#[test]
fn who_hangs_up_before_knowing_its_id_is_gone() {
    let mut bench = Bench::new(100);
    let waiter = bench.join(&join(""));
    let other = bench.join(&join(""));
    bench.coordinator.handle_gone(&group(), waiter, bench.now_ms);
    // What a member that is no longer there would have been told goes nowhere.
    bench.pass_ms(100);
    assert_eq!(bench.joined(other).unwrap().members.len(), 1);
}
