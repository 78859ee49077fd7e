//! Files of one data directory.

mod sim;
mod system;

pub use sim::{CrashPolicy, SimDisk};
pub use system::SystemDisk;

use std::io::{IoSlice, Result};
use std::sync::Arc;

/// One directory of flat files. Cheap to share; whoever needs files is given a disk when opened.
///
/// Names are plain file names without a separator. A change of names (create, remove, rename) is
/// durable only after [`Disk::sync_dir`], as bytes are only after [`DiskFile::sync_data`].
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing; `NotFound` otherwise.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>>;
    /// Makes a new empty file; `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>>;
    /// The names of all files, sorted.
    fn list(&self) -> Result<Vec<String>>;
    /// Removes a name. Open handles go on working.
    fn remove(&self, name: &str) -> Result<()>;
    /// Gives a file another name, replacing what stood there.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Makes all changes of names so far durable.
    fn sync_dir(&self) -> Result<()>;
    /// Takes the directory for this process until the lock is dropped; `WouldBlock` if it is held.
    fn lock_exclusive(&self) -> Result<DiskLock>;
    /// Bytes that can still be written.
    fn free_bytes(&self) -> Result<u64>;
}

/// One file with positioned access. Shared by a writer and any number of readers.
pub trait DiskFile: Send + Sync {
    /// Writes all slices one after the other, beginning at byte `at`; the file grows if need be.
    /// After an error any part of it may have been written.
    fn write_at(&self, at: u64, slices: &[IoSlice<'_>]) -> Result<()>;
    /// Fills `buffer` from byte `at`; returns fewer bytes only where the file ends.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize>;
    /// Returns when all bytes written before are durable. After an error nothing is known about
    /// any of them, and a second call proves nothing.
    fn sync_data(&self) -> Result<()>;
    /// Cuts the file, or grows it by a hole.
    fn set_len(&self, len: u64) -> Result<()>;
    /// Grows the file to `len`, so that a write below it meets no full disk. Its bytes are zeros.
    /// A file that is that long already stays as it is. File systems that never write a block in
    /// place cannot keep the promise.
    fn allocate(&self, len: u64) -> Result<()>;
    /// The length in bytes.
    fn len(&self) -> Result<u64>;

    /// True for a file of no bytes.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Grows the file to `len` with zeros that are really written, so that a later write to them
    /// changes no metadata and its sync costs no journal commit. Not synced yet.
    fn zero_up_to(&self, len: u64) -> Result<()> {
        const CHUNK_BYTES: usize = 1024 * 1024;
        let zeros = vec![0; CHUNK_BYTES];
        let mut at = self.len()?;
        while at < len {
            let step = usize::try_from(len - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            self.write_at(at, &[IoSlice::new(&zeros[..step])])?;
            at += step as u64;
        }
        Ok(())
    }
}

/// Holds the exclusive lock of a data directory; dropping it lets go.
pub struct DiskLock {
    _held: Box<dyn Send + Sync>,
}

impl DiskLock {
    /// Wraps whatever keeps the lock for as long as it lives.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}
