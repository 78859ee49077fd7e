//! The same batches through another implementation, both ways.

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use mainstem_record::{BatchBuilder, Compression, check_produced, records};
use proptest::collection::vec;
use proptest::prelude::*;

fn other_codec(codec: Compression) -> other::Compression {
    match codec {
        Compression::None => other::Compression::None,
        Compression::Gzip => other::Compression::Gzip,
        Compression::Snappy => other::Compression::Snappy,
        Compression::Lz4 => other::Compression::Lz4,
        Compression::Zstd => other::Compression::Zstd,
    }
}

type Field = Option<Vec<u8>>;

fn fields() -> impl Strategy<Value = Vec<(i64, Field, Field, Field)>> {
    let field = || proptest::option::of(vec(any::<u8>(), 0..300));
    vec((1i64..1 << 41, field(), field(), field()), 1..30)
}

fn other_record(index: usize, one: &(i64, Field, Field, Field)) -> other::Record {
    let mut headers = IndexMap::new();
    headers.insert(StrBytes::from_static_str("name"), one.3.clone().map(Bytes::from));
    other::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: 5,
        producer_epoch: 1,
        timestamp_type: other::TimestampType::Creation,
        offset: 200 + index as i64,
        sequence: 40 + index as i32,
        timestamp: one.0,
        key: one.1.clone().map(Bytes::from),
        value: one.2.clone().map(Bytes::from),
        headers,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_they_write_we_read(codec in 0..5usize, all in fields()) {
        let codec = Compression::ALL[codec];
        let theirs: Vec<_> =
            all.iter().enumerate().map(|(index, one)| other_record(index, one)).collect();
        let mut out = BytesMut::new();
        let options = other::RecordEncodeOptions { version: 2, compression: other_codec(codec) };
        other::RecordBatchEncoder::encode(&mut out, &theirs, &options).unwrap();
        let batch = out.freeze();
        let header = check_produced(&batch).unwrap();
        prop_assert_eq!((header.base_offset, header.leader_epoch), (200, 3));
        prop_assert_eq!((header.producer_id, header.producer_epoch), (5, 1));
        prop_assert_eq!(header.base_sequence, 40);
        let ours: Vec<_> = records(&batch, 1 << 20).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(ours.len(), theirs.len());
        for (our, their) in ours.iter().zip(&theirs) {
            prop_assert_eq!(our.offset, their.offset);
            prop_assert_eq!(our.timestamp, their.timestamp);
            prop_assert_eq!(&our.key, &their.key);
            prop_assert_eq!(&our.value, &their.value);
            prop_assert_eq!(&our.headers[0].value, &their.headers[0]);
        }
    }

    #[test]
    fn what_we_write_they_read(codec in 0..5usize, all in fields()) {
        let codec = Compression::ALL[codec];
        let mut builder = BatchBuilder::new()
            .base_offset(200).leader_epoch(3).producer(5, 1, 40).compression(codec);
        for one in &all {
            builder.push_with_headers(
                one.0, one.1.as_deref(), one.2.as_deref(), &[("name", one.3.as_deref())],
            );
        }
        let mut batch = builder.build().freeze();
        let set = other::RecordBatchDecoder::decode(&mut batch).unwrap();
        let expected: Vec<_> =
            all.iter().enumerate().map(|(index, one)| other_record(index, one)).collect();
        prop_assert_eq!(set.records, expected);
        prop_assert_eq!(set.compression, other_codec(codec));
    }
}
