//! Batches as a log keeps them, with their arrival times: the bodies of the admin door's data
//! requests, and the files of an export (docs/FORMAT.md).

use bytes::{Buf, BufMut, Bytes};
use mainstem_types::Error;
use mainstem_types::limits::BATCH_BYTES_MAX;

/// What a file of kept batches begins with: its name and the version of its format.
pub const KEPT_FILE_HEADER: [u8; 8] = *b"MSKEPT\0\x01";
/// Bytes before each batch: its length, its arrival time, a checksum over both and the batch.
pub const KEPT_PREFIX_BYTES: usize = 16;

/// A batch and when it arrived at its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBatch {
    /// In milliseconds since 1970.
    pub arrival_ms: i64,
    /// The batch, byte for byte.
    pub bytes: Bytes,
}

impl KeptBatch {
    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.bytes.len()).expect("a batch is below 4 GiB");
        let begun = out.len();
        out.put_u32(length);
        out.put_i64(self.arrival_ms);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[begun..]), &self.bytes);
        out.put_u32(crc);
        out.put_slice(&self.bytes);
    }

    /// The length of the batch behind a prefix, checked against the limit before anything of that
    /// length is read (I7).
    ///
    /// # Errors
    /// `Corrupt` for a length that no batch has.
    pub fn length(prefix: &[u8; KEPT_PREFIX_BYTES]) -> Result<usize, Error> {
        let length = (&prefix[..]).get_u32() as usize;
        if (1..=BATCH_BYTES_MAX).contains(&length) {
            return Ok(length);
        }
        Err(Error::corrupt(format!("a batch of {length} bytes is none; fetch the file again")))
    }

    /// The batch of a prefix and what stood behind it.
    ///
    /// # Errors
    /// `Corrupt` if the checksum says so.
    pub fn from_parts(prefix: &[u8; KEPT_PREFIX_BYTES], bytes: Bytes) -> Result<Self, Error> {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&prefix[..12]), &bytes);
        let mut fields = &prefix[4..];
        let (arrival_ms, stated) = (fields.get_i64(), fields.get_u32());
        if crc != stated {
            return Err(Error::corrupt("a kept batch has a wrong checksum; fetch it again"));
        }
        Ok(Self { arrival_ms, bytes })
    }

    /// Takes the first one off what has arrived whole; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` for damage and for a batch that is cut off.
    pub fn decode(arrived: &mut Bytes) -> Result<Option<Self>, Error> {
        if arrived.is_empty() {
            return Ok(None);
        }
        let cut = || Error::corrupt("a kept batch is cut off; fetch it again");
        let prefix: [u8; KEPT_PREFIX_BYTES] = *arrived.first_chunk().ok_or_else(cut)?;
        let length = Self::length(&prefix)?;
        arrived.advance(KEPT_PREFIX_BYTES);
        if arrived.len() < length {
            return Err(cut());
        }
        Self::from_parts(&prefix, arrived.split_to(length)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(batches: &[KeptBatch]) -> Vec<u8> {
        let mut out = Vec::new();
        batches.iter().for_each(|batch| batch.encode(&mut out));
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<KeptBatch>, Error> {
        let mut arrived = Bytes::copy_from_slice(bytes);
        let mut found = Vec::new();
        while let Some(batch) = KeptBatch::decode(&mut arrived)? {
            found.push(batch);
        }
        Ok(found)
    }

    fn some() -> [KeptBatch; 2] {
        let batch = |arrival_ms, bytes: &'static [u8]| KeptBatch {
            arrival_ms,
            bytes: Bytes::from_static(bytes),
        };
        [batch(1_700_000_000_000, b"a batch"), batch(-5, &[0; 61])]
    }

    #[test]
    fn batches_survive_and_are_as_they_were_released() {
        let bytes = encoded(&some());
        assert_eq!(decoded(&bytes).unwrap(), some());
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../testdata/export/v1/batches.kept");
        let file = [&KEPT_FILE_HEADER[..], &bytes].concat();
        if std::env::var_os("MAINSTEM_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &file).unwrap();
        }
        assert_eq!(std::fs::read(&golden).unwrap(), file, "it is written otherwise than before");
    }

    #[test]
    fn what_is_cut_or_damaged_is_an_error_and_never_another_batch() {
        let (bytes, whole) = (encoded(&some()), some());
        for length in 0..bytes.len() {
            match decoded(&bytes[..length]) {
                Ok(found) => assert!(found.len() < 2 && found == whole[..found.len()]),
                Err(error) => assert!(error.message().contains("fetch"), "{error}"),
            }
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert!(decoded(&other).is_err(), "a flipped bit at {at} goes unnoticed");
        }
        // I7: a length is refused before it is believed.
        assert!(decoded(&[0xff; 64]).unwrap_err().message().contains("is none"));
    }
}
