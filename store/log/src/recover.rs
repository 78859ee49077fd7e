//! Opening a log: what is durable is found, what is torn is dropped, what is damaged is named.
//!
//! A segment that was written to when the process ended is never appended to. What of it is
//! proven durable stays and gets a footer; what follows may sit in the page cache only and is
//! copied to a new segment under a new generation. The copy has a name of its own until it is
//! durable, so that a crash in the midst of recovery leaves the log as it was.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_env::{Disk, DiskLock, Random};
use mainstem_types::{Error, PartitionNo};

use crate::directory::{Found, begin_generation, generation_count};
use crate::footer::{Footer, GroupRange, read_footer};
use crate::frame_header::FRAME_HEADER_BYTES;
use crate::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::index::Shared;
use crate::local::Current;
use crate::reserve::Reserve;
use crate::scan::{FoundFrame, Scan, Stretch, scan};
use crate::segment::{FileName, Segment};
use crate::{Frame, FrameKind, LocalLog, LogError, LogSettings, Position, Quarantine, Recovered};

/// A callback for replayed frames.
type Replay<'a> = &'a mut dyn FnMut(Position, Frame) -> Result<(), Error>;

impl LocalLog {
    /// Opens or makes the log on `disk`, recovers it, and hands every frame that ends after
    /// `applied` to `replay`, in order, each with its end: a view that has handled the frame is
    /// applied up to that position.
    ///
    /// When it returns, everything that was handed out is durable under a new generation, part of
    /// which is `random`. A new log is opened with [`Position::START`]. The lock of [`lock`](crate::lock) is
    /// held for as long as the log lives.
    pub fn open(
        disk: Arc<dyn Disk>,
        lock: Arc<DiskLock>,
        random: &dyn Random,
        settings: LogSettings,
        applied: Position,
        replay: &mut dyn FnMut(Position, Frame) -> Result<(), Error>,
    ) -> Result<(Self, Recovered), LogError> {
        assert!(settings.segment_bytes <= 1 << 31, "positions have 32 bits for the byte");
        let found = Found::list(&*disk)?;
        let generation = begin_generation(&*disk, random, &found)?;
        let reserve = Reserve::open(Arc::clone(&disk), &settings, found.reserves.clone());
        let next_segment = found.highest_number().max(applied.segment()) + 1;
        let shared = Arc::new(Shared::new(&settings));
        let mut log = Self {
            disk,
            settings,
            shared,
            reserve,
            generation,
            next_segment,
            current: None,
            last_group: 0,
            last_checksum: 0,
            written: Position::START,
            durable: Position::START,
            has_rewritten: false,
            pins: Vec::new(),
            leaving: Vec::new(),
            is_closed: false,
            _lock: lock,
        };
        let recovered = log.recover(&found, applied, replay)?;
        log.pins = log.shared.index.read().pins();
        log.reserve.start();
        Ok((log, recovered))
    }

    fn recover(
        &mut self,
        found: &Found,
        applied: Position,
        replay: Replay<'_>,
    ) -> Result<Recovered, LogError> {
        for (number, generation) in &found.recoveries {
            let name = FileName::Recovery { number: *number, generation: *generation }.to_string();
            self.reserve.give(&name).map_err(LogError::disk("tidying up"))?;
        }
        let mut parts = self.load(found, applied)?;
        let mut suspects = Suspects::default();
        let mut lost = Lost { applied, why: None };
        let last = parts.pop();
        for (at, part) in parts.iter().enumerate() {
            self.check_nothing_missing_before(part, &mut suspects, &mut lost);
            let is_followed_by_footer =
                parts.get(at + 1).or(last.as_ref()).is_some_and(|next| next.footer().is_some());
            self.take_in(part, !is_followed_by_footer, &mut suspects)?;
        }
        let mut torn_bytes = 0;
        if let Some(last) = &last {
            self.check_nothing_missing_before(last, &mut suspects, &mut lost);
            if let Part { content: Content::Scanned(scan), segment, .. } = last {
                torn_bytes = scan.torn_bytes;
                self.take_in_last(segment, scan, &mut suspects)?;
            } else {
                self.take_in(last, true, &mut suspects)?;
            }
        }
        if self.written < applied {
            let why = format!("the log ends at {}, what was applied at {applied}", self.written);
            suspects.add_all(&self.shared, &why);
            lost.note(&why);
            self.written = applied;
            self.durable = applied;
        }
        suspects.condemn(&self.shared);
        self.quarantine_holes();
        parts.extend(last);
        let replayed_frames = self.replay(&parts, &mut lost, replay)?;
        let quarantined: Vec<Quarantine> = self.shared.index.read().quarantined();
        Ok(Recovered {
            generation: generation_count(self.generation),
            durable: self.durable,
            replayed_frames,
            torn_bytes,
            quarantined,
            node_wide_lost: lost.why,
        })
    }

    /// A segment says up to where everything was durable when it was begun. What the ones before
    /// it do not hold of that is gone with its file, unless the view has applied it.
    fn check_nothing_missing_before(&self, part: &Part, suspects: &mut Suspects, lost: &mut Lost) {
        let Some(first) = &part.first else { return };
        let reached = self.written.max(lost.applied);
        if first.durable <= reached {
            return;
        }
        let (name, durable) = (part.segment.name(), first.durable);
        let why = format!("what {name} continues, from {reached} to {durable}, is missing");
        suspects.add_all(&self.shared, &why);
        lost.note(&why);
    }

    /// Reads every segment's footer, or scans it where there is none. Segments at the end in which
    /// nothing was ever written go back to the reserve.
    fn load(&self, found: &Found, applied: Position) -> Result<Vec<Part>, LogError> {
        let mut parts: Vec<Part> = Vec::new();
        // From the newest to the oldest: what a segment states of the one before bounds its scan.
        let mut next_stated: Option<Position> = None;
        for (at, (number, generation)) in found.segments.iter().enumerate().rev() {
            let segment = Arc::new(Segment::open(&*self.disk, *number, *generation)?);
            let footer = read_footer(&segment)?;
            let first = first_header(&segment)?;
            let content = match footer {
                Some(footer) => Content::Footer(footer),
                None => {
                    let is_last = parts.is_empty();
                    let limit = next_stated
                        .filter(|stated| stated.segment() == *number)
                        .map(Position::byte);
                    let proven =
                        if is_last { applied } else { Position::new(number.saturating_add(1), 0) };
                    let first_group = match (first, at.checked_sub(1)) {
                        (Some(first), _) => first.number,
                        (None, Some(before)) => self.group_after(found.segments[before])?,
                        (None, None) => 1,
                    };
                    let scan = scan(&segment, limit, proven, first_group)?;
                    if is_last && scan.stretches.is_empty() {
                        let name = segment.name();
                        self.reserve.give(&name).map_err(LogError::disk("tidying up"))?;
                        continue;
                    }
                    Content::Scanned(scan)
                }
            };
            next_stated = first.map(|first| first.durable);
            parts.push(Part { segment, first, content });
        }
        parts.reverse();
        Ok(parts)
    }

    /// The number that the group after a sealed segment has; 0, which none has, if that is lost.
    fn group_after(&self, (number, generation): (u32, u64)) -> Result<u64, LogError> {
        let footer = read_footer(&Segment::open(&*self.disk, number, generation)?)?;
        Ok(footer.map_or(0, |footer| footer.tail.groups.last + 1))
    }

    /// Takes a segment into the index that is durable as a whole.
    fn take_in(
        &mut self,
        part: &Part,
        use_table: bool,
        suspects: &mut Suspects,
    ) -> Result<(), LogError> {
        let segment = &part.segment;
        match &part.content {
            Content::Footer(footer) => {
                let end = Position::new(segment.number, footer.tail.groups_end);
                let bytes = segment.file.len().map_err(LogError::disk("opening the log"))?;
                let mut index = self.shared.index.write();
                index.add_sealed(Arc::clone(segment), footer.spans.clone(), end, bytes);
                if use_table {
                    index.set_table(&footer.rows);
                }
                self.last_group = footer.tail.groups.last;
                self.last_checksum = footer.tail.groups.last_checksum;
                self.written = end;
                self.durable = end;
                Ok(())
            }
            Content::Scanned(scan) => {
                self.take_in_stretches(segment, &scan.stretches, suspects)?;
                let (at, first_group) = (scan.end, scan.first_group);
                self.current = Some(Current { segment: Arc::clone(segment), at, first_group });
                self.written = Position::new(segment.number, scan.end);
                self.seal_current()
            }
        }
    }

    /// Takes in the segment that was being written to: what is durable of it stays and is sealed,
    /// the rest moves to a new segment.
    fn take_in_last(
        &mut self,
        segment: &Arc<Segment>,
        scan: &Scan,
        suspects: &mut Suspects,
    ) -> Result<(), LogError> {
        let kept = scan.durable_stretches();
        let tail = &scan.stretches[kept.len()..];
        self.take_in_stretches(segment, kept, suspects)?;
        let end = kept.last().map_or(0, |last| last.bytes.end);
        self.written = Position::new(segment.number, end);
        self.durable = self.written;
        let (footer, spans) = self.shared.index.read().footer(end);
        let groups = GroupRange {
            first: scan.first_group,
            last: self.last_group,
            last_checksum: self.last_checksum,
        };
        let len = segment.file.len().map_err(LogError::disk("opening the log"))?;
        self.shared.index.write().seal(spans, self.written, footer.file_bytes(len));
        if !tail.is_empty() {
            self.copy_tail(segment, tail)?;
        }
        // The footer overwrites the tail, so the copy had to be durable first.
        footer.write(segment, groups)
    }

    fn copy_tail(&mut self, from: &Segment, tail: &[Stretch]) -> Result<(), LogError> {
        const COPYING: &str = "copying the end of the log";
        let number = self.next_segment;
        let temporary = FileName::Recovery { number, generation: self.generation };
        let segment = self.new_segment(temporary, number)?;
        self.next_segment += 1;
        self.shared.index.write().open = Some(Arc::clone(&segment));
        let first_group = self.last_group + 1;
        self.current = Some(Current { segment: Arc::clone(&segment), at: 0, first_group });
        for stretch in tail {
            let known = stretch.frames.iter().filter(|frame| frame.is_known());
            let frames = known.map(|frame| read_frame(from, frame));
            let frames = frames.collect::<Result<Vec<Frame>, LogError>>()?;
            if !frames.is_empty() {
                self.append_group(&frames)?;
            }
        }
        segment.file.sync_data().map_err(LogError::disk(COPYING))?;
        let renamed = self.disk.rename(&temporary.to_string(), &segment.name());
        renamed.and_then(|()| self.disk.sync_dir()).map_err(LogError::disk(COPYING))?;
        self.durable = self.written;
        self.has_rewritten = false;
        Ok(())
    }

    /// Applies frames that lie in `segment`, which becomes the open one.
    fn take_in_stretches(
        &mut self,
        segment: &Arc<Segment>,
        stretches: &[Stretch],
        suspects: &mut Suspects,
    ) -> Result<(), LogError> {
        self.shared.index.write().open = Some(Arc::clone(segment));
        for stretch in stretches {
            for frame in &stretch.frames {
                check_kind(segment, frame)?;
                suspects.clear_if_continued(frame);
                self.shared.index.write().apply(&frame.header, frame.at);
            }
            if let Some(header) = &stretch.header {
                self.last_group = header.number;
                self.last_checksum = header.checksum;
            }
            let Some(damage) = &stretch.damage else { continue };
            let why = damage_text(segment, stretch);
            for partition in &damage.lost {
                let mut index = self.shared.index.write();
                let end = index.partitions.get(partition).map_or(0, |known| known.end);
                index.quarantine(*partition, end, &why);
            }
            if damage.is_unattributed {
                suspects.add_all(&self.shared, &why);
            }
        }
        Ok(())
    }

    /// Whatever the cause, a partition with a hole does not serve as if it had none (I8).
    fn quarantine_holes(&self) {
        let mut index = self.shared.index.write();
        let holes = index
            .partitions
            .iter()
            .filter_map(|(partition, known)| known.hole().map(|offset| (*partition, offset)));
        let holes: Vec<(PartitionNo, i64)> = holes.collect();
        for (partition, offset) in holes {
            index.quarantine(partition, offset, "the segment with these offsets is missing");
        }
    }

    /// Marks what a replay through a sealed segment can no longer hand out.
    fn quarantine_damaged(&self, segment: &Segment, stretches: &[Stretch]) {
        for stretch in stretches {
            let Some(damage) = &stretch.damage else { continue };
            let why = damage_text(segment, stretch);
            let mut index = self.shared.index.write();
            for partition in &damage.lost {
                let start = index.partitions.get(partition).map_or(0, |known| known.start);
                index.quarantine(*partition, start, &why);
            }
            if damage.is_unattributed {
                index.quarantine(PartitionNo(0), 0, &why);
            }
        }
    }

    fn replay(&self, parts: &[Part], lost: &mut Lost, replay: Replay<'_>) -> Result<u64, LogError> {
        let applied = lost.applied;
        let mut count = 0;
        for part in parts.iter().filter(|part| part.segment.number >= applied.segment()) {
            let rescanned;
            let stretches = match &part.content {
                // What was above the durable end is read where it was copied to.
                Content::Scanned(scan) => scan.durable_stretches(),
                Content::Footer(footer) => {
                    let end = footer.tail.groups_end;
                    let proven = Position::new(part.segment.number, end);
                    let first_group = footer.tail.groups.first;
                    rescanned = scan(&part.segment, Some(end), proven, first_group)?;
                    self.quarantine_damaged(&part.segment, &rescanned.stretches);
                    &rescanned.stretches[..]
                }
            };
            lost.look_at(&part.segment, stretches);
            count += replay_frames(&part.segment, stretches, lost, replay)?;
        }
        if let Some(current) = &self.current {
            let copied =
                scan(&current.segment, Some(current.at), self.durable, current.first_group)?;
            count += replay_frames(&current.segment, &copied.stretches, lost, replay)?;
        }
        Ok(count)
    }
}

fn damage_text(segment: &Segment, stretch: &Stretch) -> String {
    let bytes = &stretch.bytes;
    format!("{} is damaged between bytes {} and {}", segment.name(), bytes.start, bytes.end)
}

/// One segment that was found.
struct Part {
    segment: Arc<Segment>,
    /// The header of its first group, if that can be read.
    first: Option<GroupHeader>,
    content: Content,
}

enum Content {
    Footer(Footer),
    Scanned(Scan),
}

impl Part {
    const fn footer(&self) -> Option<&Footer> {
        match &self.content {
            Content::Footer(footer) => Some(footer),
            Content::Scanned(_) => None,
        }
    }
}

/// Whether node-wide frames are gone that nothing else holds. It follows from the files and from
/// `applied` alone, so that every later opening finds the same.
struct Lost {
    applied: Position,
    why: Option<String>,
}

impl Lost {
    /// The first reason stands.
    fn note(&mut self, why: &str) {
        self.why.get_or_insert_with(|| why.to_owned());
    }

    fn look_at(&mut self, segment: &Segment, stretches: &[Stretch]) {
        for stretch in stretches {
            let Some(damage) = &stretch.damage else { continue };
            let may_be_node_wide = damage.is_unattributed || damage.lost.contains(&PartitionNo(0));
            let end = Position::new(segment.number, stretch.bytes.end);
            if may_be_node_wide && end > self.applied {
                self.note(&damage_text(segment, stretch));
            }
        }
    }
}

/// Partitions that may have lost their end in a stretch of which nobody can say whose it was.
/// One that goes on afterwards exactly where it ended before has lost nothing.
#[derive(Default)]
struct Suspects {
    ends: HashMap<PartitionNo, i64>,
    why: String,
}

impl Suspects {
    fn add_all(&mut self, shared: &Shared, why: &str) {
        for (partition, known) in &shared.index.read().partitions {
            self.ends.entry(*partition).or_insert(known.end);
        }
        // Nor can anybody say that no node-wide frame is among them.
        self.ends.entry(PartitionNo(0)).or_insert(0);
        why.clone_into(&mut self.why);
    }

    fn clear_if_continued(&mut self, frame: &FoundFrame) {
        let header = &frame.header;
        let is_data = [FrameKind::Batch as u8, FrameKind::Gap as u8].contains(&header.kind);
        if is_data && self.ends.get(&header.partition) == Some(&header.base_offset) {
            self.ends.remove(&header.partition);
        }
    }

    fn condemn(self, shared: &Shared) {
        let mut index = shared.index.write();
        for (partition, end) in self.ends {
            index.quarantine(partition, end, &self.why);
        }
    }
}

/// The header of a segment's first group, if there is one.
fn first_header(segment: &Segment) -> Result<Option<GroupHeader>, LogError> {
    let mut bytes = [0; GROUP_HEADER_BYTES];
    let read = segment.file.read_at(0, &mut bytes);
    let filled = read.map_err(LogError::disk(format!("reading {}", segment.name())))?;
    let ours = |header: &GroupHeader| {
        (header.segment, header.generation) == (segment.number, segment.generation)
    };
    Ok(GroupHeader::decode(&bytes[..filled]).filter(ours))
}

/// A frame of a kind that this version does not know is fatal, unless its number says that it may
/// be passed over.
fn check_kind(segment: &Segment, frame: &FoundFrame) -> Result<(), LogError> {
    const MAY_BE_SKIPPED_FROM: u8 = 128;
    let kind = frame.header.kind;
    if frame.is_known() || kind >= MAY_BE_SKIPPED_FROM {
        return Ok(());
    }
    Err(LogError::Format(format!(
        "{} holds frames of kind {kind}, which this version does not know; run a newer one",
        segment.name()
    )))
}

fn replay_frames(
    segment: &Segment,
    stretches: &[Stretch],
    lost: &Lost,
    replay: Replay<'_>,
) -> Result<u64, LogError> {
    let mut count = 0;
    for frame in stretches.iter().flat_map(|stretch| &stretch.frames) {
        check_kind(segment, frame)?;
        let stored = u32::try_from(frame.header.stored_bytes()).expect("within a segment");
        let end = Position::new(segment.number, frame.at + stored);
        // A node-wide frame builds on those before it: without them it would mislead.
        let is_founded = lost.why.is_none() || frame.header.partition != PartitionNo(0);
        if end > lost.applied && frame.is_known() && is_founded {
            replay(end, read_frame(segment, frame)?).map_err(LogError::Replay)?;
            count += 1;
        }
    }
    Ok(count)
}

fn read_frame(segment: &Segment, frame: &FoundFrame) -> Result<Frame, LogError> {
    let header = &frame.header;
    let mut payload = vec![0; header.payload_bytes as usize];
    let read = segment.file.read_at(u64::from(frame.at) + FRAME_HEADER_BYTES as u64, &mut payload);
    let filled = read.map_err(LogError::disk(format!("reading {}", segment.name())))?;
    if filled < payload.len() || !header.fits(&payload) {
        return Err(LogError::Corrupt {
            partition: header.partition,
            offset: header.base_offset,
            why: format!("{} changed while it was recovered", segment.name()),
        });
    }
    Ok(Frame {
        kind: FrameKind::from_number(header.kind).expect("unknown kinds were passed over"),
        partition: header.partition,
        base_offset: header.base_offset,
        next_offset: header.next_offset,
        arrival_ms: header.arrival_ms,
        max_timestamp_ms: header.max_timestamp_ms,
        record_count: header.record_count,
        leader_epoch: header.leader_epoch,
        payload: Bytes::from(payload),
    })
}
