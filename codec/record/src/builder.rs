//! Building batches, for producers of our own.

use bytes::{BufMut, BytesMut};

use crate::compression::Compression;
use crate::header::{
    ATTRIBUTES_AT, Attributes, CRC_AT, HEADER_BYTES, LENGTH_END, MAGIC, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE,
};
use crate::varint;

/// A batch in the making. Records are encoded as they are pushed; [`build`](Self::build) packs them
/// and writes the header.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    attributes: i16,
    compression: Compression,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    next_delta: i32,
    count: i32,
    body: Vec<u8>,
    fields: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch at offset 0, not compressed, of no producer id.
    pub fn new() -> Self {
        Self {
            base_offset: 0,
            leader_epoch: -1,
            attributes: 0,
            compression: Compression::None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            base_timestamp: -1,
            max_timestamp: -1,
            next_delta: 0,
            count: 0,
            body: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Sets the offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, base_offset: i64) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Sets the leader epoch, -1 unless set.
    #[must_use]
    pub fn leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Sets the codec.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets producer id, epoch and first sequence number.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Makes the batch part of its producer's transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// Makes it a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// Marks the timestamps as the log's: all records then have the largest.
    #[must_use]
    pub fn log_append_time(mut self) -> Self {
        self.attributes |= Attributes::LOG_APPEND;
        self
    }

    /// Appends a record without headers.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.push_with_headers(timestamp_ms, key, value, &[]);
    }

    /// Appends a record with headers, kept in this order, equal names included.
    pub fn push_with_headers(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp_ms, timestamp_ms);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let fields = &mut self.fields;
        fields.clear();
        fields.push(0);
        varint::write(fields, timestamp_ms.wrapping_sub(self.base_timestamp));
        varint::write(fields, i64::from(self.next_delta));
        varint::write_nullable(fields, key);
        varint::write_nullable(fields, value);
        varint::write(fields, headers.len() as i64);
        for (name, value) in headers {
            varint::write_nullable(fields, Some(name.as_bytes()));
            varint::write_nullable(fields, *value);
        }
        varint::write(&mut self.body, fields.len() as i64);
        self.body.extend_from_slice(fields);
        self.next_delta = self.next_delta.checked_add(1).expect("fewer than 2^31 records a batch");
        self.count += 1;
    }

    /// Leaves out the next `count` offsets, as compaction does: before a record, between two, or at
    /// the end.
    pub fn skip_offsets(&mut self, count: i32) {
        self.next_delta = self.next_delta.checked_add(count).expect("fewer than 2^31 offsets");
    }

    /// Records pushed.
    pub fn record_count(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// No record pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it were built now without compression.
    pub fn plain_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Bytes that a record of this size adds to [`plain_bytes`](Self::plain_bytes), at most.
    pub fn record_bytes_max(key_bytes: usize, value_bytes: usize) -> usize {
        const LENGTH: usize = 5;
        // Its own length, attributes, timestamp and offset deltas, two lengths, header count.
        LENGTH + 1 + varint::size(i64::MAX) + LENGTH + 2 * LENGTH + 1 + key_bytes + value_bytes
    }

    /// The finished batch. One without records is a batch of no offsets, unless some were
    /// skipped: producers must not send it.
    pub fn build(self) -> BytesMut {
        let packed = if self.compression.is_none() {
            self.body
        } else {
            self.compression.compress(&self.body)
        };
        let total_bytes = HEADER_BYTES + packed.len();
        let length = i32::try_from(total_bytes - LENGTH_END).expect("a batch is below 2 GiB");
        let mut out = BytesMut::with_capacity(total_bytes);
        out.put_i64(self.base_offset);
        out.put_i32(length);
        out.put_i32(self.leader_epoch);
        out.put_i8(MAGIC);
        out.put_u32(0);
        out.put_i16(self.attributes | self.compression.id());
        out.put_i32(self.next_delta - 1);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.count);
        out.extend_from_slice(&packed);
        let crc = crc32c::crc32c(&out[ATTRIBUTES_AT..]);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        out
    }
}
