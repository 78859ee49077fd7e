//! Waiting for partitions and streams to move, without polling.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use mainstem_types::{PartitionNo, StreamId};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Gathers what has moved among the partitions that it watches. One waiter at a time.
#[derive(Default)]
pub struct Subscription {
    moved: Mutex<Moved>,
    notify: Notify,
}

#[derive(Default)]
struct Moved {
    partitions: BTreeSet<PartitionNo>,
    cursors: bool,
    any: bool,
}

impl Subscription {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Waits until something moved since the last call, and says which partitions did.
    pub async fn changed(&self) -> Vec<PartitionNo> {
        loop {
            let notified = self.notify.notified();
            if let Some(partitions) = self.take() {
                return partitions;
            }
            notified.await;
        }
    }

    /// As [`Self::changed`], without waiting: `None` if nothing moved.
    pub fn take(&self) -> Option<Vec<PartitionNo>> {
        let mut moved = self.moved.lock();
        if !moved.any {
            return None;
        }
        moved.any = false;
        Some(std::mem::take(&mut moved.partitions).into_iter().collect())
    }

    /// Whether cursors of a watched stream have changed since the last call.
    pub fn take_cursors(&self) -> bool {
        std::mem::take(&mut self.moved.lock().cursors)
    }

    pub(crate) fn mark_partition(&self, partition: PartitionNo) {
        let mut moved = self.moved.lock();
        moved.partitions.insert(partition);
        moved.any = true;
        drop(moved);
        self.notify.notify_one();
    }

    fn mark_cursors(&self) {
        let mut moved = self.moved.lock();
        moved.cursors = true;
        moved.any = true;
        drop(moved);
        self.notify.notify_one();
    }
}

/// Those who watch one thing. Dead ones are swept out as the list grows.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<WatcherList>);

#[derive(Default)]
struct WatcherList {
    list: Vec<Weak<Subscription>>,
    sweep_at: usize,
}

impl Watchers {
    pub(crate) fn add(&self, subscription: &Arc<Subscription>) {
        const SWEEP_MIN: usize = 16;
        let mut watchers = self.0.lock();
        if watchers.list.len() >= watchers.sweep_at.max(SWEEP_MIN) {
            watchers.list.retain(|watcher| watcher.strong_count() > 0);
            watchers.sweep_at = watchers.list.len() * 2;
        }
        watchers.list.push(Arc::downgrade(subscription));
    }

    pub(crate) fn tell(&self, mark: impl Fn(&Subscription)) {
        let mut watchers = self.0.lock();
        watchers.list.retain(|watcher| watcher.upgrade().inspect(|w| mark(w)).is_some());
    }
}

/// Who watches the cursors of which stream.
#[derive(Default)]
pub(crate) struct CursorWatchers(Mutex<Vec<(StreamId, Weak<Subscription>)>>);

impl CursorWatchers {
    pub(crate) fn add(&self, stream: StreamId, subscription: &Arc<Subscription>) {
        let mut watchers = self.0.lock();
        watchers.retain(|(_, watcher)| watcher.strong_count() > 0);
        watchers.push((stream, Arc::downgrade(subscription)));
    }

    pub(crate) fn tell(&self, streams: &BTreeSet<StreamId>) {
        for (stream, watcher) in self.0.lock().iter() {
            if streams.contains(stream)
                && let Some(watcher) = watcher.upgrade()
            {
                watcher.mark_cursors();
            }
        }
    }
}
