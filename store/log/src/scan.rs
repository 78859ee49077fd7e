//! Scanning a segment that has no footer: which groups are whole, which are damaged, and where
//! what is durable ends.
//!
//! The rule: everything below a durable position that a later group states was durable, so damage
//! there is corruption; what is above it and does not continue without a break is a torn tail.

use std::ops::Range;
use std::sync::Arc;

use crate::frame_header::{FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameHeader};
use crate::group::{Directory, FORMAT_VERSION, GROUP_ALIGN_BYTES, GROUP_HEADER_BYTES, GroupHeader};
use crate::segment::Segment;
use crate::{FrameKind, LogError, Position};

/// Bytes read at once while scanning.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// A frame that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundFrame {
    pub(crate) at: u32,
    pub(crate) header: FrameHeader,
}

impl FoundFrame {
    /// True if this version knows the kind.
    pub(crate) const fn is_known(&self) -> bool {
        FrameKind::from_number(self.header.kind).is_some()
    }
}

/// A stretch of a segment: one group, or bytes between groups that are none.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) bytes: Range<u32>,
    /// The group's header, if it could be read.
    pub(crate) header: Option<GroupHeader>,
    /// Its whole frames, in order.
    pub(crate) frames: Vec<FoundFrame>,
    /// What is missing; `None` for a whole group.
    pub(crate) damage: Option<Damage>,
}

/// What is missing from a stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Partitions that lost frames.
    pub(crate) lost: Vec<mainstem_types::PartitionNo>,
    /// True if frames are missing of which nobody can say whose they were.
    pub(crate) is_unattributed: bool,
}

/// The outcome of a scan.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// What is kept, in order; damaged stretches only below the durable end.
    pub(crate) stretches: Vec<Stretch>,
    /// Everything below is proven durable; at most `end`.
    pub(crate) durable_end: u32,
    /// Where what is kept ends.
    pub(crate) end: u32,
    /// Bytes of recognisable groups that were dropped.
    pub(crate) torn_bytes: u64,
    /// The number that the first group has, or should have.
    pub(crate) first_group: u64,
}

impl Scan {
    /// The stretches that begin below the durable end.
    pub(crate) fn durable_stretches(&self) -> &[Stretch] {
        let durable = |stretch: &&Stretch| stretch.bytes.start < self.durable_end;
        &self.stretches[..self.stretches.iter().take_while(durable).count()]
    }

    /// The last group's header among what is kept.
    pub(crate) fn last_header(&self) -> Option<&GroupHeader> {
        self.stretches.iter().rev().find_map(|stretch| stretch.header.as_ref())
    }
}

/// Scans the groups of a segment up to `limit` (its durable end, where that is known from
/// elsewhere, or `None`). Everything below `proven` is durable for reasons of the caller's. The
/// first group should have the number `first_group`.
pub(crate) fn scan(
    segment: &Arc<Segment>,
    limit: Option<u32>,
    proven: Position,
    first_group: u64,
) -> Result<Scan, LogError> {
    let mut window = Window::open(segment)?;
    if let Some(limit) = limit {
        window.end = window.end.min(limit);
    }
    let found = find_stretches(&mut window)?;
    let stated = found.iter().filter_map(|stretch| stretch.header.map(|header| header.durable));
    let proven = stated.chain([proven]).max().unwrap_or_default();
    let durable_end = match proven.segment().cmp(&segment.number) {
        std::cmp::Ordering::Less => limit.unwrap_or(0),
        std::cmp::Ordering::Equal => limit.unwrap_or_else(|| {
            // A position in the midst of a group proves the whole group.
            proven.byte().next_multiple_of(GROUP_ALIGN_BYTES as u32)
        }),
        // All of it is, though where it ends only the groups can say.
        std::cmp::Ordering::Greater => {
            limit.unwrap_or_else(|| found.last().map_or(0, |last| last.bytes.end))
        }
    };
    settle(&mut window, found, durable_end, first_group)
}

/// Finds all groups of this segment and generation, and the stretches between them.
fn find_stretches(window: &mut Window) -> Result<Vec<Stretch>, LogError> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut at = 0;
    let mut last: Option<GroupHeader> = None;
    while let Some(next) = window.next_group(at, last.as_ref())? {
        let (group_at, header) = next;
        if group_at > at {
            found.push(Stretch {
                bytes: at..group_at,
                header: None,
                frames: Vec::new(),
                damage: Some(Damage::default()),
            });
        }
        // Behind a stretch that cannot be read there is nothing to continue from; whether that
        // stretch was durable decides, not this group.
        let is_continuous = group_at > at
            || last.is_none_or(|last| {
                last.number + 1 == header.number && last.checksum == header.previous
            });
        let end = group_at + header.total_bytes;
        let frames = window.whole_frames(group_at, &header)?;
        let is_whole = frames.is_some() && is_continuous;
        found.push(Stretch {
            bytes: group_at..end,
            header: Some(header),
            frames: frames.unwrap_or_default(),
            damage: (!is_whole).then(Damage::default),
        });
        last = Some(header);
        at = end;
    }
    Ok(found)
}

/// Decides what is kept, and says what is missing from it.
fn settle(
    window: &mut Window,
    found: Vec<Stretch>,
    durable_end: u32,
    first_group: u64,
) -> Result<Scan, LogError> {
    let mut scan = Scan { durable_end, first_group, ..Scan::default() };
    let mut is_torn = false;
    for mut stretch in found {
        let begins_durable = stretch.bytes.start < durable_end;
        is_torn |= !begins_durable && stretch.damage.is_some();
        if is_torn {
            scan.torn_bytes += u64::from(stretch.bytes.end - stretch.bytes.start);
            continue;
        }
        if stretch.header.is_none() && stretch.bytes.end > durable_end {
            // Its first part was durable and is gone; the rest never was.
            stretch.bytes.end = durable_end;
            is_torn = true;
        }
        if stretch.damage.is_some() {
            salvage(window, &scan, &mut stretch)?;
        }
        scan.end = stretch.bytes.end;
        scan.stretches.push(stretch);
    }
    if scan.end < durable_end {
        let mut missing = Stretch {
            bytes: scan.end..durable_end,
            header: None,
            frames: Vec::new(),
            damage: Some(Damage::default()),
        };
        salvage(window, &scan, &mut missing)?;
        scan.end = durable_end;
        scan.stretches.push(missing);
    }
    Ok(scan)
}

/// Collects the whole frames of a damaged stretch and finds out whose are missing.
fn salvage(window: &mut Window, before: &Scan, stretch: &mut Stretch) -> Result<(), LogError> {
    let bytes = window.bytes(stretch.bytes.clone())?.to_vec();
    let from_group = before.last_header().map_or(before.first_group, |group| group.number + 1);
    let generation = window.segment.generation;
    let is_ours = |header: &FrameHeader| {
        header.generation == generation
            && header.group >= from_group
            && stretch.header.is_none_or(|group| group.number == header.group)
    };
    let mut damage = Damage::default();
    stretch.frames.clear();
    let mut at = 0;
    while at + FRAME_HEADER_BYTES <= bytes.len() {
        let header = FrameHeader::decode(&bytes[at..]).filter(|header| is_ours(header));
        let Some(header) = header.filter(|found| at + found.stored_bytes() <= bytes.len()) else {
            at += FRAME_ALIGN_BYTES;
            continue;
        };
        let from = at + FRAME_HEADER_BYTES;
        if header.fits(&bytes[from..from + header.payload_bytes as usize]) {
            let frame_at = stretch.bytes.start + u32::try_from(at).expect("within a segment");
            stretch.frames.push(FoundFrame { at: frame_at, header });
        } else {
            damage.lost.push(header.partition);
        }
        at += header.stored_bytes();
    }
    attribute(&bytes, generation, from_group, stretch, &mut damage);
    damage.lost.sort_unstable();
    damage.lost.dedup();
    stretch.damage = Some(damage);
    Ok(())
}

/// Compares the frames that were found with what headers and directories say there should be.
fn attribute(
    bytes: &[u8],
    generation: u64,
    from_group: u64,
    stretch: &Stretch,
    damage: &mut Damage,
) {
    let ends = (GROUP_ALIGN_BYTES..=bytes.len()).step_by(GROUP_ALIGN_BYTES);
    let directories: Vec<Directory> = ends
        .filter_map(|end| Directory::decode(&bytes[..end]))
        .filter(|found| found.generation == generation && found.group >= from_group)
        .collect();
    for directory in &directories {
        for (partition, count) in &directory.frames {
            let found = stretch.frames.iter().filter(|frame| {
                frame.header.group == directory.group && frame.header.partition == *partition
            });
            if (found.count() as u64) < u64::from(*count) {
                damage.lost.push(*partition);
            }
        }
    }
    damage.is_unattributed = match &stretch.header {
        Some(header) => {
            let missing = (stretch.frames.len() as u64) < u64::from(header.frame_count);
            missing && directories.iter().all(|found| found.group != header.number)
        }
        None => {
            // Without a header only an unbroken row of directories accounts for everything.
            let numbers = directories.iter().map(|found| found.group);
            let is_complete = numbers.eq(from_group..from_group + directories.len() as u64);
            let is_to_the_end = Directory::decode(bytes).is_some();
            !is_complete || !is_to_the_end
        }
    };
}

/// Reads a segment in large pieces.
struct Window {
    segment: Arc<Segment>,
    buffer: Vec<u8>,
    /// The byte of the segment where `buffer` begins.
    start: u32,
    /// Where the segment's file (or what is of interest in it) ends.
    end: u32,
}

impl Window {
    fn open(segment: &Arc<Segment>) -> Result<Self, LogError> {
        let what = format!("reading {}", segment.name());
        let len = segment.file.len().map_err(LogError::disk(what))?;
        let end = u32::try_from(len).unwrap_or(u32::MAX);
        Ok(Self { segment: Arc::clone(segment), buffer: Vec::new(), start: 0, end })
    }

    /// The bytes of a range, as far as the file goes.
    fn bytes(&mut self, range: Range<u32>) -> Result<&[u8], LogError> {
        let range = range.start.min(self.end)..range.end.min(self.end);
        let buffered = self.start..self.start + u32::try_from(self.buffer.len()).expect("< 4 GiB");
        if range.start < buffered.start || range.end > buffered.end {
            let wanted = (range.end - range.start) as usize;
            let left = (self.end - range.start) as usize;
            self.buffer.resize(wanted.max(WINDOW_BYTES).min(left), 0);
            let read = self.segment.file.read_at(u64::from(range.start), &mut self.buffer);
            let what = format!("reading {}", self.segment.name());
            let filled = read.map_err(LogError::disk(what))?;
            self.buffer.truncate(filled);
            self.start = range.start;
        }
        let from = (range.start - self.start) as usize;
        let to = ((range.end - self.start) as usize).min(self.buffer.len());
        Ok(&self.buffer[from.min(to)..to])
    }

    /// The first group of this segment at or after `at` that comes later than `last`.
    fn next_group(
        &mut self,
        at: u32,
        last: Option<&GroupHeader>,
    ) -> Result<Option<(u32, GroupHeader)>, LogError> {
        const HEADER: u32 = GROUP_HEADER_BYTES as u32;
        let (number, generation) = (self.segment.number, self.segment.generation);
        let end = self.end;
        let mut at = at;
        while at.checked_add(HEADER).is_some_and(|header_end| header_end <= end) {
            let bytes = self.bytes(at..at + HEADER)?;
            let header = GroupHeader::decode(bytes).filter(|found| {
                (found.segment, found.generation) == (number, generation)
                    && found.total_bytes <= end - at
                    && last.is_none_or(|last| found.number > last.number)
            });
            if let Some(header) = header {
                if header.version > FORMAT_VERSION {
                    return Err(LogError::Format(format!(
                        "{} has format {}, this version reads up to {FORMAT_VERSION}; \
                         run a newer one",
                        self.segment.name(),
                        header.version
                    )));
                }
                return Ok(Some((at, header)));
            }
            let Some(next) = at.checked_add(GROUP_ALIGN_BYTES as u32) else { break };
            at = next;
        }
        Ok(None)
    }

    /// The frames of a group; `None` unless all of them and what ties them together are whole.
    fn whole_frames(
        &mut self,
        at: u32,
        group: &GroupHeader,
    ) -> Result<Option<Vec<FoundFrame>>, LogError> {
        let bytes = self.bytes(at..at + group.total_bytes)?;
        let body_end = GROUP_HEADER_BYTES + group.body_bytes as usize;
        let mut frames = Vec::new();
        let mut headers_crc = 0;
        let mut from = GROUP_HEADER_BYTES;
        while from < body_end {
            let Some(header) = bytes.get(from..body_end).and_then(FrameHeader::decode) else {
                return Ok(None);
            };
            let payload = from + FRAME_HEADER_BYTES;
            let is_whole = (header.generation, header.group) == (group.generation, group.number)
                && from + header.stored_bytes() <= body_end
                && header.fits(&bytes[payload..payload + header.payload_bytes as usize]);
            if !is_whole {
                return Ok(None);
            }
            headers_crc = crc32c::crc32c_append(headers_crc, &bytes[from..payload]);
            let frame_at = at + u32::try_from(from).expect("within a segment");
            frames.push(FoundFrame { at: frame_at, header });
            from += header.stored_bytes();
        }
        let is_whole = headers_crc == group.headers_crc
            && frames.len() == group.frame_count as usize
            && Directory::decode(bytes).is_some_and(|found| found.group == group.number);
        Ok(is_whole.then_some(frames))
    }
}
