//! Zigzag variable-length integers, as inside records.

use crate::error::RecordError;

const CUT: RecordError = RecordError::Invalid("a record ends inside a number");

/// Reads a number of at most 32 bits at `*at`, and moves `*at` past it.
pub(crate) fn read_i32(bytes: &[u8], at: &mut usize) -> Result<i32, RecordError> {
    i32::try_from(read_i64(bytes, at)?)
        .map_err(|_| RecordError::Invalid("a number in a record exceeds 32 bits"))
}

/// Reads a number of at most 64 bits at `*at`, and moves `*at` past it.
pub(crate) fn read_i64(bytes: &[u8], at: &mut usize) -> Result<i64, RecordError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(CUT)?;
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(RecordError::Invalid("a number in a record exceeds 64 bits"))
}

/// Appends a number.
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes behind their length, or a length of -1 for none.
pub(crate) fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => write(out, -1),
        Some(bytes) => {
            write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Bytes that [`write`] appends for `value`.
pub(crate) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_reads_back(value in any::<i64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(out.len(), size(value));
            let mut at = 0;
            prop_assert_eq!(read_i64(&out, &mut at), Ok(value));
            prop_assert_eq!(at, out.len());
            prop_assert_eq!(read_i64(&out[..out.len() - 1], &mut 0), Err(CUT));
        }
    }

    #[test]
    fn an_endless_number_is_an_error() {
        assert!(read_i64(&[0xff; 20], &mut 0).is_err());
        assert!(read_i32(&[0xff, 0xff, 0xff, 0xff, 0x7f], &mut 0).is_err());
    }
}
