//! What a stream keeps, by digests: one side of a proof that two logs are equal.

use mainstem_link::{Code, DigestAnswer, DigestRange};
use mainstem_replicate::{DigestRoom, KeptLog, SourceBatch, answer_range};
use mainstem_types::{Error, ErrorKind, StreamId};

use crate::{Engine, Partition};

/// Bytes that are read at a time: all that an answer holds in memory.
const READ_BYTES: usize = 1024 * 1024;

impl KeptLog for Partition {
    fn log_start(&self) -> i64 {
        Self::log_start(self)
    }

    fn end(&self) -> i64 {
        self.durable_end()
    }

    fn compacted(&self) -> i64 {
        self.marks().compacted
    }

    fn out_of_service(&self) -> Option<Error> {
        let error = Self::read(self, self.durable_end(), 1).err()?;
        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Storage).then_some(error)
    }

    fn read(&self, from: i64) -> Result<Vec<SourceBatch>, Error> {
        let batches = Self::read(self, from, READ_BYTES)?;
        let batch = |batch: mainstem_log::StoredBatch| SourceBatch {
            base_offset: batch.base_offset,
            next_offset: batch.next_offset,
            arrival_ms: batch.arrival_ms,
            bytes: batch.bytes,
        };
        Ok(batches.into_iter().map(batch).collect())
    }
}

impl Engine {
    /// What a stream keeps of these ranges, one answer for each in their order, as far as the room
    /// of one answer goes. Reads the disk: call it where blocking is allowed.
    pub fn digests(
        &self,
        stream: StreamId,
        stride: u32,
        ranges: &[DigestRange],
    ) -> Vec<DigestAnswer> {
        let catalog = self.catalog();
        let stream = catalog.stream(stream);
        let mut room = DigestRoom::default();
        let answer = |range: &DigestRange| {
            let topic = stream.and_then(|stream| stream.topic_by_origin(range.origin));
            let no = topic.and_then(|topic| topic.partition(range.partition));
            match no.and_then(|no| self.partition(no)) {
                Some(partition) => answer_range(&*partition, range, stride, &mut room),
                None => DigestAnswer { code: Some(Code::NoTopic), ..DigestAnswer::default() },
            }
        };
        ranges.iter().map(answer).collect()
    }
}
