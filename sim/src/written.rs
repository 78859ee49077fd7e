//! What owners have durably written in each of their terms, remembered outside of the clusters.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_types::{OriginTopicId, TermId};

use crate::truth::TrueBatch;

/// What was durably written, remembered outside of the clusters.
#[derive(Default)]
pub(crate) struct Histories {
    /// By topic, partition and term.
    pub(crate) written: BTreeMap<(OriginTopicId, u32, TermId), Written>,
    /// Up to where a copy at a site was compared.
    pub(crate) compared: BTreeMap<(usize, OriginTopicId, u32), i64>,
    /// Partitions of which a site was promoted before all had come that others were compacted away
    /// for: its history lacks those.
    pub(crate) lacking: BTreeSet<(OriginTopicId, u32)>,
}

/// What one owner wrote in one term.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) end: i64,
    pub(crate) batches: BTreeMap<i64, TrueBatch>,
}
