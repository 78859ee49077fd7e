//! A compacted log holds the last value of each key, at the offset that it had.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_compaction::{Left, Newest, RowBatch, Rules, compact, compact_row};
use mainstem_record::{
    BatchBuilder, BatchHeader, Compression, Record, check_replicated, end_marker,
    patch_log_append_time, records,
};
use proptest::collection::vec;
use proptest::prelude::*;

const RETENTION_MS: u64 = 1_000;

fn rules(now_ms: i64, keeps_empty: &dyn Fn(&BatchHeader) -> bool) -> Rules<'_> {
    Rules { now_ms, delete_retention_ms: RETENTION_MS, keeps_empty }
}

fn read(batch: &Bytes) -> Vec<Record> {
    records(batch, 1 << 20).unwrap().map(Result::unwrap).collect()
}

/// Batches of records: (key, value), both perhaps none.
type Records = Vec<(Option<u8>, Option<u8>)>;

fn log(batches: &[(Records, usize)]) -> Vec<RowBatch> {
    let mut at = 0;
    let mut log = Vec::new();
    for (records, codec) in batches {
        let mut builder = BatchBuilder::new()
            .base_offset(at)
            .leader_epoch(3)
            .producer(9, 1, i32::try_from(at).unwrap())
            .compression(Compression::ALL[*codec]);
        for (key, value) in records {
            let (key, value) = (key.map(|key| vec![key]), value.map(|value| vec![value; 9]));
            let headers: [(&str, Option<&[u8]>); 1] = [("h", key.as_deref())];
            builder.push_with_headers(7_000 + at, key.as_deref(), value.as_deref(), &headers);
        }
        let next_offset = at + i64::try_from(records.len()).unwrap();
        let bytes = builder.build().freeze();
        log.push(RowBatch { base_offset: at, next_offset, arrival_ms: at, bytes });
        at = next_offset;
    }
    log
}

/// One pass over a log in rows of three batches; gives what is left.
fn pass(log: &[RowBatch], rules: &Rules<'_>, keys: usize) -> (Vec<RowBatch>, i64) {
    let mut newest = Newest::new(keys * 48);
    let taken = log.iter().take_while(|batch| newest.add(&batch.bytes)).count();
    let mut left = Vec::new();
    let mut at = log.first().map_or(0, |first| first.base_offset);
    for row in log.chunks(3) {
        let end = row.last().unwrap().next_offset;
        let compacted = compact_row(at, row, &newest, rules);
        if compacted.places.is_empty() {
            left.extend_from_slice(row);
        }
        for place in compacted.places {
            assert_eq!(place.from, at, "no hole, and nothing twice");
            at = place.to;
            if let Some(bytes) = place.batch {
                let header = check_replicated(&bytes).unwrap();
                assert_eq!((header.base_offset, header.next_offset()), (place.from, place.to));
                let (base_offset, next_offset) = (place.from, place.to);
                left.push(RowBatch {
                    base_offset,
                    next_offset,
                    arrival_ms: place.arrival_ms,
                    bytes,
                });
            }
        }
        assert!(left.last().is_none_or(|last| last.next_offset <= end));
        at = end;
    }
    (left, log.get(taken).map_or(at, |batch| batch.base_offset))
}

fn batches() -> impl Strategy<Value = Vec<(Records, usize)>> {
    let key = prop_oneof![1 => Just(None), 9 => (0..6u8).prop_map(Some)];
    let record = (key, proptest::option::weighted(0.8, any::<u8>()));
    vec((vec(record, 1..6), 0..5usize), 1..12)
}

proptest! {
    #[test]
    fn the_last_value_of_each_key_is_left_where_it_was(batches in batches(), keys in 1..9usize) {
        let never = |_: &BatchHeader| false;
        let log = log(&batches);
        let all: Vec<Record> = log.iter().flat_map(|batch| read(&batch.bytes)).collect();
        let mut last: BTreeMap<Bytes, i64> = BTreeMap::new();
        for record in &all {
            if let Some(key) = &record.key {
                last.insert(key.clone(), record.offset);
            }
        }
        // As many passes as a small map needs, each over what the one before did not get to.
        let (mut left, mut from) = (log.clone(), 0);
        let end = log.last().unwrap().next_offset;
        while from < end {
            let (below, above): (Vec<_>, Vec<_>) =
                left.iter().cloned().partition(|batch| batch.next_offset <= from);
            let mut newest = Newest::new(keys * 48);
            let taken = above.iter().take_while(|batch| newest.add(&batch.bytes)).count();
            prop_assert!(taken > 0 || above.is_empty());
            let upto = above.get(taken).map_or(end, |batch| batch.base_offset);
            let rows = [&below[..], &above[..taken]].concat();
            let compacted = compact_row(0, &rows, &newest, &rules(0, &never));
            let kept = compacted.places.iter().filter_map(|place| {
                let bytes = place.batch.clone()?;
                let (base_offset, next_offset) = (place.from, place.to);
                Some(RowBatch { base_offset, next_offset, arrival_ms: place.arrival_ms, bytes })
            });
            let kept: Vec<_> = if compacted.places.is_empty() { rows } else { kept.collect() };
            left = [&kept[..], &above[taken..]].concat();
            from = upto;
        }
        let is_kept = |record: &&Record| {
            record.key.as_ref().is_none_or(|key| last[key] == record.offset)
        };
        let wanted: Vec<&Record> = all.iter().filter(is_kept).collect();
        let found: Vec<Record> = left.iter().flat_map(|batch| read(&batch.bytes)).collect();
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
        for batch in &left {
            let before = log.iter().find(|b| b.base_offset == batch.base_offset).unwrap();
            prop_assert_eq!(before.next_offset, batch.next_offset);
            prop_assert_eq!(before.arrival_ms, batch.arrival_ms);
            let headers = [&before.bytes, &batch.bytes].map(|b| BatchHeader::decode(b).unwrap());
            let kept = |h: &BatchHeader| {
                (h.leader_epoch, h.producer_id, h.producer_epoch, h.base_sequence, h.last_sequence())
            };
            prop_assert_eq!(kept(&headers[0]), kept(&headers[1]));
        }
    }

    #[test]
    fn a_second_pass_changes_nothing(batches in batches()) {
        let never = |_: &BatchHeader| false;
        let (once, _) = pass(&log(&batches), &rules(0, &never), 1_000);
        let (twice, _) = pass(&once, &rules(0, &never), 1_000);
        prop_assert_eq!(once, twice);
    }
}

#[test]
fn a_tombstone_goes_after_its_time_and_takes_its_batch_along() {
    let never = |_: &BatchHeader| false;
    let deleted = log(&[(vec![(Some(1), None)], 3)]);
    let newest = Newest::new(4_096);
    let (left, gone) = compact(&deleted[0].bytes, &newest, &rules(50_000, &never));
    let Left::Batch(marked) = left else { panic!("its time was to be noted: {left:?}") };
    let header = check_replicated(&marked).unwrap();
    assert!(header.attributes.has_delete_horizon());
    assert_eq!((gone, header.base_timestamp), (0, 51_000));
    assert_eq!(read(&marked), read(&deleted[0].bytes), "records keep their own times");
    assert_eq!(compact(&marked, &newest, &rules(50_999, &never)), (Left::All, 0));
    assert_eq!(compact(&marked, &newest, &rules(51_000, &never)), (Left::Nothing, 1));
}

#[test]
fn a_producers_last_batch_stays_without_records() {
    let rows = log(&[(vec![(Some(1), Some(1))], 4), (vec![(Some(1), Some(2))], 0)]);
    let mut newest = Newest::new(4_096);
    rows.iter().for_each(|row| assert!(newest.add(&row.bytes)));
    let last = |header: &BatchHeader| header.base_offset == 0;
    let row = compact_row(0, &rows, &newest, &rules(0, &last));
    assert_eq!((row.places.len(), row.records), (2, 1));
    let empty = row.places[0].batch.clone().unwrap();
    let header = check_replicated(&empty).unwrap();
    assert_eq!((header.record_count, header.producer_id, header.last_sequence()), (0, 9, 0));
    assert_eq!(read(&empty), []);
    // Once it has sent more, the empty one goes too.
    let never = |_: &BatchHeader| false;
    assert_eq!(compact(&empty, &newest, &rules(0, &never)), (Left::Nothing, 0));
}

#[test]
fn what_compaction_may_not_judge_stays_and_supersedes_nothing() {
    let never = |_: &BatchHeader| false;
    let mut newest = Newest::new(4_096);
    let mut builder = BatchBuilder::new().base_offset(5).producer(1, 0, 0).transactional();
    builder.push(0, Some(b"k"), Some(b"not yet committed"));
    let open = builder.build().freeze();
    let marker = end_marker(1, 0, true, 0, 0);
    let mut garbage = BatchBuilder::new();
    garbage.push(0, Some(b"k"), None);
    let mut garbage = garbage.build();
    let end = garbage.len();
    garbage[end - 3..].fill(0xff);
    let garbage = garbage.freeze();
    let mut plain = BatchBuilder::new();
    plain.push(0, Some(b"k"), Some(b"v"));
    let plain = plain.build().freeze();
    for batch in [&plain, &open, &marker, &garbage] {
        assert!(newest.add(batch));
    }
    assert_eq!(newest.len(), 1);
    for batch in [&plain, &open, &marker, &garbage] {
        assert_eq!(compact(batch, &newest, &rules(0, &never)), (Left::All, 0));
    }
}

#[test]
fn the_logs_own_time_is_kept() {
    let mut builder = BatchBuilder::new();
    builder.push(5, Some(b"a"), None);
    builder.push(6, Some(b"b"), Some(b"v"));
    let mut batch = builder.build();
    patch_log_append_time(&mut batch, 77);
    let batch = batch.freeze();
    let never = |_: &BatchHeader| false;
    let (left, _) = compact(&batch, &Newest::new(0), &rules(100, &never));
    let Left::Batch(marked) = left else { panic!("it has a tombstone") };
    assert_eq!(read(&marked), read(&batch));
    assert!(read(&marked).iter().all(|record| record.timestamp == 77));
}
