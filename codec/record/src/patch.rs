//! What the owner of a log writes into a batch before it appends it.
//!
//! Base offset and leader epoch lie outside the checksum, so stamping them touches 12 bytes. All
//! three functions want a batch that was checked and panic when it is shorter than a header.

use crate::header::{
    ATTRIBUTES_AT, Attributes, BASE_OFFSET_AT, CRC_AT, HEADER_BYTES, LEADER_EPOCH_AT,
    MAX_TIMESTAMP_AT, array_at,
};

/// Writes the offset of the first record.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) {
    assert!(batch.len() >= HEADER_BYTES, "only checked batches are patched");
    batch[BASE_OFFSET_AT..BASE_OFFSET_AT + 8].copy_from_slice(&base_offset.to_be_bytes());
}

/// Writes the epoch of the leader that appends the batch.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    assert!(batch.len() >= HEADER_BYTES, "only checked batches are patched");
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives all records the log's time: sets the timestamp type and the maximum, which lie under the
/// checksum, and writes the checksum anew over the whole batch. At the owner only.
pub fn patch_log_append_time(batch: &mut [u8], timestamp_ms: i64) {
    assert!(batch.len() >= HEADER_BYTES, "only checked batches are patched");
    let attributes = i16::from_be_bytes(array_at(batch, ATTRIBUTES_AT)) | Attributes::LOG_APPEND;
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}
