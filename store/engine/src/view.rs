//! The materialised view: what the log says, as rows, so that a start need not read all of it.
//!
//! Each transaction stores the log position that it is true for. The log stays the only durable
//! order: a lost or old view costs replay, never data, as long as no segment past it is freed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use mainstem_env::{Disk, DiskFile};
use mainstem_log::Position;
use mainstem_types::Error;
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};

const FILE: &str = "view.redb";
const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const APPLIED: &str = "applied";
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What kind of row a key begins with.
pub(crate) mod tag {
    pub(crate) const CATALOG: u8 = 1;
    pub(crate) const PARTITION: u8 = 2;
    pub(crate) const CURSOR: u8 = 3;
}

/// A key and what it stands for.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// Rows to set, or with no value to delete, and the position that they make the view true for.
pub(crate) struct ViewChange {
    pub(crate) applied: Position,
    pub(crate) rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl std::fmt::Debug for ViewChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows up to {}", self.rows.len(), self.applied)
    }
}

/// The table on disk.
pub(crate) struct View {
    database: Database,
}

impl View {
    pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<Self, Error> {
        let file = match disk.open(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(FILE).map_err(|e| storage(&e))?;
                disk.sync_dir().map_err(|e| storage(&e))?;
                file
            }
            Err(error) => return Err(storage(&error)),
        };
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(Backend(file))
            .map_err(|e| storage(&e))?;
        Ok(Self { database })
    }

    /// The position and all rows.
    pub(crate) fn load(&self) -> Result<(Position, Vec<Row>), Error> {
        self.load_rows().map_err(|e| storage(&*e))
    }

    fn load_rows(&self) -> Result<(Position, Vec<Row>), Box<dyn std::error::Error>> {
        let transaction = self.database.begin_write()?;
        let applied = transaction.open_table(META)?.get(APPLIED)?.map_or(0, |guard| guard.value());
        let mut rows = Vec::new();
        for row in transaction.open_table(ROWS)?.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        transaction.commit()?;
        Ok((Position(applied), rows))
    }

    pub(crate) fn store(&self, change: ViewChange) -> Result<(), Error> {
        self.store_rows(change).map_err(|e| storage(&*e))
    }

    fn store_rows(&self, change: ViewChange) -> Result<(), Box<dyn std::error::Error>> {
        let transaction = self.database.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for (key, value) in change.rows {
                match value {
                    Some(value) => rows.insert(key.as_slice(), value.as_slice())?,
                    None => rows.remove(key.as_slice())?,
                };
            }
            transaction.open_table(META)?.insert(APPLIED, change.applied.0)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn storage(error: &(impl fmt::Display + ?Sized)) -> Error {
    Error::storage(format!("the materialised view ({FILE}): {error}"))
}

/// Where the sequencer sends its changes.
pub(crate) struct ViewWriter {
    applied: Arc<AtomicU64>,
    way: Way,
}

enum Way {
    Inline(View),
    Thread { changes: Option<mpsc::SyncSender<ViewChange>>, thread: Option<JoinHandle<()>> },
}

impl ViewWriter {
    pub(crate) fn inline(view: View, applied: Position) -> Self {
        Self { applied: Arc::new(AtomicU64::new(applied.0)), way: Way::Inline(view) }
    }

    /// A thread that lives until the writer is dropped, and then has stored everything.
    pub(crate) fn spawn(view: View, applied: Position) -> Result<Self, Error> {
        let applied = Arc::new(AtomicU64::new(applied.0));
        let (changes, received) = mpsc::sync_channel::<ViewChange>(1);
        let reached = applied.clone();
        let run = move || {
            for change in received {
                let position = change.applied;
                if let Err(error) = view.store(change) {
                    // Without the view segments are no longer freed; the data is safe in the log.
                    tracing::error!(%error, "the materialised view cannot be written");
                    return;
                }
                reached.store(position.0, Ordering::Release);
            }
        };
        let thread =
            std::thread::Builder::new().name("view".into()).spawn(run).map_err(|e| storage(&e))?;
        Ok(Self { applied, way: Way::Thread { changes: Some(changes), thread: Some(thread) } })
    }

    /// Up to where the view is durable.
    pub(crate) fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    /// Stores a change, now or soon. Gives it back while the last one is still being written.
    pub(crate) fn store(&self, change: ViewChange) -> Result<Option<ViewChange>, Error> {
        match &self.way {
            Way::Inline(view) => {
                let position = change.applied;
                view.store(change)?;
                self.applied.store(position.0, Ordering::Release);
                Ok(None)
            }
            Way::Thread { changes, .. } => {
                let changes = changes.as_ref().expect("taken only in drop");
                match changes.try_send(change) {
                    Ok(()) => Ok(None),
                    Err(mpsc::TrySendError::Full(change)) => Ok(Some(change)),
                    Err(mpsc::TrySendError::Disconnected(_)) => {
                        Err(storage("its writer has stopped after an error"))
                    }
                }
            }
        }
    }
}

impl Drop for ViewWriter {
    fn drop(&mut self) {
        if let Way::Thread { changes, thread } = &mut self.way {
            drop(changes.take());
            if let Some(thread) = thread.take() {
                // A panic there has been printed; the log holds everything.
                let _ = thread.join();
            }
        }
    }
}

/// The view's file, seen through the one door for files.
struct Backend(Arc<dyn DiskFile>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        if self.0.read_at(offset, out)? < out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write_at(offset, &[io::IoSlice::new(data)])
    }
}
