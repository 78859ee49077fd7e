//! A run without faults, in which bytes are counted: what goes over the links is what lies at
//! their ends.

use mainstem_env::Random;

use crate::Plant;
use crate::truth::batches_from;
use crate::world::{Violation, World};

/// Events of a quiet run.
const EVENTS: u64 = 400;

/// What went over all links of a topology, and what had to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Who feeds whom.
    pub topology: &'static str,
    /// Bytes of batches that were sent.
    pub sent: u64,
    /// Bytes of batches that lie at replicas.
    pub held: u64,
}

/// Runs one seed without crashes, cuts or removals.
///
/// # Errors
/// The first rule that was broken.
pub fn run_quiet(seed: u64) -> Result<Traffic, Violation> {
    let mut world = World::new(seed, Plant::None, false, None);
    while world.event < EVENTS && world.violation.is_none() {
        world.event += 1;
        world.work();
        world.settle();
    }
    world.become_alike();
    match world.violation.take() {
        Some(violation) => Err(violation),
        None => Ok(world.traffic()),
    }
}

impl World {
    fn work(&mut self) {
        match self.random.below(100) {
            0..45 => self.deliver_one(),
            45..65 => self.step(self.pick(self.nodes.len())),
            65..85 => self.produce(),
            85..90 => self.dial(self.pick(self.links.len())),
            90..94 => self.pass_time(self.random.below(400)),
            94..96 => self.commit_cursor(),
            96..98 => self.create_topic(),
            _ => self.grow_topic(),
        }
    }

    fn traffic(&self) -> Traffic {
        let mut held = 0;
        for site in 0..self.sites.len() {
            let Some(stream) = self.stream(site) else { continue };
            for topic in stream.topics.values().filter(|topic| topic.owner.stream != stream.id) {
                let partitions =
                    topic.partitions.iter().filter_map(|no| self.engine(site).partition(*no));
                let batches = partitions.flat_map(|partition| batches_from(&partition, 0));
                held += batches.map(|batch| batch.bytes.len() as u64).sum::<u64>();
            }
        }
        Traffic { topology: self.topology.name, sent: self.bytes, held }
    }
}
