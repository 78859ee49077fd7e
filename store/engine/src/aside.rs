//! A partition is joined to the history of its topic's owner: what goes beyond what both have in
//! common is set aside durably (I8), and only then undone.

use mainstem_catalog::{Command, Stream, Topic};
use mainstem_log::{Frame, FrameKind, StoredBatch};
use mainstem_record::BatchHeader;
use mainstem_types::{Error, ErrorKind, Lineage, LineageEntry, PartitionNo, TermId};

use crate::append::batch_frame;
use crate::op::{LinkName, Rejoin, Rejoined};
use crate::replica::epoch_frame;
use crate::room::{ASIDE_BYTES, Need};
use crate::sequencer::Sequencer;
use crate::state::owner_term;
use crate::transactions::account_bytes_max;

/// Where two histories part.
struct Fork {
    no: PartitionNo,
    /// The end of what they have in common.
    common: i64,
    /// Where the log is cut.
    cut: i64,
    theirs: Lineage,
}

impl Sequencer {
    /// One step of joining; it may be repeated, also after a crash, until it says where the end is.
    pub(crate) fn sequence_rejoin(&mut self, rejoin: &Rejoin) -> Result<Rejoined, Error> {
        let fork = self.check_rejoin(rejoin)?;
        let partition = &self.state.partitions[&fork.no];
        if fork.common < partition.end {
            self.check_disk()?;
            let aside = self.aside_of(rejoin, fork.no)?;
            self.check_aside(&fork, aside)?;
            if !self.is_set_aside(fork.no, aside) {
                self.copy_aside(&fork, aside)?;
                return Ok(Rejoined::InProgress);
            }
            tracing::warn!(
                partition = fork.no.0,
                aside = aside.0,
                from = fork.common,
                "records that the topic's owner does not have were set aside"
            );
            self.cut(&fork)?;
            self.note_joined(rejoin.link, fork.no);
        } else if fork.cut < fork.common || !fork.theirs.continues(&partition.lineage) {
            // Or a reign that wrote nothing.
            self.cut(&fork)?;
            self.note_joined(rejoin.link, fork.no);
        }
        self.begin_epochs(&fork);
        Ok(Rejoined::At(fork.cut))
    }

    /// The most that a step of joining writes: a topic to begin with all its partitions, the epochs
    /// of both, what it copies, and the partition's cursors once.
    pub(crate) fn rejoin_need(&self, rejoin: &Rejoin) -> Need {
        const SMALL_BYTES: usize = 16 * 1024;
        const EPOCH_BYTES: usize = 128;
        const CURSOR_BYTES: usize = 512;
        let Ok(fork) = self.check_rejoin(rejoin) else { return Need::default() };
        let (stream, partition) = (rejoin.link.stream, &self.state.partitions[&fork.no]);
        let topic = self.state.catalog.stream(stream);
        let topic = topic.and_then(|stream| stream.topic_by_origin(rejoin.topic));
        let begun = 2 * topic.map_or(0, |topic| topic.partitions.len());
        let epochs = rejoin.lineage.len() + partition.lineage.entries().len();
        let mut need = Need {
            payload_bytes: SMALL_BYTES
                + (begun + epochs) * EPOCH_BYTES
                + account_bytes_max(&partition.transactions),
            frames: 16 + begun + epochs,
        };
        if fork.common < partition.end {
            let written = self.written(fork.no);
            let aside = written.and_then(|written| self.known_aside(rejoin, written.term_id));
            let aside = aside.map_or(0, |no| self.state.partitions[&no].end);
            let from = fork.cut.max(partition.log_start).max(aside);
            let batches = self.log.reader().read(fork.no, from, partition.end, ASIDE_BYTES);
            // Damage is told by who copies it.
            for batch in batches.unwrap_or_default() {
                need = need + Need { payload_bytes: batch.bytes.len(), frames: 2 };
            }
            let cursors = self.shared.cursors.read().of_stream(stream);
            for (key, cursor) in cursors {
                if (key.topic, key.partition) == (rejoin.topic, rejoin.partition) {
                    let values = [cursor.local, cursor.replicated].into_iter().flatten();
                    let words: usize = values.map(|value| value.metadata.len()).sum();
                    let payload_bytes = words + 2 * (key.group.as_str().len() + CURSOR_BYTES);
                    need = need + Need { payload_bytes: 2 * payload_bytes, frames: 4 };
                }
            }
        }
        need
    }

    /// I5 and I6 as for an append, and: only the history of the topic's owner displaces another.
    fn check_rejoin(&self, rejoin: &Rejoin) -> Result<Fork, Error> {
        let (no, topic) = self.linked_partition(rejoin.link, rejoin.topic, rejoin.partition)?;
        let partition = &self.state.partitions[&no];
        let in_service = partition.check_in_service();
        in_service.map_err(|error| Error::corrupt(error.message()))?;
        let theirs = Lineage::from_entries(rejoin.lineage.clone())
            .ok_or_else(|| Error::corrupt("the source's lineage does not rise"))?;
        let term = topic.owner.term.id;
        let reigns = theirs.last().is_some_and(|last| last.term_id == term);
        let common = partition.lineage.common_end(partition.end, &theirs, rejoin.source_end);
        // Who has followed the owner's term already has parted from it by no fail-over.
        if !reigns || (common < partition.end && partition.lineage.knows(term)) {
            return Err(Error::new(
                ErrorKind::Diverged,
                format!(
                    "topic {}: the source's history is another one, and not that of the topic's \
                     owner; nothing was changed",
                    topic.name
                ),
            ));
        }
        let cut = self.place_to_cut(no, common, topic.owner.term.number);
        Ok(Fork { no, common, cut, theirs })
    }

    fn note_joined(&mut self, link: LinkName, no: PartitionNo) {
        let epoch = self.state.catalog.stream(link.stream).map(|stream| stream.link_epoch);
        let partition = self.state.partitions.get_mut(&no).expect("looked up before");
        partition.joined = epoch.map(|epoch| (link.upstream, epoch));
    }

    /// What a session says that was open before another link has cut the partition back is of a
    /// history that is not here any more, be it that nothing was written in it.
    pub(crate) fn check_joined(&self, link: LinkName, no: PartitionNo) -> Result<(), Error> {
        let joined = self.state.partitions.get(&no).and_then(|partition| partition.joined);
        match joined {
            Some((by, epoch)) if by != link.upstream && link.link_epoch <= epoch => {
                Err(Error::fenced(
                    "another link has joined a partition here to its owner's history; say Hello \
                     again",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Where compaction has looked at keys beyond what is common, records below may be gone that
    /// only those superseded which are about to be undone (I8). Then all of it comes anew from the
    /// owner, who has them, and from the very first offset: where else batches begin there is not
    /// known here.
    fn place_to_cut(&self, no: PartitionNo, common: i64, term: u64) -> i64 {
        let partition = &self.state.partitions[&no];
        let is_undone = common < partition.end && partition.marks.compacted > common;
        let is_kept = partition.log_start < common;
        let lacks = is_undone || partition.marks.lacks_for(common, term);
        if is_kept && lacks { 0 } else { common }
    }

    /// Begins a partition anew of which the link's source has all that is here, and more.
    pub(crate) fn copy_anew(&mut self, no: PartitionNo) -> Result<(), Error> {
        let partition = &self.state.partitions[&no];
        let (common, theirs) = (partition.end, Lineage::clone(&partition.lineage));
        self.cut(&Fork { no, common, cut: 0, theirs })
    }

    /// The partition that keeps what is set aside, if it was begun.
    fn known_aside(&self, rejoin: &Rejoin, written_in: TermId) -> Option<PartitionNo> {
        let stream = self.state.catalog.stream(rejoin.link.stream)?;
        let topic = stream.topic_by_origin(rejoin.topic)?;
        aside_topic(stream, topic, written_in)?.partition(rejoin.partition)
    }

    /// Who wrote the last record of a partition, and in which term.
    fn written(&self, no: PartitionNo) -> Option<LineageEntry> {
        let partition = &self.state.partitions[&no];
        let entries = partition.lineage.entries();
        entries.iter().rfind(|entry| entry.start_offset < partition.end).copied()
    }

    /// The partition that keeps what is set aside of `no`.
    fn aside_of(&mut self, rejoin: &Rejoin, no: PartitionNo) -> Result<PartitionNo, Error> {
        let written = self.written(no);
        let written = written.ok_or_else(|| Error::corrupt("records that nobody has written"))?;
        let command = Command::MakeAside {
            stream: rejoin.link.stream,
            topic: rejoin.topic,
            written_by: written.owner,
            written_in: written.term_id,
        };
        self.sequence_change(&command)?;
        Ok(self.known_aside(rejoin, written.term_id).expect("MakeAside has just seen to it"))
    }

    /// I8: what was last written in one term is the beginning of what that term wrote, so that of two
    /// tails of it one continues the other. Should what is kept be another one nevertheless, nothing
    /// is undone until a person has looked and made room; the source tries again now and then. What
    /// another link brought again from before what is kept was deleted here when that was set aside,
    /// and stays so.
    fn check_aside(&self, fork: &Fork, aside: PartitionNo) -> Result<(), Error> {
        let (ours, kept) = (&self.state.partitions[&fork.no], &self.state.partitions[&aside]);
        let is_begun = kept.end > 0;
        let is_same =
            kept.lineage.common_end(kept.end, &ours.lineage, ours.end) >= kept.end.min(ours.end);
        if is_begun && !is_same {
            let name = self.state.catalog.partition(aside).and_then(|home| {
                let stream = self.state.catalog.stream(home.stream)?;
                Some(stream.topic_by_origin(home.topic)?.name.to_string())
            });
            return Err(Error::new(
                ErrorKind::Policy,
                format!(
                    "topic {} keeps other records that were set aside, and these have no place; \
                     keep what you want of it elsewhere, and delete it",
                    name.unwrap_or_default()
                ),
            ));
        }
        Ok(())
    }

    /// Whether everything of `no` is durable in `aside`: what this group has written is not yet.
    fn is_set_aside(&self, no: PartitionNo, aside: PartitionNo) -> bool {
        let partitions = self.shared.partitions.read();
        let durable_end = partitions.get(&aside).map_or(0, |aside| aside.durable_end());
        durable_end >= self.state.partitions[&no].end
    }

    /// Copies the next batches as they are, at the offsets that they have.
    fn copy_aside(&mut self, fork: &Fork, aside: PartitionNo) -> Result<(), Error> {
        let partition = &self.state.partitions[&fork.no];
        let (end, lineage) = (partition.end, partition.lineage.clone());
        // What is cut below the common end is kept too: its owner may be lost before it has come anew.
        let first = fork.cut.max(partition.log_start);
        let from = self.state.partitions[&aside].end.max(first);
        if self.state.partitions[&aside].end >= end {
            return Ok(());
        }
        let batches = self.log.reader().read(fork.no, from, end, ASIDE_BYTES);
        let batches = batches.map_err(|error| self.shared.damage.note(error))?;
        // The owner may have deleted a part of the first batch.
        let begin = batches.first().map_or(first, |batch| batch.base_offset.min(first));
        let compacted = partition.marks.compacted;
        let to = batches.last().map_or(end, |batch| batch.next_offset);
        self.note_compaction(aside, compacted.min(to), 0);
        self.sequence_gap(aside, begin, 0);
        let known = self.state.partitions[&aside].lineage.entries().len();
        for entry in lineage.entries().iter().skip(known).filter(|e| e.start_offset < end) {
            self.push_epoch(aside, entry);
        }
        if batches.is_empty() {
            // What is left is a gap of retention's making.
            self.sequence_gap(aside, end, compacted);
        }
        for batch in batches {
            self.sequence_gap(aside, batch.base_offset, compacted);
            self.keep_batch(aside, batch)?;
        }
        if self.state.partitions[&aside].log_start < first {
            self.stage_trim(aside, first, false);
        }
        Ok(())
    }

    fn keep_batch(&mut self, aside: PartitionNo, batch: StoredBatch) -> Result<(), Error> {
        let header =
            BatchHeader::decode(&batch.bytes).map_err(|e| Error::corrupt(e.to_string()))?;
        let partition = self.state.partitions.get_mut(&aside).expect("looked up before");
        partition.note_batch(&header, &batch.bytes, batch.arrival_ms);
        self.group.frames.push(batch_frame(aside, &header, batch.arrival_ms, batch.bytes));
        self.group.partitions.insert(aside);
        Ok(())
    }

    /// Undoes what was set aside (I8: nothing else comes here), and what is to come anew. Cursors
    /// first: none may point past what is left, or comes anew (I4).
    fn cut(&mut self, fork: &Fork) -> Result<(), Error> {
        let (to, anew_to) = (fork.cut, fork.common);
        let arrival_ms = self.last_arrival_below(fork.no, to)?;
        let left = self.account_below(fork.no, to)?;
        let payload = if left.is_empty() { Vec::new() } else { left.encode() };
        let partition = self.state.partitions.get_mut(&fork.no).expect("looked up before");
        if to < anew_to {
            tracing::info!(
                partition = fork.no.0,
                from = to,
                to = anew_to,
                "log compaction has taken records that only those superseded which the owner does \
                 not have: the partition is copied anew from it"
            );
        }
        partition.truncate(to, anew_to, arrival_ms, left);
        self.keep_cursors_within(&[fork.no]);
        let frame = Frame {
            next_offset: anew_to,
            arrival_ms,
            payload: payload.into(),
            ..Frame::at(FrameKind::TruncateTo, fork.no, to)
        };
        self.group.frames.push(frame);
        self.group.partitions.insert(fork.no);
        Ok(())
    }

    /// When the last batch below an offset arrived; 0 if none is kept.
    fn last_arrival_below(&self, no: PartitionNo, to: i64) -> Result<i64, Error> {
        let partition = &self.state.partitions[&no];
        if partition.end <= to {
            return Ok(partition.last_arrival_ms);
        }
        if to <= partition.log_start {
            return Ok(0);
        }
        let below = self.log.reader().last_arrival_below(no, to);
        let below = below.map_err(|error| self.shared.damage.note(error))?;
        Ok(below.unwrap_or(0))
    }

    /// The owner's epochs up to where the log ends, so that clients see no lower one than they need.
    fn begin_epochs(&mut self, fork: &Fork) {
        let partition = &self.state.partitions[&fork.no];
        let known = partition.lineage.entries().len();
        let news = fork.theirs.entries().iter().skip(known);
        let due = news.filter(|entry| entry.start_offset <= fork.cut);
        for entry in due.copied().collect::<Vec<_>>() {
            self.push_epoch(fork.no, &entry);
        }
    }

    fn push_epoch(&mut self, no: PartitionNo, entry: &LineageEntry) {
        let partition = self.state.partitions.get_mut(&no).expect("looked up before");
        if partition.begin_epoch(entry, owner_term(&self.state.catalog, partition.home)) {
            self.group.frames.push(epoch_frame(no, entry));
            self.group.partitions.insert(no);
        }
    }
}

/// The topic that keeps what was set aside when the present owner displaced what was last written in
/// the term `written_in`.
fn aside_topic<'a>(stream: &'a Stream, topic: &Topic, written_in: TermId) -> Option<&'a Topic> {
    let origin = topic.origin.set_aside(stream.id, topic.owner.term.id, written_in);
    stream.topic_by_origin(origin).map(|topic| &**topic)
}
