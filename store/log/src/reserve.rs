//! Files whose blocks were written before: made ahead of need, so that no write waits for blocks
//! to be allocated and no fdatasync for a journal.

use std::collections::VecDeque;
use std::io::Result;
use std::sync::Arc;
use std::thread::JoinHandle;

use mainstem_env::{Disk, DiskFile};
use parking_lot::{Condvar, Mutex};

use crate::segment::FileName;
use crate::{LogSettings, ReserveMode};

/// The reserve of segment files, and the thread that fills it.
pub(crate) struct Reserve {
    shared: Arc<Shared>,
    mode: ReserveMode,
    maker: Option<JoinHandle<()>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    wanted: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Files of full length.
    ready: VecDeque<u32>,
    /// Files of any length: freed segments, and what a crash left half made.
    unready: VecDeque<u32>,
    next: u32,
    failed: bool,
    stop: bool,
}

impl Reserve {
    /// Takes over the reserve files that were `found`, and begins to fill up what is missing.
    pub(crate) fn open(disk: Arc<dyn Disk>, settings: &LogSettings, found: Vec<u32>) -> Self {
        let next = found.iter().max().map_or(0, |highest| highest + 1);
        // What has its length is ready; whether its zeros are durable is a matter of speed only.
        let has_length = |number: &u32| {
            let file = disk.open(&FileName::Reserve { number: *number }.to_string());
            file.and_then(|file| file.len())
                .is_ok_and(|len| len == u64::from(settings.segment_bytes))
        };
        let (ready, unready): (VecDeque<u32>, VecDeque<u32>) =
            found.into_iter().partition(has_length);
        let state = State { ready, unready, next, ..State::default() };
        let shared = Arc::new(Shared {
            disk,
            segment_bytes: u64::from(settings.segment_bytes),
            wanted: settings.reserve_segments as usize,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        Self { shared, mode: settings.reserve_mode, maker: None }
    }

    /// Starts the thread, or makes the reserve right now.
    pub(crate) fn start(&mut self) {
        match self.mode {
            ReserveMode::Inline => self.shared.fill(),
            ReserveMode::Background => {
                let shared = Arc::clone(&self.shared);
                let thread = std::thread::Builder::new().name("log-reserve".to_owned());
                // Without the thread the log is slower and as safe.
                self.maker = thread.spawn(move || shared.run()).ok();
            }
        }
    }

    /// A file that is ready to become a segment; `None` if there is none yet.
    pub(crate) fn take(&self) -> Option<FileName> {
        let number = self.shared.state.lock().ready.pop_front()?;
        Some(FileName::Reserve { number })
    }

    /// Gives a file that is no longer needed to the reserve.
    pub(crate) fn give(&self, name: &str) -> Result<()> {
        let number = self.shared.new_number();
        self.shared.disk.rename(name, &FileName::Reserve { number }.to_string())?;
        self.shared.state.lock().unready.push_back(number);
        Ok(())
    }

    /// Has the reserve filled up again, here or by the thread.
    pub(crate) fn refill(&self) {
        match self.mode {
            ReserveMode::Inline => self.shared.fill(),
            ReserveMode::Background => {
                self.shared.changed.notify_one();
            }
        }
    }

    /// Files that are ready.
    pub(crate) fn ready(&self) -> usize {
        self.shared.state.lock().ready.len()
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(maker) = self.maker.take() {
            // A maker that panicked has said so; there is nothing to add here.
            let _ = maker.join();
        }
    }
}

/// The next thing that the reserve needs.
enum Job {
    Make(u32),
    TopUp(u32),
    Remove(u32),
}

impl Shared {
    fn run(&self) {
        loop {
            self.fill();
            let mut state = self.state.lock();
            if state.stop {
                return;
            }
            if self.is_filled(&state) || state.failed {
                // After a failure the next segment that is taken or freed tries again.
                state.failed = false;
                self.changed.wait(&mut state);
            }
        }
    }

    fn is_filled(&self, state: &State) -> bool {
        state.ready.len() >= self.wanted && state.unready.is_empty()
    }

    fn new_number(&self) -> u32 {
        let mut state = self.state.lock();
        state.next += 1;
        state.next - 1
    }

    fn fill(&self) {
        while let Some(job) = self.next_job() {
            if let Err(error) = self.run_job(&job) {
                tracing::warn!(%error, "no log segment could be made ahead; writes get slower");
                self.state.lock().failed = true;
                return;
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        if state.stop {
            return None;
        }
        let is_full = state.ready.len() >= self.wanted;
        if state.ready.len() > self.wanted {
            return state.ready.pop_front().map(Job::Remove);
        }
        match (state.unready.pop_front(), is_full) {
            (Some(number), true) => Some(Job::Remove(number)),
            (Some(number), false) => Some(Job::TopUp(number)),
            (None, true) => None,
            (None, false) => {
                state.next += 1;
                Some(Job::Make(state.next - 1))
            }
        }
    }

    fn run_job(&self, job: &Job) -> Result<()> {
        let (Job::Make(number) | Job::TopUp(number) | Job::Remove(number)) = *job;
        let name = FileName::Reserve { number }.to_string();
        let file = match job {
            Job::Remove(_) => return self.disk.remove(&name),
            Job::Make(_) => self.disk.create(&name)?,
            Job::TopUp(_) => self.disk.open(&name)?,
        };
        if file.len()? > self.segment_bytes {
            file.set_len(self.segment_bytes)?;
        }
        match self.zero(&*file) {
            Ok(true) => self.state.lock().ready.push_back(number),
            Ok(false) => {}
            Err(error) => {
                // Half a reserve helps nobody when the disk is full.
                self.disk.remove(&name)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Fills a file up with zeros; false if it was told to stop, and the next opening goes on.
    fn zero(&self, file: &dyn DiskFile) -> Result<bool> {
        const STEP_BYTES: u64 = 8 * 1024 * 1024;
        let mut len = file.len()?;
        while len < self.segment_bytes {
            if self.state.lock().stop {
                return Ok(false);
            }
            len = (len + STEP_BYTES).min(self.segment_bytes);
            file.zero_up_to(len)?;
        }
        file.sync_data()?;
        Ok(true)
    }
}
