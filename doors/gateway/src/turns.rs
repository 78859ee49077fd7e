//! Lets the reading for proofs of equality yield to everything else.

use std::sync::Arc;
use std::time::Duration;

use mainstem_env::Env;
use mainstem_types::Error;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// One reading at a time, and after each a pause as long as it took: half of one thread and of
/// what the disk can give, at the most, whatever is asked by however many.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// Runs `read` where blocking is allowed, when it is its turn. The pause follows the answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        env: &Env,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.0.clone().lock_owned().await;
        let begun_ms = env.clock.monotonic_ms();
        let answer = tokio::task::spawn_blocking(read).await;
        let took_ms = env.clock.monotonic_ms().saturating_sub(begun_ms);
        tokio::spawn(async move {
            sleep(Duration::from_millis(took_ms)).await;
            drop(turn);
        });
        answer.map_err(|_| Error::retry("the node is shutting down; try again when it is back"))
    }
}
