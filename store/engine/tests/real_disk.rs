//! Appends of small batches with a sequencer on a thread of its own and a real disk: what was
//! acknowledged is there after closing and opening, and how fast it went is printed.
//!
//! For numbers that mean something run it optimised and longer:
//! `MAINSTEM_APPENDS=1000000,16,100 cargo test --release -p mainstem-engine --test real_disk -- --nocapture`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that measures")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mainstem_catalog::{Command, StreamSettings};
use mainstem_engine::{
    Ack, Append, Appending, CleanerSettings, Engine, EngineSettings, LogSettings, Partition,
};
use mainstem_env::{Clock, Disk, Env, SystemDisk};
use mainstem_record::{BatchBuilder, records};
use mainstem_types::{ClusterId, PartitionNo};

#[test]
fn what_was_acknowledged_is_there_after_closing_and_opening() {
    run("appends", false);
}

/// `MAINSTEM_APPENDS` with and without compaction tells what producers notice of it.
#[test]
fn compaction_beside_producers_leaves_the_newest_of_each_key() {
    run("compacted", true);
}

fn run(folder: &str, compact: bool) {
    let sizes = std::env::var("MAINSTEM_APPENDS").unwrap_or("3000,16,50".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|text| text.parse().unwrap()).collect();
    let [batches, in_flight, partitions] = sizes[..] else { panic!("three numbers") };
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    // What an earlier run left, if it was cut short.
    let _ = std::fs::remove_dir_all(&directory);
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk::open(&directory).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let env = Env::system();
    let (engine, sequencer) = Engine::open(env.clone(), disk.clone(), settings(batches)).unwrap();
    let thread = sequencer.spawn().unwrap();
    let often = CleanerSettings { interval_ms: 20, pass_interval_ms: 20, ..Default::default() };
    let cleaner = engine.cleaner(env.clone(), often).spawn().unwrap();
    let numbers = runtime.block_on(async {
        let numbers = found(&engine, partitions, compact).await;
        append(&engine, &*env.clock, &numbers, batches, in_flight).await;
        while compact && engine.removed_by_compaction().0 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        engine.close().await;
        numbers
    });
    thread.join().unwrap();
    cleaner.join().unwrap();
    println!("compaction took {:?} records and bytes", engine.removed_by_compaction());
    assert_eq!(engine.removed_by_compaction().0 > 0, compact);
    drop(engine);
    let (engine, _sequencer) = Engine::open(env, disk, settings(batches)).unwrap();
    let ends = numbers.iter().map(|no| engine.partition(*no).unwrap().durable_end());
    assert_eq!(ends.sum::<i64>(), i64::try_from(batches).unwrap());
    let last = engine.partition(numbers[(batches - 1) % partitions]).unwrap();
    assert_eq!(last.read(last.durable_end() - 1, 1).unwrap().len(), 1);
    let checked = numbers.iter().take(1_000);
    checked.for_each(|no| check_keys(&engine.partition(*no).unwrap()));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Each offset has the key of its rest by [`KEYS`]: the last of each is there, and none beside.
fn check_keys(partition: &Partition) {
    let (mut at, end) = (0, partition.durable_end());
    let mut last = BTreeMap::new();
    while at < end {
        for batch in partition.read(at, 1 << 20).unwrap() {
            at = batch.next_offset;
            for record in records(&batch.bytes, 1 << 20).unwrap() {
                let record = record.unwrap();
                assert_eq!(record.key.as_deref(), Some(&key(record.offset)[..]));
                last.insert(record.offset % KEYS, record.offset);
            }
        }
    }
    let newest = (0.max(end - KEYS)..end).map(|offset| (offset % KEYS, offset));
    assert_eq!(last, newest.collect());
}

/// Keys of one partition.
const KEYS: i64 = 7;

fn key(offset: i64) -> Vec<u8> {
    format!("key {}", offset % KEYS).into_bytes()
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
async fn found(engine: &Engine, partitions: usize, compact: bool) -> Vec<PartitionNo> {
    let name = "here".parse().unwrap();
    let founding = Command::FoundCluster { id: ClusterId(7), name, incarnation: 1 };
    engine.change(founding).await.unwrap();
    let (path, settings) =
        ("/a".parse().unwrap(), StreamSettings { compact, ..Default::default() });
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
    builder.push(1_700_000_000_000, Some(&key(i64::from(sequence))), Some(&[b'x'; 1000]));
    builder.build().freeze()
}
