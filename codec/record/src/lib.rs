//! Kafka record batches (format 2): checked on arrival, stamped in place, walked, and built.
//!
//! It must never know which topic, stream or cluster a batch belongs to, nor how it travels or
//! where it lies: it sees bytes and says what they mean.
//!
//! A batch is kept as its producer encoded it. [`check_produced`] and [`check_replicated`] read the
//! 61 bytes of header and the checksum, and never look inside; only [`records`] decompresses, and
//! never beyond the limit that its caller gives. Layout: <https://kafka.apache.org/documentation/#recordbatch>.

mod batches;
mod builder;
mod check;
mod compression;
mod control;
mod error;
mod header;
mod patch;
mod record;
mod rewrite;
mod snappy;
mod time;
mod varint;

pub use batches::{Batch, BatchSlices, Batches};
pub use builder::BatchBuilder;
pub use check::{check_crc, check_produced, check_replicated};
pub use compression::Compression;
pub use control::{ControlRecord, control_of, end_marker};
pub use error::{RecordError, RecordErrorKind};
pub use header::{
    Attributes, BatchHeader, HEADER_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    TimestampType,
};
pub use patch::{patch_base_offset, patch_leader_epoch, patch_log_append_time};
pub use record::{Header, Record, Records, records};
pub use rewrite::rewrite_batch;
pub use time::{offset_of_max_timestamp, offset_of_timestamp};
