//! Cursors that wait for their data to be sent.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_link::{CursorItem, CursorVersion, Cursors};
use mainstem_types::{OriginTopicId, TermId};

type Key = (String, OriginTopicId, u32);

/// Cursors in one frame: a consumer's own text may be long.
const CURSORS_PER_FRAME: usize = 256;
/// Nor more text in one frame than this.
const TEXT_BYTES_PER_FRAME: usize = 512 * 1024;

/// The newest version of each cursor that is still to be sent.
#[derive(Debug, Default)]
pub(crate) struct CursorQueue {
    known: BTreeMap<Key, (TermId, u64)>,
    waiting: BTreeMap<Key, CursorItem>,
    /// Cursors of topics that others own which were here at some time in this session.
    seen: BTreeSet<Key>,
}

impl CursorQueue {
    pub(crate) fn handle_known(&mut self, item: CursorVersion) {
        let key = (item.group, item.origin, item.partition);
        self.known.insert(key, (item.term, item.version));
    }

    /// Once the Welcome is whole: forgets what the replica has already.
    pub(crate) fn drop_known(&mut self) {
        let known = &self.known;
        self.waiting.retain(|key, item| known.get(key).is_none_or(|have| is_news(item, *have)));
    }

    pub(crate) fn push(&mut self, item: CursorItem) {
        let key = (item.group.clone(), item.origin, item.partition);
        let waiting = self.waiting.get(&key);
        let is_back = waiting.is_some_and(|waiting| waiting.offset < 0);
        let waiting = waiting.map(|w| (w.term, w.version));
        let newest = waiting.or_else(|| self.known.get(&key).copied());
        if is_back || newest.is_none_or(|have| is_news(&item, have)) {
            self.waiting.insert(key, item);
        }
    }

    /// Takes back what the replica knows and `present` has not. Of topics that are ours that is
    /// what was deleted; of others only what was here before, since the rest may not have come yet.
    pub(crate) fn drop_missing(
        &mut self,
        present: &[CursorItem],
        is_ours: impl Fn(OriginTopicId) -> bool,
    ) {
        let present: BTreeSet<(&str, OriginTopicId, u32)> =
            present.iter().map(|item| (item.group.as_str(), item.origin, item.partition)).collect();
        let seen = &self.seen;
        let is_missing = |key: &Key| {
            let is_here = present.contains(&(key.0.as_str(), key.1, key.2));
            !is_here && (is_ours(key.1) || seen.contains(key))
        };
        self.waiting.retain(|key, item| item.offset < 0 || !is_missing(key));
        for (key, (term, version)) in &self.known {
            if is_missing(key) && !self.waiting.contains_key(key) {
                self.waiting.insert(key.clone(), deletion(key, *term, *version));
            }
        }
        self.seen = present
            .into_iter()
            .filter(|(_, origin, _)| !is_ours(*origin))
            .map(|(group, origin, partition)| (group.to_owned(), origin, partition))
            .collect();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Frames with the cursors whose data has been sent, as `is_due` says.
    pub(crate) fn take_frames(&mut self, is_due: impl Fn(&CursorItem) -> bool) -> Vec<Cursors> {
        let mut frames: Vec<Cursors> = Vec::new();
        let (mut items, mut text) = (Vec::new(), 0);
        for (key, item) in self.waiting.extract_if(.., |_, item| is_due(item)) {
            text += item.group.len() + item.metadata.len();
            if item.offset < 0 {
                // Whatever is committed next is news.
                self.known.remove(&key);
            } else {
                self.known.insert(key, (item.term, item.version));
            }
            items.push(item);
            if items.len() == CURSORS_PER_FRAME || text >= TEXT_BYTES_PER_FRAME {
                frames.push(Cursors { cursors: std::mem::take(&mut items) });
                text = 0;
            }
        }
        if !items.is_empty() {
            frames.push(Cursors { cursors: items });
        }
        frames
    }
}

fn deletion(key: &Key, term: TermId, version: u64) -> CursorItem {
    CursorItem {
        group: key.0.clone(),
        origin: key.1,
        partition: key.2,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
        commit_ms: 0,
        version,
        term,
    }
}

/// Versions count within one term; another term's cursor is news whatever its number.
fn is_news(item: &CursorItem, (term, version): (TermId, u64)) -> bool {
    item.term != term || item.version > version
}
