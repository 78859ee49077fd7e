//! Finding records by time inside one batch.

use bytes::Bytes;

use crate::error::RecordError;
use crate::record::records;

/// The first record whose timestamp is `timestamp_ms` or later, as (offset, timestamp).
/// The header's maximum is asked first, so a batch that is too old is not unpacked.
pub fn offset_of_timestamp(
    batch: &Bytes,
    timestamp_ms: i64,
    limit_bytes: usize,
) -> Result<Option<(i64, i64)>, RecordError> {
    let header = crate::BatchHeader::decode(batch)?;
    if header.max_timestamp < timestamp_ms {
        return Ok(None);
    }
    for record in records(batch, limit_bytes)? {
        let record = record?;
        if record.timestamp >= timestamp_ms {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record that has the largest timestamp of the batch, as (offset, timestamp); `None`
/// when compaction has left no records.
pub fn offset_of_max_timestamp(
    batch: &Bytes,
    limit_bytes: usize,
) -> Result<Option<(i64, i64)>, RecordError> {
    let mut best: Option<(i64, i64)> = None;
    for record in records(batch, limit_bytes)? {
        let record = record?;
        if best.is_none_or(|(_, timestamp)| record.timestamp > timestamp) {
            best = Some((record.offset, record.timestamp));
        }
    }
    Ok(best)
}
