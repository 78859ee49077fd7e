//! The nouns of Mainstem: ids, names, paths, limits and kinds of errors, one word for one thing.
//!
//! It must never know how anything is stored, sent or decided: no I/O, no async. (`cbor` says how the nouns
//! themselves look in CBOR, because every format above agrees on that.)

mod cbor;
mod error;
mod id;
mod kafka_name;
pub mod limits;
mod lineage;
mod name;
mod stream;

pub use error::{Error, ErrorKind, Result, with_full_paths};
pub use id::{
    CatalogSeq, ClusterId, JobId, KafkaTopicId, LinkEpoch, OriginTopicId, PartitionNo, StreamId,
    TermId,
};
pub use kafka_name::KafkaName;
pub use lineage::{Lineage, LineageEntry, Term};
pub use name::{ClusterName, GroupId, StreamPath, StreamRef, TopicName, TransactionalId};
pub use stream::{StreamCompression, TimestampType};
