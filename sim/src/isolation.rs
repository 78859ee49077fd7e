//! What must hold of transactions, told from the batches of each copy alone: each is whole, readers
//! of what is committed see just that, and cursors move with it or not at all.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_record::BatchHeader;
use mainstem_types::OriginTopicId;

use crate::Plant;
use crate::fates::{CommitPromise, Fate};
use crate::topology::NAMES;
use crate::transactional::BatchId;
use crate::world::World;

type Key = (OriginTopicId, u32);

const WHOLE: &str = "a transaction is whole";
const COMMITTED: &str = "readers see what is committed";
const CURSORS: &str = "cursors move with their commit";
const ENDS: &str = "transactions end";

/// After every event.
impl World {
    pub(crate) fn check_isolation(&mut self) {
        if !self.is_transactional() {
            return;
        }
        for site in 0..self.sites.len() {
            self.follow_transactions(site);
            self.check_whole(site);
            self.check_pending_cursors(site);
        }
    }

    /// Notes what is new at a site, and looks at what readers there see.
    fn follow_transactions(&mut self, site: usize) {
        let mut there = BTreeSet::new();
        let mut broken = None;
        for (topic, index, copy) in self.copies(site) {
            if topic.aside.is_some() {
                continue;
            }
            let place = (site, topic.origin, index);
            there.insert(place);
            let known = &mut self.transactional;
            let of_batch = |header: &BatchHeader| {
                let (id, epoch) = (header.producer_id, header.producer_epoch);
                let id: BatchId = (topic.origin, index, id, epoch, header.base_sequence);
                known.of_batch.get(&id).copied()
            };
            let seen = known.seen.entry(place).or_default();
            let ends = seen.fates.clone();
            // What has another end by now; not yet if that comes with the cut.
            known.cut.retain(|(attempt, of)| *of != place || !ends.contains_key(attempt));
            if let Some(cut) = seen.follow(&copy, of_batch) {
                let key = (topic.origin, index);
                let gone = ends.into_iter().filter(|(_, fate)| fate.marker >= cut);
                known.cut.extend(gone.map(|(attempt, _)| (attempt, place)));
                known.promised.retain(|promise| {
                    let is_cut = |(of, marker): &(Key, i64)| *of == key && *marker >= cut;
                    promise.at != site || !promise.markers.iter().any(is_cut)
                });
            }
            let stable = match self.plant {
                Plant::StableIsWatermark => copy.high_watermark(),
                _ => copy.last_stable_offset(),
            };
            if let Err(message) = seen.check_readers(&copy, stable) {
                broken = Some(format!("{} {index} at {}: {message}", topic.name, NAMES[site]));
            }
        }
        self.transactional.seen.retain(|place, _| place.0 != site || there.contains(place));
        if let Some(broken) = broken {
            self.violate(COMMITTED, broken);
        }
    }

    /// Nothing is committed in one partition of a site and aborted in another, unless a source that
    /// is lost could not tell any more what it had decided. Partitions join the history of a new
    /// owner one after the other: those that have not do not count.
    fn check_whole(&mut self, site: usize) {
        let all = (site, OriginTopicId(0), 0)..(site + 1, OriginTopicId(0), 0);
        let copies = self.copies(site).into_iter();
        let unjoined = copies.filter(|(topic, _, copy)| {
            topic.owner.stream != self.id(site) && !copy.lineage().knows(topic.owner.term.id)
        });
        let unjoined: BTreeSet<Key> = unjoined.map(|(t, index, _)| (t.origin, index)).collect();
        let mut fates: BTreeMap<usize, (Key, Fate)> = BTreeMap::new();
        let mut split = None;
        for ((_, origin, index), seen) in self.transactional.seen.range(all) {
            let key = (*origin, *index);
            if unjoined.contains(&key) {
                continue;
            }
            for (attempt, fate) in &seen.fates {
                let (other, first) = *fates.entry(*attempt).or_insert((key, *fate));
                if first.is_commit != fate.is_commit && !self.is_forgotten(site, *attempt) {
                    split = Some(format!(
                        "transaction {attempt} at {}: {first:?} in {other:?}, {fate:?} in {key:?}",
                        NAMES[site]
                    ));
                }
            }
        }
        if let Some(split) = split {
            self.violate(WHOLE, split);
        }
    }

    /// Whether some other node has lost its memory of a commit: it is known in full to whoever has
    /// all batches, and a link that is behind when its source is lost promotes without. Or whoever
    /// was promoted had one half of it.
    fn is_forgotten(&self, site: usize, attempt: usize) -> bool {
        let forgotten = self.transactional.forgotten.iter();
        let here = self.sites[site].node;
        self.topology.reigns
            && (forgotten.into_iter().any(|(node, of)| *of == attempt && *node != here)
                || self.transactional.halved.contains(&attempt))
    }

    /// An old master that is promoted before all its partitions have joined its successor's history
    /// has one history in some and another one in others.
    pub(crate) fn note_halved(&mut self, site: usize) {
        self.follow_transactions(site);
        let known = &self.transactional;
        let all = (site, OriginTopicId(0), 0)..(site + 1, OriginTopicId(0), 0);
        let seen: BTreeSet<usize> =
            known.seen.range(all).flat_map(|(_, seen)| seen.fates.keys().copied()).collect();
        let cut = known.cut.iter().filter(|(_, place)| place.0 == site);
        let halved = cut.map(|(attempt, _)| *attempt).filter(|attempt| seen.contains(attempt));
        let halved: Vec<usize> = halved.collect();
        self.transactional.halved.extend(halved);
    }

    /// A cursor is that of a transaction that was to be committed.
    fn check_pending_cursors(&mut self, site: usize) {
        let cursors = self.engine(site).cursors(self.id(site)).into_iter();
        let early =
            cursors.filter(|(key, _)| key.group.as_str().starts_with("tg")).find(|(_, cursor)| {
                let values = cursor.local.iter().chain(&cursor.replicated);
                let mut attempts = values.filter_map(|value| value.metadata.parse::<usize>().ok());
                attempts.any(|attempt| !self.transactional.attempts[attempt].is_decided)
            });
        if let Some((key, cursor)) = early {
            let message = format!("{key:?} at {} is {cursor:?} before its commit", NAMES[site]);
            self.violate(CURSORS, message);
        }
    }
}

/// What an acknowledgement says.
impl World {
    /// A commit is answered when it is there: with all markers and cursors, here and at whoever is
    /// in force.
    pub(crate) fn check_committed(&mut self, attempt: usize) {
        let site = self.transactional.attempts[attempt].site;
        for site in 0..self.sites.len() {
            self.follow_transactions(site);
        }
        let parts = self.transactional.attempts[attempt].parts.clone();
        let is_owned = |key: &&Key| {
            let stream = self.stream(site);
            let topic = stream.as_ref().and_then(|stream| stream.topic_by_origin(key.0));
            topic.is_some_and(|topic| topic.owner.stream == self.id(site))
        };
        let owned: Vec<Key> = parts.iter().filter(is_owned).copied().collect();
        if let Some(lack) = owned.iter().find_map(|key| self.lacks_commit(site, *key, attempt)) {
            self.violate(WHOLE, format!("transaction {attempt} is acknowledged, and {lack}"));
        }
        for (_, at) in self.in_force(site) {
            if let Some(lack) = owned.iter().find_map(|key| self.lacks_commit(at, *key, attempt)) {
                let message = format!("transaction {attempt} is acknowledged in force, and {lack}");
                self.violate(WHOLE, message);
            }
            let marker = |key: &Key| Some((*key, self.fate(at, *key, attempt)?.marker));
            let markers = owned.iter().filter_map(marker).collect();
            self.transactional.promised.push(CommitPromise { at, attempt, markers });
        }
        self.check_moved(site, attempt);
    }

    /// A replica that is promoted has every commit that was acknowledged while it was in force.
    pub(crate) fn check_promised_commits(&mut self, is_meant: impl Fn(usize) -> bool) {
        for site in 0..self.sites.len() {
            self.follow_transactions(site);
        }
        let promised = std::mem::take(&mut self.transactional.promised);
        let (meant, rest): (Vec<_>, Vec<_>) =
            promised.into_iter().partition(|promise| is_meant(promise.at));
        self.transactional.promised = rest;
        let broken = meant.iter().find_map(|promise| {
            let mut keys = promise.markers.iter().map(|(key, _)| *key);
            keys.find_map(|key| self.lacks_commit(promise.at, key, promise.attempt))
        });
        if let Some(broken) = broken {
            self.violate(WHOLE, format!("promised in force, and {broken}"));
        }
    }

    fn fate(&self, site: usize, key: Key, attempt: usize) -> Option<Fate> {
        let seen = self.transactional.seen.get(&(site, key.0, key.1))?;
        seen.fates.get(&attempt).copied()
    }

    /// Why a transaction is not committed in a partition at a site; nothing if it is, or retention
    /// or a deletion took it.
    fn lacks_commit(&self, site: usize, key: Key, attempt: usize) -> Option<String> {
        let place = || format!("{key:?} at {}", NAMES[site]);
        let copy = self.partition(site, key)?;
        let seen = self.transactional.seen.get(&(site, key.0, key.1))?;
        match seen.fates.get(&attempt) {
            Some(Fate { is_commit: true, .. }) => None,
            Some(fate) => Some(format!("{} has {fate:?}", place())),
            None if seen.open.values().any(|open| open.attempts.contains(&attempt)) => {
                Some(format!("it is open in {}", place()))
            }
            None if copy.log_start().max(self.kept_from(site, key)) > 0 => None,
            None => Some(format!("nothing of it is in {}", place())),
        }
    }

    fn check_moved(&mut self, site: usize, attempt: usize) {
        let all = self.engine(site).cursors_and_deletions(self.id(site));
        let keys = self.transactional.attempts[attempt].cursors.iter();
        let mut unmoved = keys.filter(|key| {
            // Another owner has the word on it by now, or nobody.
            let stream = self.stream(site);
            let topic = stream.as_ref().and_then(|stream| stream.topic_by_origin(key.topic));
            topic.is_some_and(|topic| topic.owner.stream == self.id(site))
        });
        let unmoved = unmoved.find(|key| {
            let found = all.iter().find(|(of, _)| *of == **key);
            let found = found.and_then(|(_, cursor)| cursor.local.as_ref());
            // A person may have deleted it since.
            !found.is_some_and(|value| value.offset < 0 || value.metadata == attempt.to_string())
        });
        let unmoved = unmoved.cloned();
        if let Some(key) = unmoved {
            let message = format!("{key:?} has not moved with transaction {attempt}");
            self.violate(CURSORS, message);
        }
    }
}

/// At the end.
impl World {
    /// Whether nothing is open anywhere any more, be it in what was set aside.
    pub(crate) fn is_stable(&self) -> Result<(), (&'static str, String)> {
        if !self.is_transactional() {
            return Ok(());
        }
        for (site, name) in NAMES.iter().enumerate().take(self.sites.len()) {
            for (topic, index, copy) in self.copies(site) {
                let (stable, end) = (copy.last_stable_offset(), copy.durable_end());
                if stable != end && (topic.aside.is_some() || self.stands(topic.origin)) {
                    let what = format!("{} {index} at {name}", topic.name);
                    return Err((ENDS, format!("{what} is stable to {stable}, not to {end}")));
                }
            }
        }
        Ok(())
    }
}
