//! How each type of field is written and read.

use bytes::Bytes;
use mainstem_types::KafkaTopicId;

use crate::malformed::Malformed;
#[cfg(test)]
use crate::oracle::Dice;
use crate::reader::{LengthWord, Reader};
use crate::record_set::RecordSet;
use crate::rope::Rope;

/// Java reads no longer string in any version.
const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// Room made for an array before its elements have been read. A larger one grows as it is read.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// What the encoding of a field depends on besides its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The api version.
    pub(crate) version: i16,
    /// The version has compact lengths and tagged fields.
    pub(crate) flexible: bool,
    /// The version lets this field be null.
    pub(crate) nullable: bool,
}

impl Shape {
    fn string_length(self) -> LengthWord {
        if self.flexible { LengthWord::Compact } else { LengthWord::Short }
    }

    fn long_length(self) -> LengthWord {
        if self.flexible { LengthWord::Compact } else { LengthWord::Long }
    }

    fn long_length_bytes(self) -> usize {
        if self.flexible { 1 } else { 4 }
    }
}

/// A type of field.
pub(crate) trait Wire: Sized {
    fn encode(&self, out: &mut Rope, shape: Shape);
    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed>;
    /// Bytes that the shortest value takes: what an array's count is held against.
    fn bytes_min(shape: Shape) -> usize;
    /// A value for tests.
    #[cfg(test)]
    fn roll(dice: &mut Dice, shape: Shape) -> Self;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Wire for $number {
            fn encode(&self, out: &mut Rope, _: Shape) {
                out.put(&self.to_be_bytes());
            }

            fn decode(from: &mut Reader, _: Shape) -> Result<Self, Malformed> {
                from.take_array().map(<$number>::from_be_bytes)
            }

            fn bytes_min(_: Shape) -> usize {
                size_of::<$number>()
            }

            #[cfg(test)]
            fn roll(dice: &mut Dice, _: Shape) -> Self {
                dice.next() as $number
            }
        }
    )*};
}

numbers! { i8 i16 i32 i64 }

impl Wire for bool {
    fn encode(&self, out: &mut Rope, _: Shape) {
        out.put(&[u8::from(*self)]);
    }

    fn decode(from: &mut Reader, _: Shape) -> Result<Self, Malformed> {
        from.take_array().map(|[byte]| byte != 0)
    }

    fn bytes_min(_: Shape) -> usize {
        1
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, _: Shape) -> Self {
        dice.below(2) == 1
    }
}

impl Wire for KafkaTopicId {
    fn encode(&self, out: &mut Rope, _: Shape) {
        out.put(&self.to_bytes());
    }

    fn decode(from: &mut Reader, _: Shape) -> Result<Self, Malformed> {
        from.take_array().map(Self::from_bytes)
    }

    fn bytes_min(_: Shape) -> usize {
        16
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, _: Shape) -> Self {
        Self(u128::from(dice.next()) << 64 | u128::from(dice.next()))
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        let text = &self[..self.floor_char_boundary(STRING_BYTES_MAX)];
        out.put_length(shape.string_length(), Some(text.len()));
        out.put(text.as_bytes());
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        let text = Option::<String>::decode(from, Shape { nullable: true, ..shape })?;
        text.ok_or(from.malformed("a string is null"))
    }

    fn bytes_min(shape: Shape) -> usize {
        if shape.flexible { 1 } else { 2 }
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, _: Shape) -> Self {
        (0..dice.below(6)).map(|_| ['a', 'ä', '.', '0', '😀'][dice.below(5)]).collect()
    }
}

impl Wire for Option<String> {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        match self {
            Some(text) => text.encode(out, shape),
            None if shape.nullable => out.put_length(shape.string_length(), None),
            None => out.put_length(shape.string_length(), Some(0)),
        }
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        let Some(length) = from.take_length(shape.string_length())? else {
            return null(from, shape);
        };
        if length > STRING_BYTES_MAX {
            return Err(from.malformed("a string is longer than 32767 bytes"));
        }
        let text = str::from_utf8(from.take(length)?).ok().map(str::to_owned);
        text.map(Some).ok_or(from.malformed("a string is not UTF-8"))
    }

    fn bytes_min(shape: Shape) -> usize {
        String::bytes_min(shape)
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, shape: Shape) -> Self {
        dice.roll_option(shape)
    }
}

impl Wire for Bytes {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        out.put_length(shape.long_length(), Some(self.len()));
        out.put_shared(self.clone());
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        let bytes = Option::<Bytes>::decode(from, Shape { nullable: true, ..shape })?;
        bytes.ok_or(from.malformed("bytes are null"))
    }

    fn bytes_min(shape: Shape) -> usize {
        shape.long_length_bytes()
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, _: Shape) -> Self {
        let length = [0, 1, 100, 3000][dice.below(4)];
        (0..length).map(|_| dice.next() as u8).collect()
    }
}

impl Wire for Option<Bytes> {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        match self {
            Some(bytes) => bytes.encode(out, shape),
            None if shape.nullable => out.put_length(shape.long_length(), None),
            None => out.put_length(shape.long_length(), Some(0)),
        }
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        match from.take_length(shape.long_length())? {
            Some(length) => from.take_bytes(length).map(Some),
            None => null(from, shape),
        }
    }

    fn bytes_min(shape: Shape) -> usize {
        shape.long_length_bytes()
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, shape: Shape) -> Self {
        dice.roll_option(shape)
    }
}

/// Never written as null, as not all clients take it; null is read as empty.
impl Wire for RecordSet {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        out.put_length(shape.long_length(), Some(self.len()));
        for piece in self.pieces() {
            out.put_shared(piece.clone());
        }
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        let bytes = Option::<Bytes>::decode(from, Shape { nullable: true, ..shape })?;
        Ok(bytes.map(Self::from).unwrap_or_default())
    }

    fn bytes_min(shape: Shape) -> usize {
        shape.long_length_bytes()
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, shape: Shape) -> Self {
        (0..dice.below(3)).map(|_| Bytes::roll(dice, shape)).collect()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        out.put_length(shape.long_length(), Some(self.len()));
        for element in self {
            element.encode(out, Shape { nullable: true, ..shape });
        }
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        let all = Option::<Vec<T>>::decode(from, Shape { nullable: true, ..shape })?;
        all.ok_or(from.malformed("an array is null"))
    }

    fn bytes_min(shape: Shape) -> usize {
        shape.long_length_bytes()
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, shape: Shape) -> Self {
        let shape = Shape { nullable: true, ..shape };
        (0..dice.below(4)).map(|_| T::roll(dice, shape)).collect()
    }
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn encode(&self, out: &mut Rope, shape: Shape) {
        match self {
            Some(all) => all.encode(out, shape),
            None if shape.nullable => out.put_length(shape.long_length(), None),
            None => out.put_length(shape.long_length(), Some(0)),
        }
    }

    fn decode(from: &mut Reader, shape: Shape) -> Result<Self, Malformed> {
        let Some(count) = from.take_length(shape.long_length())? else {
            return null(from, shape);
        };
        let shape = Shape { nullable: true, ..shape };
        from.claim_elements(count, T::bytes_min(shape))?;
        let mut all = Vec::with_capacity(count.min(RESERVE_BYTES_MAX / size_of::<T>().max(1)));
        for _ in 0..count {
            all.push(T::decode(from, shape)?);
        }
        Ok(Some(all))
    }

    fn bytes_min(shape: Shape) -> usize {
        shape.long_length_bytes()
    }

    #[cfg(test)]
    fn roll(dice: &mut Dice, shape: Shape) -> Self {
        dice.roll_option(shape)
    }
}

fn null<T>(from: &Reader, shape: Shape) -> Result<Option<T>, Malformed> {
    if shape.nullable { Ok(None) } else { Err(from.malformed("null where it is not allowed")) }
}
