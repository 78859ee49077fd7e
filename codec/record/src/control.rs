//! Control batches: the one record that ends a transaction in a partition.

use bytes::Bytes;

use crate::builder::BatchBuilder;
use crate::error::RecordError;
use crate::record::Record;

const ABORT: i16 = 0;
const COMMIT: i16 = 1;

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
