//! The bytes of what the engine stores are a contract: the files under `testdata/engine/v1` stay
//! readable for ever, and today's bytes are theirs.
//!
//! `UPDATE_GOLDEN=1` writes them anew; do so only for a kind that was never released.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use mainstem_catalog::PartitionHome;
use mainstem_group::{Cursor, CursorColumn, CursorKey, CursorRecord, CursorValue};
use mainstem_transaction::{BatchProducer, ToldCommit};
use mainstem_types::{Lineage, LineageEntry, OriginTopicId, StreamId, TermId};
use minicbor::{Decode, Encode};

use crate::marks::{Gap, Marks};
use crate::state::PartitionState;

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/engine/v1");
    let path = path.join(format!("{name}.cbor"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// Today's bytes are the golden ones, those give the value back, and a part of them gives none.
fn assert_golden<T>(name: &str, value: &T)
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let bytes = minicbor::to_vec(value).unwrap();
    let golden = golden(name, &bytes);
    assert_eq!(bytes, golden, "{name} changed");
    assert_eq!(&minicbor::decode::<T>(&golden).unwrap(), value);
    for cut in 0..golden.len() {
        assert!(minicbor::decode::<T>(&golden[..cut]).is_err(), "{name} cut at {cut}");
    }
}

fn key() -> CursorKey {
    CursorKey {
        stream: StreamId(0x11),
        group: "readers".parse().unwrap(),
        topic: OriginTopicId(0x22),
        partition: 3,
    }
}

fn value() -> CursorValue {
    CursorValue {
        offset: 1_000_000,
        leader_epoch: 4,
        metadata: "said by the client".into(),
        commit_ms: 1_700_000_000_000,
        version: 77,
        term: TermId(0x33),
    }
}

fn entry() -> LineageEntry {
    LineageEntry {
        leader_epoch: 4,
        start_offset: 500_000,
        term_id: TermId(0x33),
        owner: StreamId(0x44),
        markers: 0,
    }
}

#[test]
fn cursor_records_and_rows_keep_their_bytes() {
    let record = |column, value| CursorRecord { key: key(), column, value };
    assert_golden("cursor-record", &record(CursorColumn::Replicated, Some(value())));
    assert_golden("cursor-record-deleted", &record(CursorColumn::Local, None));
    assert_golden("cursor-row-key", &key());
    assert_golden("cursor-row", &Cursor { local: Some(value()), replicated: Some(value()) });
}

#[test]
fn lineage_entries_keep_their_bytes() {
    assert_golden("lineage-entry", &entry());
}

#[test]
fn partition_rows_keep_their_bytes() {
    let home = PartitionHome { stream: StreamId(0x11), topic: OriginTopicId(0x22), index: 3 };
    let mut state = PartitionState::new(home);
    state.log_start = 10;
    state.end = 600_000;
    state.last_arrival_ms = 1_700_000_000_000;
    let first = LineageEntry { leader_epoch: 0, start_offset: 0, ..entry() };
    state.lineage = Arc::new(Lineage::from_entries(vec![first, entry()]).unwrap());
    let producer = BatchProducer {
        producer_id: 99,
        producer_epoch: 1,
        base_sequence: 5,
        sequences: 20,
        control: false,
    };
    Arc::make_mut(&mut state.producers).record(&producer, 599_980, 600_000, 1_700_000_000_000);
    let row = state.to_row();
    let golden = golden("partition-row", &row);
    assert_eq!(row, golden, "a partition's row changed");
    let read = PartitionState::from_row(home, &golden).unwrap();
    assert_eq!(read.to_row(), golden);
    assert_eq!(
        (read.log_start, read.end, read.last_arrival_ms, &read.lineage, &read.producers),
        (10, 600_000, 1_700_000_000_000, &state.lineage, &state.producers)
    );
    assert!(read.marks.is_empty(), "rows from before there were marks have none");
    for cut in 0..golden.len() {
        assert!(PartitionState::from_row(home, &golden[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn marks_keep_their_bytes_alone_and_in_a_row() {
    let gap = Gap { from: 70, to: 90, at_ms: 1_700_000_000_000 };
    let marks = Marks { trimmed: 50, gaps: vec![gap], ..Marks::default() };
    assert_golden("marks", &marks);
    let home = PartitionHome { stream: StreamId(0x11), topic: OriginTopicId(0x22), index: 3 };
    let mut state = PartitionState::new(home);
    (state.log_start, state.end, state.marks) = (60, 600, Arc::new(marks));
    let row = state.to_row();
    let golden = golden("partition-row-marks", &row);
    assert_eq!(row, golden, "a partition's row with marks changed");
    let read = PartitionState::from_row(home, &golden).unwrap();
    assert_eq!((read.log_start, read.end, &read.marks), (60, 600, &state.marks));
}

#[test]
fn an_account_of_transactions_keeps_its_bytes_in_a_row() {
    let home = PartitionHome { stream: StreamId(0x11), topic: OriginTopicId(0x22), index: 3 };
    let mut state = PartitionState::new(home);
    state.end = 600;
    let account = Arc::make_mut(&mut state.transactions);
    account.note_records(77, 1, 100);
    account.note_marker(77, false, 110);
    account.settle(None);
    account.note_records(78, 0, 500);
    account.note_told(ToldCommit {
        producer_id: 78,
        epoch: 0,
        marker: 700,
        first_offset: 500,
        term: TermId(9),
    });
    let row = state.to_row();
    let golden = golden("partition-row-transactions", &row);
    assert_eq!(row, golden, "a partition's row with transactions changed");
    let read = PartitionState::from_row(home, &golden).unwrap();
    assert_eq!((read.end, &read.transactions), (600, &state.transactions));
    for cut in 0..golden.len() {
        assert!(PartitionState::from_row(home, &golden[..cut]).is_err(), "cut at {cut}");
    }
}
