//! What readers ask to see, and what readers of what is committed are told to skip.

use mainstem_engine::{AbortedRange, StoredBatch};
use mainstem_record::BatchHeader;
use mainstem_wire::AbortedTransaction;

/// The isolation level of readers of what is committed; 0 is that of all others.
pub(crate) const READ_COMMITTED: i8 = 1;

/// What a gap has ended, or the reign of an owner that never had it, has no marker: beyond its range a
/// reader would go on to skip what its producer wrote later. The answer ends there, and the next one
/// does not name it.
pub(crate) fn up_to_unmarked(
    mut batches: Vec<StoredBatch>,
    aborted: &[AbortedRange],
) -> Vec<StoredBatch> {
    for range in aborted {
        let at = batches.partition_point(|batch| batch.next_offset <= range.marker);
        let Some(batch) = batches.get(at).filter(|batch| !ends(range, batch)) else { continue };
        let last = at + usize::from(batch.base_offset <= range.marker);
        // One that ends before the first batch is not named.
        if last > 0 {
            batches.truncate(last);
        }
    }
    batches
}

/// Whether a batch is the marker that ends a range.
fn ends(range: &AbortedRange, batch: &StoredBatch) -> bool {
    let is_marker = |header: BatchHeader| {
        header.attributes.is_control() && header.producer_id == range.producer_id
    };
    batch.base_offset == range.marker && BatchHeader::decode(&batch.bytes).is_ok_and(is_marker)
}

/// What readers of the batches at `first..end` have to know. What ended before without a marker would
/// have them skip for ever.
pub(crate) fn to_skip(aborted: &[AbortedRange], first: i64, end: i64) -> Vec<AbortedTransaction> {
    let within = aborted.iter().filter(|range| range.first_offset < end && range.marker >= first);
    let told = |range: &AbortedRange| AbortedTransaction {
        producer_id: range.producer_id,
        first_offset: range.first_offset,
    };
    within.map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_record::{BatchBuilder, end_marker, patch_base_offset};

    fn plain(base_offset: i64) -> StoredBatch {
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(b"x"));
        stored(base_offset, builder.build())
    }

    fn stored(base_offset: i64, mut bytes: bytes::BytesMut) -> StoredBatch {
        patch_base_offset(&mut bytes, base_offset);
        let next_offset = base_offset + 1;
        StoredBatch {
            base_offset,
            next_offset,
            arrival_ms: 0,
            leader_epoch: 0,
            bytes: bytes.freeze(),
        }
    }

    fn marker(base_offset: i64, producer_id: i64) -> StoredBatch {
        stored(base_offset, bytes::BytesMut::from(&end_marker(producer_id, 0, false, 0, 0)[..]))
    }

    /// Batches at these offsets, of which 4 holds the marker of producer 1.
    fn batches(offsets: &[i64]) -> Vec<StoredBatch> {
        offsets.iter().map(|at| if *at == 4 { marker(4, 1) } else { plain(*at) }).collect()
    }

    #[test]
    fn an_answer_ends_where_a_range_does_that_has_no_marker() {
        // (the batches, whose range, the offset of its marker, how many batches are answered)
        let cases = [
            (vec![2, 3, 4, 5], 1, 4, 4),
            (vec![2, 3, 4, 5], 2, 4, 3),
            (vec![2, 3, 5, 6], 2, 3, 2),
            (vec![2, 3, 9], 2, 5, 2),
            (vec![9, 10], 2, 5, 2),
            (vec![2, 3], 2, 7, 2),
        ];
        for (offsets, producer_id, marker, expected) in cases {
            let range = AbortedRange { producer_id, first_offset: 1, marker };
            let answered = up_to_unmarked(batches(&offsets), &[range]);
            assert_eq!(answered.len(), expected, "{offsets:?} {producer_id} {marker}");
            let told = to_skip(&[range], offsets[0], 99);
            assert_eq!(told.len(), usize::from(marker >= offsets[0]), "{offsets:?}");
        }
    }
}
