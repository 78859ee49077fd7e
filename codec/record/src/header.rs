//! The 61 bytes that open every batch.

use crate::compression::Compression;
use crate::error::RecordError;

/// Bytes from the base offset to the record count, both included.
pub const HEADER_BYTES: usize = 61;
/// The producer id of a batch that has none.
pub const NO_PRODUCER_ID: i64 = -1;
/// The producer epoch of a batch that has none.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The base sequence of a batch that has none.
pub const NO_SEQUENCE: i32 = -1;

pub(crate) const BASE_OFFSET_AT: usize = 0;
pub(crate) const LENGTH_AT: usize = 8;
/// The length word counts what follows it.
pub(crate) const LENGTH_END: usize = 12;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(crate) const BASE_TIMESTAMP_AT: usize = 27;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
pub(crate) const PRODUCER_EPOCH_AT: usize = 51;
pub(crate) const BASE_SEQUENCE_AT: usize = 53;
pub(crate) const COUNT_AT: usize = 57;
pub(crate) const MAGIC: i8 = 2;

/// Whose clock a batch's timestamps are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    Create,
    /// The log's: all records have the batch's `max_timestamp`.
    LogAppend,
}

/// The attribute bits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(crate) const COMPRESSION: i16 = 0x07;
    pub(crate) const LOG_APPEND: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
    pub(crate) const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the records, an error for an unassigned id.
    pub fn compression(self) -> Result<Compression, RecordError> {
        Compression::from_id(self.0 & Self::COMPRESSION)
    }

    /// Whose clock the timestamps are from.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND == 0 {
            TimestampType::Create
        } else {
            TimestampType::LogAppend
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Holds a marker of the broker's instead of a producer's records.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The base timestamp is the time after which compaction may drop tombstones.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// A batch's header, as read: only its length and format number have been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (as the producer wrote it; outside the checksum).
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub total_bytes: usize,
    /// Epoch of the leader that took the batch (outside the checksum).
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transactional and control bits.
    pub attributes: Attributes,
    /// Last offset minus base offset; compaction keeps it when it drops records.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas add to, ms since 1970.
    pub base_timestamp: i64,
    /// The largest timestamp in the batch, ms since 1970, -1 for none.
    pub max_timestamp: i64,
    /// Producer id, [`NO_PRODUCER_ID`] for none.
    pub producer_id: i64,
    /// Producer epoch, [`NO_PRODUCER_EPOCH`] for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, [`NO_SEQUENCE`] for none.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

/// The array at `at`, which the caller has proved to be inside `bytes`.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range is N bytes long")
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may end before the batch does.
    ///
    /// Checks the length word against a header's size and the format number, nothing else: see
    /// [`check_produced`](crate::check_produced) and [`check_replicated`](crate::check_replicated).
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() < HEADER_BYTES {
            return Err(RecordError::Truncated { needed: HEADER_BYTES, available: bytes.len() });
        }
        let magic = i8::from_be_bytes(array_at(bytes, MAGIC_AT));
        if magic != MAGIC {
            return Err(RecordError::Magic(magic));
        }
        let length = i32::from_be_bytes(array_at(bytes, LENGTH_AT));
        let total_bytes = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(LENGTH_END))
            .filter(|total| *total >= HEADER_BYTES)
            .ok_or(RecordError::Length(length))?;
        Ok(Self {
            base_offset: i64::from_be_bytes(array_at(bytes, BASE_OFFSET_AT)),
            total_bytes,
            leader_epoch: i32::from_be_bytes(array_at(bytes, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(array_at(bytes, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(array_at(bytes, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(array_at(bytes, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(array_at(bytes, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(array_at(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(array_at(bytes, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(array_at(bytes, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(array_at(bytes, BASE_SEQUENCE_AT)),
            record_count: i32::from_be_bytes(array_at(bytes, COUNT_AT)),
        })
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record: where the next batch begins.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Offsets the batch takes up, at least 1 in a checked batch.
    pub fn offset_count(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }

    /// Sent by an idempotent or transactional producer.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Sequence number of the last record: they wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        i32::try_from(last % (i64::from(i32::MAX) + 1)).unwrap_or(NO_SEQUENCE)
    }
}
