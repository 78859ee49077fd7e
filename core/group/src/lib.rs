//! Consumer groups and their cursors: who reads which partition, and how far each has come.
//!
//! It must never know sockets, clocks or disks: events come in with the time, actions go out.

mod cursor;

pub use cursor::{Cursor, CursorColumn, CursorKey, CursorRecord, CursorValue};
