//! The memory that all fetch answers under way may hold together. A client that asks for much and
//! never reads must not take what others need, so answers get smaller when there is little left;
//! none waits.

use std::sync::Arc;

use bytes::Bytes;
use mainstem_types::limits::{FETCH_ROOM_BYTES, FETCH_SHARE_BYTES};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is left for answers.
pub(crate) struct FetchRoom {
    left: Arc<Semaphore>,
}

/// What one answer may hold.
pub(crate) struct Room {
    /// At most so many bytes of batches, though the first batch has any size.
    pub(crate) bytes: usize,
    /// None for the small share that everybody gets.
    taken: Option<Arc<Mutex<OwnedSemaphorePermit>>>,
}

/// A batch that gives its room back when the last byte of the answer has been written.
struct Held {
    bytes: Bytes,
    _taken: Arc<Mutex<OwnedSemaphorePermit>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl FetchRoom {
    pub(crate) fn new() -> Self {
        Self { left: Arc::new(Semaphore::new(FETCH_ROOM_BYTES)) }
    }

    /// Room for an answer of up to `wanted` bytes; half of that, or half of the half, when there
    /// is no more, and a small share in any case.
    pub(crate) fn take(&self, wanted: usize) -> Room {
        let mut bytes = wanted;
        while bytes > FETCH_SHARE_BYTES {
            let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
            if let Ok(permit) = self.left.clone().try_acquire_many_owned(permits) {
                return Room { bytes, taken: Some(Arc::new(Mutex::new(permit))) };
            }
            bytes /= 2;
        }
        Room { bytes, taken: None }
    }
}

impl Room {
    /// Gives back all but what the answer turned out to hold.
    pub(crate) fn shrink(&self, used: usize) {
        let Some(taken) = &self.taken else { return };
        let mut permit = taken.lock();
        let spare = permit.num_permits().saturating_sub(used);
        drop(permit.split(spare));
    }

    /// Ties the room to a batch of the answer.
    pub(crate) fn hold(&self, bytes: Bytes) -> Bytes {
        match &self.taken {
            Some(taken) => Bytes::from_owner(Held { bytes, _taken: taken.clone() }),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_shrink_when_room_runs_out_and_grow_when_it_comes_back() {
        let room = FetchRoom::new();
        let first = room.take(FETCH_ROOM_BYTES);
        let batch = first.hold(Bytes::from_static(b"batch"));
        assert_eq!((first.bytes, &batch[..]), (FETCH_ROOM_BYTES, &b"batch"[..]));
        assert_eq!(room.take(FETCH_ROOM_BYTES).bytes, FETCH_SHARE_BYTES);
        first.shrink(FETCH_ROOM_BYTES / 2);
        drop(first);
        let second = room.take(FETCH_ROOM_BYTES);
        assert_eq!(second.bytes, FETCH_ROOM_BYTES / 2, "the batch still holds the other half");
        drop((second, batch));
        assert_eq!(room.take(FETCH_ROOM_BYTES).bytes, FETCH_ROOM_BYTES);
        assert_eq!(room.take(100).bytes, 100);
    }
}
