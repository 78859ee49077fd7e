//! The frames that two clusters exchange over a link, and their bounded encoding.
//!
//! It must never know why a frame is sent, what a stream holds, or how bytes reach the peer:
//! docs/PROTOCOL.md is its contract. Structured values are CBOR maps with fixed ids (unknown ids
//! are skipped), record batches lie raw behind their header, and nothing is allocated by a length
//! before it is checked against what has arrived and against a limit (I7).

mod batches;
mod code;
mod cursors;
mod decision;
mod feed;
mod forwarded;
mod frame;
mod hello;
mod items;
mod ownership;
mod packing;
mod progress;
mod request;
mod reserved;
mod topics;
mod welcome;

mod digest;

pub use batches::{BatchItem, Batches};
pub use code::{Code, Mode};
pub use cursors::{CursorItem, Cursors};
pub use decision::{MarkerItem, TransactionDecision, TransactionDecisions};
pub use feed::{Feed, Positions};
pub use forwarded::Forwarded;
pub use frame::{
    Frame, HEADER_BYTES_MAX, PREFIX_BYTES, decode_frame, decode_frame_with, encode_frame,
    encode_packed,
};
pub use hello::{Bye, FEATURE_FEEDERS, FEATURES, Fault, Hello, PROTOCOL_VERSION, Refused};
pub use ownership::{HandOver, Rejoin, TermItem, Terms};
pub use packing::{FEATURE_PACKING, Packing, Unpack};
pub use progress::{Ack, Credit, End, Heartbeat, HighWatermarks, Trims};
pub use request::{
    AddReplica, AddUpstream, CheckCopy, CopyTopic, CreateStream, Described, Reply, Request,
    Setting, TakeOver,
};
pub use reserved::{DigestItem, Digests};
pub use topics::{TombstoneItem, TopicItem, Topics};
pub use welcome::{CursorVersion, PartitionItem, Welcome};

pub use digest::{DigestAnswer, DigestPart, DigestQuery, DigestRange, RECORD_DIGEST_BYTES};
