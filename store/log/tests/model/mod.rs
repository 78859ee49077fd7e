//! A log driven by a seed over a disk that crashes, checked against a model of what was promised.
//!
//! The model knows every frame that was written, how many were durable, and how many its view had
//! applied. After any crash the log must hold a prefix of what was written, not shorter than what
//! was durable, and must read as that prefix says.

#![allow(clippy::unwrap_used, clippy::print_stdout, dead_code, reason = "shared by tests only")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_env::{CrashPolicy, Disk, Random, SeededRandom, SimDisk};
use mainstem_log::{
    Backlog, CommitLog, Frame, FrameKind, LocalLog, LogError, LogSettings, Position, Recovered,
    ReserveMode,
};
use mainstem_types::PartitionNo;

/// Settings under which everything happens often: small segments, tiny caches.
pub(crate) fn small_settings() -> LogSettings {
    LogSettings {
        segment_bytes: 64 * 1024,
        segment_batches_max: 40,
        reserve_segments: 2,
        reserve_mode: ReserveMode::Inline,
        group_bytes_max: 16 * 1024,
        footer_cache_bytes: 2 * 1024,
        tail_cache_bytes: 8 * 1024,
    }
}

/// What a partition should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Batches and gaps, in order.
    pub(crate) frames: Vec<Frame>,
}

/// What all partitions should hold.
type Partitions = BTreeMap<PartitionNo, Expected>;

/// What all partitions should hold after these frames.
pub(crate) fn expected(frames: &[Frame]) -> Partitions {
    let mut partitions = Partitions::new();
    for frame in frames {
        apply(&mut partitions, frame);
    }
    partitions
}

fn apply(partitions: &mut Partitions, frame: &Frame) {
    let base = frame.base_offset;
    if frame.kind == FrameKind::PartitionDelete {
        partitions.remove(&frame.partition);
        return;
    }
    if frame.partition == PartitionNo(0) {
        return;
    }
    let fresh = Expected { start: base, end: base, frames: Vec::new() };
    let known = partitions.entry(frame.partition).or_insert(fresh);
    match frame.kind {
        FrameKind::Batch | FrameKind::Gap => {
            known.frames.push(frame.clone());
            known.end = frame.next_offset;
        }
        FrameKind::Rewrite => {
            let is_left = |kept: &Frame| kept.next_offset <= base;
            let at = known.frames.partition_point(is_left);
            let replaced = |kept: &Frame| kept.next_offset <= frame.next_offset;
            let to = at + known.frames[at..].partition_point(replaced);
            let edges = (known.frames[at].base_offset, known.frames[to - 1].next_offset);
            let is_whole = edges.0 == base || base <= known.start;
            assert!(
                is_whole && edges.1 == frame.next_offset,
                "whole batches and gaps are replaced"
            );
            known.frames.splice(at..to, [frame.clone()]);
        }
        FrameKind::Trim => known.start = known.start.max(base),
        FrameKind::TruncateTo => {
            known.frames.retain(|kept| kept.base_offset < base);
            if let Some(last) = known.frames.last_mut() {
                // Only a gap reaches over the edge.
                last.next_offset = last.next_offset.min(base);
            }
            known.end = known.end.min(base);
            known.start = known.start.min(base);
        }
        _ => {}
    }
}

fn is_a_gap_behind(now: &Expected) -> bool {
    let last = now.frames.last();
    last.is_some_and(|last| {
        last.payload.is_empty()
            && last.next_offset > last.base_offset + 1
            && last.base_offset >= now.start
    })
}

/// One run.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) random: SeededRandom,
    pub(crate) log: Option<LocalLog>,
    /// Everything written that may still be there.
    pub(crate) written: Vec<Frame>,
    /// How many of them are durable for certain.
    pub(crate) durable: usize,
    /// How many of them the view has applied, and up to where.
    pub(crate) applied: (usize, Position),
    next_partition: u64,
    pub(crate) opened: u32,
    pub(crate) retired_segments: u32,
    pub(crate) torn_openings: u32,
    /// Prints each step.
    pub(crate) is_told: bool,
}

type Check = Result<(), String>;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed ^ 0xd15c),
            random: SeededRandom::new(seed),
            log: None,
            written: Vec::new(),
            durable: 0,
            applied: (0, Position::START),
            next_partition: 1,
            opened: 0,
            retired_segments: 0,
            torn_openings: 0,
            is_told: false,
        }
    }

    /// Runs `steps` random steps, each followed by what must hold.
    pub(crate) fn run(&mut self, steps: u32) -> Check {
        self.reopen()?;
        for _ in 0..steps {
            let dice = self.random.below(40);
            self.tell(|| format!("{dice}: wrote {} durable {}", self.written.len(), self.durable));
            match dice {
                0..=15 => self.write(),
                16..=24 => self.sync(),
                25..=28 => self.apply_and_retire(),
                29..=31 => self.crash(CrashPolicy::Seeded)?,
                32 => self.crash(CrashPolicy::KeepAll)?,
                33 => self.crash(CrashPolicy::LoseAll)?,
                34..=36 => self.disk.die_after(1 + self.random.below(12)),
                37 => {
                    self.log = None;
                    self.reopen()?;
                }
                _ => self.check_reads()?,
            }
        }
        self.crash(CrashPolicy::Seeded)
    }

    /// Writes and syncs without any mishap; at the end everything is durable, and a last group,
    /// itself not durable, states it.
    pub(crate) fn run_quietly(&mut self, steps: u32) -> Check {
        self.reopen()?;
        for _ in 0..steps {
            match self.random.below(8) {
                0..=4 => self.write(),
                _ => self.sync(),
            }
        }
        self.sync();
        let last = Frame::node_wide(FrameKind::CatalogEvent, Bytes::from_static(b"last"));
        self.written.push(last.clone());
        let log = self.log.as_mut().unwrap();
        log.write(vec![last]).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Opens a log that was damaged behind its back, and checks that what serves is right and
    /// that what is wrong says so. Returns how many partitions were hurt.
    pub(crate) fn reopen_damaged(&mut self) -> Result<usize, String> {
        self.disk.crash(CrashPolicy::KeepAll);
        self.log = None;
        let mut replayed = Vec::new();
        let (log, recovered) = self.open(&mut replayed).map_err(|error| error.to_string())?;
        self.log = Some(log);
        let mut hurt: Vec<PartitionNo> =
            recovered.quarantined.iter().map(|quarantine| quarantine.partition).collect();
        let mut wanted = self.written.iter();
        for frame in &replayed {
            // Frames may be missing, but none is changed, moved or made up.
            if !wanted.any(|written| written == frame) {
                return Err(format!("replayed what was never written: {frame:?}"));
            }
        }
        for (partition, now) in &expected(&self.written) {
            let reader = self.log.as_ref().unwrap().reader();
            let whole = reader.read(*partition, now.start, now.end, usize::MAX);
            if hurt.contains(partition) {
                let is_refused = matches!(whole, Err(LogError::Quarantined { .. }));
                if !is_refused {
                    return Err(format!("{partition} serves though it is out of service"));
                }
            } else if let Err(error) = self.check_partition(*partition, now) {
                if !error.contains("damaged") {
                    return Err(error);
                }
                hurt.push(*partition);
            }
        }
        Ok(hurt.len())
    }

    /// Opens whatever is left of a log. Anything may be missing, but what is handed out must have
    /// been written just so.
    pub(crate) fn reopen_ruined(&mut self) -> Check {
        self.disk.crash(CrashPolicy::KeepAll);
        self.log = None;
        let mut replayed = Vec::new();
        let (log, _) = self.open(&mut replayed).map_err(|error| error.to_string())?;
        let mut wanted = self.written.iter();
        if let Some(made_up) = replayed.iter().find(|frame| !wanted.any(|kept| kept == *frame)) {
            return Err(format!("replayed what was never written: {made_up:?}"));
        }
        let reader = log.reader();
        for partition in (0..self.next_partition).map(PartitionNo) {
            let Some(bounds) = reader.bounds(partition) else { continue };
            let Ok(batches) = reader.read(partition, bounds.start, bounds.end, usize::MAX) else {
                continue;
            };
            for batch in batches {
                let is_it = |frame: &Frame| {
                    (frame.partition, frame.base_offset) == (partition, batch.base_offset)
                        && frame.payload == batch.bytes
                };
                if !self.written.iter().any(is_it) {
                    return Err(format!("{partition}: read what was never written: {batch:?}"));
                }
            }
        }
        Ok(())
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{}", what());
        }
    }

    fn write(&mut self) {
        let count = 1 + self.random.below(6);
        let mut state = expected(&self.written);
        let mut frames = Vec::new();
        for _ in 0..count {
            let frame = self.random_frame(&state);
            apply(&mut state, &frame);
            frames.push(frame);
        }
        self.written.extend(frames.iter().cloned());
        // After a failure the frames may or may not be there, as the model already has it.
        self.tell(|| format!("write {frames:?}"));
        let result = self.log.as_mut().unwrap().write(frames);
        self.tell(|| format!("-> {result:?}"));
    }

    fn random_frame(&mut self, state: &Partitions) -> Frame {
        let known = u64::try_from(state.len()).unwrap();
        if known == 0 || known < 6 && self.random.below(8) == 0 {
            let partition = PartitionNo(self.next_partition);
            self.next_partition += 1;
            let start = i64::try_from(self.random.below(3) * 50).unwrap();
            return Frame::at(FrameKind::EpochStart, partition, start);
        }
        let pick = usize::try_from(self.random.below(known)).unwrap();
        let (partition, now) = state.iter().nth(pick).unwrap();
        let boundaries = now.frames.iter().map(|frame| frame.base_offset).chain([now.end]);
        let boundaries: Vec<i64> = boundaries.filter(|offset| *offset >= now.start).collect();
        let at = boundaries[usize::try_from(self.random.below(boundaries.len() as u64)).unwrap()];
        match self.random.below(30) {
            0..=1 => Frame::at(FrameKind::Trim, *partition, at),
            2 => Frame::at(FrameKind::Trim, *partition, now.end),
            3 => Frame::at(FrameKind::TruncateTo, *partition, at),
            4 if known > 2 => Frame::at(FrameKind::PartitionDelete, *partition, 0),
            5 => {
                Frame { next_offset: now.end + 7, ..Frame::at(FrameKind::Gap, *partition, now.end) }
            }
            6 => Frame::node_wide(FrameKind::CatalogEvent, self.random_bytes(300)),
            7..=10 => match self.random_rewrite(*partition, now) {
                Some(frame) => frame,
                None => self.random_batch(*partition, now.end),
            },
            11 if is_a_gap_behind(now) => {
                let last = &now.frames[now.frames.len() - 1];
                Frame::at(FrameKind::TruncateTo, *partition, last.base_offset + 1)
            }
            _ => self.random_batch(*partition, now.end),
        }
    }

    /// Compaction: one batch shrinks, or several frames become a gap.
    fn random_rewrite(&self, partition: PartitionNo, now: &Expected) -> Option<Frame> {
        let live = now.frames.iter().position(|frame| frame.next_offset > now.start)?;
        let kept = &now.frames[live..];
        let at = usize::try_from(self.random.below(kept.len() as u64)).unwrap();
        let first = &kept[at];
        if first.kind != FrameKind::Gap && !first.payload.is_empty() && self.random.below(3) > 0 {
            let mut frame = first.clone();
            frame.kind = FrameKind::Rewrite;
            frame.record_count = u32::try_from(self.random.below(3)).unwrap();
            frame.max_timestamp_ms = i64::try_from(self.random.below(1000)).unwrap();
            frame.payload = self.random_bytes(200);
            return Some(frame);
        }
        let count = 1 + usize::try_from(self.random.below(4)).unwrap();
        let last = kept[at..].iter().take(count).last()?;
        let next_offset = last.next_offset;
        let mut from = first.base_offset;
        if at == 0 && live > 0 && self.random.below(2) == 0 {
            // The start moved on amid the pass: what lies below it is no matter.
            let dead = &now.frames[live - 1];
            let width = u64::try_from(dead.next_offset - dead.base_offset).unwrap();
            from = dead.base_offset + i64::try_from(self.random.below(width)).unwrap();
        }
        Some(Frame { next_offset, ..Frame::at(FrameKind::Rewrite, partition, from) })
    }

    fn random_batch(&self, partition: PartitionNo, base: i64) -> Frame {
        let records = 1 + self.random.below(5);
        let size = [40, 300, 3000, 30_000][usize::try_from(self.random.below(4)).unwrap()];
        Frame {
            next_offset: base + i64::try_from(records).unwrap(),
            arrival_ms: base * 10,
            max_timestamp_ms: i64::try_from(self.random.below(1000)).unwrap(),
            record_count: u32::try_from(records).unwrap(),
            leader_epoch: 3,
            payload: self.random_bytes(size),
            ..Frame::at(FrameKind::Batch, partition, base)
        }
    }

    fn random_bytes(&self, size_max: u64) -> Bytes {
        let size = usize::try_from(1 + self.random.below(size_max)).unwrap();
        let seed = self.random.next_u64().to_le_bytes();
        let mut bytes = seed.repeat(size.div_ceil(seed.len()));
        bytes.truncate(size);
        Bytes::from(bytes)
    }

    fn sync(&mut self) {
        if self.log.as_mut().unwrap().sync().is_ok() {
            self.durable = self.written.len();
        }
    }

    fn apply_and_retire(&mut self) {
        let log = self.log.as_mut().unwrap();
        if log.sync().is_err() {
            return;
        }
        self.durable = self.written.len();
        self.applied = (self.durable, log.durable());
        if let Ok(retired) = log.retire(self.applied.1) {
            self.retired_segments += retired.segments;
        }
    }

    /// Cuts the power and opens again; the opening itself may be cut short a few times.
    fn crash(&mut self, policy: CrashPolicy) -> Check {
        self.disk.crash(policy);
        self.log = None;
        while self.random.below(3) == 0 {
            self.disk.die_after(1 + self.random.below(25));
            let _ = self.open(&mut Vec::new());
            self.disk.crash(CrashPolicy::Seeded);
        }
        self.reopen()
    }

    fn open(&self, replayed: &mut Vec<Frame>) -> Result<(LocalLog, Recovered), LogError> {
        let mut replay = |_: Position, frame: Frame| {
            replayed.push(frame);
            Ok(())
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let lock = mainstem_log::lock(&*disk)?;
        let settings = small_settings();
        LocalLog::open(disk, lock, &self.random, settings, self.applied.1, &mut replay)
    }

    fn reopen(&mut self) -> Check {
        let mut replayed = Vec::new();
        if self.disk.is_dead() {
            self.disk.crash(CrashPolicy::Seeded);
        }
        let mut result = self.open(&mut replayed);
        if self.disk.is_dead() {
            // A deadline from before struck in the midst of the opening.
            self.disk.crash(CrashPolicy::Seeded);
            replayed.clear();
            result = self.open(&mut replayed);
        }
        let (log, recovered) = result.map_err(|error| format!("open failed: {error}"))?;
        self.tell(|| format!("{recovered:?} {:?}", self.disk.list()));
        self.log = Some(log);
        self.opened += 1;
        self.torn_openings += u32::from(recovered.torn_bytes > 0);
        if !recovered.quarantined.is_empty() {
            return Err(format!("taken for corruption: {:?}", recovered.quarantined));
        }
        let after_view = &self.written[self.applied.0..];
        if replayed.len() > after_view.len() || replayed[..] != after_view[..replayed.len()] {
            return Err(format!("replay invented something: {}", replayed.len()));
        }
        let kept = self.applied.0 + replayed.len();
        if kept < self.durable {
            return Err(format!("{} durable frames, {kept} survived", self.durable));
        }
        self.written.truncate(kept);
        self.durable = kept;
        self.check_reads()
    }

    /// Everything reads as the model says, from any offset.
    pub(crate) fn check_reads(&self) -> Check {
        if self.disk.is_dead() {
            return Ok(());
        }
        let reader = self.log.as_ref().unwrap().reader();
        let state = expected(&self.written);
        let known = self.log.as_ref().unwrap().stats().partitions;
        if known != state.len() as u64 {
            return Err(format!("{known} partitions instead of {}", state.len()));
        }
        for (partition, now) in &state {
            let bounds = reader.bounds(*partition).ok_or(format!("{partition} is unknown"))?;
            if (bounds.start, bounds.end) != (now.start, now.end) {
                return Err(format!("{partition}: {bounds:?} instead of {now:?}"));
            }
            self.check_partition(*partition, now)?;
        }
        Ok(())
    }

    fn check_partition(&self, partition: PartitionNo, now: &Expected) -> Check {
        let reader = self.log.as_ref().unwrap().reader();
        let is_live = |frame: &&Frame| !frame.payload.is_empty() && frame.next_offset > now.start;
        let batches: Vec<&Frame> = now.frames.iter().filter(is_live).collect();
        let span = u64::try_from(now.end - now.start + 1).unwrap();
        let from = now.start + i64::try_from(self.random.below(span)).unwrap();
        let mut at = from;
        let mut wanted = batches.iter().filter(|frame| frame.next_offset > from);
        loop {
            let max = usize::try_from(self.random.below(8000)).unwrap();
            let read = reader.read(partition, at, now.end, max).map_err(|e| e.to_string())?;
            let Some(last) = read.last() else { break };
            at = last.next_offset;
            for batch in read {
                let frame = wanted.next().ok_or(format!("{partition}: a batch too many"))?;
                let same = batch.base_offset == frame.base_offset
                    && batch.next_offset == frame.next_offset
                    && batch.arrival_ms == frame.arrival_ms
                    && batch.bytes == frame.payload;
                if !same {
                    return Err(format!("{partition}: {batch:?} instead of {frame:?}"));
                }
            }
        }
        if wanted.next().is_some() {
            return Err(format!("{partition}: a batch is missing after {at}"));
        }
        self.check_questions(partition, now, &batches)
    }

    fn check_questions(&self, partition: PartitionNo, now: &Expected, live: &[&Frame]) -> Check {
        let reader = self.log.as_ref().unwrap().reader();
        let time = i64::try_from(self.random.below(1000)).unwrap();
        let fail = |error: LogError| error.to_string();
        let found = reader.batch_at_or_after_time(partition, time, now.end).map_err(fail)?;
        let wanted = live.iter().find(|frame| frame.max_timestamp_ms >= time);
        if found.map(|batch| batch.base_offset) != wanted.map(|frame| frame.base_offset) {
            return Err(format!("{partition}: {found:?} at {time} instead of {wanted:?}"));
        }
        let found = reader.batch_of_max_timestamp(partition, now.end).map_err(fail)?;
        let most = live.iter().map(|frame| frame.max_timestamp_ms).max();
        let wanted = live.iter().find(|frame| Some(frame.max_timestamp_ms) == most);
        if found.map(|batch| batch.base_offset) != wanted.map(|frame| frame.base_offset) {
            return Err(format!("{partition}: newest is {found:?} instead of {wanted:?}"));
        }
        let cut = now.start * 10 + time;
        let found = reader.first_arriving_at_or_after(partition, cut).map_err(fail)?;
        let wanted = live.iter().find(|frame| frame.arrival_ms >= cut);
        if found != wanted.map_or(now.end, |frame| frame.base_offset.max(now.start)) {
            return Err(format!("{partition}: {found} arrived at {cut}, not {wanted:?}"));
        }
        let all = reader.bytes_between(partition, now.start, now.end).map_err(fail)?;
        let whole = live.iter().filter(|frame| frame.base_offset >= now.start);
        let bytes: usize = whole.map(|frame| frame.payload.len()).sum();
        if all.bytes != bytes as u64 {
            return Err(format!("{partition}: {all:?} instead of {bytes} bytes"));
        }
        let span = u64::try_from(now.end - now.start + 1).unwrap();
        let from = now.start + i64::try_from(self.random.below(span)).unwrap();
        let found = reader.backlog(partition, from, now.end).map_err(fail)?;
        let behind: Vec<_> = live.iter().filter(|frame| frame.next_offset > from).collect();
        let arrival = |frame: Option<&&&Frame>| frame.map_or(0, |frame| frame.arrival_ms);
        let wanted = Backlog {
            bytes: behind.iter().map(|frame| frame.payload.len() as u64).sum(),
            records: behind.iter().map(|frame| u64::from(frame.record_count)).sum(),
            first_arrival_ms: arrival(behind.first()),
            last_arrival_ms: arrival(behind.last()),
        };
        if found != wanted {
            return Err(format!("{partition}: {found:?} from {from} instead of {wanted:?}"));
        }
        let keep = self.random.below(all.bytes + 2);
        let start = reader.start_for_retained_bytes(partition, keep).map_err(fail)?;
        let kept = reader.bytes_between(partition, start, now.end).map_err(fail)?;
        if kept.bytes < keep.min(all.bytes) {
            return Err(format!("{partition}: start {start} keeps {kept:?}, wanted {keep}"));
        }
        Ok(())
    }
}
