//! A frame in the making, with room for bytes that belong to others.

use bytes::{BufMut, Bytes, BytesMut};

use crate::reader::LengthWord;

/// Shorter pieces are copied: a reference and an entry in a vectored write cost more.
const SHARE_BYTES_MIN: usize = 1024;

/// Bytes written in order: small values into one buffer of its own, record sets as shared slices
/// between them. [`finish`](Self::finish) gives the pieces for one vectored write.
#[derive(Debug, Default)]
pub struct Rope {
    own: BytesMut,
    /// Shared pieces, each with the place in `own` that it comes before.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Rope {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes written so far, shared ones included.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    /// Nothing written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy.
    pub fn put(&mut self, bytes: &[u8]) {
        self.own.put_slice(bytes);
    }

    /// Appends bytes without copying them, unless they are few.
    pub fn put_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_BYTES_MIN {
            return self.own.put_slice(&bytes);
        }
        self.shared_bytes += bytes.len();
        self.shared.push((self.own.len(), bytes));
    }

    /// Everything written, in order, in pieces.
    pub fn finish(self) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(self.shared.len() * 2 + 1);
        let mut own = self.own;
        let mut at = 0;
        for (before, bytes) in self.shared {
            if before > at {
                pieces.push(own.split_to(before - at).freeze());
                at = before;
            }
            pieces.push(bytes);
        }
        if !own.is_empty() {
            pieces.push(own.freeze());
        }
        pieces
    }

    /// Everything written, in one piece: copies what is shared.
    pub fn into_bytes(self) -> Bytes {
        if self.shared.is_empty() {
            return self.own.freeze();
        }
        let mut out = BytesMut::with_capacity(self.len());
        for piece in self.finish() {
            out.put_slice(&piece);
        }
        out.freeze()
    }

    /// Writes over the first four bytes, which must be the rope's own: a frame's length.
    pub(crate) fn patch_start(&mut self, word: [u8; 4]) {
        assert!(self.shared.first().is_none_or(|(before, _)| *before >= 4), "a frame has a head");
        self.own[..4].copy_from_slice(&word);
    }

    pub(crate) fn put_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.own.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.own.put_u8(value as u8);
    }

    pub(crate) fn put_length(&mut self, kind: LengthWord, length: Option<usize>) {
        const FRAME: &str = "lengths inside a frame are below 2 GiB";
        match kind {
            LengthWord::Compact => {
                self.put_varint(length.map_or(0, |length| u32::try_from(length + 1).expect(FRAME)));
            }
            LengthWord::Short => {
                const STRING: &str = "strings are cut to 32767 bytes before they are written";
                self.own.put_i16(length.map_or(-1, |length| i16::try_from(length).expect(STRING)));
            }
            LengthWord::Long => {
                self.own.put_i32(length.map_or(-1, |length| i32::try_from(length).expect(FRAME)));
            }
        }
    }

    /// Writes the tagged fields of one struct, which come in the order of their tags.
    pub(crate) fn put_tagged(&mut self, fields: Vec<(u32, Rope)>) {
        self.put_varint(u32::try_from(fields.len()).expect("structs have a few tagged fields"));
        for (tag, field) in fields {
            self.put_varint(tag);
            self.put_varint(u32::try_from(field.len()).expect("a field is shorter than its frame"));
            for piece in field.finish() {
                self.put_shared(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pieces_are_shared_in_their_places() {
        let large = Bytes::from(vec![7; 5000]);
        let mut rope = Rope::new();
        rope.put_shared(large.clone());
        rope.put(b"ab");
        rope.put_shared(Bytes::from_static(b"small"));
        rope.put_shared(large.clone());
        rope.put_shared(large.clone());
        rope.put(b"end");
        assert_eq!(rope.len(), 15_010);
        let pieces = rope.finish();
        assert_eq!(pieces.len(), 5);
        assert_eq!((&pieces[1][..], &pieces[4][..]), (&b"absmall"[..], &b"end"[..]));
        for index in [0, 2, 3] {
            assert_eq!(pieces[index].as_ptr(), large.as_ptr());
        }
    }
}
