//! Who writes the materialised view: a thread of its own, or the sequencer in simulations.
//!
//! A view that cannot be written costs nobody an answer. It falls behind, segments are not freed
//! meanwhile, and the same change is tried again until the disk takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstem_env::Disk;
use mainstem_log::Position;
use mainstem_types::Error;
use parking_lot::{Condvar, Mutex};

use crate::view::{View, ViewChange, ViewStore};

/// Where the sequencer sends its changes.
pub(crate) struct ViewWriter {
    applied: Arc<AtomicU64>,
    way: Way,
}

enum Way {
    Inline { store: ViewStore, change: Option<Box<ViewChange>> },
    Thread { desk: Arc<Desk>, thread: Option<JoinHandle<()>> },
}

/// What lies between the sequencer and the thread.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DeskState {
    /// Stays here until it is stored.
    change: Option<Arc<ViewChange>>,
    is_failing: bool,
    is_closing: bool,
}

impl ViewWriter {
    /// Stores on the caller's thread.
    pub(crate) fn inline(disk: Arc<dyn Disk>, view: View, applied: Position) -> Self {
        let way = Way::Inline { store: ViewStore::new(disk, view), change: None };
        Self { applied: Arc::new(AtomicU64::new(applied.0)), way }
    }

    /// A thread that lives until the writer is dropped.
    pub(crate) fn spawn(disk: Arc<dyn Disk>, view: View, applied: Position) -> Result<Self, Error> {
        let (reached, desk) = (Arc::new(AtomicU64::new(applied.0)), Arc::<Desk>::default());
        let (store, applied) = (ViewStore::new(disk, view), Arc::clone(&reached));
        let served = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("view".into())
            .spawn(move || served.serve(store, &reached))
            .map_err(|e| Error::storage(format!("no thread for the materialised view: {e}")))?;
        Ok(Self { applied, way: Way::Thread { desk, thread: Some(thread) } })
    }

    /// Up to where the view is durable.
    pub(crate) fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    /// Whether everything is stored that was given to be, so that more may be.
    pub(crate) fn is_ready(&mut self) -> bool {
        match &mut self.way {
            Way::Inline { store, change } => {
                if let Some(again) = change.take() {
                    *change = store_inline(store, again, &self.applied);
                }
                change.is_none()
            }
            Way::Thread { desk, .. } => desk.state.lock().change.is_none(),
        }
    }

    /// As [`Self::is_ready`], after waiting for it; false if the disk does not take it.
    pub(crate) fn wait_ready(&mut self) -> bool {
        let Way::Thread { desk, .. } = &self.way else { return self.is_ready() };
        let mut state = desk.state.lock();
        while state.change.is_some() && !state.is_failing {
            desk.changed.wait(&mut state);
        }
        state.change.is_none()
    }

    /// Stores a change, now or soon. The one before is stored.
    pub(crate) fn store(&mut self, new: ViewChange) {
        match &mut self.way {
            Way::Inline { store, change } => {
                *change = store_inline(store, Box::new(new), &self.applied);
            }
            Way::Thread { desk, .. } => {
                let mut state = desk.state.lock();
                assert!(state.change.is_none(), "the view's changes are stored one by one");
                state.change = Some(Arc::new(new));
                desk.changed.notify_all();
            }
        }
    }
}

/// Gives the change back if it could not be stored.
fn store_inline(
    store: &mut ViewStore,
    change: Box<ViewChange>,
    applied: &AtomicU64,
) -> Option<Box<ViewChange>> {
    match store.store(&change) {
        Ok(()) => {
            applied.store(change.applied.0, Ordering::Release);
            None
        }
        Err(error) => {
            tracing::error!(%error, "the materialised view falls behind");
            Some(change)
        }
    }
}

impl Desk {
    fn serve(&self, mut store: ViewStore, applied: &AtomicU64) {
        while let Some(change) = self.next() {
            let result = store.store(&change);
            let mut state = self.state.lock();
            state.is_failing = result.is_err();
            match result {
                Ok(()) => {
                    applied.store(change.applied.0, Ordering::Release);
                    state.change = None;
                }
                Err(error) => tracing::error!(%error, "the materialised view falls behind"),
            }
            self.changed.notify_all();
        }
    }

    /// The next change, or after a while the same one again; `None` at the end.
    fn next(&self) -> Option<Arc<ViewChange>> {
        const RETRY_EVERY: Duration = Duration::from_secs(1);
        let mut state = self.state.lock();
        if state.is_failing && !state.is_closing {
            self.changed.wait_for(&mut state, RETRY_EVERY);
        }
        loop {
            match &state.change {
                Some(change) if !(state.is_failing && state.is_closing) => {
                    return Some(Arc::clone(change));
                }
                _ if state.is_closing => return None,
                _ => self.changed.wait(&mut state),
            }
        }
    }
}

impl Drop for ViewWriter {
    fn drop(&mut self) {
        if let Way::Thread { desk, thread } = &mut self.way {
            desk.state.lock().is_closing = true;
            desk.changed.notify_all();
            if let Some(thread) = thread.take() {
                // A panic there has been printed; the log holds everything.
                let _ = thread.join();
            }
        }
    }
}
