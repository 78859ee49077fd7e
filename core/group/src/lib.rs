//! Consumer groups and their cursors: who reads which partition, and how far each has come.
//!
//! It must never know sockets, clocks or disks: events come in with the time, actions go out.

mod coordinator;
mod cursor;
mod group;
mod member;
mod request;

pub use coordinator::{Coordinator, CoordinatorSettings};
pub use cursor::{Cursor, CursorColumn, CursorKey, CursorRecord, CursorValue};
pub use request::{
    Action, GroupDescription, GroupError, JoinGroup, JoinRefused, Joined, JoinedMember,
    MemberDescription, MemberRef, Protocol, SyncGroup, Synced, Waiter,
};
