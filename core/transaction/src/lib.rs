//! What a partition remembers of its producers, so that a batch sent twice is stored once, and
//! how producer ids are drawn.
//!
//! It must never know where batches lie, how they came in or what time it is: it sees a batch's
//! producer fields and offsets, and is told the time.

mod producer_id;
mod producers;
mod sequence;
mod snapshot;

pub use producer_id::{ProducerIdBlock, ProducerIdPrefix};
pub use producers::{BatchProducer, Producers, Verdict};
pub use sequence::Sequence;
