//! Consecutive batches in one buffer.

use bytes::Bytes;

use crate::error::RecordError;
use crate::header::BatchHeader;

/// One batch of a buffer: whole by its length word, its checksum not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The header.
    pub header: BatchHeader,
    /// Header and records, a slice of the buffer.
    pub bytes: Bytes,
}

/// Walks the batches of a shared buffer; ends after the first error.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Batches of `buffer`, from its start. A buffer cut inside a batch (as fetch responses may
    /// be) yields [`RecordError::Truncated`] last.
    pub fn new(buffer: Bytes) -> Self {
        Self { rest: buffer }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match next_header(&self.rest)? {
            Ok(header) => header,
            Err(error) => {
                self.rest.clear();
                return Some(Err(error));
            }
        };
        let bytes = self.rest.split_to(header.total_bytes);
        Some(Ok(Batch { header, bytes }))
    }
}

/// As [`Batches`], over a borrowed buffer.
#[derive(Debug, Clone)]
pub struct BatchSlices<'a> {
    rest: &'a [u8],
}

impl<'a> BatchSlices<'a> {
    /// Batches of `buffer`, from its start.
    pub fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }
}

impl<'a> Iterator for BatchSlices<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match next_header(self.rest)? {
            Ok(header) => header,
            Err(error) => {
                self.rest = &[];
                return Some(Err(error));
            }
        };
        let (batch, rest) = self.rest.split_at(header.total_bytes);
        self.rest = rest;
        Some(Ok((header, batch)))
    }
}

fn next_header(rest: &[u8]) -> Option<Result<BatchHeader, RecordError>> {
    if rest.is_empty() {
        return None;
    }
    Some(BatchHeader::decode(rest).and_then(|header| {
        if header.total_bytes > rest.len() {
            let (needed, available) = (header.total_bytes, rest.len());
            return Err(RecordError::Truncated { needed, available });
        }
        Ok(header)
    }))
}
