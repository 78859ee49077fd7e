//! The invariants, looked at after every event from outside of the code that keeps them.

use std::collections::BTreeMap;

use mainstem_record::BatchHeader;
use mainstem_types::OriginTopicId;

use crate::Plant;
use crate::producer::{ProducerBatch, batch_id};
use crate::topology::NAMES;
use crate::truth::batches_from;
use crate::world::World;

impl World {
    /// I1 and I8 at the owners, I2, I3 and I4 at the replicas, that acks are true, and I9.
    pub(crate) fn check_all(&mut self) {
        for site in 0..self.sites.len() {
            let (engine, catalog) = (self.engine(site).clone(), self.catalog(site));
            if let Err(lost) = self.truth.note(&engine, &catalog, self.id(site)) {
                self.violate("I1", lost);
            }
            self.note_starts(site);
            self.check_owned(site);
        }
        for site in 0..self.sites.len() {
            self.check_replica(site);
        }
        self.check_acks();
        self.check_status();
        self.check_watermarks();
    }

    /// I5: what began here goes only when people here ask for it.
    fn check_owned(&mut self, site: usize) {
        let Some(stream) = self.stream(site) else { return };
        let of_site = (site, OriginTopicId(0))..(site + 1, OriginTopicId(0));
        let gone = self.wanted.range(of_site).find(|(_, origin)| {
            stream.topic_by_origin(*origin).is_none_or(|topic| topic.owner.stream != stream.id)
        });
        if let Some((_, origin)) = gone {
            let message = format!("{} has lost its own topic {origin}", NAMES[site]);
            self.violate("I5", message);
        }
        // Each is looked for from its first sight on.
        let owned = stream.topics.values().filter(|topic| topic.owner.stream == stream.id);
        let fresh = owned.filter(|topic| !self.unwanted.contains(&topic.origin));
        let fresh: Vec<_> = fresh.map(|topic| (site, topic.origin)).collect();
        self.wanted.extend(fresh);
    }

    fn check_replica(&mut self, site: usize) {
        let Some(stream) = self.stream(site) else { return };
        for topic in stream.topics.values().filter(|topic| topic.owner.stream != stream.id) {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let Some(partition) = self.engine(site).partition(*no) else { continue };
                let end = partition.durable_end();
                self.check_partition(site, (topic.origin, index), &partition);
                self.check_cursors(site, topic.origin, index, topic.owner.term.id, end);
            }
        }
    }

    fn check_partition(
        &mut self,
        site: usize,
        key: (OriginTopicId, u32),
        partition: &mainstem_engine::Partition,
    ) {
        let end = partition.durable_end();
        let kept_from = self.kept_from(site, key);
        let mut verified = self.verified.get(&(site, key.0, key.1)).copied().unwrap_or(0);
        if end < verified && self.halves_removed > 0 && !self.stands(key.0) {
            // Deleted here, and told again by a site that never heard of its deletion: another copy.
            verified = 0;
        }
        let truth = self.truth.0.entry(key).or_default();
        if end > truth.end() {
            let ahead = format!("a replica ends at {end}, its owner at {}", truth.end());
            self.violate("I3", ahead);
            return;
        }
        let trimmed = partition.marks().trimmed;
        if trimmed > truth.trimmed {
            let owner = truth.trimmed;
            self.violate("I8", format!("a replica deleted below {trimmed}, its owner {owner}"));
            return;
        }
        if end < verified {
            self.violate("I1", format!("a replica ended at {verified}, now at {end}"));
            return;
        }
        if end == verified {
            return;
        }
        let ours = batches_from(partition, verified);
        let theirs: Vec<_> = truth
            .batches
            .iter()
            .filter(|batch| batch.base >= verified && batch.next <= end)
            .cloned()
            .collect();
        if self.compacts {
            let lineage = partition.lineage().entries().to_vec();
            let is_told = self.truth.0[&key].lineage.starts_with(&lineage);
            let left = self.check_compacted(partition, &ours, &theirs, kept_from);
            match left {
                Ok(()) if is_told => {
                    self.verified.insert((site, key.0, key.1), end);
                }
                Ok(()) => self.violate("I2", "another lineage".into()),
                Err(what) => self.violate("I2", format!("{} {}: {what}", NAMES[site], key.0)),
            }
            return;
        }
        // I8: what is missing here is what retention took there before it could be sent.
        let theirs: Vec<_> = theirs
            .into_iter()
            .filter(|batch| batch.next > kept_from || ours.contains(batch))
            .collect();
        let lineage = partition.lineage().entries().to_vec();
        if ours != theirs || !truth.lineage.starts_with(&lineage) {
            let at = ours.iter().zip(&theirs).find(|(a, b)| a != b).map(|(a, _)| a.base);
            let kept = truth.lineage.starts_with(&lineage);
            let message = format!(
                "offsets {verified} to {end} of {} {} differ at {at:?}: {} batches at the replica, {} at \
                 the owner, which keeps {} on; lineage {}",
                NAMES[site],
                key.0,
                ours.len(),
                theirs.len(),
                kept_from,
                if kept { "equal" } else { "other" }
            );
            self.violate("I2", message);
            return;
        }
        self.verified.insert((site, key.0, key.1), end);
    }

    /// Where what its sources keep begins, be they next to it or far up a chain: each copy has a
    /// retention of its own.
    pub(crate) fn kept_from(&self, site: usize, key: (OriginTopicId, u32)) -> i64 {
        let others = (0..self.sites.len()).filter(|other| *other != site);
        let start = |other| self.starts.get(&(other, key.0, key.1)).copied().unwrap_or(0);
        others.map(start).max().unwrap_or(0)
    }

    pub(crate) fn note_starts(&mut self, site: usize) {
        let Some(stream) = self.stream(site) else { return };
        for topic in stream.topics.values() {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let Some(partition) = self.engine(site).partition(*no) else { continue };
                let start = self.starts.entry((site, topic.origin, index)).or_default();
                *start = partition.log_start().max(*start);
            }
        }
    }

    /// I4: what a consumer at the replica is told to go on at is there.
    pub(crate) fn check_cursors(
        &mut self,
        site: usize,
        origin: OriginTopicId,
        index: u32,
        term: mainstem_types::TermId,
        end: i64,
    ) {
        let mut beyond = None;
        for (key, cursor) in self.engine(site).cursors(self.id(site)) {
            if key.topic != origin || key.partition != index {
                continue;
            }
            let told = match self.plant {
                Plant::CursorsEarly => cursor.replicated.clone(),
                _ => cursor.effective(term, end, i32::MAX),
            };
            let is_beyond = told.as_ref().is_some_and(|value| value.offset > end);
            beyond =
                is_beyond.then(|| format!("{key:?} at {} is {cursor:?}", NAMES[site])).or(beyond);
        }
        if let Some(beyond) = beyond {
            self.violate("I4", format!("{beyond}, the end at {end}"));
        }
    }

    /// What a source takes for acknowledged is durable at the replica.
    fn check_acks(&mut self) {
        let mut lie = None;
        for connection in self.connections.values() {
            let Some(side) = &connection.sender else { continue };
            let replica = self.links[connection.link].replica;
            for (origin, index, acked) in side.sender.acked_ends() {
                if let Some(partition) = self.partition(replica, (origin, index))
                    && acked > partition.durable_end()
                {
                    lie = Some((acked, partition.durable_end()));
                }
            }
        }
        if let Some((acked, durable)) = lie {
            let message = format!("acknowledged to {acked}, durable to {durable}");
            self.violate("ack means durable", message);
        }
    }

    /// Every acknowledged record is there once, at the offset that its producer was told.
    pub(crate) fn check_promises(&mut self) {
        let mut seen: BTreeMap<(OriginTopicId, u32, ProducerBatch), Vec<i64>> = BTreeMap::new();
        for ((origin, index), log) in &self.truth.0 {
            for batch in &log.batches {
                let header = BatchHeader::decode(&batch.bytes).expect("checked when it was taken");
                if !header.attributes.is_control() {
                    let key = (*origin, *index, batch_id(&header));
                    seen.entry(key).or_default().push(batch.base);
                }
            }
        }
        if let Some((key, at)) = seen.iter().find(|(_, at)| at.len() > 1) {
            let (producer, epoch, sequence) = key.2;
            let message = format!("sequence {sequence} of {producer} {epoch} lies at {at:?}");
            self.violate("once", message);
        }
        for promise in std::mem::take(&mut self.acknowledged) {
            let key = (promise.origin, promise.index, promise.id());
            if !self.stands(promise.origin) {
                continue;
            }
            if seen.get(&key) != Some(&vec![promise.base_offset]) {
                let message = format!("{promise:?} was promised, found at {:?}", seen.get(&key));
                self.violate("I1", message);
                return;
            }
            self.records += u64::try_from(promise.count).unwrap_or(0);
        }
    }

    /// Whether a topic is still there at its owner: what is deleted is not promised any more.
    pub(crate) fn stands(&self, origin: OriginTopicId) -> bool {
        (0..self.sites.len()).any(|site| {
            let stream = self.stream(site);
            let topic = stream.as_ref().and_then(|stream| stream.topic_by_origin(origin));
            topic.is_some_and(|topic| topic.owner.stream == self.id(site))
        })
    }

    /// Whether every replica has everything of its source.
    pub(crate) fn is_converged(&self) -> Result<(), (&'static str, String)> {
        self.is_alike().map_err(|reason| ("both sides become alike", reason))?;
        self.is_trimmed_alike().map_err(|reason| ("trims are carried", reason))
    }

    fn is_trimmed_alike(&self) -> Result<(), String> {
        for (key, truth) in &self.truth.0 {
            for (site, name) in NAMES.iter().enumerate().take(self.sites.len()) {
                let Some(partition) = self.partition(site, *key) else { continue };
                let trimmed = partition.marks().trimmed;
                if self.stands(key.0) && trimmed != truth.trimmed {
                    let place = format!("{} {} at {name}", key.0, key.1);
                    let owner = truth.trimmed;
                    return Err(format!("{place} is trimmed to {trimmed}, its owner's to {owner}"));
                }
            }
        }
        Ok(())
    }

    fn is_alike(&self) -> Result<(), String> {
        for link in &self.links {
            let (Some(from), Some(to)) = (self.stream(link.source), self.stream(link.replica))
            else {
                return Err("a stream is gone".into());
            };
            for topic in from.topics.values().filter(|topic| topic.owner.stream != to.id) {
                // A topic that was deleted while there was no agreement stays where it was copied
                // to, and its name with it: a conflict, not a loss.
                if !self.stands(topic.origin) {
                    if self.halves_removed == 0 {
                        return Err(format!("topic {} outlives its deletion", topic.name));
                    }
                    continue;
                }
                let Some(copy) = to.topic_by_origin(topic.origin) else {
                    let orphan = to.topic(&topic.name).is_some_and(|t| !self.stands(t.origin));
                    if orphan {
                        continue;
                    }
                    return Err(format!("topic {} is not at the replica", topic.name));
                };
                if copy.name != topic.name {
                    return Err(format!("topic {} is {} at the replica", topic.name, copy.name));
                }
                if copy.partition_count() != topic.partition_count() {
                    return Err(format!("topic {} has not grown at the replica", topic.name));
                }
                for index in 0..topic.partition_count() {
                    let end = |site, key| self.partition(site, key).map(|p| p.durable_end());
                    let key = (topic.origin, index);
                    let (ours, theirs) = (end(link.source, key), end(link.replica, key));
                    if ours != theirs {
                        return Err(format!("{} {index}: {ours:?}, {theirs:?}", topic.name));
                    }
                }
            }
            self.is_told_of_cursors(link.source, link.replica)?;
        }
        if self.halves_removed == 0 {
            let remembers = |site: &usize| {
                self.stream(*site).is_some_and(|stream| {
                    stream.upstreams.is_empty() && !stream.tombstones.is_empty()
                })
            };
            if let Some(site) = (0..self.sites.len()).find(remembers) {
                return Err(format!("{} still remembers deletions", NAMES[site]));
            }
        }
        self.is_shown()
    }

    /// Of every cursor at the source, be it deleted, the replica has the last word.
    fn is_told_of_cursors(&self, source: usize, replica: usize) -> Result<(), String> {
        let all = |site: usize| self.engine(site).cursors_and_deletions(self.id(site));
        let (from, to) = (self.stream(source), self.stream(replica));
        let (from, to) = (from.expect("streams stay"), to.expect("streams stay"));
        let theirs: BTreeMap<_, _> = all(replica)
            .into_iter()
            .map(|(key, cursor)| ((key.group, key.topic, key.partition), cursor))
            .collect();
        for (key, cursor) in all(source) {
            let Some(topic) = from.topic_by_origin(key.topic) else { continue };
            let ours = topic.owner.stream == from.id;
            let Some(value) = (if ours { cursor.local } else { cursor.replicated }) else {
                continue;
            };
            if topic.owner.stream == to.id || to.topic_by_origin(key.topic).is_none() {
                continue;
            }
            // What its owner deleted while nothing was agreed on is an orphan, and fed by nobody.
            if !self.stands(key.topic) {
                continue;
            }
            let there = theirs.get(&(key.group.clone(), key.topic, key.partition));
            let offset = there.and_then(|cursor| cursor.replicated.as_ref()).map(|v| v.offset);
            if offset != Some(value.offset) {
                return Err(format!("cursor of {}: {}, {offset:?}", key.group, value.offset));
            }
        }
        Ok(())
    }
}
