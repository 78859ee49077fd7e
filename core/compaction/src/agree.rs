//! Two copies of one batch, of which either may have been compacted.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_record::{BatchHeader, Record, records};
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;

/// Whether two copies of a batch hold the same record at every offset where both hold one (I2),
/// what one of them lacks being explained by compaction. Two that were never compacted are the same
/// only byte for byte, which is not looked at here.
pub fn agree(ours: &Bytes, theirs: &Bytes) -> bool {
    let headers = [ours, theirs].map(|batch| BatchHeader::decode(batch));
    let [Ok(our), Ok(their)] = headers else { return false };
    let place = |header: &BatchHeader| {
        let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
        (header.base_offset, header.next_offset(), header.leader_epoch, producer)
    };
    if place(&our) != place(&their) || !(is_compacted(&our) || is_compacted(&their)) {
        return false;
    }
    let (Some(ours), Some(theirs)) = (by_offset(ours), by_offset(theirs)) else { return false };
    ours.iter().all(|(offset, record)| theirs.get(offset).is_none_or(|other| other == record))
}

/// Compaction has written it: it lacks records, or says when its tombstones may go.
fn is_compacted(header: &BatchHeader) -> bool {
    i64::from(header.record_count) < header.offset_count() || header.attributes.has_delete_horizon()
}

fn by_offset(batch: &Bytes) -> Option<BTreeMap<i64, Record>> {
    let all = records(batch, DECOMPRESSED_BYTES_MAX).ok()?;
    all.map(|record| record.ok().map(|record| (record.offset, record))).collect()
}
