//! Log compaction amid everything else: some sites compact what they hold, at any time, and what is
//! left must be what was written, lacking nothing but what a later record of its key supersedes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mainstem_catalog::{Command, StreamPatch};
use mainstem_engine::Partition;
use mainstem_env::Random;
use mainstem_record::{BatchHeader, Record, records};
use mainstem_replicate::{Finding, SourceBatch, Verdict};
use mainstem_types::OriginTopicId;

use crate::producer::batch_id;
use crate::topology::NAMES;
use crate::truth::{TrueBatch, batches_from};
use crate::world::World;

type Key = (OriginTopicId, u32);

const UNPACKED_BYTES_MAX: usize = 1 << 20;

impl World {
    /// In every third seed records have keys, and about half of the sites compact.
    pub(crate) fn switch_compaction_on(&mut self, seed: u64) {
        self.compacts = seed % 3 == 1;
        if !self.compacts {
            return;
        }
        for site in 0..self.sites.len() {
            if self.random.below(2) == 0 || site == 0 {
                let patch = StreamPatch { compact: Some(true), ..StreamPatch::default() };
                let path = self.place(site).path;
                self.node_mut(site).change_now(Command::EditStream { path, patch });
            }
        }
    }

    /// A step of compaction somewhere, now and then.
    pub(crate) fn compact_a_step(&mut self) {
        if self.compacts && self.random.below(2) == 0 {
            let node = self.pick(self.nodes.len());
            self.nodes[node].compact_a_step();
        }
    }

    /// I2 where anybody compacts: what a copy holds of a range is what its owner wrote there, and
    /// what it lacks may be lacking, as the copy itself knows.
    pub(crate) fn check_compacted(
        &self,
        partition: &Partition,
        ours: &[TrueBatch],
        theirs: &[TrueBatch],
        kept_from: i64,
    ) -> Result<(), String> {
        let compacted = partition.marks().compacted;
        let here: BTreeMap<i64, &TrueBatch> = ours.iter().map(|b| (b.base, b)).collect();
        for written in theirs {
            let kept = here.get(&written.base);
            if let Some(kept) = kept
                && ((kept.next, kept.arrival_ms) != (written.next, written.arrival_ms)
                    || stamps(&kept.bytes) != stamps(&written.bytes))
            {
                return Err(format!("another batch at {}", written.base));
            }
            let kept = kept.map(|kept| by_offset(&kept.bytes)).unwrap_or_default();
            for (offset, record) in by_offset(&written.bytes) {
                match kept.get(&offset) {
                    Some(kept) if *kept == record => {}
                    Some(_) => return Err(format!("another record at {offset}")),
                    None if offset < compacted || written.next <= kept_from => {}
                    None => {
                        return Err(format!(
                            "the record at {offset} is missing, and compacted is what lies below \
                             {compacted}"
                        ));
                    }
                }
            }
        }
        let known: BTreeSet<i64> = theirs.iter().map(|batch| batch.base).collect();
        let made_up = ours.iter().find(|batch| !known.contains(&batch.base));
        made_up.map_or(Ok(()), |batch| Err(format!("nobody wrote the batch at {}", batch.base)))
    }

    /// At the end: every copy lacks only what retention took and what a later record supersedes.
    pub(crate) fn check_what_is_left(&mut self) {
        let mut lost = None;
        for (key, log) in &self.truth.0 {
            let written: Vec<Record> =
                log.batches.iter().flat_map(|batch| by_name(&batch.bytes)).collect();
            let mut newest: BTreeMap<&Bytes, i64> = BTreeMap::new();
            for record in &written {
                if let Some(name) = &record.key {
                    newest.insert(name, record.offset);
                }
            }
            for (site, name) in NAMES.iter().enumerate().take(self.sites.len()) {
                let Some(partition) = self.partition(site, *key) else { continue };
                let from = partition.log_start().max(self.kept_from(site, *key));
                let end = partition.durable_end();
                let kept = self.offsets_of(&partition);
                let is_lost = |record: &&Record| {
                    (from..end).contains(&record.offset)
                        && record.key.as_ref().is_none_or(|name| newest[name] == record.offset)
                        && !kept.contains(&record.offset)
                };
                if let Some(record) = written.iter().find(is_lost) {
                    let offset = record.offset;
                    lost = Some(format!(
                        "{key:?}: offset {offset}, its key's last, is gone at {name}"
                    ));
                }
            }
        }
        if let Some(lost) = lost {
            self.violate("I8", lost);
        }
    }

    /// Whether a batch is what compaction may have left of the one that was written, at this copy.
    pub(crate) fn is_left_of(&self, wrote: &TrueBatch, left: &TrueBatch, at: &Partition) -> bool {
        let compacted = at.marks().compacted;
        let kept = by_offset(&left.bytes);
        (wrote.next, wrote.arrival_ms) == (left.next, left.arrival_ms)
            && stamps(&wrote.bytes) == stamps(&left.bytes)
            && by_offset(&wrote.bytes).iter().all(|(offset, record)| match kept.get(offset) {
                Some(kept) => kept == record,
                None => *offset < compacted,
            })
    }

    /// I8 and I1 where owners change: what was durably written, in whichever term, is somewhere, or
    /// a later record of its key was written.
    pub(crate) fn check_superseded(&mut self, kept: &BTreeMap<Key, Vec<TrueBatch>>) {
        let expired = |key: Key, next: i64| {
            let start = |site| self.starts.get(&(site, key.0, key.1)).copied().unwrap_or(0);
            (0..self.sites.len()).any(|site| start(site) >= next)
        };
        let mut newest: BTreeMap<(Key, Bytes), i64> = BTreeMap::new();
        let written = || self.histories.written.iter();
        for ((origin, index, _), reign) in written() {
            for record in reign.batches.values().flat_map(|batch| by_name(&batch.bytes)) {
                let Some(name) = record.key else { continue };
                let last = newest.entry(((*origin, *index), name)).or_insert(record.offset);
                *last = record.offset.max(*last);
            }
        }
        let mut lost = None;
        for ((origin, index, term), reign) in written() {
            let key = (*origin, *index);
            let there: Vec<Record> = kept
                .get(&key)
                .into_iter()
                .flatten()
                .flat_map(|batch| by_name(&batch.bytes))
                .collect();
            for batch in reign.batches.values().filter(|batch| !expired(key, batch.next)) {
                let is_gone = |record: &&Record| {
                    let name = record.key.clone().unwrap_or_default();
                    newest.get(&(key, name)).is_none_or(|newest| *newest == record.offset)
                        && !there.contains(record)
                };
                let all = by_name(&batch.bytes);
                if let Some(record) = all.iter().find(is_gone) {
                    lost = Some(format!("{key:?} {term}: {record:?} was durable, and is nowhere"));
                }
            }
        }
        let unwritten = self.acknowledged.iter().find(|promise| {
            let is_it = |batch: &TrueBatch| {
                let header = BatchHeader::decode(&batch.bytes).expect("checked as it was taken");
                (header.base_offset, batch_id(&header)) == (promise.base_offset, promise.id())
            };
            !written().any(|((origin, index, _), reign)| {
                (*origin, *index) == (promise.origin, promise.index)
                    && reign.batches.values().any(is_it)
            })
        });
        let unwritten = unwritten.map(|promise| format!("{promise:?} was acknowledged"));
        if let Some(lost) = lost {
            self.violate("I8", lost);
        }
        if let Some(unwritten) = unwritten {
            self.violate("I1", format!("{unwritten}, and never written"));
        }
        self.records +=
            self.acknowledged.iter().map(|p| u64::from(p.count.unsigned_abs())).sum::<u64>();
        self.check_last_of_each_key();
    }

    /// I8 where owners change: what is its key's last at the owner is so at every copy, also where
    /// compaction had taken it for superseded by what was set aside since.
    fn check_last_of_each_key(&mut self) {
        let mut lost = None;
        for (site, name) in NAMES.iter().enumerate().take(self.sites.len()) {
            for (topic, index, partition) in self.copies(site) {
                let key = (topic.origin, index);
                let owner = (0..self.sites.len()).find(|at| self.id(*at) == topic.owner.stream);
                let is_whole = topic.aside.is_none() && !self.histories.lacking.contains(&key);
                let Some(owner) = owner.filter(|at| *at != site && is_whole) else { continue };
                let Some(owned) = self.partition(owner, key) else { continue };
                let starts = |at| self.starts.get(&(at, key.0, key.1)).copied().unwrap_or(0);
                let from = (0..self.sites.len()).map(starts).max().unwrap_or(0);
                let kept = self.offsets_of(&partition);
                let mut last: BTreeMap<Option<Bytes>, Record> = BTreeMap::new();
                for batch in batches_from(&owned, from) {
                    for record in by_name(&batch.bytes) {
                        last.insert(record.key.clone(), record);
                    }
                }
                let is_gone = |record: &&Record| {
                    record.offset >= from
                        && record.value.is_some()
                        && !kept.contains(&record.offset)
                };
                if let Some(record) = last.values().find(is_gone) {
                    lost = Some(format!("{key:?}: {record:?} is gone at {name}"));
                }
            }
        }
        if let Some(lost) = lost {
            self.violate("I8", lost);
        }
    }

    fn offsets_of(&self, partition: &Partition) -> BTreeSet<i64> {
        let batches = batches_from(partition, 0);
        batches.iter().flat_map(|batch| by_offset(&batch.bytes).into_keys()).collect()
    }
}

/// What compaction leaves alone of a batch's header.
fn stamps(batch: &Bytes) -> (i32, i64, i16, i32) {
    let header = BatchHeader::decode(batch).expect("checked when it was taken");
    (header.leader_epoch, header.producer_id, header.producer_epoch, header.base_sequence)
}

fn by_offset(batch: &Bytes) -> BTreeMap<i64, Record> {
    let all = records(batch, UNPACKED_BYTES_MAX).expect("checked when it was taken");
    all.map(|record| record.expect("written so")).map(|record| (record.offset, record)).collect()
}

/// The records of a batch, without the keys of those that compaction leaves alone: what is of a
/// transaction supersedes nothing, and nothing supersedes it.
fn by_name(batch: &Bytes) -> Vec<Record> {
    let header = BatchHeader::decode(batch).expect("checked when it was taken");
    let is_named = !header.attributes.is_transactional();
    let name = |record: Record| Record { key: record.key.filter(|_| is_named), ..record };
    by_offset(batch).into_values().map(name).collect()
}

/// The records of a batch that may be damaged: then it is one thing.
fn readable(batch: &SourceBatch) -> BTreeMap<i64, (Option<Record>, Bytes)> {
    let header = batch.bytes.slice(12..16);
    let read = records(&batch.bytes, UNPACKED_BYTES_MAX)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(all) => all.into_iter().map(|r| (r.offset, (Some(r), header.clone()))).collect(),
        Err(_) => [(batch.base_offset, (None, batch.bytes.clone()))].into(),
    }
}

/// One side of a comparison: its batches, where they begin and end, below where it is compacted.
pub(crate) struct Compared<'a> {
    pub(crate) batches: &'a [SourceBatch],
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) compacted: i64,
}

/// Whether a verdict is what the records themselves say.
pub(crate) fn is_true(verdict: &Verdict, ours: &Compared<'_>, theirs: &Compared<'_>) -> bool {
    let (from, to) = (ours.start.max(theirs.start), ours.end.min(theirs.end));
    let frontier = ours.compacted.max(theirs.compacted);
    let kept = |side: &Compared<'_>| -> BTreeMap<i64, (Option<Record>, Bytes)> {
        // One that nobody can read counts as a whole, from where the comparison begins.
        let all = side.batches.iter().filter(|batch| batch.next_offset > from).flat_map(readable);
        let all = all.map(|(offset, what)| match what {
            (None, _) => (offset.max(from), what),
            _ => (offset, what),
        });
        all.filter(|(offset, _)| (from..to).contains(offset)).collect()
    };
    let (a, b) = (kept(ours), kept(theirs));
    let offsets: BTreeSet<i64> = a.keys().chain(b.keys()).copied().collect();
    let is_same = offsets.iter().all(|offset| match (a.get(offset), b.get(offset)) {
        (Some(a), Some(b)) => a == b,
        // Compaction takes no batch that it cannot read.
        (Some((record, _)), None) => record.is_some() && *offset < theirs.compacted,
        (None, Some((record, _))) => record.is_some() && *offset < ours.compacted,
        (None, None) => true,
    });
    // Above both frontiers the bytes decide.
    let above = |side: &Compared<'_>| -> Vec<SourceBatch> {
        let is_above = |b: &&SourceBatch| b.base_offset >= frontier.max(from) && b.base_offset < to;
        side.batches.iter().filter(is_above).cloned().collect()
    };
    let is_same = is_same && above(ours) == above(theirs);
    match &verdict.finding {
        Finding::Identical => is_same,
        Finding::Different { .. } => !is_same,
        Finding::Unknown(_) => false,
    }
}
