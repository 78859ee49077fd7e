//! Log compaction as a decision: which records of a row of batches are left, and what stands in
//! the place of the row.
//!
//! It must never know a disk, a clock, a topic or a cluster: batches and the time come in, what is
//! to be written goes out. Who compacts reads a partition twice: once to learn where the newest
//! record of each key is ([`Newest`]), and once to rewrite what is older ([`compact_row`]).

mod agree;
mod judged;
mod newest;
mod row;

pub use agree::agree;
pub use newest::Newest;
pub use row::{Compacted, Left, Place, Row, RowBatch, Rules, compact, compact_row};
