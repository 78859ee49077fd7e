//! Appends of small batches with a sequencer on a thread of its own and a real disk: what was
//! acknowledged is there after closing and opening, and how fast it went is printed.
//!
//! For numbers that mean something run it optimised and longer:
//! `MAINSTEM_APPENDS=1000000,16,100 cargo test --release -p mainstem-engine --test real_disk -- --nocapture`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that measures")]

use std::collections::VecDeque;
use std::sync::Arc;

use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{Ack, Append, Appending, Engine, EngineSettings, LogSettings};
use mainstem_env::{Clock, Disk, Env, SystemDisk};
use mainstem_record::BatchBuilder;
use mainstem_types::{ClusterId, PartitionNo};

#[test]
fn what_was_acknowledged_is_there_after_closing_and_opening() {
    let sizes = std::env::var("MAINSTEM_APPENDS").unwrap_or("3000,16,50".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|text| text.parse().unwrap()).collect();
    let [batches, in_flight, partitions] = sizes[..] else { panic!("three numbers") };
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("appends");
    // What an earlier run left, if it was cut short.
    let _ = std::fs::remove_dir_all(&directory);
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk::open(&directory).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let env = Env::system();
    let (engine, sequencer) = Engine::open(env.clone(), disk.clone(), settings(batches)).unwrap();
    let thread = sequencer.spawn().unwrap();
    let numbers = runtime.block_on(async {
        let numbers = found(&engine, partitions).await;
        append(&engine, &*env.clock, &numbers, batches, in_flight).await;
        engine.close().await;
        numbers
    });
    thread.join().unwrap();
    drop(engine);
    let (engine, _sequencer) = Engine::open(env, disk, settings(batches)).unwrap();
    let ends = numbers.iter().map(|no| engine.partition(*no).unwrap().durable_end());
    assert_eq!(ends.sum::<i64>(), i64::try_from(batches).unwrap());
    let last = engine.partition(numbers[(batches - 1) % partitions]).unwrap();
    assert_eq!(last.read(last.durable_end() - 1, 1).unwrap().len(), 1);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Small segments for a short run, so that some are sealed; the usual ones for measuring.
fn settings(batches: usize) -> EngineSettings {
    let usual = EngineSettings::default();
    if batches > 100_000 {
        return usual;
    }
    let log = LogSettings { segment_bytes: 1024 * 1024, ..LogSettings::default() };
    EngineSettings { log, disk_free_bytes_min: 0, ..usual }
}

async fn append(
    engine: &Engine,
    clock: &dyn Clock,
    numbers: &[PartitionNo],
    batches: usize,
    in_flight: usize,
) {
    let start_us = clock.monotonic_us();
    let mut flying: VecDeque<(u64, Appending)> = VecDeque::new();
    let mut waits_us = Vec::with_capacity(batches);
    for at in 0..batches {
        if flying.len() == in_flight {
            let (since_us, answer) = flying.pop_front().unwrap();
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
    waits_us.sort_unstable();
    for percent in [50.0, 99.0, 99.9, 99.99, 100.0] {
        let at = ((waits_us.len() - 1) as f64 * percent / 100.0) as usize;
        println!("p{percent}: {} µs", waits_us[at]);
    }
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
