//! A disk in memory that can lose power, for tests and simulation.
//!
//! Bytes and names that were not synced may be kept, lost, or torn at sectors when it crashes;
//! which of these follows from the seed. Handles and locks from before a crash are dead after it,
//! as those of a killed process are.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock};
use crate::{Random, SeededRandom};

const SECTOR_BYTES: usize = 512;

/// What becomes of unsynced bytes and names when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPolicy {
    /// Drawn from the seed for each crash: one of the others, or sector by sector.
    Seeded,
    /// The process is killed and the machine lives: everything written is kept.
    KeepAll,
    /// The worst power loss: everything unsynced is lost.
    LoseAll,
}

/// An in-memory [`Disk`]. Clones share the same files.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    random: SeededRandom,
    /// Grows with each crash; handles of an older one are dead.
    life: u64,
    files: BTreeMap<u64, SimFile>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    names_synced: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    locked: bool,
    capacity_bytes: u64,
    fail_next_sync: bool,
    fail_next_read: bool,
    lie_about_sync: bool,
    operations_left: Option<u64>,
    operations: u64,
    syncs: u64,
}

enum NameChange {
    Create { name: String, file: u64 },
    Remove { name: String },
    Rename { from: String, to: String },
}

#[derive(Default)]
struct SimFile {
    bytes: Vec<u8>,
    synced_len: usize,
    /// What each sector written since the last sync held before it.
    unsynced: BTreeMap<usize, [u8; SECTOR_BYTES]>,
}

impl SimDisk {
    /// An empty disk whose luck follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: SeededRandom::new(seed),
            life: 0,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            name_changes: Vec::new(),
            locked: false,
            capacity_bytes: u64::MAX,
            fail_next_sync: false,
            fail_next_read: false,
            lie_about_sync: false,
            operations_left: None,
            operations: 0,
            syncs: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power, settles what is left by `policy`, and starts anew: old handles fail, the
    /// lock is free, armed faults are disarmed.
    pub fn crash(&self, policy: CrashPolicy) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.life += 1;
        state.locked = false;
        state.fail_next_sync = false;
        state.fail_next_read = false;
        state.operations_left = None;
        let luck = Luck::draw(policy, &state.random);
        state.settle_names(luck);
        for file in state.files.values_mut() {
            file.settle(luck, &state.random);
        }
        let names = &state.names;
        state.files.retain(|id, _| names.values().any(|kept| kept == id));
    }

    /// The process dies in the midst of the `operations`-th changing operation from now (at once
    /// for 0): a write or change of name happens, unsynced, but fails, and so does everything
    /// after it, until [`Self::crash`]. The dead are not revived by a new deadline.
    pub fn die_after(&self, operations: u64) {
        let mut state = self.state.lock();
        if state.operations_left != Some(0) {
            state.operations_left = Some(operations);
        }
    }

    /// True once [`Self::die_after`] has struck.
    pub fn is_dead(&self) -> bool {
        self.state.lock().operations_left == Some(0)
    }

    /// The next sync of any file fails.
    pub fn fail_next_sync(&self) {
        self.state.lock().fail_next_sync = true;
    }

    /// The next read of any file fails; the bytes are as they were.
    pub fn fail_next_read(&self) {
        self.state.lock().fail_next_read = true;
    }

    /// Planted bug: syncs of files answer that all is well and do nothing.
    pub fn lie_about_sync(&self, lie: bool) {
        self.state.lock().lie_about_sync = lie;
    }

    /// Bytes that all files together may have; growing beyond it is `StorageFull`.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state.lock().capacity_bytes = capacity_bytes;
    }

    /// Inverts the lowest bit of one stored byte, as rot does. False if there is no such byte.
    pub fn flip_byte(&self, name: &str, at: u64) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(file) = state.names.get(name).and_then(|id| state.files.get_mut(id)) else {
            return false;
        };
        let byte = usize::try_from(at).ok().and_then(|at| file.bytes.get_mut(at));
        byte.map(|byte| *byte ^= 1).is_some()
    }

    /// A copy of a file's bytes as a reader would see them now.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(name).and_then(|id| state.files.get(id)).map(|file| file.bytes.clone())
    }

    /// Changing operations so far, to aim [`Self::die_after`].
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }
}

/// How one crash treats what was not synced.
#[derive(Clone, Copy)]
enum Luck {
    Keep,
    Lose,
    /// Each sector and each change of a name on its own.
    Each,
    /// Changes of names up to a point, as a journal keeps them; sectors each on their own.
    Prefix,
}

impl Luck {
    fn draw(policy: CrashPolicy, random: &SeededRandom) -> Self {
        match policy {
            CrashPolicy::KeepAll => Self::Keep,
            CrashPolicy::LoseAll => Self::Lose,
            CrashPolicy::Seeded => match random.below(6) {
                0 => Self::Keep,
                1 => Self::Lose,
                2 | 3 => Self::Each,
                _ => Self::Prefix,
            },
        }
    }
}

impl State {
    fn settle_names(&mut self, luck: Luck) {
        let changes = std::mem::take(&mut self.name_changes);
        let prefix = self.random.below(changes.len() as u64 + 1);
        let mut names = std::mem::take(&mut self.names_synced);
        for (place, change) in changes.into_iter().enumerate() {
            let kept = match luck {
                Luck::Keep => true,
                Luck::Lose => false,
                Luck::Each => self.random.below(2) == 0,
                Luck::Prefix => (place as u64) < prefix,
            };
            if kept {
                change.apply(&mut names);
            }
        }
        self.names_synced.clone_from(&names);
        self.names = names;
    }

    fn check_alive(&self, life: u64) -> Result<()> {
        if self.life != life || self.operations_left == Some(0) {
            return Err(Error::other("the simulated process is dead"));
        }
        Ok(())
    }

    /// Counts a changing operation. False when it is the one that the process dies in.
    fn survives_operation(&mut self) -> bool {
        self.operations += 1;
        match &mut self.operations_left {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
            None => true,
        }
    }

    fn change_names(&mut self, change: NameChange) -> Result<()> {
        let survives = self.survives_operation();
        change.apply(&mut self.names);
        self.name_changes.push(change);
        if survives { Ok(()) } else { Err(died()) }
    }

    fn used_bytes(&self) -> u64 {
        let files = self.names.values().filter_map(|id| self.files.get(id));
        files.map(|file| file.bytes.len() as u64).sum()
    }

    fn check_room(&self, grow_bytes: u64) -> Result<()> {
        let full = self.used_bytes().saturating_add(grow_bytes) > self.capacity_bytes;
        if grow_bytes > 0 && full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn died() -> Error {
    Error::other("the simulated process died in this operation")
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl SimFile {
    fn write(&mut self, at: usize, slices: &[IoSlice<'_>]) {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        self.remember(at, at + total);
        if self.bytes.len() < at + total {
            self.bytes.resize(at + total, 0);
        }
        let mut at = at;
        for slice in slices {
            self.bytes[at..at + slice.len()].copy_from_slice(slice);
            at += slice.len();
        }
    }

    fn remember(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            let bytes = &self.bytes;
            self.unsynced.entry(sector).or_insert_with(|| {
                let mut old = [0; SECTOR_BYTES];
                let start = (sector * SECTOR_BYTES).min(bytes.len());
                let end = (start + SECTOR_BYTES).min(bytes.len());
                old[..end - start].copy_from_slice(&bytes[start..end]);
                old
            });
        }
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.synced_len = self.bytes.len();
    }

    fn settle(&mut self, luck: Luck, random: &SeededRandom) {
        let (keep_all, lose_all) = match luck {
            Luck::Keep => (true, false),
            Luck::Lose => (false, true),
            Luck::Each | Luck::Prefix => (false, false),
        };
        let keep_len = keep_all || !lose_all && random.below(2) == 0;
        let len = if keep_len { self.bytes.len() } else { self.synced_len };
        self.bytes.resize(len.max(self.bytes.len()), 0);
        for (sector, old) in std::mem::take(&mut self.unsynced) {
            if keep_all || !lose_all && random.below(2) == 0 {
                continue;
            }
            let start = (sector * SECTOR_BYTES).min(self.bytes.len());
            let end = (start + SECTOR_BYTES).min(self.bytes.len());
            self.bytes[start..end].copy_from_slice(&old[..end - start]);
        }
        self.bytes.resize(len, 0);
        self.synced_len = len;
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        state.check_alive(state.life)?;
        let file = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimHandle { state: Arc::clone(&self.state), file, life: state.life }))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let life = state.life;
        state.check_alive(life)?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, SimFile::default());
        state.change_names(NameChange::Create { name: name.to_owned(), file })?;
        Ok(Arc::new(SimHandle { state: Arc::clone(&self.state), file, life }))
    }

    fn list(&self) -> Result<Vec<String>> {
        let state = self.state.lock();
        state.check_alive(state.life)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.check_alive(state.life)?;
        if !state.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Remove { name: name.to_owned() })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.check_alive(state.life)?;
        if !state.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn sync_dir(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check_alive(state.life)?;
        if !state.survives_operation() {
            return Err(died());
        }
        state.name_changes.clear();
        let names = state.names.clone();
        state.names_synced = names;
        Ok(())
    }

    fn lock_exclusive(&self) -> Result<DiskLock> {
        let mut state = self.state.lock();
        state.check_alive(state.life)?;
        if state.locked {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.locked = true;
        Ok(DiskLock::new(SimLock { state: Arc::clone(&self.state), life: state.life }))
    }

    fn free_bytes(&self) -> Result<u64> {
        let state = self.state.lock();
        state.check_alive(state.life)?;
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.locked = false;
        }
    }
}

struct SimHandle {
    state: Arc<Mutex<State>>,
    file: u64,
    life: u64,
}

impl SimHandle {
    /// Runs `job` on the file, unless the process that opened it is dead.
    fn with<T>(&self, job: impl FnOnce(&mut State, u64) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        state.check_alive(self.life)?;
        job(&mut state, self.file)
    }
}

fn position(at: u64) -> Result<usize> {
    usize::try_from(at).map_err(|_| ErrorKind::InvalidInput.into())
}

/// The file behind a live handle.
fn file_of(state: &mut State, file: u64) -> &mut SimFile {
    state.files.get_mut(&file).expect("files live as long as the process that opened them")
}

impl DiskFile for SimHandle {
    fn write_at(&self, at: u64, slices: &[IoSlice<'_>]) -> Result<()> {
        let at = position(at)?;
        self.with(|state, file| {
            let end = at + slices.iter().map(|slice| slice.len()).sum::<usize>();
            let grow = end.saturating_sub(file_of(state, file).bytes.len());
            state.check_room(grow as u64)?;
            let survives = state.survives_operation();
            file_of(state, file).write(at, slices);
            if survives { Ok(()) } else { Err(died()) }
        })
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let at = position(at)?;
        self.with(|state, file| {
            if std::mem::take(&mut state.fail_next_read) {
                return Err(Error::other("the simulated disk failed to read"));
            }
            let bytes = &file_of(state, file).bytes;
            let start = at.min(bytes.len());
            let end = at.saturating_add(buffer.len()).min(bytes.len());
            buffer[..end - start].copy_from_slice(&bytes[start..end]);
            Ok(end - start)
        })
    }

    fn sync_data(&self) -> Result<()> {
        self.with(|state, file| {
            if !state.survives_operation() {
                return Err(died());
            }
            state.syncs += 1;
            if std::mem::take(&mut state.fail_next_sync) {
                return Err(Error::other("the simulated disk failed to sync"));
            }
            if !state.lie_about_sync {
                file_of(state, file).sync();
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let len = position(len)?;
        self.with(|state, file| {
            let old = file_of(state, file).bytes.len();
            state.check_room(len.saturating_sub(old) as u64)?;
            let survives = state.survives_operation();
            let file = file_of(state, file);
            file.remember(len.min(old), len.max(old));
            file.bytes.resize(len, 0);
            if survives { Ok(()) } else { Err(died()) }
        })
    }

    fn allocate(&self, len: u64) -> Result<()> {
        if len > self.len()? { self.set_len(len) } else { Ok(()) }
    }

    fn len(&self) -> Result<u64> {
        self.with(|state, file| Ok(file_of(state, file).bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &dyn DiskFile, at: u64, bytes: &[u8]) {
        file.write_at(at, &[IoSlice::new(bytes)]).unwrap();
    }

    #[test]
    fn synced_bytes_and_names_survive_every_seed() {
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            write(&*file, 0, &[7; 5000]);
            file.sync_data().unwrap();
            disk.sync_dir().unwrap();
            write(&*file, 4000, &[8; 3000]);
            disk.crash(CrashPolicy::Seeded);
            let bytes = disk.contents("a").unwrap();
            assert!(bytes.len() >= 5000);
            assert!(bytes[..3584].iter().all(|byte| *byte == 7), "seed {seed}");
        }
    }

    #[test]
    fn seeds_differ_in_what_they_keep_and_old_handles_die() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            file.sync_data().unwrap();
            disk.sync_dir().unwrap();
            write(&*file, 0, &[1; 4096]);
            disk.crash(CrashPolicy::Seeded);
            assert!(file.len().is_err());
            let kept = disk.contents("a").unwrap().iter().filter(|byte| **byte == 1).count();
            kinds.insert(match kept {
                0 => "lost",
                4096 => "kept",
                _ => "torn",
            });
        }
        assert_eq!(kinds.len(), 3);
    }

    #[test]
    fn unsynced_names_vanish_when_all_is_lost() {
        let disk = SimDisk::new(1);
        disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        disk.rename("a", "b").unwrap();
        disk.create("c").unwrap();
        disk.crash(CrashPolicy::LoseAll);
        assert_eq!(disk.list().unwrap(), ["a"]);
    }

    #[test]
    fn faults_strike_as_told() {
        let disk = SimDisk::new(1);
        disk.set_capacity_bytes(1000);
        let file = disk.create("a").unwrap();
        write(&*file, 0, &[1; 1000]);
        let full = file.write_at(1000, &[IoSlice::new(&[1])]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        disk.fail_next_sync();
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok());
        disk.lie_about_sync(true);
        write(&*file, 0, &[2; 1000]);
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        disk.crash(CrashPolicy::LoseAll);
        assert_eq!(disk.contents("a").unwrap()[0], 1);
        assert!(disk.flip_byte("a", 0));
        assert_eq!(disk.contents("a").unwrap()[0], 0);
    }

    #[test]
    fn a_dying_process_stays_dead_until_the_crash() {
        let disk = SimDisk::new(1);
        disk.die_after(2);
        disk.create("a").unwrap();
        assert!(disk.sync_dir().is_err());
        assert!(disk.is_dead());
        assert!(disk.list().is_err());
        disk.crash(CrashPolicy::KeepAll);
        assert_eq!(disk.list().unwrap(), ["a"]);
    }
}
