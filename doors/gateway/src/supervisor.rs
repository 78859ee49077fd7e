//! One task per replica of the catalog, and per set-up that is to be taken back, each with a way to
//! stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstem_catalog::Catalog;
use mainstem_types::{JobId, StreamId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::board::LinkKey;
use crate::context::Context;
use crate::link::run_link;
use crate::undo::run_undo;

/// What a task is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TaskKey {
    Link(LinkKey),
    Undo(JobId),
}

struct Task {
    stop: watch::Sender<bool>,
    nudge: Arc<Notify>,
    /// Set before the supervisor is told, who may look before the handle says so.
    ended: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// The tasks that run now.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<BTreeMap<TaskKey, Task>>, Arc<Notify>);

impl Tasks {
    /// Wakes the links of a stream from their pauses.
    pub(crate) fn nudge(&self, stream: StreamId) -> Vec<LinkKey> {
        let tasks = self.0.lock();
        let of_stream = tasks.iter().filter_map(|(key, task)| match key {
            TaskKey::Link(key) if key.0 == stream => Some((key.clone(), task)),
            TaskKey::Link(_) | TaskKey::Undo(_) => None,
        });
        of_stream
            .map(|(key, task)| {
                task.nudge.notify_one();
                key
            })
            .collect()
    }

    /// Starts what the catalog lists and is not running. A link whose replica is no longer listed
    /// sees so itself and ends.
    fn follow(&self, ctx: &Context, catalog: &Catalog) {
        let mut tasks = self.0.lock();
        tasks.retain(|_, task| !task.ended.load(Ordering::Acquire) && !task.handle.is_finished());
        for stream in catalog.streams() {
            for replica in &stream.replicas {
                let key = (stream.id, replica.place.clone());
                let link = |stop, nudge| run_link(ctx.clone(), key.clone(), stop, nudge);
                let task = || spawn(link, self.1.clone());
                tasks.entry(TaskKey::Link(key.clone())).or_insert_with(task);
            }
        }
        for undo in catalog.undos() {
            let work = |stop, nudge| run_undo(ctx.clone(), undo.job, stop, nudge);
            let task = || spawn(work, self.1.clone());
            tasks.entry(TaskKey::Undo(undo.job)).or_insert_with(task);
        }
    }

    async fn stop_all(&self) {
        let tasks: Vec<Task> = std::mem::take(&mut *self.0.lock()).into_values().collect();
        for task in &tasks {
            task.stop.send_replace(true);
        }
        for task in tasks {
            // A task that panicked has been reported by its panic.
            let _ = task.handle.await;
        }
    }
}

fn spawn<F>(work: impl FnOnce(watch::Receiver<bool>, Arc<Notify>) -> F, told: Arc<Notify>) -> Task
where
    F: Future<Output = ()> + Send + 'static,
{
    let (stop, stopped) = watch::channel(false);
    let (nudge, ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let work = work(stopped, nudge.clone());
    let mark = ended.clone();
    let handle = tokio::spawn(async move {
        work.await;
        mark.store(true, Ordering::Release);
        told.notify_one();
    });
    Task { stop, nudge, ended, handle }
}

/// Follows the catalog until told to stop, then stops every link.
pub(crate) async fn supervise(ctx: Context, tasks: Arc<Tasks>, mut stop: watch::Receiver<bool>) {
    let mut catalog = ctx.engine.watch_catalog();
    loop {
        let now = catalog.borrow_and_update().clone();
        tasks.follow(&ctx, &now);
        tokio::select! {
            changed = catalog.changed() => if changed.is_err() { break },
            // A replica that was removed and added again waits for its old task to end.
            () = tasks.1.notified() => {}
            _ = stop.changed() => break,
        }
    }
    tasks.stop_all().await;
}
