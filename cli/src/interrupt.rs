//! Ctrl-C while servers go on with what was asked of them.

use std::io::Write;
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};

use mainstem_types::Error;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell expects of those who end by Ctrl-C.
const EXIT_CODE: i32 = 130;

/// Says what goes on if this process is interrupted while it stands. An interruption ends the
/// process in any case, before and after as well.
pub(crate) struct LastWords(Arc<Mutex<Option<String>>>);

impl LastWords {
    pub(crate) fn new(words: String) -> Result<Self, Error> {
        let failed = |e| Error::storage(format!("signals cannot be received: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        // From here on an interruption is taken, not only once the thread runs.
        let entered = runtime.enter();
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        drop(entered);
        let last = Arc::new(Mutex::new(Some(words)));
        let said = last.clone();
        let wait = move || {
            if runtime.block_on(interrupted.recv()).is_none() {
                return;
            }
            let words = said.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(words) = words {
                let _ = writeln!(std::io::stderr(), "{words}");
            }
            exit(EXIT_CODE);
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(wait).map_err(failed)?;
        Ok(Self(last))
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
