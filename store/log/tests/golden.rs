//! The bytes on disk are a contract: a fixed input gives the bytes of `testdata/log/v1.bin`, and
//! those bytes give the input back, with this version and every later one. So does `v2.bin` for a
//! segment in which batches were written anew.
//!
//! `UPDATE_GOLDEN=1` writes the file anew; do so only with a new format version.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_env::{Disk, SeededRandom, SimDisk};
use mainstem_log::{
    CommitLog, Frame, FrameKind, LocalLog, LogSettings, Position, Recovered, ReserveMode,
};
use mainstem_types::{Error, PartitionNo};

const SEGMENT: &str = "00000001-0000000189025cc1.segment";

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/log").join(name)
}

/// Growing files, so that the golden has no more bytes than it must, and a seal after four
/// entries.
fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 1024 * 1024,
        segment_batches_max: 4,
        reserve_segments: 0,
        reserve_mode: ReserveMode::Inline,
        ..LogSettings::default()
    }
}

fn batch(partition: u64, base: i64, payload: &'static [u8]) -> Frame {
    Frame {
        next_offset: base + 3,
        arrival_ms: 1_700_000_000_000 + base,
        max_timestamp_ms: 1_600_000_000_000 + base,
        record_count: 3,
        leader_epoch: 7,
        payload: Bytes::from_static(payload),
        ..Frame::at(FrameKind::Batch, PartitionNo(partition), base)
    }
}

/// Two groups: batches of two partitions with all that happens to them, then every other kind.
fn input() -> Vec<Vec<Frame>> {
    static LARGE: [u8; 3000] = [0xab; 3000];
    let first = vec![
        Frame::at(FrameKind::EpochStart, PartitionNo(1), 100),
        batch(1, 100, b"the first batch"),
        batch(2, 0, &LARGE),
        Frame { next_offset: 10, ..Frame::at(FrameKind::Gap, PartitionNo(2), 3) },
        batch(2, 10, b"after a gap"),
        batch(1, 103, b"undone below"),
        Frame::at(FrameKind::TruncateTo, PartitionNo(1), 103),
        Frame::at(FrameKind::Trim, PartitionNo(2), 3),
    ];
    let is_in_first = |kind: &FrameKind| first.iter().any(|frame| frame.kind == *kind);
    let is_later = |kind: &FrameKind| *kind == FrameKind::Rewrite;
    let others = FrameKind::ALL.iter().filter(|kind| !is_in_first(kind) && !is_later(kind));
    let second = others.map(|kind| Frame {
        next_offset: 5,
        payload: Bytes::from_static(b"opaque"),
        ..Frame::at(*kind, PartitionNo(3), 5)
    });
    let second = [batch(1, 103, b"done again")].into_iter().chain(second).collect();
    vec![first, second]
}

/// Compaction rewrites a batch, and leaves nothing of others, among what is appended.
fn rewritten() -> Vec<Vec<Frame>> {
    let rewrite = |base, next_offset, payload: &'static [u8]| Frame {
        kind: FrameKind::Rewrite,
        next_offset,
        record_count: u32::from(!payload.is_empty()),
        ..batch(1, base, payload)
    };
    let gone = |base, next_offset| Frame {
        next_offset,
        ..Frame::at(FrameKind::Rewrite, PartitionNo(1), base)
    };
    let begun = Frame { next_offset: 3, ..Frame::at(FrameKind::Compacted, PartitionNo(1), 9) };
    let written = vec![
        batch(1, 0, b"a"),
        batch(1, 3, b"b"),
        batch(2, 0, b"x"),
        batch(1, 6, b"c"),
        batch(1, 9, b"d"),
        begun,
        gone(3, 6),
        rewrite(6, 9, b"c'"),
        batch(2, 3, b"y"),
    ];
    vec![written]
}

fn open(
    disk: Arc<dyn Disk>,
    replay: &mut dyn FnMut(Position, Frame) -> Result<(), Error>,
) -> (LocalLog, Recovered) {
    let lock = mainstem_log::lock(&*disk).unwrap();
    let random = SeededRandom::new(1);
    LocalLog::open(disk, lock, &random, settings(), Position::START, replay).unwrap()
}

/// The first segment after the input and one more write, which seals it.
fn written(input: Vec<Vec<Frame>>) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let handle: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut log, _) = open(handle, &mut |_, _| Ok(()));
    for group in input {
        log.write(group).unwrap();
        log.sync().unwrap();
    }
    log.write(vec![Frame::node_wide(FrameKind::CatalogEvent, Bytes::new())]).unwrap();
    disk.contents(SEGMENT).unwrap()
}

#[test]
fn a_fixed_input_gives_the_golden_bytes() {
    for (name, input) in [("v1.bin", input()), ("v2.bin", rewritten())] {
        let written = written(input);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(golden_path(name), &written).unwrap();
        }
        let golden = std::fs::read(golden_path(name)).unwrap();
        assert!(written == golden, "the format changed; that takes a new version and a new golden");
    }
}

#[test]
fn what_was_written_anew_is_read_from_the_golden_bytes() {
    let disk = SimDisk::new(1);
    let file = disk.create(SEGMENT).unwrap();
    file.write_at(0, &[IoSlice::new(&std::fs::read(golden_path("v2.bin")).unwrap())]).unwrap();
    let mut replayed = Vec::new();
    let mut replay = |_, frame| {
        replayed.push(frame);
        Ok(())
    };
    let (log, recovered) = open(Arc::new(disk), &mut replay);
    assert_eq!(replayed, rewritten().concat());
    assert!(recovered.quarantined.is_empty());
    let read = |partition, from, to| {
        let batches = log.reader().read(PartitionNo(partition), from, to, 10_000).unwrap();
        batches.iter().map(|b| (b.base_offset, b.bytes.to_vec())).collect::<Vec<_>>()
    };
    let left = [(0, b"a".to_vec()), (6, b"c'".to_vec()), (9, b"d".to_vec())];
    assert_eq!(read(1, 0, 12), left);
    assert_eq!(read(1, 3, 12), left[1..]);
    assert_eq!(read(2, 0, 6), [(0, b"x".to_vec()), (3, b"y".to_vec())]);
}

#[test]
fn the_golden_bytes_give_the_input_back() {
    let disk = SimDisk::new(1);
    let file = disk.create(SEGMENT).unwrap();
    file.write_at(0, &[IoSlice::new(&std::fs::read(golden_path("v1.bin")).unwrap())]).unwrap();
    let mut replayed = Vec::new();
    let mut replay = |_, frame| {
        replayed.push(frame);
        Ok(())
    };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let (log, recovered) = open(disk, &mut replay);
    assert_eq!(replayed, input().concat());
    // Partition 3 was created, marked as damaged and then seen in other frames.
    let named: Vec<_> = recovered.quarantined.iter().map(|found| found.partition).collect();
    assert_eq!(named, [PartitionNo(3)]);
    let reader = log.reader();
    let read = reader.read(PartitionNo(1), 100, 106, 10_000).unwrap();
    assert_eq!(
        read.iter().map(|batch| &batch.bytes[..]).collect::<Vec<_>>(),
        [&b"the first batch"[..], b"done again"]
    );
    let read = reader.read(PartitionNo(2), 3, 13, 10_000).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].base_offset, read[0].arrival_ms), (10, 1_700_000_000_010));
}
