//! The log's directory: whose it is, what is in it, and which generation begins.

use std::sync::Arc;

use mainstem_env::{Disk, DiskLock, Random};

use crate::LogError;
use crate::segment::FileName;

/// The part of a generation that counts openings.
pub(crate) const fn generation_count(generation: u64) -> u64 {
    generation >> 32
}

/// The log's files in a directory.
#[derive(Default)]
pub(crate) struct Found {
    /// In order of number.
    pub(crate) segments: Vec<(u32, u64)>,
    pub(crate) recoveries: Vec<(u32, u64)>,
    pub(crate) reserves: Vec<u32>,
    pub(crate) generations: Vec<u64>,
}

impl Found {
    /// Looks what is there. Files that are not the log's are left alone.
    pub(crate) fn list(disk: &dyn Disk) -> Result<Self, LogError> {
        let mut found = Self::default();
        let names = disk.list().map_err(LogError::disk("listing the log's directory"))?;
        for name in names {
            match FileName::parse(&name) {
                Some(FileName::Segment { number, generation }) => {
                    found.segments.push((number, generation));
                }
                Some(FileName::Recovery { number, generation }) => {
                    found.recoveries.push((number, generation));
                }
                Some(FileName::Reserve { number }) => found.reserves.push(number),
                Some(FileName::Generation { generation }) => found.generations.push(generation),
                None => {}
            }
        }
        found.segments.sort_unstable();
        if let Some(twice) = found.segments.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let number = twice[0].0;
            return Err(LogError::Format(format!(
                "two segments have the number {number:08x}; move the one that does not belong away"
            )));
        }
        Ok(found)
    }

    /// The highest segment number that was ever given, as far as names tell.
    pub(crate) fn highest_number(&self) -> u32 {
        let numbers = self.segments.iter().chain(&self.recoveries).map(|(number, _)| *number);
        numbers.max().unwrap_or(0)
    }

    fn highest_generation(&self) -> u64 {
        let used = self.segments.iter().chain(&self.recoveries).map(|(_, generation)| *generation);
        used.chain(self.generations.iter().copied()).max().unwrap_or(0)
    }
}

/// Takes the next generation and makes that durable before anything is written under it. Its
/// count makes it new; its random half keeps anybody from producing bytes that would pass for
/// frames of it.
pub(crate) fn begin_generation(
    disk: &dyn Disk,
    random: &dyn Random,
    found: &Found,
) -> Result<u64, LogError> {
    let count = generation_count(found.highest_generation()) + 1;
    let generation = count << 32 | random.below(1 << 32);
    let begin = || {
        disk.create(&FileName::Generation { generation }.to_string())?;
        disk.sync_dir()?;
        for old in &found.generations {
            disk.remove(&FileName::Generation { generation: *old }.to_string())?;
        }
        Ok(())
    };
    begin().map_err(LogError::disk("beginning a generation"))?;
    Ok(generation)
}

/// Takes a data directory for this process alone, before anything in it is opened.
pub fn lock(disk: &dyn Disk) -> Result<Arc<DiskLock>, LogError> {
    disk.lock_exclusive().map(Arc::new).map_err(locked_or_disk)
}

fn locked_or_disk(source: std::io::Error) -> LogError {
    match source.kind() {
        std::io::ErrorKind::WouldBlock => LogError::Locked,
        _ => LogError::disk("locking the data directory")(source),
    }
}
