//! A compacted log holds the last value of each key, at the offset that it had.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_compaction::{
    Compacted, Left, Newest, Place, Row, RowBatch, Rules, agree, compact, compact_row,
};
use mainstem_record::{
    BatchBuilder, BatchHeader, Compression, Record, check_replicated, end_marker,
    patch_log_append_time, records, rewrite_batch,
};
use mainstem_types::limits::{BATCH_BYTES_MAX, COMPACTION_RECORDS_MAX};
use proptest::collection::vec;
use proptest::prelude::*;

const RETENTION_MS: u64 = 1_000;

fn rules(now_ms: i64, keeps_empty: &dyn Fn(&BatchHeader) -> bool) -> Rules<'_> {
    Rules { now_ms, delete_retention_ms: RETENTION_MS, keeps_empty, keeps_deletions: false }
}

/// It stays as it is, and nothing in it waits.
const WHOLE: Compacted =
    Compacted { left: Left::All, gone: 0, horizon_ms: None, is_unjudged: false };

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
            let kept = compacted.places.iter().filter_map(row_batch);
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
    let compacted = compact(&deleted[0].bytes, &newest, &rules(50_000, &never));
    let (gone, waits) = (compacted.gone, Some(51_000));
    assert_eq!(compacted.horizon_ms, waits);
    let Left::Batch(marked) = compacted.left else { panic!("its time was to be noted") };
    let header = check_replicated(&marked).unwrap();
    assert!(header.attributes.has_delete_horizon());
    assert_eq!((gone, header.base_timestamp), (0, 51_000));
    assert_eq!(read(&marked), read(&deleted[0].bytes), "records keep their own times");
    let early = compact(&marked, &newest, &rules(50_999, &never));
    assert_eq!(early, Compacted { horizon_ms: waits, ..WHOLE });
    let over = compact(&marked, &newest, &rules(51_000, &never));
    assert_eq!(over, Compacted { left: Left::Nothing, gone: 1, ..WHOLE });
}

/// A pass over a row that notes when its deletions may go, and long after that one that looks at no
/// keys anew.
fn after_their_time(rows: &[RowBatch]) -> (Vec<RowBatch>, Row) {
    let never = |_: &BatchHeader| false;
    let mut rows = rows.to_vec();
    let mut newest = Newest::new(4_096);
    rows.iter().for_each(|row| assert!(newest.add(&row.bytes)));
    let mut last = Row::default();
    for now_ms in [0, 50_000] {
        newest = if now_ms > 0 { Newest::new(0) } else { newest };
        last = compact_row(0, &rows, &newest, &rules(now_ms, &never));
        if !last.places.is_empty() {
            rows = last.places.iter().filter_map(row_batch).collect();
        }
    }
    (rows, last)
}

fn row_batch(place: &Place) -> Option<RowBatch> {
    let Place { from: base_offset, to: next_offset, arrival_ms, batch } = place.clone();
    Some(RowBatch { base_offset, next_offset, arrival_ms, bytes: batch? })
}

fn offsets(rows: &[RowBatch]) -> Vec<i64> {
    rows.iter().flat_map(|row| read(&row.bytes)).map(|record| record.offset).collect()
}

#[test]
fn a_tombstone_stays_while_an_older_record_of_its_key_may_be_in_a_transaction() {
    let mut rows = log(&[
        (vec![(Some(1), None)], 0),
        (vec![(Some(2), Some(7))], 0),
        (vec![(Some(2), None)], 0),
        (vec![(Some(3), Some(7))], 0),
    ]);
    let (left, row) = after_their_time(&rows);
    assert_eq!((offsets(&left), row.horizon_ms), (vec![3], None));
    let mut builder = BatchBuilder::new().base_offset(1).producer(9, 1, 1).transactional();
    builder.push(0, Some(&[2]), Some(b"committed"));
    rows[1].bytes = builder.build().freeze();
    let (left, row) = after_their_time(&rows);
    assert_eq!(offsets(&left), [1, 2, 3], "the key would be back; what is before it can go");
    assert!(row.keeps_deletions);
    assert_eq!(row.horizon_ms, None, "nothing waits for its time");
    // In the rows that follow as well.
    let never = |_: &BatchHeader| false;
    let rules = Rules { keeps_deletions: true, ..rules(50_000, &never) };
    assert_eq!(compact_row(2, &left[1..], &Newest::new(0), &rules).places, []);
}

#[test]
fn a_tombstone_stays_while_a_batch_before_it_may_become_too_large() {
    // Records tell their times from that of the deletion then, and each grows by five bytes.
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, Some(b"k"), Some(b"v"));
    builder.push(1_700_000_000_000, Some(b"gone"), None);
    for _ in 0..59_000 {
        builder.push(1_700_000_000_000, None, Some(&[7; 200]));
    }
    let next = i64::try_from(builder.record_count()).unwrap();
    let large = builder.build().freeze();
    assert!(large.len() < BATCH_BYTES_MAX);
    let mut builder = BatchBuilder::new().base_offset(next);
    builder.push(0, Some(b"k"), None);
    let deletion = builder.build().freeze();
    let row = |base_offset, next_offset, bytes| RowBatch {
        base_offset,
        next_offset,
        arrival_ms: 0,
        bytes,
    };
    let rows = [row(0, next, large.clone()), row(next, next + 1, deletion)];
    let (left, row) = after_their_time(&rows);
    assert_eq!(left[0].bytes, large);
    assert_eq!(read(&left[1].bytes)[0].offset, next);
    assert!(row.keeps_deletions && row.horizon_ms.is_none());
}

#[test]
fn what_packs_badly_is_written_anew_as_long_as_it_fits() {
    let mut state = 1_u64;
    let noise = (0..1_300_000).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state ^ state >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
    });
    let noise: Vec<u8> = noise.collect();
    let never = |_: &BatchHeader| false;
    for codec in [Compression::Gzip, Compression::Snappy] {
        let mut builder = BatchBuilder::new().compression(codec);
        builder.push(1_700_000_000_000, Some(b"gone"), None);
        builder.push(1_700_000_000_000, Some(b"k"), Some(&noise));
        let batch = builder.build().freeze();
        let compacted = compact(&batch, &Newest::new(0), &rules(0, &never));
        assert!(matches!(compacted.left, Left::Batch(_)), "{codec:?}");
        assert!(!compacted.is_unjudged);
    }
}

#[test]
fn a_batch_whose_tombstone_went_waits_for_nothing_more() {
    let (left, row) = after_their_time(&log(&[(vec![(Some(1), Some(7)), (Some(2), None)], 1)]));
    assert_eq!((offsets(&left), row.records, row.horizon_ms), (vec![0], 1, None));
    let header = BatchHeader::decode(&left[0].bytes).unwrap();
    assert!(header.attributes.has_delete_horizon(), "of which the batch still tells");
    let never = |_: &BatchHeader| false;
    assert_eq!(compact(&left[0].bytes, &Newest::new(0), &rules(60_000, &never)), WHOLE);
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
    let gone = Compacted { left: Left::Nothing, ..WHOLE };
    assert_eq!(compact(&empty, &newest, &rules(0, &never)), gone);
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
    for (batch, is_unjudged) in [(&plain, false), (&open, true), (&marker, false), (&garbage, true)]
    {
        let whole = Compacted { is_unjudged, ..WHOLE };
        assert_eq!(compact(batch, &newest, &rules(0, &never)), whole);
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
    let compacted = compact(&batch, &Newest::new(0), &rules(100, &never));
    let Left::Batch(marked) = compacted.left else { panic!("it has a tombstone") };
    assert_eq!(read(&marked), read(&batch));
    assert!(read(&marked).iter().all(|record| record.timestamp == 77));
}

#[test]
fn a_batch_of_too_many_records_stays_and_is_the_same_only_byte_for_byte() {
    let of = |count: usize, codec| {
        let mut builder = BatchBuilder::new().compression(codec);
        (0..count).for_each(|_| builder.push(0, Some(b"k"), None));
        builder.build().freeze()
    };
    let never = |_: &BatchHeader| false;
    for (count, is_judged) in [(4, true), (COMPACTION_RECORDS_MAX + 1, false)] {
        let batch = of(count, Compression::Zstd);
        let mut newest = Newest::new(4_096);
        assert!(newest.add(&batch));
        assert_eq!(newest.is_empty(), !is_judged);
        let compacted = compact(&batch, &newest, &rules(0, &never));
        assert_eq!(compacted.is_unjudged, !is_judged);
        // As another implementation might have compacted it.
        let first = records(&batch, 1 << 27).unwrap().next().unwrap().unwrap();
        let left = rewrite_batch(&BatchHeader::decode(&batch).unwrap(), [first], None);
        assert_eq!(agree(&batch, &left), is_judged);
    }
}
