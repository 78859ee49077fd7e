//! Batches built, read, damaged and patched.

use bytes::Bytes;
use mainstem_record::{
    Attributes, BatchBuilder, BatchHeader, BatchSlices, Batches, Compression, ControlRecord,
    HEADER_BYTES, RecordError, RecordErrorKind, TimestampType, check_crc, check_produced,
    check_replicated, end_marker, offset_of_max_timestamp, offset_of_timestamp, patch_base_offset,
    patch_leader_epoch, patch_log_append_time, records,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

#[derive(Debug, Clone)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || proptest::option::of(vec(any::<u8>(), 0..40));
    // Two letters for names, so that equal ones occur.
    let headers = vec(("[ab]{0,2}", bytes()), 0..4);
    (0i64..1 << 42, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Plain {
        timestamp,
        key,
        value,
        headers,
    })
}

fn codec() -> impl Strategy<Value = Compression> {
    (0..5usize).prop_map(|index| Compression::ALL[index])
}

fn build(codec: Compression, all: &[Plain]) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec).producer(7, 1, 100).base_offset(40);
    for one in all {
        let headers: Vec<_> =
            one.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        builder.push_with_headers(
            one.timestamp,
            one.key.as_deref(),
            one.value.as_deref(),
            &headers,
        );
    }
    builder.build().freeze()
}

fn sample(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec);
    for n in 0..20i64 {
        builder.push_with_headers(
            1000 + n,
            Some(format!("key {n}").as_bytes()),
            Some(&[b'v'; 100]),
            &[("h", None), ("h", Some(b"2"))],
        );
    }
    builder.build().freeze()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_batch_reads_back(codec in codec(), all in vec(plain(), 1..20)) {
        let batch = build(codec, &all);
        let header = check_produced(&batch).unwrap();
        prop_assert_eq!(check_replicated(&batch).unwrap(), header);
        prop_assert_eq!(header.attributes.compression(), Ok(codec));
        prop_assert_eq!(header.total_bytes, batch.len());
        prop_assert_eq!(header.next_offset(), 40 + all.len() as i64);
        prop_assert_eq!(header.last_sequence(), 99 + all.len() as i32);
        prop_assert_eq!(header.max_timestamp, all.iter().map(|one| one.timestamp).max().unwrap());

        let read: Vec<_> = records(&batch, LIMIT).unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), all.len());
        for (index, (record, one)) in read.iter().zip(&all).enumerate() {
            prop_assert_eq!(record.offset, 40 + index as i64);
            prop_assert_eq!(record.timestamp, one.timestamp);
            prop_assert_eq!(record.key.as_deref(), one.key.as_deref());
            prop_assert_eq!(record.value.as_deref(), one.value.as_deref());
            let headers: Vec<_> = record.headers.iter()
                .map(|header| (header.key.to_vec(), header.value.as_ref().map(|v| v.to_vec())))
                .collect();
            let expected: Vec<_> = one.headers.iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.clone()))
                .collect();
            prop_assert_eq!(headers, expected);
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed(codec in codec(), at in 16usize..2000, bit in 0u32..8) {
        let mut bytes = sample(codec).to_vec();
        let at = 16 + (at - 16) % (bytes.len() - 16);
        bytes[at] ^= 1u8 << bit;
        prop_assert!(check_produced(&bytes).is_err());
    }

    /// Whoever computes a right checksum over wrong records meets errors, not panics.
    #[test]
    fn arbitrary_records_end_without_panic(
        codec in codec(), at in 0usize..4000, byte: u8, count in -2i32..50, delta in -2i32..50,
    ) {
        let mut bytes = sample(codec).to_vec();
        let at = HEADER_BYTES + at % (bytes.len() - HEADER_BYTES);
        bytes[at] = byte;
        bytes[23..27].copy_from_slice(&delta.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let batch = Bytes::from(bytes);
        if let Ok(records) = records(&batch, LIMIT) {
            let read = records.take(100).collect::<Vec<_>>();
            prop_assert!(read.len() <= usize::try_from(count).unwrap() + 1);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_batch(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(check_produced(&bytes).is_err());
        prop_assert!(Batches::new(Bytes::from(bytes.clone())).take(300).count() < 300);
    }
}

#[test]
fn every_truncation_is_an_error() {
    for codec in Compression::ALL {
        let batch = sample(codec);
        for length in 0..batch.len() {
            let error = check_produced(&batch[..length]).unwrap_err();
            assert!(matches!(error, RecordError::Truncated { .. }), "{codec:?} {length} {error}");
            assert!(records(&batch.slice(..length), LIMIT).is_err());
        }
    }
}

#[test]
fn records_cut_inside_a_batch_are_an_error() {
    for codec in Compression::ALL {
        let batch = sample(codec);
        for length in HEADER_BYTES..batch.len() {
            let mut bytes = batch[..length].to_vec();
            bytes[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
            let read = records(&Bytes::from(bytes), LIMIT)
                .and_then(|records| records.collect::<Result<Vec<_>, _>>());
            // LZ4 may lose its end mark alone, and gzip and zstd nothing at all.
            if let Ok(read) = read {
                assert_eq!((codec, read.len()), (Compression::Lz4, 20));
                assert!(batch.len() - length <= 4);
            }
        }
    }
}

#[test]
fn a_bomb_is_an_error() {
    for codec in Compression::ALL.into_iter().filter(|codec| !codec.is_none()) {
        let mut builder = BatchBuilder::new().compression(codec);
        builder.push(0, None, Some(&vec![0; 4 << 20]));
        let batch = builder.build().freeze();
        assert!(check_produced(&batch).is_ok());
        let error = records(&batch, LIMIT).unwrap_err();
        assert_eq!(error, RecordError::TooLarge { limit: LIMIT }, "{codec:?}");
        assert_eq!(error.kind(), RecordErrorKind::TooLarge);
        assert_eq!(records(&batch, 5 << 20).unwrap().count(), 1);
    }
}

#[test]
fn raw_snappy_is_read_and_its_length_word_is_not_believed() {
    let framed = sample(Compression::None);
    let rebuild = |body: &[u8]| {
        let mut bytes = framed[..HEADER_BYTES].to_vec();
        bytes[22] |= 2;
        bytes.extend_from_slice(body);
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        Bytes::from(bytes)
    };
    let packed = snap::raw::Encoder::new().compress_vec(&framed[HEADER_BYTES..]).unwrap();
    assert_eq!(records(&rebuild(&packed), LIMIT).unwrap().filter(Result::is_ok).count(), 20);
    // A length of 2^32 - 1 before four bytes.
    let lie = rebuild(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]);
    assert_eq!(records(&lie, usize::MAX).unwrap_err(), RecordError::Decompress("snappy"));
}

#[test]
fn stamps_lie_outside_the_checksum_and_log_time_inside() {
    let mut batch = bytes::BytesMut::from(&sample(Compression::Zstd)[..]);
    patch_base_offset(&mut batch, 1 << 40);
    patch_leader_epoch(&mut batch, 9);
    let header = check_replicated(&batch).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (1 << 40, 9));
    assert_eq!(header.attributes.timestamp_type(), TimestampType::Create);

    patch_log_append_time(&mut batch, 5_000_000);
    let header = check_replicated(&batch).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppend);
    assert_eq!(header.max_timestamp, 5_000_000);
    let batch = batch.freeze();
    for record in records(&batch, LIMIT).unwrap() {
        assert_eq!(record.unwrap().timestamp, 5_000_000);
    }
}

#[test]
fn what_producers_may_not_send_is_refused() {
    let mut control = BatchBuilder::new().control();
    control.push(0, None, None);
    let mut gap = BatchBuilder::new();
    gap.push(0, None, None);
    gap.skip_offsets(1);
    let mut no_sequence = BatchBuilder::new().producer(4, 0, -1);
    no_sequence.push(0, None, None);
    let mut transaction = BatchBuilder::new().transactional();
    transaction.push(0, None, None);
    let empty = BatchBuilder::new();
    for builder in [control, gap, no_sequence, transaction, empty] {
        let error = check_produced(&builder.clone().build()).unwrap_err();
        assert_eq!(error.kind(), RecordErrorKind::Invalid, "{builder:?}");
    }

    let one = sample(Compression::Lz4);
    let two = [&one[..], &one[..]].concat();
    assert_eq!(check_produced(&two), Err(RecordError::Trailing(one.len())));
    let mut old = one.to_vec();
    old[16] = 1;
    assert_eq!(check_produced(&old), Err(RecordError::Magic(1)));
    let mut unknown = BatchBuilder::new();
    unknown.push(0, None, None);
    let mut unknown = unknown.build();
    unknown[22] |= 5;
    patch_log_append_time(&mut unknown, 0);
    let error = check_produced(&unknown).unwrap_err();
    assert_eq!(error.kind(), RecordErrorKind::UnsupportedCompression);
}

#[test]
fn a_compacted_batch_is_replicated_as_it_is() {
    let mut builder = BatchBuilder::new().base_offset(10);
    builder.skip_offsets(2);
    builder.push(5, None, Some(b"kept"));
    builder.skip_offsets(3);
    let batch = builder.build().freeze();
    let header = check_replicated(&batch).unwrap();
    assert_eq!((header.record_count, header.next_offset()), (1, 16));
    let read: Vec<_> = records(&batch, LIMIT).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), [12]);
    assert!(check_produced(&batch).is_err());
}

#[test]
fn batches_follow_each_other_until_the_cut() {
    let (one, two) = (sample(Compression::None), sample(Compression::Gzip));
    let both = [&one[..], &two[..]].concat();
    let walked: Vec<_> = Batches::new(Bytes::from(both.clone())).map(Result::unwrap).collect();
    assert_eq!(walked.iter().map(|batch| &batch.bytes).collect::<Vec<_>>(), [&one, &two]);

    let mut cut = BatchSlices::new(&both[..both.len() - 1]);
    assert_eq!(cut.next().unwrap().unwrap().1, &one[..]);
    assert!(matches!(cut.next(), Some(Err(RecordError::Truncated { .. }))));
    assert!(cut.next().is_none());
}

#[test]
fn time_finds_the_first_record_not_older() {
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new().base_offset(100).compression(codec);
        for timestamp in [10, 30, 20, 30] {
            builder.push(timestamp, None, None);
        }
        let batch = builder.build().freeze();
        assert_eq!(offset_of_timestamp(&batch, 5, LIMIT), Ok(Some((100, 10))));
        assert_eq!(offset_of_timestamp(&batch, 11, LIMIT), Ok(Some((101, 30))));
        assert_eq!(offset_of_timestamp(&batch, 31, LIMIT), Ok(None));
        assert_eq!(offset_of_max_timestamp(&batch, LIMIT), Ok(Some((101, 30))));
    }
}

#[test]
fn an_end_marker_says_how_a_transaction_ended() {
    for (commit, expected) in [(true, ControlRecord::Commit), (false, ControlRecord::Abort)] {
        let batch = end_marker(77, 3, commit, 0, 1234);
        let header = check_replicated(&batch).unwrap();
        assert!(header.attributes.is_control() && header.attributes.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch), (77, 3));
        let record = records(&batch, LIMIT).unwrap().next().unwrap().unwrap();
        assert_eq!(ControlRecord::decode(&record), Ok(expected));
    }
}

#[test]
fn sequences_wrap() {
    let mut builder = BatchBuilder::new().producer(1, 0, i32::MAX);
    builder.push(0, None, None);
    builder.push(0, None, None);
    let header = BatchHeader::decode(&builder.build()).unwrap();
    assert_eq!(header.last_sequence(), 0);
    assert_eq!(header.attributes, Attributes(0));
}

#[test]
fn a_checksum_is_checked_alone() {
    let mut batch = sample(Compression::None).to_vec();
    assert_eq!(check_crc(&batch), Ok(()));
    batch[80] ^= 1;
    assert_eq!(check_crc(&batch).unwrap_err().kind(), RecordErrorKind::Corrupt);
}
