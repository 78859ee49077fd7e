//! Snappy as Kafka clients write it: framed by the Java library, or one raw block.

use snap::raw::{Decoder, Encoder, decompress_len};

use crate::error::RecordError;

/// "Snappy" between two marks, then version 1 and compatible version 1.
const MAGIC: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The version words may differ, the marks may not.
const MAGIC_MARK_BYTES: usize = 8;
const BLOCK_BYTES: usize = 32 * 1024;
/// A copy of 64 bytes takes 3, so no block unpacks to more than this many times its size. It lets
/// the length that a block claims be checked against what has arrived.
const EXPANSION_MAX: usize = 22;
const DAMAGED: RecordError = RecordError::Decompress("snappy");

pub(crate) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    if packed.len() < MAGIC.len() || packed[..MAGIC_MARK_BYTES] != MAGIC[..MAGIC_MARK_BYTES] {
        decompress_block(packed, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = &packed[MAGIC.len()..];
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or(DAMAGED)?;
        decompress_block(block, &mut out, limit)?;
        rest = &after[length..];
    }
    Ok(out)
}

fn decompress_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), RecordError> {
    let length = decompress_len(block).map_err(|_| DAMAGED)?;
    if length > block.len() * EXPANSION_MAX {
        return Err(DAMAGED);
    }
    let start = out.len();
    if length > limit.saturating_sub(start) {
        return Err(RecordError::TooLarge { limit });
    }
    out.resize(start + length, 0);
    let written = Decoder::new().decompress(block, &mut out[start..]).map_err(|_| DAMAGED)?;
    if written == length { Ok(()) } else { Err(DAMAGED) }
}

pub(crate) fn compress(plain: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut encoder = Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).expect("a 32 KiB block is below snappy's limit");
        let length = u32::try_from(packed.len()).expect("a packed block is about 32 KiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out
}
