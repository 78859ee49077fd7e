//! The Kafka protocol: each message described once, in one table, and read and written from it.
//!
//! It must never know what a request is for, who sent it, or what the answer will be: it turns
//! frames into values and values into frames, and touches no socket.
//!
//! Nothing that a peer claims is believed before the bytes are there (I7): counts are held against
//! what remains of the frame, strings and records are slices of it. Records are shared, never
//! copied, in both directions.

mod admin;
mod api;
mod api_versions;
mod cluster;
mod error;
mod fetch;
mod frame;
mod group;
mod kafka_error;
mod list_offsets;
mod malformed;
mod message;
mod metadata;
mod offset;
#[cfg(test)]
mod oracle;
mod produce;
mod reader;
mod record_set;
mod rope;
mod transaction;
mod value;

pub use admin::*;
pub use api::{ApiKey, Request, Response};
pub use api_versions::*;
pub use cluster::*;
pub use error::WireError;
pub use fetch::*;
pub use frame::{
    RequestHeader, decode_request, decode_response, encode_request, encode_response,
    encode_unsupported_api_versions, frame_bytes,
};
pub use group::*;
pub use kafka_error::KafkaError;
pub use list_offsets::*;
pub use malformed::Malformed;
pub use message::Message;
pub use metadata::*;
pub use offset::*;
pub use produce::*;
pub use record_set::RecordSet;
pub use rope::Rope;
pub use transaction::*;
