//! What compaction leaves of a batch.

use std::borrow::Borrow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::header::{
    ATTRIBUTES_AT, Attributes, BatchHeader, CRC_AT, HEADER_BYTES, LENGTH_END, MAGIC, TimestampType,
};
use crate::record::Record;
use crate::varint;

/// A batch in the place of the one with this header that holds only these of its records, in their
/// order. It keeps first and last offset, leader epoch, codec, and its producer's id, epoch and
/// sequences, so that neither offsets nor sequences show a hole where records went.
///
/// A delete horizon, if given, is the time (ms since 1970) after which tombstones may go. As in
/// Kafka it stands where the base timestamp does, and the records' times are told from there.
/// Without one, what the header says stays.
pub fn rewrite_batch(
    header: &BatchHeader,
    records: impl IntoIterator<Item = impl Borrow<Record>>,
    delete_horizon_ms: Option<i64>,
) -> Bytes {
    let compression = header.attributes.compression().unwrap_or_default();
    let base_timestamp = delete_horizon_ms.unwrap_or(header.base_timestamp);
    let horizon = if delete_horizon_ms.is_some() { Attributes::DELETE_HORIZON } else { 0 };
    let (mut body, mut fields) = (Vec::new(), Vec::new());
    let (mut count, mut newest) = (0, None);
    for record in records {
        let record = record.borrow();
        fields.clear();
        encode(record, header.base_offset, base_timestamp, &mut fields);
        varint::write(&mut body, fields.len() as i64);
        body.extend_from_slice(&fields);
        count += 1;
        newest = newest.max(Some(record.timestamp));
    }
    let max_timestamp = match header.attributes.timestamp_type() {
        TimestampType::Create => newest.unwrap_or(header.max_timestamp),
        TimestampType::LogAppend => header.max_timestamp,
    };
    // A batch without records has no body, whatever its codec.
    let packed =
        if compression.is_none() || count == 0 { body } else { compression.compress(&body) };
    let codec = if count == 0 { Attributes::COMPRESSION } else { 0 };
    let total_bytes = HEADER_BYTES + packed.len();
    let mut out = BytesMut::with_capacity(total_bytes);
    out.put_i64(header.base_offset);
    out.put_i32(i32::try_from(total_bytes - LENGTH_END).expect("a batch is below 2 GiB"));
    out.put_i32(header.leader_epoch);
    out.put_i8(MAGIC);
    out.put_u32(0);
    out.put_i16((header.attributes.0 | horizon) & !codec);
    out.put_i32(header.last_offset_delta);
    out.put_i64(base_timestamp);
    out.put_i64(max_timestamp);
    out.put_i64(header.producer_id);
    out.put_i16(header.producer_epoch);
    out.put_i32(header.base_sequence);
    out.put_i32(count);
    out.extend_from_slice(&packed);
    let crc = crc32c::crc32c(&out[ATTRIBUTES_AT..]);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

fn encode(record: &Record, base_offset: i64, base_timestamp: i64, out: &mut Vec<u8>) {
    out.push(0);
    varint::write(out, record.timestamp.wrapping_sub(base_timestamp));
    varint::write(out, record.offset - base_offset);
    varint::write_nullable(out, record.key.as_deref());
    varint::write_nullable(out, record.value.as_deref());
    varint::write(out, record.headers.len() as i64);
    for header in &record.headers {
        varint::write_nullable(out, Some(&header.key));
        varint::write_nullable(out, header.value.as_deref());
    }
}
