//! Steps of compaction, in the order of all that changes a partition.
//!
//! What is below the frontier `compacted` may be written anew; the frontier is durable before
//! anything is. What a link brings, or is set aside, has its frontier in front of it in the log. So
//! whoever has a rewritten batch can know that it is one. Each rewritten frame is true by itself: a
//! crash leaves the old or the new, wherever it strikes.

use std::sync::Arc;

use mainstem_compaction::Place;
use mainstem_log::{Frame, FrameKind};
use mainstem_record::BatchHeader;
use mainstem_transaction::Producers;
use mainstem_types::{Error, PartitionNo};

use crate::append::batch_frame;
use crate::op::{Compact, CompactStep};
use crate::sequencer::Sequencer;

impl Sequencer {
    /// Takes one step; gives who begins what is known of the partition's producers. Nobody else:
    /// while it is shared, the next batch copies all of it.
    ///
    /// # Errors
    /// What was read is no longer what stands there, or there is no room: begin again, later.
    pub(crate) fn sequence_compaction(
        &mut self,
        compact: Compact,
    ) -> Result<Option<Arc<Producers>>, Error> {
        let no = compact.partition;
        self.check_disk()?;
        let gone = || Error::not_found("the partition does not exist any more");
        let partition = self.state.partitions.get(&no).ok_or_else(gone)?;
        partition.check_in_service()?;
        // A trim that came between does not matter: what is below the start stays below it.
        if compact.cuts != partition.cuts {
            return Err(Error::retry("the partition was cut back meanwhile"));
        }
        let end = partition.end;
        match compact.step {
            CompactStep::Begin(to) => {
                let producers = Arc::clone(&partition.producers);
                self.note_compaction(no, to.min(end), 0);
                return Ok(Some(producers));
            }
            CompactStep::Done(to) => self.note_compaction(no, to.min(end), to.min(end)),
            CompactStep::Rewrite(places) => self.stage_places(no, places)?,
        }
        Ok(None)
    }

    /// Notes how far a partition is compacted, here or at its source: up to its end, or that of what
    /// is about to be staged.
    pub(crate) fn note_compaction(&mut self, no: PartitionNo, compacted: i64, cleaned: i64) {
        let partition = self.state.partitions.get_mut(&no).expect("looked up before");
        let marks = &partition.marks;
        let (compacted, cleaned) = (compacted.max(marks.compacted), cleaned.max(marks.cleaned));
        if (compacted, cleaned) == (marks.compacted, marks.cleaned) {
            return;
        }
        Arc::make_mut(&mut partition.marks).note_compaction(compacted, cleaned);
        let frame =
            Frame { next_offset: cleaned, ..Frame::at(FrameKind::Compacted, no, compacted) };
        self.group.frames.push(frame);
        self.group.partitions.insert(no);
    }

    /// Notes that the source of a link is compacted up to `ahead`, beyond what is here with the frames
    /// that follow. What is known of a source in an earlier term counts until it has come, too.
    pub(crate) fn note_ahead(&mut self, no: PartitionNo, ahead: i64, term: u64) {
        let partition = self.state.partitions.get_mut(&no).expect("looked up before");
        let term = i64::try_from(term).unwrap_or(i64::MAX);
        let known = (partition.marks.ahead, partition.marks.ahead_in);
        let counts = known.0 > partition.end;
        // A source that is behind with terms may come after one that is not.
        let ahead = if counts && known.1 > term { ahead.max(known.0) } else { ahead };
        if (counts && known.1 < term) || known == (ahead, term) || ahead <= partition.end {
            return;
        }
        let marks = Arc::make_mut(&mut partition.marks);
        marks.note_ahead(ahead, term);
        let frame = Frame {
            next_offset: marks.cleaned,
            arrival_ms: ahead,
            max_timestamp_ms: term,
            ..Frame::at(FrameKind::Compacted, no, marks.compacted)
        };
        self.group.frames.push(frame);
        self.group.partitions.insert(no);
    }

    fn stage_places(&mut self, no: PartitionNo, places: Vec<Place>) -> Result<(), Error> {
        let marks = &self.state.partitions[&no].marks;
        let is_begun = places.last().is_none_or(|last| last.to <= marks.compacted);
        assert!(is_begun, "I2: the frontier is durable before anything below it is written anew");
        for place in places {
            let frame = match place.batch {
                None => {
                    Frame { next_offset: place.to, ..Frame::at(FrameKind::Gap, no, place.from) }
                }
                Some(bytes) => {
                    let header =
                        BatchHeader::decode(&bytes).map_err(|e| Error::corrupt(e.to_string()))?;
                    batch_frame(no, &header, place.arrival_ms, bytes)
                }
            };
            self.group.frames.push(Frame { kind: FrameKind::Rewrite, ..frame });
        }
        Ok(())
    }
}
