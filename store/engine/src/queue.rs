//! The queue before the sequencer: bounded in bytes, first come first served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mainstem_types::Error;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::op::{Op, closed};

/// Operations that wait for the sequencer.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    ops: VecDeque<(Op, OwnedSemaphorePermit)>,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            inner: Mutex::default(),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Waits for room, then queues. Those who wait get their turn in order.
    pub(crate) async fn push(&self, op: Op) -> Result<(), Error> {
        let bytes = u32::try_from(op.bytes().min(self.bytes_max)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| closed())?;
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return Err(closed());
        }
        inner.ops.push_back((op, room));
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().is_closed
    }

    /// Bytes that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes_max - self.room.available_permits().min(self.bytes_max)
    }

    /// Whether more than a fraction of a group has gathered.
    pub(crate) fn is_loaded(&self) -> bool {
        const LOADED_BYTES: usize = 256 * 1024;
        self.waiting_bytes() >= LOADED_BYTES
    }

    /// Takes operations up to about `bytes_max`. Their room is free again as soon as they are out:
    /// from here on the group's own limit holds.
    pub(crate) fn take(&self, bytes_max: usize) -> Vec<Op> {
        let mut inner = self.inner.lock();
        let mut bytes = 0;
        let mut taken = Vec::new();
        while bytes < bytes_max
            && let Some((op, _room)) = inner.ops.pop_front()
        {
            bytes += op.bytes();
            taken.push(op);
        }
        taken
    }

    /// Sleeps until something is queued, or for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut inner = self.inner.lock();
        if inner.ops.is_empty() {
            self.filled.wait_for(&mut inner, timeout);
        }
    }

    /// Nothing is taken any more; what waits is dropped, which its senders see.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        inner.ops.clear();
        self.room.close();
    }
}
