//! Whether every record of a batch has a key: by keys compaction knows what is old. To see them the
//! batch is unpacked, which takes long and much memory where a client wants it to; so few are
//! unpacked at once, whoever sent them, and none where other connections wait for the thread.

use std::sync::Arc;

use bytes::Bytes;
use mainstem_record::{RecordError, records};
use mainstem_types::limits::{DECOMPRESSED_BYTES_MAX, UNPACKED_AT_ONCE_MAX};
use tokio::sync::Semaphore;

use crate::blocking::blocking;

/// What may be unpacked at once.
pub(crate) struct KeyChecks {
    room: Arc<Semaphore>,
}

impl KeyChecks {
    pub(crate) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(UNPACKED_AT_ONCE_MAX)) }
    }

    /// Whether every record of a batch has a key. Waits for its turn, batch by batch, so that a
    /// request with many lets others between.
    ///
    /// # Errors
    /// What is wrong with a batch that cannot be unpacked or read.
    pub(crate) async fn check(&self, batch: Bytes) -> Result<bool, RecordError> {
        let turn = self.room.clone().acquire_owned().await.expect("nobody closes it");
        blocking(move || {
            let checked = has_keys(&batch);
            // The work goes on when its connection is gone, and so does its turn.
            drop(turn);
            checked
        })
        .await
    }
}

/// Looks no further than the first record without a key.
fn has_keys(batch: &Bytes) -> Result<bool, RecordError> {
    for record in records(batch, DECOMPRESSED_BYTES_MAX)? {
        if record?.key.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use mainstem_record::BatchBuilder;

    use super::*;

    fn batch(keys: &[Option<&str>]) -> Bytes {
        let mut builder = BatchBuilder::new();
        keys.iter().for_each(|key| builder.push(1, key.map(str::as_bytes), Some(b"value")));
        builder.build().freeze()
    }

    #[test]
    fn every_record_needs_a_key() {
        assert_eq!(has_keys(&batch(&[Some("a"), Some("")])), Ok(true));
        assert_eq!(has_keys(&batch(&[Some("a"), None])), Ok(false));
    }

    #[test]
    fn what_follows_a_record_without_a_key_is_not_read() {
        let mut bytes = batch(&[None, Some("a")]).to_vec();
        *bytes.last_mut().expect("a batch") = 0x7f;
        assert_eq!(has_keys(&Bytes::from(bytes)), Ok(false));
    }

    #[tokio::test]
    async fn no_more_batches_are_unpacked_at_once_than_there_is_room_for() {
        let checks = KeyChecks::new();
        let all = u32::try_from(UNPACKED_AT_ONCE_MAX).expect("few");
        let others = checks.room.clone().acquire_many_owned(all).await.expect("open");
        let mut check = pin!(checks.check(batch(&[Some("a")])));
        let waits = check.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(waits.is_pending());
        assert_eq!(checks.room.available_permits(), 0);
        drop(others);
        assert_eq!(check.await, Ok(true));
        assert_eq!(checks.room.available_permits(), UNPACKED_AT_ONCE_MAX);
    }
}
