//! Cursors that wait for their data to be sent.

use std::collections::BTreeMap;

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
}

impl CursorQueue {
    pub(crate) fn handle_known(&mut self, item: CursorVersion) {
        let key = (item.group, item.origin, item.partition);
        // An odd one was set back there, and one of the same number perhaps here, to another place.
        self.known.insert(key, (item.term, item.version & !1));
    }

    /// What the replica has of these partitions is not to be relied on.
    pub(crate) fn forget(&mut self, is_meant: impl Fn(OriginTopicId, u32) -> bool) {
        self.known.retain(|(_, origin, partition), _| !is_meant(*origin, *partition));
    }

    /// Once the Welcome is whole: forgets what the replica has already.
    pub(crate) fn drop_known(&mut self) {
        let known = &self.known;
        self.waiting.retain(|key, item| known.get(key).is_none_or(|have| is_news(item, *have)));
    }

    pub(crate) fn push(&mut self, item: CursorItem) {
        let key = (item.group.clone(), item.origin, item.partition);
        let waiting = self.waiting.get(&key).map(|waiting| (waiting.term, waiting.version));
        let newest = waiting.or_else(|| self.known.get(&key).copied());
        if newest.is_none_or(|have| is_news(&item, have)) {
            self.waiting.insert(key, item);
        }
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
            self.known.insert(key, (item.term, item.version));
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

/// Versions count within one term; another term's cursor is news whatever its number.
fn is_news(item: &CursorItem, (term, version): (TermId, u64)) -> bool {
    item.term != term || item.version > version
}
