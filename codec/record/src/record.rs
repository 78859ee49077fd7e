//! The records inside a batch.

use bytes::Bytes;

use crate::error::RecordError;
use crate::header::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::varint;

/// Headers of one record. No producer has nearly as many, and a reader must not be made to hold
/// millions of empty ones.
const HEADERS_MAX: usize = 1 << 16;

/// A named value beside a record's own. Names may repeat, and their order is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, UTF-8 by convention.
    pub key: Bytes,
    /// The value, if it has one.
    pub value: Option<Bytes>,
}

/// One record. Keys, values and headers are slices of the batch or of what it unpacked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970, by the batch's kind of clock.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; a record without one is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in the order written.
    pub headers: Vec<Header>,
}

/// The records of one whole batch, unpacked to at most `limit_bytes`.
///
/// The checksum is not looked at again; whatever the bytes are, walking them ends with an error
/// and never a panic.
pub fn records(batch: &Bytes, limit_bytes: usize) -> Result<Records, RecordError> {
    let header = BatchHeader::decode(batch)?;
    if header.total_bytes > batch.len() {
        let (needed, available) = (header.total_bytes, batch.len());
        return Err(RecordError::Truncated { needed, available });
    }
    let packed = batch.slice(HEADER_BYTES..header.total_bytes);
    let compression = header.attributes.compression()?;
    let body = if compression.is_none() {
        packed
    } else {
        Bytes::from(compression.decompress(&packed, limit_bytes)?)
    };
    let left = usize::try_from(header.record_count)
        .map_err(|_| RecordError::Invalid("record count is negative"))?;
    Ok(Records { header, body, at: 0, left, delta_before: -1 })
}

/// Iterates over a batch's records; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    at: usize,
    left: usize,
    delta_before: i32,
}

impl Records {
    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The length of all its records, unpacked.
    pub fn plain_bytes(&self) -> usize {
        self.body.len()
    }

    fn read(&mut self) -> Result<Record, RecordError> {
        let length = varint::read_i32(&self.body, &mut self.at)?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length))
            .filter(|end| *end <= self.body.len())
            .ok_or(RecordError::Invalid("a record's length exceeds the batch"))?;
        let record = Cursor { bytes: self.body.slice(..end), at: self.at }.read(&self.header)?;
        let delta = record.1;
        if delta <= self.delta_before || delta > self.header.last_offset_delta {
            return Err(RecordError::Invalid("a record's offset is out of order"));
        }
        self.delta_before = delta;
        self.at = end;
        Ok(record.0)
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.at < self.body.len() {
                self.at = self.body.len();
                return Some(Err(RecordError::Invalid("bytes follow the last record")));
            }
            return None;
        }
        self.left -= 1;
        let result = self.read();
        if result.is_err() {
            (self.left, self.at) = (0, self.body.len());
        }
        Some(result)
    }
}

/// A place inside one record's bytes.
struct Cursor {
    bytes: Bytes,
    at: usize,
}

impl Cursor {
    /// Reads the record that ends where the bytes do, and its offset delta.
    fn read(mut self, batch: &BatchHeader) -> Result<(Record, i32), RecordError> {
        // One byte of attributes, none of them assigned.
        self.take(1)?;
        let timestamp_delta = varint::read_i64(&self.bytes, &mut self.at)?;
        let offset_delta = varint::read_i32(&self.bytes, &mut self.at)?;
        let key = self.take_nullable()?;
        let value = self.take_nullable()?;
        let headers = self.take_headers()?;
        if self.at != self.bytes.len() {
            return Err(RecordError::Invalid("a record is longer than its fields"));
        }
        let timestamp = match batch.attributes.timestamp_type() {
            TimestampType::LogAppend => batch.max_timestamp,
            TimestampType::Create => batch.base_timestamp.saturating_add(timestamp_delta),
        };
        let offset = batch.base_offset.saturating_add(i64::from(offset_delta));
        Ok((Record { offset, timestamp, key, value, headers }, offset_delta))
    }

    fn take_headers(&mut self) -> Result<Vec<Header>, RecordError> {
        const COUNT: RecordError = RecordError::Invalid("a record's header count is wrong");
        let count = varint::read_i32(&self.bytes, &mut self.at)?;
        let count = usize::try_from(count).map_err(|_| COUNT)?;
        // A header takes two bytes at least.
        if count > HEADERS_MAX.min((self.bytes.len() - self.at) / 2) {
            return Err(COUNT);
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self
                .take_nullable()?
                .ok_or(RecordError::Invalid("a record's header has no name"))?;
            headers.push(Header { key, value: self.take_nullable()? });
        }
        Ok(headers)
    }

    fn take_nullable(&mut self) -> Result<Option<Bytes>, RecordError> {
        let length = varint::read_i32(&self.bytes, &mut self.at)?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length)
            .map_err(|_| RecordError::Invalid("a length in a record is negative"))?;
        self.take(length).map(Some)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, RecordError> {
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len())
            .ok_or(RecordError::Invalid("a length exceeds its record"))?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }
}
