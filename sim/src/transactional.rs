//! Transactional producers: each means to do a few things one after the other, and asks for each
//! again until it is answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mainstem_engine::TransactionalProducer;
use mainstem_group::CursorKey;
use mainstem_record::BatchBuilder;
use mainstem_types::{OriginTopicId, PartitionNo, TransactionalId};

use crate::fates::{CommitPromise, Seen};
use crate::producer::{Acknowledged, Target};

/// A batch by its partition, producer id, epoch and first sequence.
pub(crate) type BatchId = (OriginTopicId, u32, i64, i16, i32);

/// What a producer asks for.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// An id and epoch; it says which it has, or nothing, like one that has just started.
    Begin { goes_on: bool },
    /// That partitions take part.
    Add(Vec<PartitionNo>),
    /// So many records more in a partition.
    Append { target: Target, count: i32 },
    /// That its group takes part.
    AddGroup,
    /// That its group's cursor moves with the commit.
    Move { target: Target, offset: i64 },
    /// The end, be it a commit or an abort.
    End { commit: bool },
}

/// One producer with a transactional id, which others may have too: a new one of that id fences it.
pub(crate) struct TransactionalClient {
    pub(crate) id: TransactionalId,
    /// Where its coordinator is.
    pub(crate) site: usize,
    pub(crate) held: Option<(i64, i16)>,
    /// Its epoch was ended by the cluster, or what it began is left open.
    pub(crate) must_begin: bool,
    pub(crate) timeout_ms: i32,
    pub(crate) deeds: VecDeque<Deed>,
    /// The number of the transaction that these are for.
    pub(crate) attempt: usize,
    /// The number of the request whose answer it waits for.
    pub(crate) waits_for: Option<u64>,
    requests: u64,
    sequences: BTreeMap<(OriginTopicId, u32), i32>,
}

impl TransactionalClient {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.parse().expect("a legal transactional id"),
            site: 0,
            held: None,
            must_begin: false,
            timeout_ms: 1,
            deeds: VecDeque::new(),
            attempt: 0,
            waits_for: None,
            requests: 0,
            sequences: BTreeMap::new(),
        }
    }

    /// As the engine knows it.
    pub(crate) fn as_held(&self) -> TransactionalProducer {
        let (producer_id, epoch) = self.held.unwrap_or((-1, -1));
        TransactionalProducer { id: self.id.clone(), producer_id, epoch }
    }

    /// It asks for its next deed: the number of the request.
    pub(crate) fn ask(&mut self) -> u64 {
        self.requests += 1;
        self.waits_for = Some(self.requests);
        self.requests
    }

    pub(crate) fn begun(&mut self, held: (i64, i16)) {
        (self.held, self.must_begin) = (Some(held), false);
        self.sequences.clear();
    }

    pub(crate) fn sequence(&self, target: &Target) -> i32 {
        self.sequences.get(&(target.origin, target.index)).copied().unwrap_or(0)
    }

    /// The next batch for a partition: the same whenever it is asked for again.
    pub(crate) fn batch(&self, target: &Target, count: i32, keys: i32) -> Bytes {
        let (id, epoch) = self.held.unwrap_or((-1, -1));
        let sequence = self.sequence(target);
        let mut builder = BatchBuilder::new().producer(id, epoch, sequence).transactional();
        for at in sequence..sequence + count {
            let value = format!("{} {id} {epoch} {at}", self.id);
            let key = at.checked_rem(keys).map(|key| format!("k{key}"));
            let key = key.as_deref().map(str::as_bytes);
            builder.push(1_700_000_000_000 + i64::from(at), key, Some(value.as_bytes()));
        }
        builder.build().freeze()
    }

    /// The batch was stored: what was promised.
    pub(crate) fn acknowledge(
        &mut self,
        target: &Target,
        count: i32,
        base_offset: i64,
    ) -> Acknowledged {
        let (producer, epoch) = self.held.unwrap_or((-1, -1));
        let sequence = self.sequence(target);
        self.sequences.insert((target.origin, target.index), sequence + count);
        let (origin, index) = (target.origin, target.index);
        Acknowledged { origin, index, base_offset, producer, epoch, sequence, count }
    }

    /// Nothing comes of its transaction; the next begins anew, and says what it had or not.
    pub(crate) fn give_up(&mut self, forgets: bool) {
        self.deeds.clear();
        if forgets {
            self.held = None;
        }
    }
}

/// One transaction, as its producer means it.
pub(crate) struct Attempt {
    /// Who.
    pub(crate) client: usize,
    /// Where.
    pub(crate) site: usize,
    /// It was asked for a commit at least once: it may be committed from then on.
    pub(crate) is_decided: bool,
    /// Partitions to which a batch was sent.
    pub(crate) parts: Vec<(OriginTopicId, u32)>,
    /// Its cursors.
    pub(crate) cursors: Vec<CursorKey>,
}

/// All that is about transactions, in seeds that have them.
#[derive(Default)]
pub(crate) struct Transactional {
    pub(crate) clients: Vec<TransactionalClient>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) of_batch: BTreeMap<BatchId, usize>,
    /// What the batches of each copy say.
    pub(crate) seen: BTreeMap<(usize, OriginTopicId, u32), Seen>,
    /// Commits that were acknowledged while a replica was in force.
    pub(crate) promised: Vec<CommitPromise>,
    /// Commits that a node may have had, and cannot tell any more.
    pub(crate) forgotten: BTreeSet<(usize, usize)>,
    /// Attempts that had an end in a copy which was cut there, and have no other one since.
    pub(crate) cut: BTreeSet<(usize, (usize, OriginTopicId, u32))>,
    /// Attempts of which a site had cut one end and not yet another one when it was promoted.
    pub(crate) halved: BTreeSet<usize>,
    pub(crate) committed: u64,
    /// When a replica is promoted, while it has some markers of a commit and lacks others.
    pub(crate) promotes_at: Option<u64>,
}
