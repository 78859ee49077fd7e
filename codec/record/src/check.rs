//! What is looked at before a batch is let in, without decompressing or copying it.

use crate::error::RecordError;
use crate::header::{ATTRIBUTES_AT, BatchHeader, HEADER_BYTES};

/// A record takes at least this many bytes: length, attributes, two deltas, two lengths, a count.
const RECORD_BYTES_MIN: usize = 7;

/// Checks that a producer's record set is exactly one batch that may be appended as it is:
/// whole, format 2, its checksum right, at least one record, `lastOffsetDelta = count - 1`, not a
/// control batch, its producer id, epoch and sequence present together or not at all.
pub fn check_produced(record_set: &[u8]) -> Result<BatchHeader, RecordError> {
    let header = check_whole(record_set)?;
    if header.attributes.is_control() {
        return Err(RecordError::Invalid("producers may not write control batches"));
    }
    if header.record_count < 1 {
        return Err(RecordError::Invalid("a produced batch has at least one record"));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(RecordError::Invalid("last offset delta is not the record count less one"));
    }
    if header.has_producer_id() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(RecordError::Invalid("a producer id comes with an epoch and a sequence"));
    }
    if header.attributes.is_transactional() && !header.has_producer_id() {
        return Err(RecordError::Invalid("a transactional batch has a producer id"));
    }
    Ok(header)
}

/// Checks a batch that another log has already accepted: `bytes` are exactly one batch, with
/// offsets and epoch in place. Control batches are allowed, and compaction may have left fewer
/// records than offsets, or none.
pub fn check_replicated(bytes: &[u8]) -> Result<BatchHeader, RecordError> {
    let header = check_whole(bytes)?;
    if header.base_offset < 0 {
        return Err(RecordError::Invalid("base offset is negative"));
    }
    if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
        return Err(RecordError::Invalid("last offset overflows"));
    }
    if i64::from(header.record_count) > header.offset_count() {
        return Err(RecordError::Invalid("more records than offsets"));
    }
    Ok(header)
}

/// Compares the checksum in the header with the bytes it covers; `batch` is one whole batch.
pub fn check_crc(batch: &[u8]) -> Result<(), RecordError> {
    let header = BatchHeader::decode(batch)?;
    check_length(&header, batch)?;
    check_sum(&header, batch)
}

fn check_whole(bytes: &[u8]) -> Result<BatchHeader, RecordError> {
    let header = BatchHeader::decode(bytes)?;
    check_length(&header, bytes)?;
    check_sum(&header, bytes)?;
    let compression = header.attributes.compression()?;
    if header.last_offset_delta < 0 {
        return Err(RecordError::Invalid("last offset delta is negative"));
    }
    let Ok(count) = usize::try_from(header.record_count) else {
        return Err(RecordError::Invalid("record count is negative"));
    };
    let body_bytes = header.total_bytes - HEADER_BYTES;
    if compression.is_none() && count > body_bytes / RECORD_BYTES_MIN {
        return Err(RecordError::Invalid("more records than the bytes can hold"));
    }
    Ok(header)
}

fn check_length(header: &BatchHeader, bytes: &[u8]) -> Result<(), RecordError> {
    if header.total_bytes > bytes.len() {
        let (needed, available) = (header.total_bytes, bytes.len());
        return Err(RecordError::Truncated { needed, available });
    }
    if header.total_bytes < bytes.len() {
        return Err(RecordError::Trailing(bytes.len() - header.total_bytes));
    }
    Ok(())
}

fn check_sum(header: &BatchHeader, bytes: &[u8]) -> Result<(), RecordError> {
    let computed = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    if computed != header.crc {
        return Err(RecordError::Crc { stated: header.crc, computed });
    }
    Ok(())
}
