//! Control batches: the one record that ends a transaction in a partition.

use bytes::Bytes;

use crate::builder::BatchBuilder;
use crate::error::RecordError;
use crate::header::BatchHeader;
use crate::record::{Record, records};

const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// No control batch is longer, packed or not.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's open transaction here is aborted.
    Abort,
    /// The producer's open transaction here is committed.
    Commit,
    /// A kind that readers pass over.
    Other(i16),
}

impl ControlRecord {
    /// Reads a record of a control batch.
    pub fn decode(record: &Record) -> Result<Self, RecordError> {
        let key = record.key.as_deref().unwrap_or_default();
        // Two bytes of version, two of type; a later version may add more.
        let Some(([_, _, high, low], _)) = key.split_first_chunk::<4>() else {
            return Err(RecordError::Invalid("a control record's key is too short"));
        };
        Ok(match i16::from_be_bytes([*high, *low]) {
            ABORT => Self::Abort,
            COMMIT => Self::Commit,
            other => Self::Other(other),
        })
    }
}

/// What a control batch says; nothing for one of records, or where compaction has left none.
pub fn control_of(batch: &Bytes) -> Result<Option<ControlRecord>, RecordError> {
    if !BatchHeader::decode(batch)?.attributes.is_control() {
        return Ok(None);
    }
    let first = records(batch, CONTROL_BYTES_MAX)?.next().transpose()?;
    first.map(|record| ControlRecord::decode(&record)).transpose()
}

/// Builds the control batch that ends a producer's transaction, base offset 0.
pub fn end_marker(
    producer_id: i64,
    producer_epoch: i16,
    commit: bool,
    coordinator_epoch: i32,
    timestamp_ms: i64,
) -> Bytes {
    let kind = if commit { COMMIT } else { ABORT };
    let mut key = [0; 4];
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::new()
        .producer(producer_id, producer_epoch, crate::NO_SEQUENCE)
        .transactional()
        .control();
    builder.push(timestamp_ms, Some(&key), Some(&value));
    builder.build().freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_what_it_was_built_for_and_records_say_nothing() {
        for (commit, said) in [(true, ControlRecord::Commit), (false, ControlRecord::Abort)] {
            let marker = end_marker(7, 1, commit, 0, 1_700_000_000_000);
            assert_eq!(control_of(&marker).unwrap(), Some(said));
        }
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(b"value"));
        assert_eq!(control_of(&builder.build().freeze()).unwrap(), None);
    }
}
