//! The coordinator of consumer groups, with its clock and those who wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstem_env::Clock;
use mainstem_group::{
    Action, Coordinator, CoordinatorSettings, GroupError, JoinGroup, JoinRefused, Joined,
    SyncGroup, Synced, Waiter,
};
use mainstem_types::GroupId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

/// The coordinator of a node.
pub(crate) struct Groups {
    inner: Arc<Mutex<Inner>>,
    /// Told when the next deadline has come nearer.
    nearer: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

struct Inner {
    coordinator: Coordinator,
    waiters: HashMap<Waiter, Sender>,
    last_waiter: u64,
}

enum Sender {
    Join(oneshot::Sender<Result<Joined, JoinRefused>>),
    Sync(oneshot::Sender<Result<Synced, GroupError>>),
}

/// An answer that the coordinator will give. When this is dropped before, as with its connection,
/// the coordinator is told that nobody waits any more.
pub(crate) struct Waiting<T> {
    receiver: oneshot::Receiver<T>,
    inner: Arc<Mutex<Inner>>,
    nearer: Arc<Notify>,
    clock: Arc<dyn Clock>,
    group: GroupId,
    waiter: Waiter,
}

impl Groups {
    pub(crate) fn new(settings: CoordinatorSettings, clock: Arc<dyn Clock>) -> Self {
        let coordinator = Coordinator::new(settings);
        let inner = Inner { coordinator, waiters: HashMap::new(), last_waiter: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), nearer: Arc::new(Notify::new()), clock }
    }

    /// Asks the coordinator something that it answers at once.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&mut Coordinator, i64) -> T) -> T {
        let mut inner = self.inner.lock();
        let answer = ask(&mut inner.coordinator, now_ms(&*self.clock));
        self.settle(&mut inner);
        answer
    }

    pub(crate) fn join(&self, join: &JoinGroup) -> Waiting<Result<Joined, JoinRefused>> {
        let (send, receiver) = oneshot::channel();
        self.wait(Sender::Join(send), receiver, &join.group, |coordinator, waiter, now_ms| {
            coordinator.handle_join(waiter, join, now_ms);
        })
    }

    pub(crate) fn sync(&self, sync: &SyncGroup) -> Waiting<Result<Synced, GroupError>> {
        let (send, receiver) = oneshot::channel();
        self.wait(Sender::Sync(send), receiver, &sync.group, |coordinator, waiter, now_ms| {
            coordinator.handle_sync(waiter, sync, now_ms);
        })
    }

    fn wait<T>(
        &self,
        sender: Sender,
        receiver: oneshot::Receiver<T>,
        group: &GroupId,
        ask: impl FnOnce(&mut Coordinator, Waiter, i64),
    ) -> Waiting<T> {
        let mut inner = self.inner.lock();
        inner.last_waiter += 1;
        let waiter = Waiter(inner.last_waiter);
        inner.waiters.insert(waiter, sender);
        ask(&mut inner.coordinator, waiter, now_ms(&*self.clock));
        self.settle(&mut inner);
        drop(inner);
        Waiting {
            receiver,
            inner: self.inner.clone(),
            nearer: self.nearer.clone(),
            clock: self.clock.clone(),
            group: group.clone(),
            waiter,
        }
    }

    fn settle(&self, inner: &mut Inner) {
        inner.answer();
        self.nearer.notify_one();
    }

    /// Lets time pass for the coordinator until the door closes.
    pub(crate) async fn keep_time(&self, mut closing: watch::Receiver<bool>) {
        loop {
            let deadline_ms = self.inner.lock().coordinator.next_deadline_ms();
            let pause = deadline_ms.map(|at| at - now_ms(&*self.clock)).map(u64::try_from);
            let pause = pause.map(|ms| Duration::from_millis(ms.unwrap_or(0)));
            tokio::select! {
                () = sleep_or_wait(pause) => {
                    let mut inner = self.inner.lock();
                    inner.coordinator.handle_time(now_ms(&*self.clock));
                    inner.answer();
                }
                () = self.nearer.notified() => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }
}

async fn sleep_or_wait(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn now_ms(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.monotonic_ms()).unwrap_or(i64::MAX)
}

impl Inner {
    fn answer(&mut self) {
        while let Some(action) = self.coordinator.poll_action() {
            let (Action::Joined { waiter, .. } | Action::Synced { waiter, .. }) = action;
            // Whoever is no longer there has been taken off the list.
            match (action, self.waiters.remove(&waiter)) {
                (Action::Joined { result, .. }, Some(Sender::Join(send))) => {
                    let _ = send.send(result);
                }
                (Action::Synced { result, .. }, Some(Sender::Sync(send))) => {
                    let _ = send.send(result);
                }
                (_, None) => {}
                (action, Some(_)) => panic!("{action:?} for somebody who waits for another kind"),
            }
        }
    }
}

impl<T> Waiting<T> {
    /// The answer. `None` only when the node goes down.
    pub(crate) async fn answer(mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        let mut inner = self.inner.lock();
        if inner.waiters.remove(&self.waiter).is_some() {
            inner.coordinator.handle_gone(&self.group, self.waiter, now_ms(&*self.clock));
            inner.answer();
            self.nearer.notify_one();
        }
    }
}
