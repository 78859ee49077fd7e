//! Appends small batches to many partitions on a real disk and says how fast that was:
//! `cargo run --release -p mainstem-engine --example appends -- [batches] [in flight] [partitions]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures")]

use std::collections::VecDeque;
use std::sync::Arc;

use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{Ack, Append, Engine, EngineSettings};
use mainstem_env::{Env, SystemDisk};
use mainstem_record::BatchBuilder;
use mainstem_types::{ClusterId, PartitionNo};

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let batches = args.next().unwrap_or(1_000_000);
    let in_flight = args.next().unwrap_or(16);
    let partitions = args.next().unwrap_or(100);
    let directory = std::path::Path::new("target/appends");
    let _ = std::fs::remove_dir_all(directory);
    let env = Env::system();
    let clock = env.clock.clone();
    let disk = Arc::new(SystemDisk::open(directory).unwrap());
    let (engine, sequencer) = Engine::open(env, disk, EngineSettings::default()).unwrap();
    let thread = sequencer.spawn().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut waits_us: Vec<u64> = runtime.block_on(async {
        let numbers = found(&engine, partitions).await;
        let start_us = clock.monotonic_us();
        let mut flying = VecDeque::new();
        let mut waits_us = Vec::with_capacity(batches);
        for at in 0..batches {
            if flying.len() == in_flight {
                let (since_us, answer): (u64, mainstem_engine::Appending) =
                    flying.pop_front().unwrap();
                answer.await.unwrap().remove(0).unwrap();
                waits_us.push(clock.monotonic_us() - since_us);
            }
            let place = at % numbers.len();
            let sequence = i32::try_from(at / numbers.len()).unwrap();
            let append = Append { partition: numbers[place], batch: batch(place, sequence) };
            let since_us = clock.monotonic_us();
            flying.push_back((since_us, engine.append(vec![append], Ack::Durable).await.unwrap()));
        }
        for (_, answer) in flying {
            answer.await.unwrap().remove(0).unwrap();
        }
        let seconds = (clock.monotonic_us() - start_us) as f64 / 1e6;
        println!("{batches} batches in {seconds:.2} s: {:.0} a second", batches as f64 / seconds);
        waits_us
    });
    waits_us.sort_unstable();
    for percent in [50.0, 99.0, 99.9, 99.99, 100.0] {
        let at = ((waits_us.len() - 1) as f64 * percent / 100.0) as usize;
        println!("p{percent}: {} µs", waits_us[at]);
    }
    runtime.block_on(engine.close());
    thread.join().unwrap();
    let _ = std::fs::remove_dir_all(directory);
}

/// A cluster, a stream, and topics with this many partitions in all.
async fn found(engine: &Engine, partitions: usize) -> Vec<PartitionNo> {
    let name = "here".parse().unwrap();
    let founding = Command::FoundCluster { id: ClusterId(7), name, incarnation: 1 };
    engine.change(founding).await.unwrap();
    let (path, settings) = ("/a".parse().unwrap(), StreamSettings::default());
    let catalog = engine.change(Command::CreateStream { path, id: None, settings }).await.unwrap();
    let stream = catalog.streams().next().unwrap().id;
    let mut numbers = Vec::new();
    while numbers.len() < partitions {
        let wanted = u32::try_from(partitions - numbers.len()).unwrap().min(1000);
        let create = Command::CreateTopic {
            stream,
            name: format!("t{}", numbers.len()).parse().unwrap(),
            partitions: Some(wanted),
            timestamp_type: None,
            config: Default::default(),
        };
        let catalog = engine.change(create).await.unwrap();
        let topics = &catalog.stream(stream).unwrap().topics;
        numbers = topics.values().flat_map(|topic| topic.partitions.clone()).collect();
    }
    numbers
}

/// One record of a kilobyte, of an idempotent producer.
fn batch(producer: usize, sequence: i32) -> bytes::Bytes {
    let mut builder = BatchBuilder::new().producer(producer as i64, 0, sequence);
    builder.push(1_700_000_000_000, None, Some(&[b'x'; 1000]));
    builder.build().freeze()
}
