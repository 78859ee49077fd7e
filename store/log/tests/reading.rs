//! Reading while the log grows, rolls and lets segments go; on the operating system's files too.

#![allow(clippy::unwrap_used, reason = "tests")]

mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use mainstem_env::{CrashPolicy, Disk, SimDisk, SystemDisk, SystemRandom};
use mainstem_log::{CommitLog, Frame, FrameKind, LocalLog, LogSettings, Position, ReserveMode};
use mainstem_types::PartitionNo;
use model::small_settings;

fn open(disk: &(impl Disk + Clone + 'static), settings: LogSettings) -> LocalLog {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = mainstem_log::lock(&*disk).unwrap();
    let mut replay = |_, _| Ok(());
    LocalLog::open(disk, lock, &SystemRandom, settings, Position::START, &mut replay).unwrap().0
}

fn batch(partition: u64, base: i64, bytes: usize) -> Frame {
    Frame {
        next_offset: base + 1,
        record_count: 1,
        arrival_ms: base,
        payload: Bytes::from(vec![u8::try_from(base % 251).unwrap(); bytes]),
        ..Frame::at(FrameKind::Batch, PartitionNo(partition), base)
    }
}

#[test]
fn a_batch_larger_than_everything_goes_through() {
    const BYTES: usize = 12 * 1024 * 1024;
    let disk = SimDisk::new(1);
    let mut log = open(&disk, small_settings());
    for base in 0..3 {
        log.write(vec![batch(1, base, BYTES), batch(2, base, 10)]).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let reader = open(&disk, small_settings()).reader();
    for base in 0..3 {
        let read = reader.read(PartitionNo(1), base, 3, 1).unwrap();
        assert_eq!((read.len(), read[0].base_offset), (1, base));
        assert_eq!(read[0].bytes, batch(1, base, BYTES).payload);
    }
    assert_eq!(reader.read(PartitionNo(2), 0, 3, 1000).unwrap().len(), 3, "across segments");
    assert_eq!(reader.read(PartitionNo(2), 0, 3, 20).unwrap().len(), 2, "as far as there is room");
}

#[test]
fn the_tail_is_served_from_memory_and_without_a_copy() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk, small_settings());
    let frames: Vec<Frame> = (0..20).map(|base| batch(1, base, 1000)).collect();
    let newest = frames[19].payload.clone();
    log.write(frames).unwrap();
    let reader = log.reader();
    let read = reader.read_tail(PartitionNo(1), 19, 20, 1).unwrap();
    assert_eq!(read[0].bytes.as_ptr(), newest.as_ptr());
    assert_eq!(reader.read_tail(PartitionNo(1), 0, 20, 1), None, "let go of long ago");
    assert_eq!(reader.read(PartitionNo(1), 0, 20, 1).unwrap()[0].base_offset, 0);
    assert_eq!(reader.read_tail(PartitionNo(1), 20, 20, 1), Some(Vec::new()));
    assert!(log.stats().tail_cache_bytes <= small_settings().tail_cache_bytes as u64);
}

#[test]
fn up_to_is_never_passed() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk, small_settings());
    log.write((0..5).map(|base| batch(1, base, 10)).collect()).unwrap();
    for settled in 0..5 {
        let read = log.reader().read(PartitionNo(1), 0, settled, 10_000).unwrap();
        assert_eq!(i64::try_from(read.len()).unwrap(), settled);
    }
}

#[test]
fn ten_thousand_partitions_share_one_sync_and_little_memory() {
    const PARTITIONS: u64 = 10_000;
    let disk = SimDisk::new(1);
    let mut log = open(
        &disk,
        LogSettings { segment_bytes: 16 * 1024 * 1024, reserve_segments: 0, ..small_settings() },
    );
    let syncs = disk.syncs();
    log.write((1..=PARTITIONS).map(|partition| batch(partition, 0, 100)).collect()).unwrap();
    let before_seals = disk.syncs();
    log.sync().unwrap();
    assert_eq!(disk.syncs(), before_seals + 1);
    // The rest are the seals of segments at 40 entries or more.
    assert!(before_seals - syncs < PARTITIONS / 10);
    drop(log);
    let log = open(&disk, small_settings());
    assert_eq!(log.stats().partitions, PARTITIONS);
    assert_eq!(log.reader().bounds(PartitionNo(PARTITIONS)).unwrap().end, 1);
    assert!(log.stats().footer_cache_bytes <= small_settings().footer_cache_bytes as u64);
}

#[test]
fn what_is_trimmed_is_freed_and_what_pins_is_named() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk, small_settings());
    log.write(vec![batch(2, 0, 100)]).unwrap();
    for base in 0..200 {
        log.write(vec![batch(1, base, 2000)]).unwrap();
    }
    let durable = log.sync().unwrap();
    let segments = log.stats().segments;
    log.write(vec![Frame::at(FrameKind::Trim, PartitionNo(1), 200)]).unwrap();
    assert_eq!(log.retire(Position::START).unwrap().segments, 0, "the view has applied nothing");
    assert!(log.retire(durable).unwrap().segments >= segments - 3);
    let pinned = log.stats().pinned;
    assert_eq!((pinned.len(), pinned[0].largest[0].0), (1, PartitionNo(2)));
    assert_eq!(log.reader().read(PartitionNo(2), 0, 1, 1).unwrap().len(), 1);
    // The emptied partition keeps its end, also across an opening.
    log.sync().unwrap();
    drop(log);
    let log = open(&disk, small_settings());
    let bounds = log.reader().bounds(PartitionNo(1)).unwrap();
    assert_eq!((bounds.start, bounds.end), (200, 200));
}

#[test]
fn a_restart_costs_the_disk_no_whole_segment() {
    const RESTARTS: usize = 20;
    const SEGMENT_BYTES: u32 = 1024 * 1024;
    let disk = SimDisk::new(1);
    let settings = LogSettings { segment_bytes: SEGMENT_BYTES, ..small_settings() };
    for base in 0..RESTARTS as i64 {
        let mut log = open(&disk, settings.clone());
        log.write(vec![batch(1, base, 100)]).unwrap();
        log.sync().unwrap();
    }
    let log = open(&disk, settings);
    let stats = log.stats();
    assert!(stats.segments as usize >= RESTARTS, "each opening begins a segment");
    let segments = disk.list().unwrap();
    let segments = segments.iter().filter(|name| name.ends_with(".segment"));
    let bytes: u64 = segments.map(|name| disk.open(name).unwrap().len().unwrap()).sum();
    // The one that is written to now has its whole length.
    let sealed_bytes = bytes - u64::from(SEGMENT_BYTES);
    assert!(sealed_bytes < RESTARTS as u64 * 16 * 1024, "{RESTARTS} restarts took {bytes} bytes");
    for base in 0..RESTARTS as i64 {
        let found = log.reader().read(PartitionNo(1), base, RESTARTS as i64, 1).unwrap();
        assert_eq!(found[0].bytes, batch(1, base, 100).payload);
    }
}

/// A disk that can be cloned into a log.
#[derive(Clone)]
struct Shared(Arc<SystemDisk>);

impl Disk for Shared {
    fn open(&self, name: &str) -> std::io::Result<Arc<dyn mainstem_env::DiskFile>> {
        self.0.open(name)
    }
    fn create(&self, name: &str) -> std::io::Result<Arc<dyn mainstem_env::DiskFile>> {
        self.0.create(name)
    }
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list()
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_dir(&self) -> std::io::Result<()> {
        self.0.sync_dir()
    }
    fn lock_exclusive(&self) -> std::io::Result<mainstem_env::DiskLock> {
        self.0.lock_exclusive()
    }
    fn free_bytes(&self) -> std::io::Result<u64> {
        self.0.free_bytes()
    }
}

#[test]
fn readers_never_see_a_recycled_block_while_segments_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Shared(Arc::new(SystemDisk::open(directory.path().join("log")).unwrap()));
    let mut log =
        open(&disk, LogSettings { reserve_mode: ReserveMode::Background, ..small_settings() });
    let (start, end) = (AtomicI64::new(0), AtomicI64::new(0));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let reader = log.reader();
            let (start, end, is_done) = (&start, &end, &is_done);
            scope.spawn(move || {
                while !is_done.load(Ordering::SeqCst) {
                    let (from, to) = (start.load(Ordering::SeqCst), end.load(Ordering::SeqCst));
                    for batch in reader.read(PartitionNo(1), from, to, 20_000).unwrap() {
                        let expected = u8::try_from(batch.base_offset % 251).unwrap();
                        assert!(batch.bytes.iter().all(|byte| *byte == expected));
                    }
                }
            });
        }
        let mut retired = 0;
        for base in 0..1500 {
            log.write(vec![batch(1, base, 2000)]).unwrap();
            end.store(base + 1, Ordering::SeqCst);
            if base % 50 == 49 {
                let keep_from = base - 60;
                start.store(keep_from.max(0), Ordering::SeqCst);
                let trim = Frame::at(FrameKind::Trim, PartitionNo(1), keep_from.max(0));
                log.write(vec![trim]).unwrap();
                let durable = log.sync().unwrap();
                retired += log.retire(durable).unwrap().segments;
            }
        }
        is_done.store(true, Ordering::SeqCst);
        assert!(retired > 20, "{retired} segments went");
    });
    drop(log);
    let log = open(&disk, small_settings());
    assert_eq!(log.reader().bounds(PartitionNo(1)).unwrap().end, 1500);
}

#[test]
fn what_was_rewritten_and_not_synced_frees_nothing() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk, small_settings());
    for base in 0..200 {
        log.write(vec![batch(1, base, 1000)]).unwrap();
    }
    let durable = log.sync().unwrap();
    let segments = log.stats().segments;
    assert!(segments > 3);
    let gone = Frame { next_offset: 190, ..Frame::at(FrameKind::Rewrite, PartitionNo(1), 0) };
    log.write(vec![gone]).unwrap();
    assert_eq!(log.reader().read(PartitionNo(1), 0, 200, 1).unwrap()[0].base_offset, 190);
    assert_eq!(log.retire(durable).unwrap().segments, 0, "the old may yet be all there is");
    disk.crash(CrashPolicy::LoseAll);
    drop(log);
    let mut log = open(&disk, small_settings());
    let read = log.reader().read(PartitionNo(1), 0, 200, usize::MAX).unwrap();
    assert_eq!(read[0].base_offset, 0);
    assert!(log.stats().segments >= segments);
    // Once it is durable it counts.
    log.write(vec![Frame { next_offset: 190, ..Frame::at(FrameKind::Rewrite, PartitionNo(1), 0) }])
        .unwrap();
    let durable = log.sync().unwrap();
    assert!(log.retire(durable).unwrap().segments >= segments - 3);
}

#[test]
fn what_is_rewritten_may_begin_within_a_batch_below_the_start() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk, small_settings());
    let wide = |kind, base: i64| Frame { kind, next_offset: base + 3, ..batch(1, base, 100) };
    log.write((0..6).map(|at| wide(FrameKind::Batch, at * 3)).collect()).unwrap();
    log.write((0..6).map(|at| wide(FrameKind::Rewrite, at * 3)).collect()).unwrap();
    // A pass of compaction began at 10, and the start moved on before its first read.
    log.write(vec![Frame::at(FrameKind::Trim, PartitionNo(1), 13)]).unwrap();
    let gone = Frame { next_offset: 15, ..Frame::at(FrameKind::Rewrite, PartitionNo(1), 10) };
    log.write(vec![gone]).unwrap();
    let check = |log: &LocalLog| {
        let read = log.reader().read(PartitionNo(1), 13, 18, usize::MAX).unwrap();
        assert_eq!(read.iter().map(|batch| batch.base_offset).collect::<Vec<_>>(), [15]);
    };
    check(&log);
    // Until the segment is sealed, and over a start.
    let segments = log.stats().segments;
    for base in 0..1_000 {
        log.write(vec![batch(2, base, 1000)]).unwrap();
    }
    log.sync().unwrap();
    assert!(log.stats().segments > segments);
    check(&log);
    drop(log);
    check(&open(&disk, small_settings()));
}
