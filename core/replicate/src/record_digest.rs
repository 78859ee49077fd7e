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

/// What a record, or a whole batch, is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: Hash,
    /// It stands for a batch that cannot be read, which compaction leaves as it is: no compaction
    /// explains that one side lacks it.
    pub(crate) is_whole: bool,
}

/// The bit of an entry's place that says that it stands for a whole batch.
const WHOLE: u32 = 1 << 31;

/// The records of a batch by offset. One that nobody can read is taken as a whole, at `whole_at`.
pub(crate) fn entries_of(batch: &Bytes, whole_at: i64) -> Vec<(i64, Entry)> {
    let read = || {
        let header = BatchHeader::decode(batch).ok()?;
        let all = records(batch, DECOMPRESSED_BYTES_MAX).ok()?;
        let entry = |record: Record| {
            (record.offset, Entry { hash: hash_of(&record, &header), is_whole: false })
        };
        all.map(|record| record.ok().map(entry)).collect::<Option<Vec<_>>>()
    };
    read().unwrap_or_else(|| {
        let mut digest = Context::new(&SHA256);
        digest.update(batch);
        vec![(whole_at, Entry { hash: half(digest), is_whole: true })]
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
pub(crate) fn packed(from: i64, entries: &[(i64, Entry)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * RECORD_DIGEST_BYTES);
    for (offset, entry) in entries {
        let place = u32::try_from(offset - from).expect("within one batch");
        let place = if entry.is_whole { place | WHOLE } else { place };
        out.extend_from_slice(&place.to_be_bytes());
        out.extend_from_slice(&entry.hash);
    }
    out
}

/// What a part tells; `None` if it does not tell of records.
pub(crate) fn unpacked(part: &DigestPart) -> Option<Vec<(i64, Entry)>> {
    if !part.digest.len().is_multiple_of(RECORD_DIGEST_BYTES) {
        return None;
    }
    let entry = |bytes: &[u8]| {
        let (place, hash) = bytes.split_at(OFFSET_BYTES);
        let place = u32::from_be_bytes(place.try_into().ok()?);
        let entry = Entry { hash: hash.try_into().ok()?, is_whole: place & WHOLE != 0 };
        Some((part.from.checked_add(i64::from(place & !WHOLE))?, entry))
    };
    part.digest.chunks_exact(RECORD_DIGEST_BYTES).map(entry).collect()
}
