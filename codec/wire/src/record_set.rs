//! Record batches on their way out.

use bytes::{BufMut, Bytes, BytesMut};

/// Consecutive record batches, in as many pieces as they lie in. What counts is the bytes: two sets
/// cut differently are equal.
#[derive(Debug, Clone, Default)]
pub struct RecordSet {
    pieces: Vec<Bytes>,
    len: usize,
}

impl RecordSet {
    /// Appends a piece without copying it.
    pub fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All bytes as one slice: copies only when there are several pieces.
    pub fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut out = BytesMut::with_capacity(self.len);
        for piece in &self.pieces {
            out.put_slice(piece);
        }
        out.freeze()
    }
}

impl From<Bytes> for RecordSet {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len();
        Self { pieces: vec![bytes], len }
    }
}

impl From<Vec<Bytes>> for RecordSet {
    fn from(pieces: Vec<Bytes>) -> Self {
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces, len }
    }
}

impl FromIterator<Bytes> for RecordSet {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self::from(pieces.into_iter().collect::<Vec<_>>())
    }
}

impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for RecordSet {}
