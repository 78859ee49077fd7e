//! Records by themselves: what is compared where either side was compacted.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use mainstem_link::{DigestPart, RECORD_DIGEST_BYTES};
use mainstem_record::{BatchHeader, Record, records};
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;

/// Records in one part; an answer holds some 30,000 in all.
pub(crate) const RECORDS_PER_PART_MAX: usize = 1024;

/// Bytes of a record's digest that are told. No two records can be made that share them.
const HASH_BYTES: usize = RECORD_DIGEST_BYTES - OFFSET_BYTES;
const OFFSET_BYTES: usize = 4;

pub(crate) type Hash = [u8; HASH_BYTES];

/// The records of a batch by offset. One that nobody can read is taken as a whole, for the record
/// at its first offset: compaction leaves it as it is.
pub(crate) fn entries_of(batch: &Bytes, base_offset: i64) -> Vec<(i64, Hash)> {
    let read = || {
        let header = BatchHeader::decode(batch).ok()?;
        let all = records(batch, DECOMPRESSED_BYTES_MAX).ok()?;
        let entry = |record: Record| (record.offset, hash_of(&record, &header));
        all.map(|record| record.ok().map(entry)).collect::<Option<Vec<_>>>()
    };
    read().unwrap_or_else(|| {
        let mut digest = Context::new(&SHA256);
        digest.update(batch);
        vec![(base_offset, half(digest))]
    })
}

/// Everything that a consumer sees of a record, and its leader epoch and producer. Each field is
/// told with its length, so that no two records say the same in different words.
fn hash_of(record: &Record, header: &BatchHeader) -> Hash {
    let mut digest = Context::new(&SHA256);
    digest.update(&header.leader_epoch.to_be_bytes());
    digest.update(&header.producer_id.to_be_bytes());
    digest.update(&header.producer_epoch.to_be_bytes());
    digest.update(&record.timestamp.to_be_bytes());
    let mut field = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        digest.update(&length.to_be_bytes());
        digest.update(bytes.unwrap_or_default());
    };
    field(record.key.as_deref());
    field(record.value.as_deref());
    for header in &record.headers {
        field(Some(&header.key));
        field(header.value.as_deref());
    }
    half(digest)
}

fn half(digest: Context) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(&digest.finish().as_ref()[..HASH_BYTES]);
    hash
}

/// As a part tells them.
pub(crate) fn packed(from: i64, entries: &[(i64, Hash)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * RECORD_DIGEST_BYTES);
    for (offset, hash) in entries {
        let place = u32::try_from(offset - from).expect("within one batch");
        out.extend_from_slice(&place.to_be_bytes());
        out.extend_from_slice(hash);
    }
    out
}

/// What a part tells; `None` if it does not tell of records.
pub(crate) fn unpacked(part: &DigestPart) -> Option<Vec<(i64, Hash)>> {
    if !part.digest.len().is_multiple_of(RECORD_DIGEST_BYTES) {
        return None;
    }
    let entry = |bytes: &[u8]| {
        let (place, hash) = bytes.split_at(OFFSET_BYTES);
        let place = u32::from_be_bytes(place.try_into().ok()?);
        Some((part.from.checked_add(i64::from(place))?, hash.try_into().ok()?))
    };
    part.digest.chunks_exact(RECORD_DIGEST_BYTES).map(entry).collect()
}
