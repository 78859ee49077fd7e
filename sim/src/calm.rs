//! After the storm everything is put right, and all links must make their ends alike.

use mainstem_env::CrashPolicy;

use mainstem_catalog::Command;
use mainstem_replicate::Feeders;

use crate::node::Purpose;
use crate::world::World;

/// Rounds that the calm may take until all are alike.
const CALM_ROUNDS: u64 = 400;

impl World {
    /// No more faults: everything is put right, and both sides must become alike.
    pub(crate) fn calm_down(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].crash(CrashPolicy::KeepAll);
            self.forget_commits(node);
        }
        self.sites.iter_mut().for_each(|site| site.feeders = Feeders::default());
        self.sync.handle_crash(|_| true);
        self.insist_on_nobody();
        self.connections.clear();
        self.cut_off.clear();
        for link in &mut self.links {
            (link.raising, link.deciding) = (false, false);
        }
        for producer in &mut self.producers {
            if let Some(sent) = &mut producer.outstanding {
                sent.is_queued = false;
            }
        }
        self.become_alike();
    }

    /// Nothing goes wrong any more, until everything is everywhere.
    pub(crate) fn become_alike(&mut self) {
        for _ in 0..CALM_ROUNDS {
            if self.violation.is_some() {
                return;
            }
            self.calm_round();
            let busy = self.producers.iter().any(|producer| producer.outstanding.is_some())
                || self.transactional.clients.iter().any(|client| !client.deeds.is_empty())
                || self.nodes.iter().any(|node| !node.is_idle());
            if !busy && self.is_settled().is_ok() {
                self.check_the_end();
                return;
            }
        }
        let (rule, reason) = self
            .is_settled()
            .err()
            .unwrap_or_else(|| ("both sides become alike", self.who_waits()));
        let faults: Vec<String> = self
            .connections
            .values()
            .filter_map(|c| c.sender.as_ref())
            .flat_map(|side| side.sender.faults())
            .map(|fault| format!("{}: {}", fault.code, fault.message))
            .collect();
        self.violate(rule, format!("{reason}; faults {faults:?}"));
    }

    fn who_waits(&self) -> String {
        let sent = self.producers.iter().filter_map(|producer| producer.outstanding.as_ref());
        let sent = sent.map(|sent| format!("a batch for {:?}", sent.target));
        let deeds = self.transactional.clients.iter().filter_map(|client| client.deeds.front());
        let deeds = deeds.map(|deed| format!("{deed:?}"));
        let busy = self.nodes.iter().enumerate().filter(|(_, node)| !node.is_idle());
        let busy = busy.map(|(at, _)| format!("node {at} is busy"));
        let all: Vec<String> = sent.chain(deeds).chain(busy).collect();
        format!("what waits: {}", all.join(", "))
    }

    fn is_settled(&self) -> Result<(), (&'static str, String)> {
        if self.topology.reigns { self.is_one_history() } else { self.is_converged() }?;
        self.is_stable()
    }

    fn check_the_end(&mut self) {
        if self.topology.reigns {
            self.check_kept();
        } else {
            self.check_promises();
            self.check_what_is_left();
            self.check_verdicts();
        }
    }

    fn calm_round(&mut self) {
        self.event += 1;
        self.make_agreements();
        if self.topology.reigns {
            self.decide_between_rivals();
            self.delete_what_was_left();
            self.take_back_overdue();
        } else {
            self.end_conflicts();
        }
        for link in 0..self.links.len() {
            let (site, replica) = (self.links[link].source, self.replica_place(link));
            let stream = self.id(site);
            if self
                .find_replica(&self.catalog(site), link)
                .is_some_and(|(_, replica)| replica.paused)
            {
                let resume = Command::ResumeReplica { stream, replica };
                self.node_mut(site).change(Purpose::Whatever, resume);
            }
            self.dial(link);
        }
        for at in 0..self.producers.len() {
            self.send(at);
        }
        for at in 0..self.transactional.clients.len() {
            self.ask_for_a_deed(at);
        }
        for node in 0..self.nodes.len() {
            self.step(node);
            if self.topology.reigns {
                // What is written now may be set aside before the round is over.
                (0..self.sites.len()).for_each(|site| self.note_written(site));
            }
        }
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            for _ in 0..8 {
                self.deliver_down(id);
                self.deliver_up(id);
                self.pump_sender(id);
                self.pump_receiver(id);
            }
        }
        self.pass_time(40);
        self.settle();
    }
}
