//! Lists of at most [`LINK_CHUNK_ITEMS_MAX`] items, grown as they are read (I7).

use mainstem_types::limits::LINK_CHUNK_ITEMS_MAX;
use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};

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
