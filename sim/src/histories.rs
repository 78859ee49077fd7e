//! Histories by term: whoever owned a topic in a term wrote what is of that term, and every copy,
//! be it the owner's, a replica's or one that was set aside, holds the same there.

use std::collections::BTreeMap;

use mainstem_catalog::Topic;
use mainstem_engine::Partition;
use mainstem_group::{CursorKey, CursorValue};
use mainstem_record::BatchHeader;
use mainstem_types::{Lineage, LineageEntry, OriginTopicId, StreamId, TermId};

use crate::producer::batch_id;
use crate::topology::NAMES;
use crate::truth::{TrueBatch, batches_from};
use crate::world::World;

type Key = (OriginTopicId, u32);

impl World {
    /// After every event: I1 at the owners, I2 and I8 at every copy, I4 and I5.
    pub(crate) fn check_reigns(&mut self) {
        for site in 0..self.sites.len() {
            self.note_written(site);
            self.note_starts(site);
        }
        for site in 0..self.sites.len() {
            self.forget_what_was_cut(site);
            self.compare_copies(site);
            self.check_cursors_at(site);
        }
        self.check_fenced();
    }

    /// What a site wrote itself, in whichever terms it reigned, is what was written.
    pub(crate) fn note_written(&mut self, site: usize) {
        let own = self.id(site);
        for (topic, index, partition) in self.copies(site) {
            if topic.aside.is_some() {
                continue;
            }
            let (lineage, end) = (partition.lineage(), partition.durable_end());
            let compared = self.histories.compared.get(&(site, topic.origin, index));
            // What it wrote first may lie where it was cut since, within one group.
            let reign = lineage.last().filter(|reign| reign.owner == own);
            let begun = reign.map_or(end, |reign| reign.start_offset);
            let from = compared.copied().unwrap_or(0).min(begun);
            for batch in batches_from(&partition, from) {
                let reign = reign_of(&lineage, batch.base).filter(|reign| reign.owner == own);
                let Some(reign) = reign else { continue };
                let key = (topic.origin, index, reign.term_id);
                let written = self.histories.written.entry(key).or_default();
                written.batches.entry(batch.base).or_insert(batch);
            }
            let Some(reign) = lineage.last().filter(|_| topic.owner.stream == own) else {
                continue;
            };
            let key = (topic.origin, index, reign.term_id);
            let written = self.histories.written.entry(key).or_default();
            let before = std::mem::replace(&mut written.end, end);
            if end < before {
                let message = format!("an owner's {index} of {} ended at {before}", topic.name);
                self.violate("I1", format!("{message}, now at {end}"));
            }
        }
    }

    /// What was set aside at a site: nobody may count on its being there any more.
    pub(crate) fn forget_what_was_cut(&mut self, site: usize) {
        for (topic, index, partition) in self.copies(site) {
            let end = partition.durable_end();
            let compared = self.histories.compared.get(&(site, topic.origin, index));
            if compared.is_some_and(|compared| end < *compared) {
                self.forget_promises(site, (topic.origin, index), end);
            }
        }
    }

    fn compare_copies(&mut self, site: usize) {
        for (topic, index, partition) in self.copies(site) {
            let (place, end) = ((site, topic.origin, index), partition.durable_end());
            let compared = self.histories.compared.insert(place, end).unwrap_or(0);
            let origin = topic.aside.as_ref().map_or(topic.origin, |aside| aside.origin);
            let from = compared.min(end).max(partition.log_start());
            if let Err(message) = self.compare_copy((origin, index), &partition, from) {
                let message = format!("{} {index} at {}: {message}", topic.name, NAMES[site]);
                self.violate("I2", message);
            }
        }
    }

    /// Whether all from an offset on is what was written there in the term that the copy names.
    fn compare_copy(
        &self,
        (origin, index): Key,
        partition: &Partition,
        from: i64,
    ) -> Result<(), String> {
        let lineage = partition.lineage();
        let mut next = from;
        for batch in batches_from(partition, from) {
            let base = batch.base;
            let reign =
                reign_of(&lineage, base).ok_or_else(|| format!("nobody reigned at {base}"))?;
            let written = self.histories.written.get(&(origin, index, reign.term_id));
            let wrote = written.and_then(|written| written.batches.get(&base)).cloned();
            let wrote = wrote.map(|wrote| self.as_arrived((origin, index), wrote, &batch));
            let is_it = match &wrote {
                Some(wrote) if self.compacts => self.is_left_of(wrote, &batch, partition),
                wrote => wrote.as_ref() == Some(&batch),
            };
            if !is_it {
                return Err(format!(
                    "its owner of {} did not write {batch:?}, but {wrote:?}",
                    reign.term_id
                ));
            }
            // What only retention took may be missing, also what it took here before: a successor
            // that had it as a gap gives that back. And compaction where it has been.
            let starts =
                (0..self.sites.len()).filter_map(|at| self.starts.get(&(at, origin, index)));
            let taken = starts.copied().max().unwrap_or(0).max(partition.marks().compacted);
            if base > next && base > taken.max(from) {
                return Err(format!("nothing lies between {next} and {base}"));
            }
            next = batch.next;
        }
        Ok(())
    }

    /// What is kept expires in the order of arrival: a copy that keeps batches which came later, by
    /// the clock of an owner of before, than this one by the clock of an owner that keeps none of
    /// them takes it for as late.
    fn as_arrived(&self, (origin, index): Key, wrote: TrueBatch, kept: &TrueBatch) -> TrueBatch {
        let all = (origin, index, TermId(0))..=(origin, index, TermId(u128::MAX));
        let terms = self.histories.written.range(all);
        let before = terms.flat_map(|(_, written)| written.batches.range(..wrote.base));
        let is_explained = wrote.arrival_ms < kept.arrival_ms
            && before.map(|(_, batch)| batch.arrival_ms).max() >= Some(kept.arrival_ms);
        let arrival_ms = if is_explained { kept.arrival_ms } else { wrote.arrival_ms };
        TrueBatch { arrival_ms, ..wrote }
    }

    /// I4, as [`World::check_cursors`], of a whole site.
    fn check_cursors_at(&mut self, site: usize) {
        let Some(stream) = self.stream(site) else { return };
        let engine = self.engine(site);
        let beyond = engine.cursors(stream.id).into_iter().find_map(|(key, cursor)| {
            let topic = stream.topic_by_origin(key.topic)?;
            let is_foreign = topic.owner.stream != stream.id;
            let partition = engine.partition(topic.partition(key.partition)?)?;
            let end = partition.awaited_end();
            let told = cursor.effective(topic.owner.term.id, end, i32::MAX)?;
            let is_beyond = is_foreign && told.offset > end;
            is_beyond.then(|| format!("{key:?} at {} is {cursor:?}, the end at {end}", NAMES[site]))
        });
        if let Some(beyond) = beyond {
            self.violate("I4", beyond);
        }
    }

    /// I5: who has been told of a higher term in an open session does not write in a lower one.
    fn check_fenced(&mut self) {
        let mut unfenced = None;
        for connection in self.connections.values() {
            let Some(side) = connection.sender.as_ref().filter(|side| side.sender.is_open()) else {
                continue;
            };
            let site = self.links[connection.link].source;
            let Some(stream) = self.stream(site) else { continue };
            for (origin, number) in &side.told_terms {
                let owned = stream.topic_by_origin(*origin).map(|topic| topic.owner);
                let owned = owned.filter(|owner| owner.stream == stream.id);
                if let Some(owner) = owned.filter(|owner| owner.term.number < *number) {
                    unfenced = Some((site, *origin, owner.term.number, *number));
                }
            }
        }
        if let Some((site, origin, ours, told)) = unfenced {
            let name = NAMES[site];
            self.violate("I5", format!("{name} owns {origin} in {ours}, and was told of {told}"));
        }
    }

    /// Everything that a site holds, with what was set aside there.
    pub(crate) fn copies(
        &self,
        site: usize,
    ) -> Vec<(std::sync::Arc<Topic>, u32, std::sync::Arc<Partition>)> {
        let Some(stream) = self.stream(site) else { return Vec::new() };
        let partitions = stream.topics.values().flat_map(|topic| {
            (0u32..).zip(&topic.partitions).map(|(index, no)| (topic.clone(), index, *no))
        });
        let engine = self.engine(site);
        partitions
            .filter_map(|(topic, index, no)| Some((topic, index, engine.partition(no)?)))
            .collect()
    }
}

/// Who wrote the batch at an offset.
fn reign_of(lineage: &Lineage, base: i64) -> Option<LineageEntry> {
    lineage.entries().iter().rfind(|reign| reign.start_offset <= base).copied()
}

/// At the end.
impl World {
    /// Whether all sites agree on who owns what, and on all that it holds.
    pub(crate) fn is_one_history(&self) -> Result<(), (&'static str, String)> {
        let rule = "both sides become alike";
        let mut first: BTreeMap<Key, (usize, StreamId, TermId, i64)> = BTreeMap::new();
        let mut count: BTreeMap<Key, usize> = BTreeMap::new();
        for (site, name) in NAMES.iter().enumerate().take(self.sites.len()) {
            for (topic, index, partition) in self.copies(site) {
                if topic.aside.is_some() {
                    continue;
                }
                let here = (topic.owner.stream, topic.owner.term.id, partition.durable_end());
                if partition.awaited_end() != here.2 {
                    let message = format!("{} {index} at {name} waits for more", topic.name);
                    return Err((rule, message));
                }
                let key = (topic.origin, index);
                *count.entry(key).or_default() += 1;
                let (at, owner, term, end) =
                    *first.entry(key).or_insert((site, here.0, here.1, here.2));
                if (owner, term, end) != here {
                    let message = format!(
                        "{} {index} at {}: {:?}, at {name}: {here:?}",
                        topic.name,
                        NAMES[at],
                        (owner, term, end),
                    );
                    return Err((rule, message));
                }
            }
        }
        for key in count.keys() {
            self.is_one_word(*key).map_err(|message| (rule, message))?;
        }
        match count.into_iter().find(|(_, sites)| *sites != self.sites.len()) {
            Some((key, sites)) => Err((rule, format!("{key:?} is at {sites} sites only"))),
            None => Ok(()),
        }
    }

    /// No group stands anywhere behind where the owner has it.
    fn is_one_word(&self, (origin, index): Key) -> Result<(), String> {
        let owner = (0..self.sites.len()).find_map(|site| {
            let stream = self.stream(site)?;
            let topic = stream.topic_by_origin(origin)?;
            (topic.owner.stream == stream.id).then_some((site, topic.owner.term.id))
        });
        let Some((owner, term)) = owner else { return Err(format!("nobody owns {origin}")) };
        for (key, cursor) in self.engine(owner).cursors_and_deletions(self.id(owner)) {
            let Some(word) =
                cursor.newest(term).filter(|_| (key.topic, key.partition) == (origin, index))
            else {
                continue;
            };
            for site in (0..self.sites.len()).filter(|site| *site != owner) {
                let there = CursorKey { stream: self.id(site), ..key.clone() };
                let all = self.engine(site).cursors_and_deletions(self.id(site));
                let found = all.into_iter().find(|(key, _)| *key == there);
                let found = found.and_then(|(_, cursor)| cursor.replicated);
                // What an owner of before took on, and could not tell any more, is no less true.
                let is_later = |found: &CursorValue| match found.term == word.term {
                    // An epoch that is not told any more does not move it; and one commit may have
                    // been set back at two places, to the end of what each had of the history.
                    true => {
                        let both_set_back = found.version == word.version && word.version % 2 == 1;
                        found.version > word.version
                            || found.offset == word.offset
                            || (both_set_back && found.offset > word.offset)
                    }
                    false => found.offset >= word.offset,
                };
                if found.as_ref() != Some(word) && !found.as_ref().is_some_and(is_later) {
                    let (at, group) = (NAMES[site], &key.group);
                    return Err(format!("cursor of {group}: {word:?}, at {at} {found:?}"));
                }
            }
        }
        Ok(())
    }

    /// I8 and I1: what was durable, and so all that was acknowledged, is in the one history or set
    /// aside; and in the one history nothing lies twice.
    pub(crate) fn check_kept(&mut self) {
        let unwanted = std::mem::take(&mut self.unwanted);
        self.histories.written.retain(|(origin, ..), _| !unwanted.contains(origin));
        self.acknowledged.retain(|promise| !unwanted.contains(&promise.origin));
        let (mut kept, mut seen) = (BTreeMap::<Key, Vec<TrueBatch>>::new(), BTreeMap::new());
        let (mut twice, mut unseen) = (None, None);
        for site in 0..self.sites.len() {
            for (topic, index, partition) in self.copies(site) {
                let origin = topic.aside.as_ref().map_or(topic.origin, |aside| aside.origin);
                let shown_to = partition.high_watermark();
                if topic.aside.is_some() && shown_to != partition.durable_end() {
                    unseen = Some(format!("{} {index} is shown to {shown_to}", topic.name));
                }
                let batches = batches_from(&partition, 0);
                let headers = batches.iter().filter_map(|b| BatchHeader::decode(&b.bytes).ok());
                for header in headers.filter(|header| !header.attributes.is_control()) {
                    let id = (site, topic.origin, index, batch_id(&header));
                    let before = seen.insert(id, header.base_offset);
                    twice = twice.or(before.map(|before| (id, before, header.base_offset)));
                }
                kept.entry((origin, index)).or_default().extend(batches);
            }
        }
        if let Some(twice) = twice {
            self.violate("once", format!("{twice:?}"));
        }
        if let Some(unseen) = unseen {
            self.violate("watermark", unseen);
        }
        if self.compacts {
            self.check_superseded(&kept);
            return;
        }
        let expired = |key: Key, next: i64| {
            let sites = 0..self.sites.len();
            sites.into_iter().any(|site| {
                self.starts.get(&(site, key.0, key.1)).is_some_and(|start| *start >= next)
            })
        };
        let lost = self.histories.written.iter().find_map(|((origin, index, term), written)| {
            let key = (*origin, *index);
            let kept = kept.get(&key);
            let is_kept = |b: &&TrueBatch| kept.is_some_and(|kept| kept.contains(b));
            let mut gone = written.batches.values().filter(|b| !is_kept(b));
            gone.find(|b| !expired(key, b.next)).map(|b| (key, *term, b.clone()))
        });
        let broken = self.acknowledged.iter().find(|promise| {
            let key = (promise.origin, promise.index);
            let is_it = |batch: &TrueBatch| {
                let header = BatchHeader::decode(&batch.bytes).expect("checked as it was taken");
                (header.base_offset, batch_id(&header)) == (promise.base_offset, promise.id())
            };
            let next = promise.base_offset + i64::from(promise.count);
            !kept.get(&key).is_some_and(|kept| kept.iter().any(is_it)) && !expired(key, next)
        });
        let broken = broken.cloned();
        if let Some(lost) = lost {
            self.violate("I8", format!("{lost:?} was durable, and is nowhere"));
        }
        if let Some(broken) = broken {
            self.violate("I1", format!("{broken:?} was acknowledged, and is nowhere"));
        }
        self.records +=
            self.acknowledged.iter().map(|p| u64::from(p.count.unsigned_abs())).sum::<u64>();
    }
}
