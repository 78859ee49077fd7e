//! The log on local files: the writer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mainstem_env::{Disk, DiskLock};
use mainstem_types::PartitionNo;

use crate::directory::generation_count;
use crate::entry::ENTRY_BYTES;
use crate::footer::{FOOTER_TAIL_BYTES, GroupRange};
use crate::frame_header::{FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameHeader};
use crate::group::{
    DIRECTORY_ENTRY_BYTES, DIRECTORY_TAIL_BYTES, EncodedGroup, GROUP_ALIGN_BYTES,
    GROUP_HEADER_BYTES, GroupPlace, group_bytes,
};
use crate::index::Shared;
use crate::pieces::SealedSegment;
use crate::reserve::Reserve;
use crate::segment::{FileName, Segment};
use crate::{
    CommitLog, Frame, FrameKind, LogError, LogReader, LogSettings, LogStats, Position, Retired,
    SegmentPin, StoredBatch,
};

/// The longest payload of one frame; far above every limit of the layers above.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// A column's frame, directory record and row in the table.
const FOOTER_BYTES_PER_PARTITION: usize = 112;

/// An entry, and all that a partition takes if it is a new one.
const FOOTER_BYTES_PER_FRAME: usize = ENTRY_BYTES + FOOTER_BYTES_PER_PARTITION;

/// By how much a file grows that was not written ahead.
const GROW_BYTES: u64 = 8 * 1024 * 1024;

/// The [`CommitLog`] on local files.
pub struct LocalLog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: LogSettings,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reserve: Reserve,
    pub(crate) generation: u64,
    pub(crate) next_segment: u32,
    /// The segment that is written to; none before the first write after an opening or a roll.
    pub(crate) current: Option<Current>,
    pub(crate) last_group: u64,
    pub(crate) last_checksum: u32,
    pub(crate) written: Position,
    pub(crate) durable: Position,
    /// Something was written anew that is not yet durable.
    pub(crate) has_rewritten: bool,
    /// Who keeps which segment, as it was when a segment was last sealed or freed.
    pub(crate) pins: Vec<SegmentPin>,
    /// Segments that left the log but may be in a reader's hands.
    pub(crate) leaving: Vec<SealedSegment>,
    pub(crate) is_closed: bool,
    pub(crate) _lock: Arc<DiskLock>,
}

/// The segment that is written to.
pub(crate) struct Current {
    pub(crate) segment: Arc<Segment>,
    /// Where the next group begins.
    pub(crate) at: u32,
    /// The number of its first group.
    pub(crate) first_group: u64,
}

impl CommitLog for LocalLog {
    fn write(&mut self, frames: Vec<Frame>) -> Result<Position, LogError> {
        if self.is_closed {
            return Err(LogError::Closed);
        }
        self.assert_frames(&frames);
        let mut is_first = true;
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.group_length(rest));
            match self.write_group(group) {
                Err(LogError::Full) if is_first => return Err(LogError::Full),
                // Part of the frames stands already; only recovery can say how much is durable.
                Err(error) => return Err(self.close(error)),
                Ok(()) => {}
            }
            is_first = false;
            rest = later;
        }
        Ok(self.written)
    }

    fn reserve(&mut self, payload_bytes: usize, frames: usize) -> Result<(), LogError> {
        if self.is_closed {
            return Err(LogError::Closed);
        }
        let bytes = self.write_bytes_max(payload_bytes, frames);
        self.make_room(bytes, frames)?;
        let footer = self.footer_bytes() + frames * FOOTER_BYTES_PER_FRAME;
        let current = self.current.as_ref().expect("room was made in a current segment");
        let file = &current.segment.file;
        let needed = u64::from(current.at) + (bytes + footer) as u64;
        let len = file.len().map_err(LogError::disk("reserving room in the log"))?;
        if needed <= len {
            return Ok(());
        }
        // No segment was written ahead. Blocks are taken by the piece then, or as few as will do.
        let piece = needed.max((len + GROW_BYTES).min(u64::from(self.settings.segment_bytes)));
        let grown = file.allocate(piece).or_else(|_| file.allocate(needed));
        grown.map_err(LogError::full_or_disk("reserving room in the log"))
    }

    fn sync(&mut self) -> Result<Position, LogError> {
        if self.is_closed {
            return Err(LogError::Closed);
        }
        if self.durable < self.written
            && let Some(current) = &self.current
        {
            let synced = current.segment.file.sync_data();
            synced.map_err(LogError::disk("syncing the log")).map_err(|error| self.close(error))?;
            self.durable = self.written;
            self.has_rewritten = false;
        }
        Ok(self.durable)
    }

    fn durable(&self) -> Position {
        self.durable
    }

    fn retire(&mut self, applied: Position) -> Result<Retired, LogError> {
        if self.is_closed {
            return Err(LogError::Closed);
        }
        if self.has_rewritten {
            // It may be lost, and then what it replaced is all there is.
            return Ok(Retired::default());
        }
        let unneeded = self.shared.index.write().take_unneeded(applied.min(self.durable));
        let mut retired = Retired::default();
        if !unneeded.is_empty() {
            self.pins = self.shared.index.read().pins();
        }
        for sealed in unneeded {
            retired.segments += 1;
            retired.bytes += sealed.bytes;
            self.shared.footers.forget(sealed.segment.number);
            self.leaving.push(sealed);
        }
        self.recycle()?;
        Ok(retired)
    }

    fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    fn stats(&self) -> LogStats {
        let index = self.shared.index.read();
        let sealed = index.segments.values().chain(&self.leaving);
        let sealed_bytes: u64 = sealed.map(|sealed| sealed.bytes).sum();
        let current = self.current.as_ref();
        let current_bytes = current.map_or(0, |current| current.segment.file.len().unwrap_or(0));
        let segments = index.segments.len() + self.leaving.len() + usize::from(current.is_some());
        LogStats {
            generation: generation_count(self.generation),
            written: self.written,
            durable: self.durable,
            segments: u32::try_from(segments).unwrap_or(u32::MAX),
            segment_bytes: sealed_bytes + current_bytes,
            live_bytes: index.live_bytes,
            reserve_segments: u32::try_from(self.reserve.ready()).unwrap_or(u32::MAX),
            tail_cache_bytes: index.tail.bytes() as u64,
            footer_cache_bytes: self.shared.footers.bytes() as u64,
            partitions: index.partitions.len() as u64,
            pinned: self.pins.clone(),
        }
    }
}

impl LocalLog {
    /// After this every call fails: what the disk holds is no longer known.
    fn close(&mut self, error: LogError) -> LogError {
        self.is_closed = true;
        error
    }

    /// Our own state must fit: batches follow each other without a hole (I8).
    fn assert_frames(&self, frames: &[Frame]) {
        let index = self.shared.index.read();
        let mut ends: HashMap<PartitionNo, Option<i64>> = HashMap::new();
        for frame in frames {
            assert!(frame.payload.len() <= PAYLOAD_BYTES_MAX, "a payload of at most 1 GiB");
            let partition = frame.partition;
            let known = index.partitions.get(&partition).map(|known| known.end);
            let end = ends.entry(partition).or_insert(known);
            match frame.kind {
                FrameKind::Batch | FrameKind::Gap => {
                    assert_batch(frame, *end);
                    *end = Some(frame.next_offset);
                }
                FrameKind::Rewrite => {
                    assert!(frame.next_offset > frame.base_offset, "what is rewritten has offsets");
                    assert!(
                        end.is_some_and(|end| frame.next_offset <= end),
                        "I2: partition {partition} is rewritten within what it holds"
                    );
                }
                FrameKind::TruncateTo => *end = end.map(|end| end.min(frame.base_offset)),
                FrameKind::Trim => *end = end.map(|end| end.max(frame.base_offset)),
                FrameKind::PartitionDelete => *end = None,
                FrameKind::EpochStart => *end = end.or(Some(frame.base_offset)),
                FrameKind::PartitionCheckpoint => {
                    *end = Some(end.unwrap_or(frame.base_offset).max(frame.next_offset));
                }
                _ => {}
            }
        }
    }

    /// How many of the frames make up the next group: as many as the bound allows, at least one.
    fn group_length(&self, frames: &[Frame]) -> usize {
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            bytes += frame.payload.len() + FRAME_HEADER_BYTES;
            bytes <= self.settings.group_bytes_max as usize
        };
        frames.iter().take_while(fits).count().max(1)
    }

    fn write_group(&mut self, frames: &[Frame]) -> Result<(), LogError> {
        self.make_room(group_bytes(frames), 1)?;
        self.append_group(frames)
    }

    /// Writes a group into the current segment, which has room for it.
    pub(crate) fn append_group(&mut self, frames: &[Frame]) -> Result<(), LogError> {
        let current = self.current.as_mut().expect("room was made in a current segment");
        let place = GroupPlace {
            generation: self.generation,
            number: self.last_group + 1,
            durable: self.durable,
            segment: current.segment.number,
            previous: self.last_checksum,
        };
        let group = EncodedGroup::new(frames, place);
        let written = current.segment.file.write_at(u64::from(current.at), &group.slices());
        written.map_err(LogError::full_or_disk("writing to the log"))?;
        let start = current.at;
        current.at += group.total_bytes;
        self.last_group = place.number;
        self.last_checksum = group.checksum;
        self.written = Position::new(current.segment.number, current.at);
        self.has_rewritten |= frames.iter().any(|frame| frame.kind == FrameKind::Rewrite);
        self.index_group(frames, &group.frames_at, start);
        Ok(())
    }

    fn index_group(&self, frames: &[Frame], frames_at: &[u32], group_at: u32) {
        let mut index = self.shared.index.write();
        // Up to where partitions were written anew: a row has many frames.
        let mut rewritten: BTreeMap<PartitionNo, i64> = BTreeMap::new();
        for (place, (frame, at)) in (0..).zip(frames.iter().zip(frames_at)) {
            let header = FrameHeader::indexed(frame, self.generation, self.last_group, place);
            if frame.kind == FrameKind::Quarantine {
                let why = String::from_utf8_lossy(&frame.payload);
                index.quarantine(frame.partition, frame.base_offset, &why);
            }
            index.apply(&header, group_at + at);
            if frame.kind == FrameKind::Rewrite {
                let to = rewritten.entry(frame.partition).or_insert(frame.next_offset);
                *to = frame.next_offset.max(*to);
            }
            if frame.kind == FrameKind::Batch {
                let batch = StoredBatch {
                    base_offset: frame.base_offset,
                    next_offset: frame.next_offset,
                    arrival_ms: frame.arrival_ms,
                    leader_epoch: frame.leader_epoch,
                    bytes: frame.payload.clone(),
                };
                index.tail.push(frame.partition, batch);
            }
        }
        for (partition, to) in rewritten {
            index.tail.forget_below(partition, to);
        }
    }

    /// No write of these frames, in whatever groups, is longer.
    const fn write_bytes_max(&self, payload_bytes: usize, frames: usize) -> usize {
        let per_frame = FRAME_HEADER_BYTES + FRAME_ALIGN_BYTES + DIRECTORY_ENTRY_BYTES;
        let bytes = payload_bytes + frames * per_frame;
        // Two neighbours fill more than a group, or they would be one.
        let groups = 2 * bytes / self.settings.group_bytes_max as usize + 1;
        let per_group = GROUP_HEADER_BYTES + DIRECTORY_TAIL_BYTES + GROUP_ALIGN_BYTES;
        bytes + groups * per_group
    }

    /// What the open segment's footer takes.
    fn footer_bytes(&self) -> usize {
        let index = self.shared.index.read();
        index.open_entries * ENTRY_BYTES
            + (index.partitions.len() + index.open_columns) * FOOTER_BYTES_PER_PARTITION
            + FOOTER_TAIL_BYTES
    }

    /// Sees to it that the current segment takes this many bytes in this many frames, sealing it
    /// if need be.
    fn make_room(&mut self, bytes: usize, frames: usize) -> Result<(), LogError> {
        if let Some(current) = &self.current {
            let footer = self.footer_bytes() + frames * FOOTER_BYTES_PER_FRAME;
            let entries = self.shared.index.read().open_entries + frames;
            let is_over = current.at as usize + bytes + footer
                > self.settings.segment_bytes as usize
                || entries > self.settings.segment_batches_max as usize;
            if is_over && current.at > 0 {
                self.seal_current()?;
            }
        }
        if self.current.is_none() {
            self.take_segment()?;
        }
        Ok(())
    }

    /// Writes the current segment's footer and makes all of it durable.
    pub(crate) fn seal_current(&mut self) -> Result<(), LogError> {
        let Some(current) = &self.current else { return Ok(()) };
        let segment = Arc::clone(&current.segment);
        segment.file.sync_data().map_err(LogError::disk("syncing the log"))?;
        self.durable = self.written;
        self.has_rewritten = false;
        let (footer, spans) = self.shared.index.read().footer(current.at);
        let groups = GroupRange {
            first: current.first_group,
            last: self.last_group,
            last_checksum: self.last_checksum,
        };
        footer.write(&segment, groups)?;
        let bytes = segment.file.len().map_err(LogError::disk("sealing a segment"))?;
        let mut index = self.shared.index.write();
        index.seal(spans, self.written, bytes);
        self.pins = index.pins();
        drop(index);
        self.current = None;
        Ok(())
    }

    /// Begins the next segment, in a reserve file if there is one.
    fn take_segment(&mut self) -> Result<(), LogError> {
        let number = self.next_segment;
        let name = FileName::Segment { number, generation: self.generation };
        let segment = self.new_segment(name, number)?;
        self.next_segment += 1;
        self.disk.sync_dir().map_err(LogError::disk("syncing the log's directory"))?;
        self.shared.index.write().open = Some(Arc::clone(&segment));
        self.current = Some(Current { segment, at: 0, first_group: self.last_group + 1 });
        self.reserve.refill();
        Ok(())
    }

    /// Makes a file for a segment under a name. The name is not durable yet.
    pub(crate) fn new_segment(
        &self,
        name: FileName,
        number: u32,
    ) -> Result<Arc<Segment>, LogError> {
        let name = name.to_string();
        let made = match self.reserve.take() {
            Some(reserve) => {
                self.disk.rename(&reserve.to_string(), &name).and_then(|()| self.disk.open(&name))
            }
            None => self.disk.create(&name),
        };
        let file = made.map_err(LogError::full_or_disk("making a log segment"))?;
        Ok(Arc::new(Segment { number, generation: self.generation, file }))
    }

    /// Gives the files of leaving segments that no reader holds to the reserve.
    fn recycle(&mut self) -> Result<(), LogError> {
        let (free, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|sealed| Arc::strong_count(&sealed.segment) == 1);
        self.leaving = held;
        if free.is_empty() {
            return Ok(());
        }
        for sealed in free {
            let given = self.reserve.give(&sealed.segment.name());
            given.map_err(LogError::disk("recycling a segment"))?;
        }
        self.reserve.refill();
        Ok(())
    }
}

fn assert_batch(frame: &Frame, end: Option<i64>) {
    let (partition, base) = (frame.partition, frame.base_offset);
    assert!(partition.0 > 0, "a batch belongs to a partition");
    assert!(frame.next_offset > base, "a batch or gap of partition {partition} holds offsets");
    assert!(
        (frame.kind == FrameKind::Gap) == frame.payload.is_empty(),
        "batches of partition {partition} have bytes, gaps none"
    );
    if let Some(end) = end {
        assert!(base == end, "I8: partition {partition} ends at {end}, a frame begins at {base}");
    }
}
