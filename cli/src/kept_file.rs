//! A file of kept batches: written on where it was left, read with every checksum looked at.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mainstem_api::{KEPT_FILE_HEADER, KEPT_PREFIX_BYTES, KeptBatch};
use mainstem_record::BatchHeader;
use mainstem_types::Error;

use crate::manifest::{FileEntry, failed};

/// Reads the batches of a file, one after the other.
pub(crate) struct KeptReader {
    path: PathBuf,
    file: BufReader<File>,
    /// What was read so far.
    pub(crate) read: FileEntry,
}

impl KeptReader {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| failed(path, &error))?;
        let mut file = BufReader::new(file);
        let mut header = [0; KEPT_FILE_HEADER.len()];
        file.read_exact(&mut header).map_err(|error| failed(path, &error))?;
        if header != KEPT_FILE_HEADER {
            return Err(Error::corrupt(format!(
                "{} is not a file of batches of this version; export again",
                path.display()
            )));
        }
        let crc = crc32c::crc32c(&header);
        let read = FileEntry { bytes: header.len() as u64, batches: 0, crc };
        Ok(Self { path: path.to_owned(), file, read })
    }

    /// The next batch with its header; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` for damage, and for a batch that is cut off.
    pub(crate) fn next(&mut self) -> Result<Option<(KeptBatch, BatchHeader)>, Error> {
        let mut prefix = [0; KEPT_PREFIX_BYTES];
        let at = self.read.bytes;
        let here = |error: Error| error.context(format!("{} at byte {at}", self.path.display()));
        match self.file.fill_buf_is_empty() {
            Ok(true) => return Ok(None),
            Ok(false) => {}
            Err(error) => return Err(failed(&self.path, &error)),
        }
        let cut = |error: std::io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => here(Error::corrupt("a batch is cut off; export again")),
            _ => failed(&self.path, &error),
        };
        self.file.read_exact(&mut prefix).map_err(cut)?;
        let mut bytes = vec![0; KeptBatch::length(&prefix).map_err(here)?];
        self.file.read_exact(&mut bytes).map_err(cut)?;
        let crc = crc32c::crc32c_append(self.read.crc, &prefix);
        let entry = FileEntry {
            bytes: at + (prefix.len() + bytes.len()) as u64,
            batches: self.read.batches + 1,
            crc: crc32c::crc32c_append(crc, &bytes),
        };
        let batch = KeptBatch::from_parts(&prefix, Bytes::from(bytes)).map_err(here)?;
        let header = BatchHeader::decode(&batch.bytes)
            .map_err(|error| here(Error::corrupt(error.to_string())))?;
        self.read = entry;
        Ok(Some((batch, header)))
    }
}

trait IsEmpty {
    fn fill_buf_is_empty(&mut self) -> std::io::Result<bool>;
}

impl IsEmpty for BufReader<File> {
    fn fill_buf_is_empty(&mut self) -> std::io::Result<bool> {
        std::io::BufRead::fill_buf(self).map(<[u8]>::is_empty)
    }
}

/// Writes batches to a file.
pub(crate) struct KeptWriter {
    path: PathBuf,
    file: File,
    pub(crate) written: FileEntry,
    /// The next offset after the last batch; `None` before the first.
    pub(crate) next: Option<i64>,
}

impl KeptWriter {
    /// Begins a file anew.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let open = || {
            let mut file = File::create(path)?;
            file.write_all(&KEPT_FILE_HEADER)?;
            Ok(file)
        };
        let file = open().map_err(|error| failed(path, &error))?;
        let crc = crc32c::crc32c(&KEPT_FILE_HEADER);
        let written = FileEntry { bytes: KEPT_FILE_HEADER.len() as u64, batches: 0, crc };
        Ok(Self { path: path.to_owned(), file, written, next: None })
    }

    /// Goes on where a file ends; what was cut off in the middle of a batch is written again. One
    /// that is not there, or no such file, is begun anew.
    pub(crate) fn resume(path: &Path) -> Result<Self, Error> {
        let Ok(mut reader) = KeptReader::open(path) else { return Self::create(path) };
        let mut next = None;
        while let Ok(Some((_, header))) = reader.next() {
            next = Some(header.next_offset());
        }
        let written = reader.read;
        let open = || {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.set_len(written.bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), file, written, next })
    }

    pub(crate) fn push(&mut self, batch: &KeptBatch, header: &BatchHeader) -> Result<(), Error> {
        let mut out = Vec::with_capacity(KEPT_PREFIX_BYTES + batch.bytes.len());
        batch.encode(&mut out);
        self.file.write_all(&out).map_err(|error| failed(&self.path, &error))?;
        self.written.bytes += out.len() as u64;
        self.written.batches += 1;
        self.written.crc = crc32c::crc32c_append(self.written.crc, &out);
        self.next = Some(header.next_offset());
        Ok(())
    }

    /// All of it is on disk.
    pub(crate) fn finish(self) -> Result<FileEntry, Error> {
        self.file.sync_all().map_err(|error| failed(&self.path, &error))?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_record::BatchBuilder;

    fn batch(base: i64) -> (KeptBatch, BatchHeader) {
        let mut builder = BatchBuilder::new().base_offset(base);
        builder.push(5, None, Some(format!("value {base}").as_bytes()));
        let bytes = builder.build().freeze();
        let header = BatchHeader::decode(&bytes).unwrap();
        (KeptBatch { arrival_ms: base, bytes }, header)
    }

    fn all(path: &Path) -> Result<(Vec<i64>, FileEntry), Error> {
        let mut reader = KeptReader::open(path)?;
        let mut found = Vec::new();
        while let Some((_, header)) = reader.next()? {
            found.push(header.base_offset);
        }
        Ok((found, reader.read))
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.0.kept");
        let write = |writer: &mut KeptWriter, from: i64| {
            for base in from..4 {
                let (batch, header) = batch(base);
                writer.push(&batch, &header).unwrap();
            }
        };
        let mut writer = KeptWriter::create(&path).unwrap();
        write(&mut writer, 0);
        let whole = writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(all(&path).unwrap(), (vec![0, 1, 2, 3], whole));
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let mut writer = KeptWriter::resume(&path).unwrap();
            let next = writer.next.unwrap_or(0);
            write(&mut writer, next);
            assert_eq!(writer.finish().unwrap(), whole, "cut at {length}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "cut at {length}");
        }
        let mut damaged = bytes;
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = all(&path).unwrap_err();
        assert!(error.message().contains("t.0.kept at byte"), "{error}");
    }
}
