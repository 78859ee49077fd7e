//! What was offered in a hand-over.

use std::collections::BTreeMap;

use mainstem_types::{OriginTopicId, StreamId, TermId};

/// What was offered in a term, from the moment on in which that was written down.
pub(crate) struct Offer {
    pub(crate) owner: StreamId,
    /// Where the owner's partitions ended: nothing is written any more.
    pub(crate) ends: BTreeMap<(OriginTopicId, u32), i64>,
    /// The owner goes on itself.
    pub(crate) is_taken_back: bool,
}

/// By term.
pub(crate) type Offers = BTreeMap<TermId, Offer>;
