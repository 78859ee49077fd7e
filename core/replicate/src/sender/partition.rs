//! One partition of a session, at the source.

use mainstem_link::Code;
use mainstem_types::{Lineage, LineageEntry, TermId};

/// What the source has of a partition, told by the shell whenever it moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The first offset kept.
    pub log_start: i64,
    /// The next offset that is not yet durable. Nothing from here on is ever sent (I3).
    pub durable_end: i64,
    /// Below it the topic's owner deleted the records; never above `log_start`.
    pub trimmed: i64,
    /// Who wrote it.
    pub lineage: Lineage,
    /// What consumers may read, where that is not all that is durable.
    pub watermark: Option<i64>,
}

/// A partition between what the replica said it has and what the source has.
#[derive(Debug, Default)]
pub(crate) struct SendPartition {
    pub(crate) view: Option<PartitionView>,
    /// The replica's state in the Welcome: (end, lineage).
    welcome: Option<(i64, Lineage)>,
    /// The replica was asked to rejoin our history, and has not said where it ends then.
    rejoining: bool,
    /// Where the next read begins; set once both sides are known.
    pub(crate) next: Option<i64>,
    /// Durable at the replica.
    pub(crate) acked: i64,
    /// Up to where the replica knows what the owner deleted.
    pub(crate) trim_told: i64,
    /// What of that the shell was told.
    pub(crate) acked_told: Option<i64>,
    /// The watermark that the replica was told; nothing if it may hold an old one.
    pub(crate) watermark_told: Option<i64>,
    /// Another link fed it meanwhile, and may have told another watermark.
    pub(crate) is_resumed: bool,
    /// The first offset that the source keeps, and up to where it may have been compacted, as it
    /// was after the last read.
    pub(crate) kept: (i64, i64),
    /// Ranges above, in order, that were no longer kept where the source has them from.
    pub(crate) gaps: Vec<(i64, i64)>,
    /// The lineage that the replica knows of.
    lineage_told: Lineage,
    /// What was told of reigns without records. Data tells it again: the replica may drop this frame,
    /// if another link fed the topic, and not what comes after it.
    reigns_told: Lineage,
    /// A read is under way.
    pub(crate) reading: bool,
    /// It stands in the queue of those with data to send.
    pub(crate) queued: bool,
    /// Where a bounded session ends.
    pub(crate) stop: Option<i64>,
    pub(crate) fault: Option<(Code, String)>,
    rewinds: u32,
    /// Where it began in this session, by the replica's Welcome.
    welcomed: Option<i64>,
}

/// A watermark that holds nothing back.
pub(crate) const NOT_HELD: i64 = i64::MAX;
/// What starting a partition asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing, or nothing yet.
    Nothing,
    /// The replica is to rejoin a history of this lineage, up to this end.
    Rejoin(Vec<LineageEntry>, i64),
}

/// Rewinds without progress before a partition is given up for this session.
const REWINDS_MAX: u32 = 3;

impl SendPartition {
    pub(crate) fn handle_welcome(&mut self, end: i64, lineage: Lineage, trimmed: i64) {
        self.acked = end;
        self.trim_told = trimmed;
        self.welcome = Some((end, lineage));
    }

    /// Starts the partition once both sides are known; `Err` if they contradict each other.
    /// `relayed` says that somebody else owns the topic, who may feed the replica by another way
    /// too: then the replica may well be ahead, and is served once we have passed its end.
    /// Where our history is that of the owner, in `term`, and the replica's is another, it is to
    /// rejoin ours.
    pub(crate) fn start(
        &mut self,
        relayed: bool,
        term: TermId,
        replica_holds: bool,
    ) -> Result<Start, (Code, String)> {
        if self.next.is_some() || self.fault.is_some() || self.rejoining {
            return Ok(Start::Nothing);
        }
        let Some(view) = &self.view else { return Ok(Start::Nothing) };
        let (end, theirs) = self.welcome.clone().unwrap_or_default();
        let common = if theirs.entries().is_empty() {
            end
        } else {
            view.lineage.common_end(view.durable_end, &theirs, end)
        };
        let reigns = view.lineage.last().is_some_and(|last| last.term_id == term);
        let parted = common < end || !view.lineage.continues(&theirs);
        if parted && reigns && !theirs.knows(term) {
            return Ok(Start::Rejoin(view.lineage.entries().to_vec(), view.durable_end));
        }
        // Nor is a history passed on that the owner may have left: ours is to be joined to it first.
        if relayed && (end > view.durable_end || (parted && !reigns)) {
            return Ok(Start::Nothing);
        }
        if end > view.durable_end {
            return Err((
                Code::SourceWentBackwards,
                format!(
                    "the replica ends at {end}, the source at {}: the source lost data or was \
                     restored from an older copy; compare the two before going on",
                    view.durable_end
                ),
            ));
        }
        if common < end {
            return Err((
                Code::Diverged,
                format!(
                    "the replica ends at {end}, but only the first {common} offsets were \
                     written by the same owner in the same term"
                ),
            ));
        }
        self.welcome = None;
        self.welcomed = Some(end).filter(|_| !self.is_resumed);
        self.lineage_told = theirs;
        self.reigns_told = Lineage::default();
        self.watermark_told = (!replica_holds && !self.is_resumed).then_some(NOT_HELD);
        self.next = Some(end);
        Ok(Start::Nothing)
    }

    /// Whether the source keeps nothing at this offset because retention took it.
    pub(crate) const fn is_expired(&self, offset: i64) -> bool {
        offset < self.kept.0
    }

    /// Up to where the source may have been compacted, if that is beyond `from`; 0 otherwise.
    pub(crate) const fn compacted_from(&self, from: i64) -> i64 {
        if self.kept.1 > from { self.kept.1 } else { 0 }
    }

    /// Whether nothing is kept at an offset because retention took it, here or on the way here.
    pub(crate) fn is_gap(&self, offset: i64) -> bool {
        let gap = self.gaps.iter().find(|(_, to)| *to > offset);
        self.is_expired(offset) || gap.is_some_and(|(from, _)| *from <= offset)
    }

    /// Where a hole from an offset to another ends being of one kind: what retention took is told
    /// by itself, lest it be taken for compacted.
    pub(crate) fn hole_end(&self, from: i64, to: i64) -> i64 {
        if self.is_expired(from) {
            return self.kept.0.min(to);
        }
        let gap = self.gaps.iter().find(|(_, end)| *end > from);
        gap.map_or(to, |(start, end)| if *start <= from { *end } else { *start }).min(to)
    }

    /// The replica is asked to rejoin our history.
    pub(crate) fn handle_rejoin_sent(&mut self) {
        self.rejoining = true;
    }

    /// What is durable at the replica and of this source, if that is news to the shell: what the
    /// replica held before counts once it is known to be ours.
    pub(crate) fn take_acked(&mut self) -> Option<i64> {
        let is_news = self.next.is_some() && self.acked_told != Some(self.acked);
        is_news.then(|| *self.acked_told.insert(self.acked))
    }

    /// The watermark that the replica is to be told; [`NOT_HELD`] to hold none back.
    pub(crate) fn take_watermark(&mut self) -> Option<i64> {
        let watermark = self.view.as_ref()?.watermark.unwrap_or(NOT_HELD);
        let is_news = self.next.is_some() && self.watermark_told != Some(watermark);
        is_news.then(|| *self.watermark_told.insert(watermark))
    }

    /// The offset up to which this session sends.
    pub(crate) fn target(&self) -> i64 {
        let durable = self.view.as_ref().map_or(0, |view| view.durable_end);
        self.stop.map_or(durable, |stop| stop.min(durable))
    }

    pub(crate) fn has_data(&self) -> bool {
        self.fault.is_none() && !self.reading && self.next.is_some_and(|next| next < self.target())
    }

    /// What the owner deleted and the replica does not know of, once it has passed all of it.
    pub(crate) fn due_trim(&self) -> Option<i64> {
        let trimmed = self.view.as_ref()?.trimmed;
        let due = self.fault.is_none() && trimmed > self.trim_told && trimmed <= self.acked;
        due.then_some(trimmed)
    }

    /// The lineage to send with batches up to `to`, if the replica does not know it; counts it as
    /// told.
    pub(crate) fn take_lineage(&mut self, to: i64) -> Vec<LineageEntry> {
        let Some(view) = &self.view else { return Vec::new() };
        let entries: Vec<LineageEntry> =
            view.lineage.entries().iter().copied().filter(|e| e.start_offset < to).collect();
        if entries == self.lineage_told.entries() || entries.is_empty() {
            return Vec::new();
        }
        self.lineage_told =
            Lineage::from_entries(entries.clone()).expect("part of a lineage rises as the whole");
        entries
    }

    /// The end and the whole lineage, if the replica is sent everything and does not know all reigns: one
    /// may have begun at the end, and nothing be written in it for long. The first one of all is told
    /// with the first data.
    pub(crate) fn take_reigns(&mut self) -> Option<(i64, Vec<LineageEntry>)> {
        let view = self.view.as_ref()?;
        let end = view.durable_end;
        let is_sent = self.next == Some(end) && self.fault.is_none() && self.stop.is_none();
        if !is_sent {
            return None;
        }
        // The lineage may be newer than the end.
        let entries = view.lineage.entries().iter().filter(|entry| entry.start_offset <= end);
        let reigns = Lineage::from_entries(entries.copied().collect())?;
        if [&self.lineage_told, &self.reigns_told].contains(&&reigns) || reigns.entries().len() < 2
        {
            return None;
        }
        self.reigns_told = reigns.clone();
        Some((end, reigns.entries().to_vec()))
    }

    /// The replica wants to be served from `expected` on; says whether that can be done.
    pub(crate) fn rewind(&mut self, expected: i64) -> bool {
        let Some(view) = &self.view else { return false };
        if expected > view.durable_end || self.rewinds >= REWINDS_MAX {
            return false;
        }
        self.rewinds += 1;
        self.next = Some(expected);
        (self.lineage_told, self.reigns_told) = Default::default();
        true
    }

    /// The replica takes this partition from here, or will: this is what it has by now, perhaps by
    /// the doing of another link.
    pub(crate) fn resume(&mut self, end: i64, lineage: Lineage) {
        // What it has is only known once it has rejoined our history.
        if self.rejoining {
            return;
        }
        self.acked = end;
        self.welcome = Some((end, lineage));
        self.is_resumed = true;
        self.next = None;
    }

    /// Begins again at what the replica has acknowledged.
    pub(crate) fn go_back(&mut self) {
        self.rejoining = false;
        self.next = self.next.map(|next| next.min(self.acked));
        (self.lineage_told, self.reigns_told) = Default::default();
        self.watermark_told = None;
    }

    /// The replica says where it ends now that it has rejoined our history, if it was asked to.
    pub(crate) fn handle_rejoined(&mut self, end: i64) -> bool {
        let was_asked = std::mem::take(&mut self.rejoining);
        if was_asked {
            (self.welcome, self.welcomed) = (None, None);
            (self.acked, self.next) = (end, Some(end));
            self.trim_told = self.trim_told.min(end);
            (self.lineage_told, self.reigns_told) = Default::default();
        }
        was_asked
    }

    /// Whether the replica ends here by its Welcome, which said that it has our history up to here.
    pub(crate) fn is_welcomed_at(&self, offset: i64) -> bool {
        self.welcomed == Some(offset) && self.acked == offset && self.rewinds == 0
    }

    pub(crate) fn handle_ack(&mut self, offset: i64) {
        if offset > self.acked {
            self.acked = offset;
            self.rewinds = 0;
        }
    }

    /// Whether the replica has all of our history up to `end`. What it had before it rejoined that is
    /// another one, however long.
    pub(crate) fn has_to(&self, end: i64) -> bool {
        self.next.is_some() && self.acked >= end
    }

    /// A bounded session has nothing more to do here.
    pub(crate) fn is_finished(&self) -> bool {
        let has_all = self.stop.is_some_and(|stop| self.acked >= stop) && !self.rejoining;
        self.fault.is_some() || has_all
    }
}
