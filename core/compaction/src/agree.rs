//! Two copies of one batch, of which either may have been compacted.

use std::cmp::Ordering;

use bytes::Bytes;
use mainstem_record::{BatchHeader, RecordError, Records, records};
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;

use crate::judged::holds_too_many;

/// Whether two copies of a batch hold the same record at every offset where both hold one (I2),
/// what one of them lacks being explained by compaction. Two that were never compacted are the same
/// only byte for byte, which is not looked at here, and so are two with more records than compaction
/// looks at.
pub fn agree(ours: &Bytes, theirs: &Bytes) -> bool {
    let headers = [ours, theirs].map(|batch| BatchHeader::decode(batch));
    let [Ok(our), Ok(their)] = headers else { return false };
    let place = |header: &BatchHeader| {
        let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
        (header.base_offset, header.next_offset(), header.leader_epoch, producer)
    };
    let is_either = |is_it: fn(&BatchHeader) -> bool| is_it(&our) || is_it(&their);
    if place(&our) != place(&their) || !is_either(is_compacted) || is_either(holds_too_many) {
        return false;
    }
    let [Ok(ours), Ok(theirs)] = [ours, theirs].map(|batch| records(batch, DECOMPRESSED_BYTES_MAX))
    else {
        return false;
    };
    agree_where_both(ours, theirs).unwrap_or(false)
}

/// Walks through both at once, since offsets rise. All of both must be readable.
fn agree_where_both(mut ours: Records, mut theirs: Records) -> Result<bool, RecordError> {
    let (mut our, mut their) = (ours.next().transpose()?, theirs.next().transpose()?);
    while let (Some(one), Some(other)) = (&our, &their) {
        let order = one.offset.cmp(&other.offset);
        if order == Ordering::Equal && one != other {
            return Ok(false);
        }
        if order != Ordering::Greater {
            our = ours.next().transpose()?;
        }
        if order != Ordering::Less {
            their = theirs.next().transpose()?;
        }
    }
    ours.chain(theirs).try_for_each(|rest| rest.map(drop))?;
    Ok(true)
}

/// Compaction has written it: it lacks records, or says when its tombstones may go.
fn is_compacted(header: &BatchHeader) -> bool {
    i64::from(header.record_count) < header.offset_count() || header.attributes.has_delete_horizon()
}
