//! What happens to clusters as such: time passes, clocks jump, the power goes.

use mainstem_env::{Clock, CrashPolicy, Random};
use mainstem_replicate::{Account, Feeders};

use crate::Plant;
use crate::topology::NAMES;
use crate::world::World;

impl World {
    pub(crate) fn pass_time(&mut self, by_ms: u64) {
        for node in &self.nodes {
            node.clock.advance_ms(by_ms);
        }
        self.tell_time();
    }

    /// The clock of one cluster is put right, far forwards: peers seem silent, records old.
    pub(crate) fn jump_clock(&mut self) {
        let node = self.pick(self.nodes.len());
        self.nodes[node].clock.advance_ms(self.random.below(20_000));
        self.tell_time();
    }

    fn tell_time(&mut self) {
        let (nodes, sites, links) = (&self.nodes, &self.sites, &self.links);
        for connection in self.connections.values_mut() {
            let link = &links[connection.link];
            if let Some(side) = &mut connection.sender {
                let clock = &nodes[sites[link.source].node].clock;
                side.sender.handle_time(clock.monotonic_ms(), clock.wall_ms());
            }
            if let Some(side) = &mut connection.receiver {
                let clock = &nodes[sites[link.replica].node].clock;
                side.receiver.handle_time(clock.monotonic_ms(), clock.wall_ms());
            }
        }
    }

    /// The power goes in the middle of a group commit.
    pub(crate) fn doom(&mut self) {
        let node = self.pick(self.nodes.len());
        self.nodes[node].doom(self.random.below(12));
        self.step(node);
        // It survived: there was less to do than the doom allowed.
        self.nodes[node].doom(u64::MAX);
    }

    /// The power of a node goes and comes back. What it had sent may still arrive.
    pub(crate) fn crash(&mut self, node: usize) {
        self.crashes += 1;
        self.note_deed(|| format!("the power of {} goes", NAMES[node]));
        let policy = match self.random.below(3) {
            0 => CrashPolicy::LoseAll,
            1 => CrashPolicy::KeepAll,
            _ => CrashPolicy::Seeded,
        };
        self.nodes[node].crash(policy);
        self.sites
            .iter_mut()
            .filter(|s| s.node == node)
            .for_each(|s| s.feeders = Feeders::default());
        let hit: Vec<usize> =
            (0..self.sites.len()).filter(|site| self.sites[*site].node == node).collect();
        self.sync.handle_crash(|site| hit.contains(&site));
        for producer in &mut self.producers {
            if let Some(sent) = &mut producer.outstanding
                && self.sites[sent.target.site].node == node
            {
                sent.is_queued = false;
            }
        }
        self.forget_commits(node);
        let sites = &self.sites;
        for link in self.links.iter_mut().filter(|link| sites[link.source].node == node) {
            (link.raising, link.deciding) = (false, false);
            link.account = Account::default();
        }
        for connection in self.connections.values_mut() {
            let link = &self.links[connection.link];
            let of_source = self.sites[link.source].node == node;
            let of_replica = self.sites[link.replica].node == node;
            if self.random.below(2) == 0 || (of_source && of_replica) {
                connection.cut();
            } else if of_source {
                connection.abandon();
            } else {
                connection.receiver = None;
                connection.is_new = false;
            }
        }
        if self.plant == Plant::ForgetWatermarks {
            hit.into_iter().for_each(|site| self.pretend_acked(site));
        }
    }
}
