//! Which batches compaction may judge. One that it may not stays as it came, for ever.

use bytes::Bytes;
use mainstem_record::{BatchHeader, Record, records};
use mainstem_types::limits::{BATCH_BYTES_MAX, COMPACTION_RECORDS_MAX};

/// By its header: not what a transaction wrote, which counts only once that is committed, and no
/// batch of more records than [`COMPACTION_RECORDS_MAX`].
pub(crate) fn may_judge(header: &BatchHeader) -> bool {
    let attributes = header.attributes;
    !attributes.is_control() && !attributes.is_transactional() && !holds_too_many(header)
}

/// Nobody looks at the records of such a batch one by one, here or elsewhere, and so copies of it
/// are equal byte for byte.
pub(crate) fn holds_too_many(header: &BatchHeader) -> bool {
    usize::try_from(header.record_count).is_ok_and(|count| count > COMPACTION_RECORDS_MAX)
}

/// A batch's records, if compaction may judge them: all can be read, and whichever of them are left
/// can be written anew. They are never held all at once: a record takes many times its packed bytes.
pub(crate) fn read(
    header: &BatchHeader,
    batch: &Bytes,
) -> Option<impl Iterator<Item = Record> + Clone + use<>> {
    if !may_judge(header) {
        return None;
    }
    let all = records(batch, BATCH_BYTES_MAX).ok()?;
    let is_left = fits_anew(header, all.plain_bytes()) && all.clone().all(|record| record.is_ok());
    is_left.then(|| all.map_while(Result::ok))
}

/// Whether no part of so many bytes of records becomes too large a batch, although they may tell
/// their times from another one, and our codecs may pack worse than the producer's did. Were that
/// seen only when it happens, a later pass would no longer know of it.
fn fits_anew(header: &BatchHeader, plain_bytes: usize) -> bool {
    /// A time and a length may grow by so much.
    const GROWN_BYTES: usize = 12;
    /// What no codec adds to bytes that cannot be packed, beyond a sixth of them.
    const CODEC_BYTES: usize = 4096;
    let count = usize::try_from(header.record_count).unwrap_or(0);
    let plain_bytes = plain_bytes + count * GROWN_BYTES;
    let is_packed = header.attributes.compression().is_ok_and(|codec| !codec.is_none());
    let packed_bytes = if is_packed { plain_bytes / 6 + CODEC_BYTES } else { CODEC_BYTES };
    plain_bytes + packed_bytes <= BATCH_BYTES_MAX
}
