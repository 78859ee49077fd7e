//! Where the newest record of each key is.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use mainstem_record::BatchHeader;
use mainstem_types::limits::{COMPACTION_MAP_BYTES, COMPACTION_RECORDS_MAX};

use crate::judged::{may_judge, read};

/// What a key costs in memory, about: its hash, its offset, and the map's own share.
const KEY_BYTES: usize = 48;

// One batch always has room in an empty map.
const _: () = assert!(COMPACTION_RECORDS_MAX * KEY_BYTES <= COMPACTION_MAP_BYTES);

/// The first half of a key's SHA-256. Nobody can make two keys that share it, and so have the
/// record of one taken for an older one of the other.
type KeyHash = [u8; 16];

/// The newest offset of each key in a range that was read through, within a bound of memory.
#[derive(Debug)]
pub struct Newest {
    offsets: HashMap<KeyHash, i64>,
    keys_max: usize,
}

impl Newest {
    /// An empty map of at most about so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { offsets: HashMap::new(), keys_max: (bytes_max / KEY_BYTES).max(1) }
    }

    /// No key was seen.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Keys that were seen.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Takes in the keys of the next batch; false, and nothing is taken, if there may be no room
    /// for them. The first batch is taken whatever it holds, so that every pass gets on.
    pub fn add(&mut self, batch: &Bytes) -> bool {
        let Ok(header) = BatchHeader::decode(batch) else { return true };
        if !may_judge(&header) {
            return true;
        }
        let count = usize::try_from(header.record_count).unwrap_or(0);
        if !self.is_empty() && self.len() + count > self.keys_max {
            return false;
        }
        for record in read(&header, batch).into_iter().flatten() {
            if let Some(key) = &record.key {
                let newest = self.offsets.entry(hash(key)).or_insert(record.offset);
                *newest = record.offset.max(*newest);
            }
        }
        true
    }

    /// Whether a record of this key was seen at a later offset.
    pub(crate) fn is_superseded(&self, key: &[u8], offset: i64) -> bool {
        self.offsets.get(&hash(key)).is_some_and(|newest| *newest > offset)
    }
}

fn hash(key: &[u8]) -> KeyHash {
    let mut half = KeyHash::default();
    half.copy_from_slice(&digest(&SHA256, key).as_ref()[..16]);
    half
}
