//! Ctrl-C in the midst of the demo: its clusters are processes of their own, and go with it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstem_types::Error;

use crate::dev::Dev;
use crate::serve::wait_for_signal;

/// What a shell expects of those who end by Ctrl-C.
const EXIT_CODE: i32 = 130;

/// Whose turn it is with the clusters: the demo's, or for ever the interruption's.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Mutex<()>>);

impl Interrupt {
    /// From now on an interruption stops the clusters of `dev`, removes `home` and ends the process.
    pub(crate) fn watch(dev: Dev, home: PathBuf) -> Result<Self, Error> {
        let failed = |e| Error::storage(format!("signals cannot be received: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let interrupt = Self::default();
        let turn = interrupt.clone();
        let wait = move || {
            if runtime.block_on(wait_for_signal()).is_ok() {
                let _until_the_end = turn.hold_off();
                // Who ends by force has no use for an error of what is tidied up.
                let _ = dev.down();
                let _ = fs::remove_dir_all(home);
                std::process::exit(EXIT_CODE);
            }
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(wait).map_err(failed)?;
        Ok(interrupt)
    }

    /// No interruption goes on while this is held, so that no server is started behind its back.
    /// Does not return once one has begun: what the demo would do or say then is only for that.
    pub(crate) fn hold_off(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
