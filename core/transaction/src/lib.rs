//! What a partition remembers of its producers, so that a batch sent twice is stored once; how
//! producer ids are drawn; and transactions: who has which transactional id, what takes part in
//! its transaction, and which stretches of a partition are open or aborted.
//!
//! It must never know where batches lie, how they came in or what time it is: it sees a batch's
//! producer fields and offsets, and is told the time.

mod account;
mod coordinator;
mod event;
mod producer_id;
mod producers;
mod sequence;
mod snapshot;
mod transaction;

pub use account::{AbortedRange, Account, OpenTransaction, ToldCommit, aborted_between};
pub use coordinator::{Begin, Coordinator, End, TransactionalProducer};
pub use event::{Decision, Marker, PendingCursor, TransactionEvent};
pub use producer_id::{ProducerIdBlock, ProducerIdPrefix};
pub use producers::{BatchProducer, Producers, Verdict};
pub use sequence::Sequence;
pub use transaction::{Transaction, TransactionState};
