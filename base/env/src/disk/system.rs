//! The operating system's files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, DiskLock};

/// The most slices that one `pwritev` takes (`IOV_MAX` on Linux).
const SLICES_PER_CALL_MAX: usize = 1024;

/// The file that carries the directory's lock.
const LOCK_NAME: &str = "lock";

/// A directory of the operating system's file system.
pub struct SystemDisk {
    directory: PathBuf,
}

impl SystemDisk {
    /// Opens the directory, making it (and its parents, each made durable) if it is missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        create_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn file_path(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Error::new(ErrorKind::InvalidInput, format!("bad file name {name:?}")));
        }
        Ok(self.directory.join(name))
    }
}

fn create_directory(directory: &Path) -> Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_directory(parent)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

impl Disk for SystemDisk {
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.file_path(name)?)?;
        Ok(Arc::new(SystemFile { file }))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let path = self.file_path(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(SystemFile { file }))
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.file_path(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.file_path(from)?, self.file_path(to)?)
    }

    fn sync_dir(&self) -> Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn lock_exclusive(&self) -> Result<DiskLock> {
        let path = self.file_path(LOCK_NAME)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(DiskLock::new(file)),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::WouldBlock,
                format!("another process uses {}", self.directory.display()),
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct SystemFile {
    file: File,
}

impl DiskFile for SystemFile {
    fn write_at(&self, at: u64, slices: &[IoSlice<'_>]) -> Result<()> {
        let mut at = at;
        for part in slices.chunks(SLICES_PER_CALL_MAX) {
            at += write_part(&self.file, at, part)?;
        }
        Ok(())
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;

        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), old, len - old) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.zero_up_to(len),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// One `pwritev`, and plain writes for what it left over. Returns the bytes of `part`.
fn write_part(file: &File, at: u64, part: &[IoSlice<'_>]) -> Result<u64> {
    let mut written = loop {
        match rustix::io::pwritev(file, part, at) {
            Ok(bytes) => break bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut start = 0;
    for slice in part {
        let end = start + slice.len();
        if written < end {
            let skip = written.max(start) - start;
            file.write_all_at(&slice[skip..], at + (start + skip) as u64)?;
            written = end;
        }
        start = end;
    }
    Ok(start as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mainstem-env-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn writes_read_back_across_more_slices_than_one_call_takes() {
        let path = scratch("slices");
        let disk = SystemDisk::open(&path).unwrap();
        let file = disk.create("f").unwrap();
        let bytes: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
        let slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        file.write_at(10, &slices).unwrap();
        let mut read = vec![0; 4000];
        assert_eq!(file.read_at(10, &mut read).unwrap(), 3000);
        assert_eq!(&read[..3000], &bytes[..]);
        assert!(disk.create("f").is_err());
        assert!(disk.open("../f").is_err());
        assert!(disk.free_bytes().unwrap() > 0);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn second_lock_is_refused_until_the_first_is_dropped() {
        let path = scratch("lock");
        let disk = SystemDisk::open(&path).unwrap();
        let held = disk.lock_exclusive().unwrap();
        let refused = disk.lock_exclusive().map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        drop(held);
        disk.lock_exclusive().unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn zeroing_grows_only() {
        let path = scratch("zero");
        let disk = SystemDisk::open(&path).unwrap();
        let file = disk.create("z").unwrap();
        file.write_at(0, &[IoSlice::new(b"abc")]).unwrap();
        file.zero_up_to(3 * 1024 * 1024 + 5).unwrap();
        assert_eq!(file.len().unwrap(), 3 * 1024 * 1024 + 5);
        let mut head = [9; 4];
        file.read_at(0, &mut head).unwrap();
        assert_eq!(&head, b"abc\0");
        fs::remove_dir_all(path).unwrap();
    }
}
