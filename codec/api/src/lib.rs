//! Admin requests and replies, as server and command line both understand them: one table of
//! commands with their flags, and the envelope that every answer comes in.
//!
//! It must never know how a command is carried out, nor by which way it came.

mod arguments;
mod command;
mod envelope;
mod kept;
pub mod links;
mod nearest;
mod table;

pub use arguments::Arguments;
pub use command::{CommandSpec, Flag, Kind, Method};
pub use envelope::{Envelope, Failure, Row, iso_time};
pub use kept::{KEPT_FILE_HEADER, KEPT_PREFIX_BYTES, KeptBatch};
pub use nearest::nearest;
pub use table::{commands, commands_below, find_command};
