//! Whatever was acknowledged survives any crash, once and in order (I1, I8), for many seeds.

use std::collections::BTreeMap;

use crate::world::{World, batch};
use bytes::Bytes;
use mainstem_catalog::StreamSettings;
use mainstem_env::CrashPolicy;
use mainstem_record::BatchHeader;
use mainstem_types::PartitionNo;

const SEEDS: u64 = 150;
const STEPS: u64 = 60;
const PRODUCER: i64 = 5;

/// What was acknowledged, by partition.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<PartitionNo, Vec<Bytes>>,
}

impl Model {
    /// Everything acknowledged is there, in order, and nothing else but at most the one batch that
    /// was under way, unanswered, when the power went.
    fn assert_holds(&self, world: &World, seed: u64) {
        for (no, batches) in &self.acknowledged {
            let read = world.read_all(*no);
            let payloads = |all: &[Bytes]| all.iter().map(|b| b.slice(21..)).collect::<Vec<_>>();
            let kept = &read[..batches.len().min(read.len())];
            assert_eq!(payloads(kept), payloads(batches), "seed {seed}, partition {no}");
            assert!(read.len() <= batches.len() + 1, "seed {seed}: something was invented");
            let mut end = 0;
            for bytes in &read {
                let header = BatchHeader::decode(bytes).unwrap();
                assert_eq!(header.base_offset, end, "seed {seed}: offsets continue");
                end = header.next_offset();
            }
        }
    }
}

#[test]
fn i1_what_was_acknowledged_survives_every_crash_once() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let streams = 1 + world.below(3);
        let partitions: Vec<_> = (0..streams)
            .map(|at| world.owned(&format!("/s{at}"), StreamSettings::default()))
            .collect();
        let mut model = Model::default();
        let mut sequences = vec![0; partitions.len()];
        for step in 0..STEPS {
            let at = usize::try_from(world.below(streams)).unwrap();
            let no = partitions[at];
            let count = 1 + i64::try_from(world.below(20)).unwrap();
            let bytes = batch(count, Some((PRODUCER, sequences[at])), &format!("{seed} {step}"));
            if world.below(8) == 0 {
                world.disk.die_after(world.random_operations());
            }
            let died = append_or_crash(&mut world, no, &bytes);
            if died {
                model.assert_holds(&world, seed);
                // The producer sends again what nobody answered, and it is stored once.
                world.append(no, bytes.clone()).unwrap();
            }
            model.acknowledged.entry(no).or_default().push(bytes);
            sequences[at] += i32::try_from(count).unwrap();
            world.clock.advance_ms(world.below(400));
        }
        world.crash(CrashPolicy::Seeded);
        model.assert_holds(&world, seed);
        for (no, batches) in &model.acknowledged {
            assert_eq!(world.read_all(*no).len(), batches.len(), "seed {seed}: stored once");
        }
    }
}

impl World {
    fn random_operations(&self) -> u64 {
        self.below(6)
    }
}

/// True if the power went before the answer came; it is back then.
fn append_or_crash(world: &mut World, no: PartitionNo, bytes: &Bytes) -> bool {
    use mainstem_engine::{Ack, Append};
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let engine = world.engine.clone();
    let append = Append { partition: no, batch: bytes.clone() };
    let mut future = pin!(async move { engine.append(vec![append], Ack::Durable).await?.await });
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            answer.unwrap().remove(0).unwrap();
            return false;
        }
        if world.sequencer.step().is_err() {
            assert!(world.disk.is_dead(), "only a dead disk fails");
            world.crash(CrashPolicy::Seeded);
            return true;
        }
    }
}
