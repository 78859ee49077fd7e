//! Batches that a link brings: taken exactly at the end, under a standing agreement, or not at all.

use bytes::Bytes;
use mainstem_catalog::Topic;
use mainstem_compaction::agree;
use mainstem_log::{Frame, FrameKind};
use mainstem_record::BatchHeader;
use mainstem_types::{Error, ErrorKind, Lineage, LineageEntry, OriginTopicId, PartitionNo};

use crate::append::batch_frame;
use crate::op::{LinkName, ReplicaAppend, ReplicaBatch};
use crate::sequencer::Sequencer;
use crate::state::{GAP_BY_COMPACTION, owner_term};

impl Sequencer {
    /// Returns the partition's end with these batches.
    pub(crate) fn sequence_replica_append(&mut self, append: ReplicaAppend) -> Result<i64, Error> {
        let (no, topic) = self.linked_partition(append.link, append.topic, append.partition)?;
        let term = topic.owner.term.number;
        self.check_joined(append.link, no)?;
        self.check_disk()?;
        // Corrupt, not Storage: it is this partition that stops, and not its link (I8).
        let in_service = self.partition_mut(no).check_in_service();
        in_service.map_err(|error| Error::corrupt(error.message()))?;
        let last = append.batches.last().map(|batch| BatchHeader::decode(&batch.bytes));
        let last = last.transpose().map_err(|e| Error::corrupt(e.to_string()))?;
        let to = last.map(|header| header.next_offset()).max(append.gap_to);
        if let Some(first) = append.batches.first().filter(|_| append.gap_to.is_none()) {
            // Before its reigns are taken over, which would begin beyond the end.
            let header = BatchHeader::decode(&first.bytes);
            let base_offset = header.map_err(|e| Error::corrupt(e.to_string()))?.base_offset;
            let end = self.partition_mut(no).end;
            if base_offset > end {
                return Err(Error::misaligned(end, base_offset));
            }
        }
        self.check_complete(no, &append.lineage, term)?;
        self.follow_lineage(no, &append.lineage, to.unwrap_or(0))?;
        // Before what it explains, whose end it does not exceed: a crash, or a batch that is
        // refused, may come between.
        let reached = to.unwrap_or(0).max(self.partition_mut(no).end);
        self.note_compaction(no, append.compacted.min(reached), 0);
        if append.compacted > reached {
            self.note_ahead(no, append.compacted, append.compacted_in.min(term));
        }
        if let Some(gap_to) = append.gap_to {
            self.sequence_gap(no, gap_to, append.compacted);
        }
        for batch in append.batches {
            self.sequence_replica_batch(no, batch)?;
        }
        Ok(self.partition_mut(no).end)
    }

    /// I6 and I5, at every append: the agreement stands in this epoch, and the topic is not ours.
    pub(crate) fn linked_partition(
        &self,
        link: LinkName,
        topic: OriginTopicId,
        index: u32,
    ) -> Result<(PartitionNo, &Topic), Error> {
        let LinkName { stream, upstream, link_epoch } = link;
        let stream = self
            .state
            .catalog
            .stream(stream)
            .ok_or_else(|| Error::fenced("the replica stream was deleted"))?;
        stream.check_link(upstream, link_epoch)?;
        let topic = stream.topic_by_origin(topic).ok_or_else(|| {
            Error::not_found(format!("topic {topic} is not known in {}", stream.path))
        })?;
        if topic.owner.stream == stream.id {
            return Err(Error::policy(format!(
                "topic {} belongs to {}; nobody else writes it",
                topic.name, stream.path
            )));
        }
        let no = topic.partition(index).ok_or_else(|| {
            Error::not_found(format!("topic {} has no partition {index}", topic.name))
        })?;
        Ok((no, topic))
    }

    /// I8: what was copied from a source that was compacted further ahead lacks what only records
    /// superseded that a new reign does not bring. Then all of it is asked for anew.
    fn check_complete(
        &mut self,
        no: PartitionNo,
        theirs: &[LineageEntry],
        term: u64,
    ) -> Result<(), Error> {
        let partition = &self.state.partitions[&no];
        let known = partition.lineage.entries().len();
        let lacks = |entry: &LineageEntry| partition.marks.lacks_for(entry.start_offset, term);
        if !theirs.get(known).is_some_and(lacks) {
            return Ok(());
        }
        let end = partition.end;
        self.copy_anew(no)?;
        Err(Error::misaligned(0, end))
    }

    fn partition_mut(&mut self, no: PartitionNo) -> &mut crate::state::PartitionState {
        self.state.partitions.get_mut(&no).expect("every partition of the catalog has a state")
    }

    /// Takes over epochs that begin at or after our end; anything else means two histories. So does
    /// an epoch of ours, below `to`, that they do not know.
    fn follow_lineage(
        &mut self,
        no: PartitionNo,
        theirs: &[LineageEntry],
        to: i64,
    ) -> Result<(), Error> {
        let owned_in = owner_term(&self.state.catalog, self.state.partitions[&no].home);
        let partition = self.partition_mut(no);
        let ours = partition.lineage.entries();
        let known = ours.iter().zip(theirs).take_while(|(our, their)| our == their).count();
        let news = &theirs[known..];
        let diverged = || Error::new(ErrorKind::Diverged, "the source's lineage is not ours");
        if news.is_empty() {
            let unknown = ours.get(known).filter(|_| !theirs.is_empty());
            return match unknown.is_some_and(|entry| entry.start_offset < to) {
                true => Err(diverged()),
                false => Ok(()),
            };
        }
        if known < ours.len() || (known > 0 && news[0].start_offset < partition.end) {
            return Err(diverged());
        }
        Lineage::from_entries(theirs.to_vec()).ok_or_else(diverged)?;
        // Our own next epoch begins at our end, wherever that will be.
        let end = to.max(partition.end);
        if let Some(beyond) = news.iter().find(|entry| entry.start_offset > end) {
            return Err(Error::corrupt(format!(
                "an epoch that begins at {} was told with records up to {end}",
                beyond.start_offset
            )));
        }
        for entry in news {
            partition.begin_epoch(entry, owned_in);
        }
        let news = news.to_vec();
        self.group.frames.extend(news.iter().map(|entry| epoch_frame(no, entry)));
        self.group.partitions.insert(no);
        Ok(())
    }

    /// I8: what the source no longer keeps is recorded as a gap, unless all of it lies below the
    /// offset up to which compaction may have taken it. A partition that holds nothing below it
    /// then starts after it.
    pub(crate) fn sequence_gap(&mut self, no: PartitionNo, gap_to: i64, compacted: i64) {
        let now_ms = self.now_ms;
        let partition = self.partition_mut(no);
        if gap_to <= partition.end {
            return;
        }
        let base_offset = partition.end;
        let gap = Frame {
            next_offset: gap_to,
            arrival_ms: now_ms,
            record_count: if gap_to <= compacted { GAP_BY_COMPACTION } else { 0 },
            ..Frame::at(FrameKind::Gap, no, base_offset)
        };
        // Compaction leaves the start where it is.
        let was_empty = partition.log_start == partition.end && gap_to > compacted;
        partition.pass_gap(&gap);
        if was_empty {
            partition.trim(gap_to, false);
        }
        self.group.frames.push(gap);
        if was_empty {
            self.group.frames.push(Frame::at(FrameKind::Trim, no, gap_to));
        }
        self.group.partitions.insert(no);
    }

    fn sequence_replica_batch(
        &mut self,
        no: PartitionNo,
        batch: ReplicaBatch,
    ) -> Result<(), Error> {
        // The checksum was checked before the batch was queued.
        let header =
            BatchHeader::decode(&batch.bytes).map_err(|e| Error::corrupt(e.to_string()))?;
        let partition = self.partition_mut(no);
        let end = partition.end;
        if header.base_offset > end {
            return Err(Error::misaligned(end, header.base_offset));
        }
        if header.base_offset < end {
            return self.check_same_batch(no, &header, &batch.bytes);
        }
        if header.leader_epoch > partition.lineage.leader_epoch() {
            return Err(Error::invalid(format!(
                "a batch of epoch {} came before its epoch's beginning",
                header.leader_epoch
            )));
        }
        if header.leader_epoch < partition.lineage.epoch_at(end) {
            return Err(Error::new(
                ErrorKind::Diverged,
                format!("offset {end}: a batch of an epoch that is over here"),
            ));
        }
        // What is kept expires in the order of arrival.
        let is_empty = partition.log_start == end;
        let floor_ms = if is_empty { 0 } else { partition.last_arrival_ms };
        let arrival_ms = batch.arrival_ms.max(floor_ms);
        partition.note_batch(&header, &batch.bytes, arrival_ms);
        self.group.frames.push(batch_frame(no, &header, arrival_ms, batch.bytes));
        self.group.partitions.insert(no);
        Ok(())
    }

    /// A batch below the end is dropped if it is the one that we hold, and is a divergence if not.
    /// Where either was compacted, it is the same if the records are that both hold (I2).
    fn check_same_batch(
        &self,
        no: PartitionNo,
        header: &BatchHeader,
        theirs: &Bytes,
    ) -> Result<(), Error> {
        let partition = &self.state.partitions[&no];
        if header.next_offset() <= partition.log_start {
            return Ok(());
        }
        let diverged = |what: &str| {
            Error::new(
                ErrorKind::Diverged,
                format!("offset {}: {what}; the replica must be made anew", header.base_offset),
            )
        };
        // Two feeders of one topic may bring a batch within one group: then it is not yet in the
        // log, but among the frames that are about to be written.
        let staged = self.group.frames.iter().rev().find(|frame| {
            frame.kind == FrameKind::Batch
                && frame.partition == no
                && frame.base_offset <= header.base_offset
        });
        let ours = match staged {
            Some(frame) => Some(frame.payload.clone()),
            None => {
                let found = self.log.reader().read(no, header.base_offset, partition.end, 1);
                let found = found.map_err(|error| self.shared.damage.note(error))?;
                found.into_iter().next().map(|batch| batch.bytes)
            }
        };
        let decode = |bytes: Bytes| BatchHeader::decode(&bytes).ok().map(|header| (header, bytes));
        // Where we hold nothing, a feeder with a shorter memory than this one declared a gap.
        let in_gap = |ours: &BatchHeader| {
            ours.base_offset >= header.next_offset() || ours.next_offset() <= header.base_offset
        };
        let ours = ours.and_then(decode).filter(|(ours, _)| !in_gap(ours));
        let Some((ours, our_bytes)) = ours else { return Ok(()) };
        let same = (ours.base_offset, ours.next_offset(), ours.crc, ours.leader_epoch)
            == (header.base_offset, header.next_offset(), header.crc, header.leader_epoch);
        if same || agree(&our_bytes, theirs) {
            Ok(())
        } else {
            Err(diverged("the source holds another batch than we do"))
        }
    }
}

pub(crate) fn epoch_frame(no: PartitionNo, entry: &LineageEntry) -> Frame {
    let mut frame = Frame::at(FrameKind::EpochStart, no, entry.start_offset);
    frame.leader_epoch = entry.leader_epoch;
    frame.payload = minicbor::to_vec(entry).expect("a Vec takes every byte").into();
    frame
}
