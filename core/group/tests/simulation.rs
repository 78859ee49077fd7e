//! Groups of forgetful, crashing, slow members from a seed. After every event each answer must be
//! for someone who waits; when the trouble stops, all must end in one generation, each with what
//! its leader gave it.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_env::{Random, SeededRandom};
use mainstem_group::{
    Action, Coordinator, CoordinatorSettings, GroupError, JoinGroup, MemberRef, Protocol,
    SyncGroup, Waiter,
};
use mainstem_types::GroupId;

const MEMBERS: u64 = 5;
const SEEDS: u64 = 300;

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Out,
    Joining,
    Syncing,
    Working { assignment: Bytes },
}

#[derive(Debug)]
struct Client {
    phase: Phase,
    member_id: String,
    instance_id: Option<String>,
    generation: i32,
    leads: Vec<String>,
    metadata: Bytes,
    /// A crashed process says nothing more; one that is merely slow will.
    alive: bool,
}

struct World {
    random: SeededRandom,
    coordinator: Coordinator,
    group: GroupId,
    now_ms: i64,
    clients: Vec<Client>,
    /// Who waits for what: an answer to anyone else is a fault.
    waiting: BTreeMap<Waiter, usize>,
    waiters: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let clients = (0..MEMBERS).map(|n| Client {
            phase: Phase::Out,
            member_id: String::new(),
            instance_id: (random.below(3) == 0).then(|| format!("instance-{n}")),
            generation: -1,
            leads: Vec::new(),
            metadata: Bytes::from(vec![b'm']),
            alive: true,
        });
        let clients = clients.collect();
        let delay = i64::try_from(random.below(3) * 100).expect("small");
        let settings =
            CoordinatorSettings { initial_rebalance_delay_ms: delay, ..Default::default() };
        Self {
            random,
            coordinator: Coordinator::new(settings),
            group: "g".parse().expect("a legal name"),
            now_ms: 0,
            clients,
            waiting: BTreeMap::new(),
            waiters: 0,
        }
    }

    fn wait(&mut self, client: usize) -> Waiter {
        self.waiters += 1;
        self.waiting.insert(Waiter(self.waiters), client);
        Waiter(self.waiters)
    }

    fn join(&mut self, at: usize) {
        let waiter = self.wait(at);
        let client = &mut self.clients[at];
        client.phase = Phase::Joining;
        let join = JoinGroup {
            group: self.group.clone(),
            member_id: client.member_id.clone(),
            instance_id: client.instance_id.clone(),
            client_id: format!("c{at}"),
            client_host: String::new(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 9_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: client.metadata.clone() }],
            member_id_required: at.is_multiple_of(2),
            skips_assignment: at.is_multiple_of(3),
            fresh_id: self.random.next_u128(),
        };
        self.coordinator.handle_join(waiter, &join, self.now_ms);
    }

    fn me(&self, at: usize) -> MemberRef {
        let client = &self.clients[at];
        MemberRef {
            member_id: client.member_id.clone(),
            instance_id: client.instance_id.clone(),
            generation: client.generation,
        }
    }

    fn sync(&mut self, at: usize) {
        let waiter = self.wait(at);
        let (generation, leads) = (self.clients[at].generation, &self.clients[at].leads);
        let share = |id: &String| (id.clone(), Bytes::from(format!("{generation} {id}")));
        let sync = SyncGroup {
            group: self.group.clone(),
            member: self.me(at),
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignments: leads.iter().map(share).collect(),
        };
        self.clients[at].phase = Phase::Syncing;
        self.coordinator.handle_sync(waiter, &sync, self.now_ms);
    }

    /// What a client does about an error.
    fn fail(&mut self, at: usize, error: GroupError) {
        let client = &mut self.clients[at];
        client.phase = Phase::Out;
        match error {
            GroupError::UnknownMember | GroupError::FencedInstance => client.member_id.clear(),
            GroupError::IllegalGeneration | GroupError::RebalanceInProgress => {}
            other => panic!("client {at} met {other:?}"),
        }
    }

    fn settle(&mut self) {
        while let Some(action) = self.coordinator.poll_action() {
            let (Action::Joined { waiter, .. } | Action::Synced { waiter, .. }) = action;
            let at = self.waiting.remove(&waiter).expect("an answer is for someone who waits");
            if !self.clients[at].alive {
                continue;
            }
            match action {
                Action::Joined { result: Ok(joined), .. } => {
                    let client = &mut self.clients[at];
                    assert!(joined.generation > 0);
                    client.member_id = joined.member_id;
                    client.generation = joined.generation;
                    client.leads = joined.members.into_iter().map(|m| m.member_id).collect();
                    self.sync(at);
                }
                Action::Joined { result: Err(refused), .. } => {
                    if refused.error == GroupError::MemberIdRequired {
                        self.clients[at].member_id = refused.member_id;
                        self.join(at);
                    } else {
                        self.fail(at, refused.error);
                    }
                }
                Action::Synced { result: Ok(synced), .. } => {
                    self.clients[at].phase = Phase::Working { assignment: synced.assignment };
                }
                Action::Synced { result: Err(error), .. } => self.fail(at, error),
            }
        }
    }

    fn heartbeat(&mut self, at: usize) {
        if !matches!(self.clients[at].phase, Phase::Working { .. }) {
            return;
        }
        let me = self.me(at);
        if let Err(error) = self.coordinator.handle_heartbeat(&self.group, &me, self.now_ms) {
            self.fail(at, error);
        }
    }

    /// The process dies; its connection with it, unless the network hides that.
    fn crash(&mut self, at: usize) {
        self.clients[at].alive = false;
        if self.random.below(2) == 0 {
            let waiters: Vec<_> =
                self.waiting.iter().filter(|(_, c)| **c == at).map(|(w, _)| *w).collect();
            for waiter in waiters {
                self.coordinator.handle_gone(&self.group, waiter, self.now_ms);
                self.waiting.remove(&waiter);
            }
        }
        self.settle();
    }

    fn start(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.alive = true;
        client.phase = Phase::Out;
        client.member_id.clear();
        // Answers that were on the way to the process before it died reach nobody.
        self.waiting.values_mut().filter(|c| **c == at).for_each(|c| *c = usize::MAX);
        self.waiting.retain(|waiter, c| {
            if *c == usize::MAX {
                self.coordinator.handle_gone(&self.group, *waiter, self.now_ms);
            }
            *c != usize::MAX
        });
    }

    fn trouble(&mut self) {
        let at = usize::try_from(self.random.below(MEMBERS)).expect("small");
        match self.random.below(12) {
            0 if self.clients[at].alive => self.crash(at),
            1 if !self.clients[at].alive => self.start(at),
            2 if self.clients[at].alive && self.clients[at].phase != Phase::Joining => {
                let id = self.clients[at].member_id.clone();
                let name = self.clients[at].instance_id.clone();
                let _ =
                    self.coordinator.handle_leave(&self.group, &id, name.as_deref(), self.now_ms);
                self.settle();
                self.start(at);
            }
            3 => self.clients[at].metadata = Bytes::from(vec![b'm', self.random.below(3) as u8]),
            4 if matches!(self.clients[at].phase, Phase::Working { .. }) => self.join(at),
            _ if self.clients[at].alive => {
                if self.clients[at].phase == Phase::Out {
                    self.join(at);
                } else {
                    self.heartbeat(at);
                }
            }
            _ => {}
        }
        self.settle();
        let by_ms = [1, 50, 400, 3_000][usize::try_from(self.random.below(4)).expect("small")];
        self.pass_ms(by_ms);
    }

    fn pass_ms(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
        self.coordinator.handle_time(self.now_ms);
        assert!(self.coordinator.next_deadline_ms().is_none_or(|end| end > self.now_ms));
        self.settle();
    }

    fn calm(&mut self) {
        for at in 0..self.clients.len() {
            if !self.clients[at].alive {
                self.start(at);
            }
        }
        self.settle();
        for _ in 0..200 {
            for at in 0..self.clients.len() {
                match self.clients[at].phase {
                    Phase::Out => self.join(at),
                    Phase::Working { .. } => self.heartbeat(at),
                    Phase::Joining | Phase::Syncing => {}
                }
                self.settle();
            }
            self.pass_ms(500);
        }
    }

    fn check_calm(&self, seed: u64) {
        let generation = self.clients[0].generation;
        let mut shares = 0;
        for (at, client) in self.clients.iter().enumerate() {
            let Phase::Working { assignment } = &client.phase else {
                panic!("seed {seed}: client {at} is {:?}", client.phase);
            };
            assert_eq!(client.generation, generation, "seed {seed}: client {at}");
            // A static member that came back as before keeps the share of its former id.
            let own = format!("{generation} {}", client.member_id);
            let kept = client.instance_id.as_ref().is_some_and(|name| {
                assignment.starts_with(format!("{generation} {name}-").as_bytes())
            });
            assert!(*assignment == own || kept, "seed {seed}: client {at} has {assignment:?}");
            shares += usize::from(*assignment == own);
        }
        assert!(shares > 0 || self.clients.iter().all(|c| c.instance_id.is_some()));
        let group = self.coordinator.describe(&self.group).expect("it has members");
        assert_eq!((group.state, group.members.len()), ("Stable", self.clients.len()));
        assert!(self.waiting.is_empty(), "seed {seed}: {:?} wait for ever", self.waiting);
    }
}

#[test]
fn when_the_trouble_stops_all_share_one_generation() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.trouble();
        }
        world.calm();
        world.check_calm(seed);
    }
}
