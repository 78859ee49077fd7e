//! What two partitions lack of each other, record by record.

use bytes::Bytes;
use mainstem_api::KeptBatch;
use mainstem_record::{BatchBuilder, BatchHeader, Record, TimestampType, records};
use mainstem_types::Error;
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;

use crate::client::Refusal;

/// Batches in order; `None` at the end.
pub(crate) type NextBatch<'a> =
    Box<dyn FnMut() -> Result<Option<(KeptBatch, BatchHeader)>, Refusal> + 'a>;
/// Takes what the other side lacks.
pub(crate) type Lacking<'a> = Box<dyn FnMut(&KeptBatch, &BatchHeader) -> Result<(), Refusal> + 'a>;

/// How many records were found how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The same on both sides.
    pub(crate) same: u64,
    /// At the source only.
    pub(crate) source_only: u64,
    /// At the destination only.
    pub(crate) target_only: u64,
    /// At the same offset, with other bytes, times, headers or producers.
    pub(crate) different: u64,
    /// At one side only, since log compaction took them at the other: no difference.
    pub(crate) compacted: u64,
}

impl Counts {
    pub(crate) fn is_same(&self) -> bool {
        self.source_only == 0 && self.target_only == 0 && self.different == 0
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.same += other.same;
        self.source_only += other.source_only;
        self.target_only += other.target_only;
        self.different += other.different;
        self.compacted += other.compacted;
    }
}

/// One side of a comparison.
pub(crate) struct Side<'a> {
    next: NextBatch<'a>,
    lacking: Lacking<'a>,
    open: Option<OpenBatch>,
}

struct OpenBatch {
    batch: KeptBatch,
    header: BatchHeader,
    records: Vec<Record>,
    at: usize,
    /// Which records the other side lacks.
    lacking: Vec<usize>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(next: NextBatch<'a>, lacking: Lacking<'a>) -> Self {
        Self { next, lacking, open: None }
    }

    /// The next record at or above `from`, and the batch that it is in.
    fn peek(&mut self, from: i64) -> Result<Option<(&Record, &BatchHeader)>, Refusal> {
        loop {
            let is_over = match &mut self.open {
                None => true,
                Some(open) => {
                    while open.records.get(open.at).is_some_and(|record| record.offset < from) {
                        open.at += 1;
                    }
                    open.at >= open.records.len()
                }
            };
            if !is_over {
                break;
            }
            self.close()?;
            let Some((batch, header)) = (self.next)()? else { return Ok(None) };
            let found: Result<Vec<Record>, _> =
                records(&batch.bytes, DECOMPRESSED_BYTES_MAX).and_then(Iterator::collect);
            let records = found.map_err(|error| {
                Error::corrupt(format!("the batch at offset {}: {error}", header.base_offset))
            })?;
            self.open = Some(OpenBatch { batch, header, records, at: 0, lacking: Vec::new() });
        }
        Ok(self.open.as_ref().map(|open| (&open.records[open.at], &open.header)))
    }

    fn pass(&mut self, is_lacking: bool) {
        if let Some(open) = &mut self.open {
            if is_lacking {
                open.lacking.push(open.at);
            }
            open.at += 1;
        }
    }

    /// A batch that is lacking whole goes as it is; of another, the records that are.
    fn close(&mut self) -> Result<(), Refusal> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.lacking.is_empty() {
            return Ok(());
        }
        if open.lacking.len() == open.records.len() {
            return (self.lacking)(&open.batch, &open.header);
        }
        for run in open
            .lacking
            .chunk_by(|a, b| *b == *a + 1 && open.records[*b].offset == open.records[*a].offset + 1)
        {
            let bytes = part_of(&open.header, &open.records[run[0]..=run[run.len() - 1]]);
            let header = BatchHeader::decode(&bytes).map_err(|e| Error::corrupt(e.to_string()))?;
            (self.lacking)(&KeptBatch { arrival_ms: open.batch.arrival_ms, bytes }, &header)?;
        }
        Ok(())
    }
}

/// Consecutive records of a batch as a batch of their own, of the same producer.
fn part_of(header: &BatchHeader, run: &[Record]) -> Bytes {
    let base = run[0].offset;
    let mut builder = BatchBuilder::new().base_offset(base).leader_epoch(header.leader_epoch);
    if header.has_producer_id() {
        let skipped = i32::try_from(base - header.base_offset).unwrap_or(0);
        let sequence = header.base_sequence.wrapping_add(skipped) & i32::MAX;
        builder = builder.producer(header.producer_id, header.producer_epoch, sequence);
    }
    if header.attributes.is_transactional() {
        builder = builder.transactional();
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppend {
        builder = builder.log_append_time();
    }
    for record in run {
        let names: Vec<String> =
            record.headers.iter().map(|h| String::from_utf8_lossy(&h.key).into_owned()).collect();
        let headers: Vec<(&str, Option<&[u8]>)> = names
            .iter()
            .zip(&record.headers)
            .map(|(name, header)| (name.as_str(), header.value.as_deref()))
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push_with_headers(record.timestamp, key, value, &headers);
    }
    builder.build().freeze()
}

/// Compares the records of both sides from an offset on, until both end or, if `first_exit`, at
/// the first difference. Below the `compacted` offset of a side (source, target) that side may lack
/// records.
pub(crate) fn compare(
    source: &mut Side<'_>,
    target: &mut Side<'_>,
    (from, to): (i64, i64),
    compacted: (i64, i64),
    first_exit: bool,
) -> Result<Counts, Refusal> {
    let mut counts = Counts::default();
    loop {
        let a = source.peek(from)?.filter(|(record, _)| record.offset < to);
        let b = target.peek(from)?.filter(|(record, _)| record.offset < to);
        match (a, b) {
            (None, None) => break,
            (Some((x, x_batch)), Some((y, y_batch))) if x.offset == y.offset => {
                let is_same = x == y
                    && (x_batch.producer_id, x_batch.producer_epoch)
                        == (y_batch.producer_id, y_batch.producer_epoch);
                if is_same {
                    counts.same += 1;
                } else {
                    counts.different += 1;
                }
                source.pass(!is_same);
                target.pass(!is_same);
            }
            (Some((x, _)), y) if y.is_none_or(|(y, _)| x.offset < y.offset) => {
                let is_lacking = x.offset >= compacted.1;
                *(if is_lacking { &mut counts.source_only } else { &mut counts.compacted }) += 1;
                source.pass(is_lacking);
            }
            (_, Some((y, _))) => {
                let is_lacking = y.offset >= compacted.0;
                *(if is_lacking { &mut counts.target_only } else { &mut counts.compacted }) += 1;
                target.pass(is_lacking);
            }
            // Nothing is left that was not met above.
            (Some(_), None) => break,
        }
        if first_exit && !counts.is_same() {
            break;
        }
    }
    source.close()?;
    target.close()?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    type Kept = (KeptBatch, BatchHeader);

    fn batch(base: i64, values: &[&str], producer: Option<i64>) -> Kept {
        let mut builder = BatchBuilder::new().base_offset(base);
        if let Some(id) = producer {
            builder = builder.producer(id, 3, 10);
        }
        for value in values {
            let headers = [("h", Some(&b"1"[..])), ("h", None)];
            builder.push_with_headers(50, Some(b"key"), Some(value.as_bytes()), &headers);
        }
        let bytes = builder.build().freeze();
        let header = BatchHeader::decode(&bytes).unwrap();
        (KeptBatch { arrival_ms: 9, bytes }, header)
    }

    fn compared(a: &[Kept], b: &[Kept], range: (i64, i64)) -> (Counts, Vec<Kept>, Vec<Kept>) {
        compared_below(a, b, range, (0, 0))
    }

    fn compared_below(
        a: &[Kept],
        b: &[Kept],
        range: (i64, i64),
        compacted: (i64, i64),
    ) -> (Counts, Vec<Kept>, Vec<Kept>) {
        let (for_b, for_a) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let counts = {
            let side = |batches: &[Kept], into: &'static str| {
                let mut left: VecDeque<Kept> = batches.iter().cloned().collect();
                let sink = if into == "b" { &for_b } else { &for_a };
                Side::new(
                    Box::new(move || Ok(left.pop_front())),
                    Box::new(move |batch, header| {
                        sink.borrow_mut().push((batch.clone(), *header));
                        Ok(())
                    }),
                )
            };
            compare(&mut side(a, "b"), &mut side(b, "a"), range, compacted, false).unwrap()
        };
        (counts, for_b.into_inner(), for_a.into_inner())
    }

    const ALL: (i64, i64) = (0, i64::MAX);

    #[test]
    fn how_records_are_batched_makes_no_difference() {
        let a = [batch(0, &["1", "2"], Some(7)), batch(2, &["3"], Some(7))];
        let b = [batch(0, &["1"], Some(7)), batch(1, &["2", "3"], Some(7))];
        let (counts, for_b, for_a) = compared(&a, &b, ALL);
        assert_eq!(counts, Counts { same: 3, ..Counts::default() });
        assert!(for_b.is_empty() && for_a.is_empty());
    }

    #[test]
    fn each_side_is_told_what_it_lacks_and_superset_follows() {
        let a = [batch(0, &["1", "2"], None), batch(2, &["3", "4", "5"], Some(7))];
        let b = [batch(0, &["1", "other"], None), batch(2, &["3"], Some(7))];
        let (counts, for_b, for_a) = compared(&a, &b, ALL);
        let wanted = Counts { same: 2, source_only: 2, different: 1, ..Counts::default() };
        assert_eq!(counts, wanted);
        let told = |all: &[Kept]| -> Vec<Record> {
            let of = |kept: &Kept| records(&kept.0.bytes, 1 << 20).unwrap().map(Result::unwrap);
            all.iter().flat_map(|kept| of(kept).collect::<Vec<_>>()).collect()
        };
        let all = told(&a);
        assert_eq!(told(&for_b), [&all[1..2], &all[3..]].concat());
        assert_eq!(told(&for_a), told(&b)[1..2]);
        let tail = for_b[1].1;
        assert_eq!((tail.producer_id, tail.producer_epoch, tail.base_sequence), (7, 3, 11));
        // What is lacking whole goes byte for byte.
        let (_, for_b, _) = compared(&a, &b[..1], ALL);
        assert_eq!(for_b[1], a[1]);
    }

    #[test]
    fn what_compaction_took_is_no_difference() {
        let a = [batch(0, &["1", "2"], None), batch(2, &["3"], None)];
        let b = [batch(0, &["1"], None), batch(3, &["4"], None)];
        let (counts, for_b, for_a) = compared_below(&a, &b, ALL, (4, 2));
        let wanted = Counts { same: 1, source_only: 1, compacted: 2, ..Counts::default() };
        assert_eq!(counts, wanted);
        assert_eq!((for_b, for_a.len()), (vec![a[1].clone()], 0), "only what is really lacking");
    }

    #[test]
    fn a_range_is_compared_and_nothing_beside_it() {
        let a = [batch(0, &["x", "2", "3", "x"], None)];
        let b = [batch(0, &["y", "2", "3", "y"], None)];
        let (counts, ..) = compared(&a, &b, (1, 3));
        assert_eq!(counts, Counts { same: 2, ..Counts::default() });
        let (counts, ..) = compared(&a, &[batch(0, &["y", "2", "3", "y"], Some(1))], (1, 3));
        assert_eq!(counts.different, 2, "another producer is a difference");
    }
}
