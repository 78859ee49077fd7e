//! A place in a frame, from which only what is there can be taken.

use bytes::Bytes;
use mainstem_types::limits::MESSAGE_ELEMENTS_MAX;

use crate::malformed::Malformed;

pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
    elements_left: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0, elements_left: MESSAGE_ELEMENTS_MAX }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn malformed(&self, reason: &'static str) -> Malformed {
        Malformed { reason, at: self.at }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        if count > self.remaining() {
            return Err(self.malformed("the frame ends too early"));
        }
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    /// The next `count` bytes, shared.
    pub(crate) fn take_bytes(&mut self, count: usize) -> Result<Bytes, Malformed> {
        self.take(count)?;
        Ok(self.bytes.slice(self.at - count..self.at))
    }

    pub(crate) fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N).map(|bytes| bytes.try_into().expect("take gives as many as asked"))
    }

    pub(crate) fn take_varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take_array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number exceeds 32 bits"))
    }

    /// A length: a signed word of the old encoding or a number less one of the compact one.
    /// `None` is null.
    pub(crate) fn take_length(&mut self, kind: LengthWord) -> Result<Option<usize>, Malformed> {
        let length = match kind {
            LengthWord::Compact => i64::from(self.take_varint()?) - 1,
            LengthWord::Short => i64::from(i16::from_be_bytes(self.take_array()?)),
            LengthWord::Long => i64::from(i32::from_be_bytes(self.take_array()?)),
        };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).map_err(|_| self.malformed("a length is negative"))
    }

    /// Lets an array of `count` elements be read, when they can be there and are not too many.
    pub(crate) fn claim_elements(
        &mut self,
        count: usize,
        element_bytes_min: usize,
    ) -> Result<(), Malformed> {
        assert!(element_bytes_min > 0, "every element takes a byte");
        if count > self.remaining() / element_bytes_min {
            return Err(self.malformed("an array has more elements than the frame has bytes"));
        }
        self.elements_left = self
            .elements_left
            .checked_sub(count)
            .ok_or(self.malformed("the arrays of the message have too many elements"))?;
        Ok(())
    }

    /// Passes over tagged fields of which none is known.
    pub(crate) fn skip_tagged(&mut self) -> Result<(), Malformed> {
        self.take_tagged(|_, _| Ok(()))
    }

    /// Hands each tagged field to `take`, which may ignore it.
    pub(crate) fn take_tagged(
        &mut self,
        mut take: impl FnMut(u32, &mut Reader) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let count = self.take_varint()? as usize;
        if count > self.remaining() / 2 {
            return Err(self.malformed("more tagged fields than bytes"));
        }
        for _ in 0..count {
            let tag = self.take_varint()?;
            let size = self.take_varint()? as usize;
            let bytes = self.take_bytes(size)?;
            let mut field = Reader { bytes, at: 0, elements_left: self.elements_left };
            take(tag, &mut field)?;
            self.elements_left = field.elements_left;
        }
        Ok(())
    }

    /// Makes sure that the value read was all there is.
    pub(crate) fn check_end(&self) -> Result<(), Malformed> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.malformed("bytes follow the message")) }
    }
}

/// How a length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LengthWord {
    /// Unsigned variable-length number, one more than the length, 0 for null.
    Compact,
    /// 16 bits, -1 for null.
    Short,
    /// 32 bits, -1 for null.
    Long,
}
