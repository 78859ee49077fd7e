//! The materialised view: what the log says, as rows, so that a start need not read all of it.
//!
//! Each transaction stores the log position that it is true for. The log stays the only durable
//! order: a lost or old view costs replay, never data, as long as no segment past it is freed.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use mainstem_catalog::{Catalog, RowKey};
use mainstem_env::{Disk, DiskFile};
use mainstem_group::{Cursor, CursorKey};
use mainstem_log::Position;
use mainstem_transaction::Transaction;
use mainstem_types::{Error, PartitionNo, TransactionalId};
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};

use crate::state::PartitionState;

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
    pub(crate) const TRANSACTION: u8 = 4;
}

/// A key and what it stands for.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// What has changed, as it stands at the position that it makes the view true for. All of it is
/// shared or small, so that the sequencer need not wait while thousands of rows are encoded.
pub(crate) struct ViewChange {
    pub(crate) applied: Position,
    pub(crate) catalog: Catalog,
    pub(crate) catalog_rows: BTreeSet<RowKey>,
    /// Nothing for one that is gone, as below.
    pub(crate) partitions: Vec<(PartitionNo, Option<PartitionState>)>,
    pub(crate) cursors: Vec<(CursorKey, Option<Cursor>)>,
    pub(crate) transactions: Vec<(TransactionalId, Option<Transaction>)>,
}

impl ViewChange {
    /// The rows to set, or with no value to delete.
    fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        let catalog = self
            .catalog_rows
            .iter()
            .map(|key| (tagged(tag::CATALOG, &key.to_bytes()), self.catalog.row(key)));
        let partitions = self.partitions.iter().map(|(no, state)| {
            let row = state.as_ref().map(PartitionState::to_row);
            (tagged(tag::PARTITION, &no.0.to_be_bytes()), row)
        });
        let cursors = self.cursors.iter().map(|(key, cursor)| {
            let row = cursor.as_ref().map(encoded);
            (tagged(tag::CURSOR, &encoded(key)), row)
        });
        let transactions = self.transactions.iter().map(|(id, transaction)| {
            let row = transaction.as_ref().map(Transaction::encode);
            (tagged(tag::TRANSACTION, id.as_str().as_bytes()), row)
        });
        catalog.chain(partitions).chain(cursors).chain(transactions)
    }
}

fn encoded<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes every byte")
}

fn tagged(tag: u8, key: &[u8]) -> Vec<u8> {
    [&[tag], key].concat()
}

/// The view, opened again after a failure: the database lets nothing more be written then, though
/// the disk may have room again.
pub(crate) struct ViewStore {
    disk: Arc<dyn Disk>,
    view: Option<View>,
}

impl ViewStore {
    pub(crate) fn new(disk: Arc<dyn Disk>, view: View) -> Self {
        Self { disk, view: Some(view) }
    }

    /// Stores a change, whole or not at all. After an error the same change can be tried again.
    pub(crate) fn store(&mut self, change: &ViewChange) -> Result<(), Error> {
        let view = match self.view.take() {
            Some(view) => view,
            None => View::open(&self.disk)?,
        };
        view.store(change)?;
        self.view = Some(view);
        Ok(())
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

    fn store(&self, change: &ViewChange) -> Result<(), Error> {
        self.store_rows(change).map_err(|e| storage(&*e))
    }

    fn store_rows(&self, change: &ViewChange) -> Result<(), Box<dyn std::error::Error>> {
        let transaction = self.database.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for (key, value) in change.rows() {
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
