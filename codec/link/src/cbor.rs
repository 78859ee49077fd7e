//! How the project's nouns lie in CBOR: ids as 16 bytes, counters as numbers, names as text.

use std::fmt::Display;
use std::str::FromStr;

use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;
use mainstem_types::{CatalogSeq, ClusterId, JobId, LinkEpoch, OriginTopicId, StreamId, TermId};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

pub(crate) trait Id {
    fn to_bytes(&self) -> [u8; 16];
    fn from_bytes(bytes: [u8; 16]) -> Self;
}

pub(crate) trait Counter {
    fn number(&self) -> u64;
    fn from_number(number: u64) -> Self;
}

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl Id for $name {
            fn to_bytes(&self) -> [u8; 16] {
                (*self).to_bytes()
            }
            fn from_bytes(bytes: [u8; 16]) -> Self {
                Self::from_bytes(bytes)
            }
        }
    )*};
}

macro_rules! counters {
    ($($name:ident),*) => {$(
        impl Counter for $name {
            fn number(&self) -> u64 {
                self.0
            }
            fn from_number(number: u64) -> Self {
                Self(number)
            }
        }
    )*};
}

ids!(ClusterId, StreamId, OriginTopicId, TermId, JobId);
counters!(LinkEpoch, CatalogSeq);

/// An id: a byte string of 16.
pub(crate) mod id {
    use super::{DecodeError, Decoder, EncodeError, Encoder, Id, Write};

    pub(crate) fn encode<Ctx, T: Id, W: Write>(
        value: &T,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&value.to_bytes())?.ok()
    }

    pub(crate) fn decode<'b, Ctx, T: Id>(
        d: &mut Decoder<'b>,
        _: &mut Ctx,
    ) -> Result<T, DecodeError> {
        let bytes: [u8; 16] =
            d.bytes()?.try_into().map_err(|_| DecodeError::message("an id has 16 bytes"))?;
        Ok(T::from_bytes(bytes))
    }
}

/// An id that may be absent.
pub(crate) mod id_option {
    use super::{DecodeError, Decoder, EncodeError, Encoder, Id, Write};

    pub(crate) fn encode<Ctx, T: Id, W: Write>(
        value: &Option<T>,
        e: &mut Encoder<W>,
        ctx: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(value) => super::id::encode(value, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<'b, Ctx, T: Id>(
        d: &mut Decoder<'b>,
        ctx: &mut Ctx,
    ) -> Result<Option<T>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            d.null()?;
            return Ok(None);
        }
        super::id::decode(d, ctx).map(Some)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape that the derive asks for")]
    pub(crate) fn nil<T>() -> Option<Option<T>> {
        Some(None)
    }

    pub(crate) fn is_nil<T>(value: &Option<T>) -> bool {
        value.is_none()
    }
}

/// A counter: an unsigned number.
pub(crate) mod counter {
    use super::{Counter, DecodeError, Decoder, EncodeError, Encoder, Write};

    pub(crate) fn encode<Ctx, T: Counter, W: Write>(
        value: &T,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(value.number())?.ok()
    }

    pub(crate) fn decode<'b, Ctx, T: Counter>(
        d: &mut Decoder<'b>,
        _: &mut Ctx,
    ) -> Result<T, DecodeError> {
        d.u64().map(T::from_number)
    }
}

/// A name: text, checked by the name's own rules when it is read.
pub(crate) mod name {
    use super::{DecodeError, Decoder, Display, EncodeError, Encoder, FromStr, Write};

    pub(crate) fn encode<Ctx, T: Display, W: Write>(
        value: &T,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(&value.to_string())?.ok()
    }

    pub(crate) fn decode<'b, Ctx, T>(d: &mut Decoder<'b>, _: &mut Ctx) -> Result<T, DecodeError>
    where
        T: FromStr,
        T::Err: Display,
    {
        d.str()?.parse().map_err(DecodeError::message)
    }
}

/// A list of at most [`LINK_CHUNK_ITEMS_MAX`] items, grown as they are read (I7).
pub(crate) mod items {
    use super::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder};
    use super::{LINK_CHUNK_ITEMS_MAX, Write};

    pub(crate) fn encode<Ctx, T: Encode<Ctx>, W: Write>(
        items: &[T],
        e: &mut Encoder<W>,
        ctx: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(items.len() as u64)?;
        items.iter().try_for_each(|item| item.encode(e, ctx))
    }

    pub(crate) fn decode<'b, Ctx, T: Decode<'b, Ctx>>(
        d: &mut Decoder<'b>,
        ctx: &mut Ctx,
    ) -> Result<Vec<T>, DecodeError> {
        let Some(count) = d.array()? else {
            return Err(DecodeError::message("lists state their length"));
        };
        if count > LINK_CHUNK_ITEMS_MAX as u64 {
            return Err(DecodeError::message("a list is longer than a chunk may be"));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(d, ctx)?);
        }
        Ok(items)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape that the derive asks for")]
    pub(crate) fn nil<T>() -> Option<Vec<T>> {
        Some(Vec::new())
    }

    #[expect(clippy::ptr_arg, reason = "the shape that the derive asks for")]
    pub(crate) fn is_nil<T>(items: &Vec<T>) -> bool {
        items.is_empty()
    }
}

/// A stream's path that may be absent.
pub(crate) mod path_option {
    use mainstem_types::StreamPath;

    use super::{DecodeError, Decoder, EncodeError, Encoder, Write};

    pub(crate) use super::id_option::{is_nil, nil};

    pub(crate) fn encode<Ctx, W: Write>(
        value: &Option<StreamPath>,
        e: &mut Encoder<W>,
        ctx: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(value) => super::name::encode(value, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<Ctx>(
        d: &mut Decoder<'_>,
        ctx: &mut Ctx,
    ) -> Result<Option<StreamPath>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            d.null()?;
            return Ok(None);
        }
        super::name::decode(d, ctx).map(Some)
    }
}
