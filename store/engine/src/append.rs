//! Batches from clients.

use bytes::BytesMut;
use mainstem_log::{Frame, FrameKind};
use mainstem_record::{BatchHeader, patch_base_offset, patch_leader_epoch, patch_log_append_time};
use mainstem_transaction::Verdict;
use mainstem_types::{Error, PartitionNo, TimestampType};

use crate::op::{Ack, Appended};
use crate::sequencer::Sequencer;
use crate::state::producer_of;
use crate::waiting::Promise;

impl Sequencer {
    /// Takes a checked batch to its partition's end, or finds it there already.
    pub(crate) fn sequence_append(
        &mut self,
        no: PartitionNo,
        batch: BytesMut,
        ack: Ack,
        is_kept: bool,
    ) -> Result<Promise, Error> {
        let timestamp_type = self.check_local_write(no)?;
        self.check_disk()?;
        self.check_replicas(no, ack)?;
        let header = BatchHeader::decode(&batch).map_err(|e| Error::corrupt(e.to_string()))?;
        let partition = self.state.partitions.get_mut(&no).expect("checked with the catalog");
        partition.check_in_service()?;
        let log_start = partition.log_start;
        let by_log = timestamp_type == TimestampType::LogAppendTime;
        match partition.producers.check(&producer_of(&header))? {
            // The answer waits for the sync of this group: the original may be part of it, or may
            // still wait for a replica (I1).
            Verdict::Duplicate { base_offset, next_offset, timestamp } => {
                let append_time_ms = by_log.then_some(timestamp);
                let appended = Appended { base_offset, append_time_ms, log_start };
                return Ok(Promise { appended, partition: no, next_offset });
            }
            Verdict::Append if is_kept => {}
            Verdict::Append => self.check_transaction(no, &header)?,
        }
        let (header, arrival_ms) = self.stage_own_batch(no, batch, by_log);
        let append_time_ms = by_log.then_some(arrival_ms);
        let appended = Appended { base_offset: header.base_offset, append_time_ms, log_start };
        Ok(Promise { appended, partition: no, next_offset: header.next_offset() })
    }

    /// Stamps a batch and puts it at its partition's end, which is ours to write. Gives its header
    /// and the time of its arrival.
    pub(crate) fn stage_own_batch(
        &mut self,
        no: PartitionNo,
        mut batch: BytesMut,
        by_log: bool,
    ) -> (BatchHeader, i64) {
        let partition = self.state.partitions.get_mut(&no).expect("checked with the catalog");
        // Expiry is a prefix of whole batches only if arrival times never go back.
        let arrival_ms = self.now_ms.max(partition.last_arrival_ms);
        patch_base_offset(&mut batch, partition.end);
        patch_leader_epoch(&mut batch, partition.lineage.leader_epoch());
        if by_log {
            patch_log_append_time(&mut batch, arrival_ms);
        }
        let header = BatchHeader::decode(&batch).expect("patched in place");
        let batch = batch.freeze();
        partition.note_batch(&header, &batch, arrival_ms);
        self.group.frames.push(batch_frame(no, &header, arrival_ms, batch));
        self.group.partitions.insert(no);
        (header, arrival_ms)
    }

    /// I5: only the owner's cluster writes a topic.
    pub(crate) fn check_local_write(&self, no: PartitionNo) -> Result<TimestampType, Error> {
        let gone = || Error::not_found("the partition does not exist any more; look it up again");
        let home = self.state.catalog.partition(no).ok_or_else(gone)?;
        let stream = self.state.catalog.stream(home.stream).ok_or_else(gone)?;
        let topic = stream.topic_by_origin(home.topic).ok_or_else(gone)?;
        stream.check_local_write(topic)?;
        Ok(topic.timestamp_type)
    }

    pub(crate) fn check_disk(&self) -> Result<(), Error> {
        if self.housekeeping.disk_is_full {
            return Err(Error::storage(
                "the disk is almost full; free space, or delete topics or lower their ttl",
            ));
        }
        Ok(())
    }
}

pub(crate) fn batch_frame(
    no: PartitionNo,
    header: &BatchHeader,
    arrival_ms: i64,
    payload: bytes::Bytes,
) -> Frame {
    // A batch that compaction left without records is found by no time.
    let max_timestamp_ms = if header.record_count == 0 { -1 } else { header.max_timestamp };
    Frame {
        kind: FrameKind::Batch,
        partition: no,
        base_offset: header.base_offset,
        next_offset: header.next_offset(),
        arrival_ms,
        max_timestamp_ms,
        record_count: u32::try_from(header.record_count).unwrap_or(0),
        leader_epoch: header.leader_epoch,
        payload,
    }
}
