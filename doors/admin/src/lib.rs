//! The admin door: `/rest/<words>?flag=value`, answered in the documented envelope.
//!
//! It must never know how anything is decided, stored or sent: it reads flags, asks the engine and
//! the links, and writes rows.

mod alarm;
mod check;
mod cursor;
mod data;
mod dispatch;
mod door;
mod export;
mod fail_over;
mod gateway;
mod grant;
mod handover;
mod http;
mod import;
mod link;
mod metrics;
mod replica;
mod settings;
mod stream;
mod synchrony;
mod take_back;
mod time;
mod topic;
mod upstream;
mod verify;

pub use door::{AdminDoor, AdminSettings};
pub use http::{OpenAdminDoor, serve};
