//! Work that may wait for the disk.

use std::panic::resume_unwind;

/// Runs `work` where blocking is allowed, and gives its result.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime goes down, and the caller with it.
        Err(_) => std::future::pending().await,
    }
}
