//! What a source has heard of what its replica holds, from one session to the next (I9).

use std::collections::HashMap;
use std::sync::Arc;

use mainstem_link::{Ack, PartitionItem, Welcome};
use mainstem_types::{CatalogSeq, OriginTopicId};

/// The ends that a replica said are durable there, and how far it has applied the source's
/// catalog. Only frames of the replica change it: what was sent proves nothing. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Account {
    ends: Arc<HashMap<(OriginTopicId, u32), i64>>,
    applied_seq: CatalogSeq,
    is_heard: bool,
}

impl Account {
    /// A part of a Welcome. The first one begins the account anew, since the replica may have been
    /// made anew; nothing counts as heard before the last one.
    pub fn handle_welcome(&mut self, chunk: &Welcome, is_first: bool) {
        if is_first {
            *self = Self { applied_seq: chunk.applied_seq, ..Self::default() };
        }
        self.handle_held(&chunk.partitions);
        self.is_heard = !chunk.more;
    }

    /// What it has now, perhaps by the doing of another link.
    pub fn handle_held(&mut self, held: &[PartitionItem]) {
        let ends = Arc::make_mut(&mut self.ends);
        ends.extend(held.iter().map(|item| ((item.origin, item.partition), item.end)));
    }

    /// What has become durable there.
    pub fn handle_ack(&mut self, ack: &Ack) {
        self.applied_seq = self.applied_seq.max(ack.applied_seq);
        if ack.ends.is_empty() {
            return;
        }
        let ends = Arc::make_mut(&mut self.ends);
        for end in &ack.ends {
            let known = ends.entry((end.origin, end.partition)).or_default();
            *known = (*known).max(end.offset);
        }
    }

    /// The next offset after what the replica is known to hold of a partition; `None` if it never
    /// said that it has that partition at all.
    pub fn end(&self, origin: OriginTopicId, partition: u32) -> Option<i64> {
        self.ends.get(&(origin, partition)).copied()
    }

    /// The source's catalog sequence up to which the replica has applied it.
    pub const fn applied_seq(&self) -> CatalogSeq {
        self.applied_seq
    }

    /// Whether the replica has said, since this process started, what it holds.
    pub const fn is_heard(&self) -> bool {
        self.is_heard
    }
}

#[cfg(test)]
mod tests {
    use mainstem_link::{End, PartitionItem};
    use mainstem_types::{ClusterId, LinkEpoch, StreamId, Term, TermId};

    use super::*;

    fn welcome(ends: &[(u128, i64)], more: bool) -> Welcome {
        let item = |(origin, end): &(u128, i64)| PartitionItem {
            origin: OriginTopicId(*origin),
            partition: 0,
            log_start: 0,
            end: *end,
            lineage: Vec::new(),
            trimmed: None,
        };
        Welcome {
            version: 1,
            features: 0,
            cluster_id: ClusterId(1),
            cluster_name: "newyork".parse().unwrap(),
            producer_prefix: 0,
            node_id: 1,
            replica_id: StreamId(2),
            link_epoch: LinkEpoch(1),
            applied_seq: CatalogSeq(4),
            term: Term { number: 1, id: TermId(1) },
            credit_bytes: 0,
            partitions: ends.iter().map(item).collect(),
            cursors: Vec::new(),
            more,
            holds: false,
            terms: Vec::new(),
        }
    }

    #[test]
    fn i9_only_a_whole_welcome_counts_and_each_begins_anew() {
        let mut account = Account::default();
        account.handle_welcome(&welcome(&[(1, 10)], true), true);
        assert!(!account.is_heard());
        account.handle_welcome(&welcome(&[(2, 20)], false), false);
        assert!(account.is_heard() && account.applied_seq() == CatalogSeq(4));
        let ends = vec![End { origin: OriginTopicId(1), partition: 0, offset: 15 }];
        account.handle_ack(&Ack { ends, applied_seq: CatalogSeq(5), term: None });
        let end = |account: &Account, origin| account.end(OriginTopicId(origin), 0);
        assert_eq!((end(&account, 1), end(&account, 2)), (Some(15), Some(20)));
        assert_eq!(end(&account, 3), None);
        assert_eq!(account.applied_seq(), CatalogSeq(5));
        // The replica was made anew: what an older one held says nothing.
        account.handle_welcome(&welcome(&[(2, 3)], false), true);
        assert_eq!((end(&account, 1), end(&account, 2)), (None, Some(3)));
        assert_eq!(account.applied_seq(), CatalogSeq(4));
    }
}
