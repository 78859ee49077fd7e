//! Server processes: started apart from the terminal, found again by their pid file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mainstem_env::Clock;
use mainstem_types::Error;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};

/// How long an orderly end may take before it is forced.
const END_MS_MAX: u64 = 10_000;
const POLL: Duration = Duration::from_millis(10);

/// The process of one dev cluster, running or not.
pub(crate) struct Process {
    dir: PathBuf,
}

impl Process {
    /// The one whose files lie in `dir`.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("mainstem.toml")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The pid, if the process runs. A pid that now belongs to something else is not taken for it.
    pub(crate) fn pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(self.dir.join("pid")).ok()?.trim().parse().ok()?;
        test_kill_process(Pid::from_raw(pid)?).ok()?;
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // A child that was just spawned shows the arguments of its parent, and then none, until
        // its own are in place: the parent goes on before that (vfork(2)). The dead show none.
        let is_young = fs::read("/proc/self/cmdline").is_ok_and(|parent| parent == command_line);
        if command_line.is_empty() || is_young {
            return (!is_zombie(pid)).then_some(pid);
        }
        let config = self.config();
        let ours = config.as_os_str().as_encoded_bytes();
        command_line.windows(ours.len()).any(|part| part == ours).then_some(pid)
    }

    /// Starts this very binary as a server that outlives the command.
    pub(crate) fn spawn(&self) -> Result<i32, Error> {
        let failed = |e: std::io::Error| {
            Error::storage(format!("the server in {} cannot be started: {e}", self.dir.display()))
        };
        let binary = std::env::current_exe().map_err(failed)?;
        let log = File::options().create(true).append(true).open(self.log()).map_err(failed)?;
        let child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pid = i32::try_from(child.id()).expect("Linux pids are positive i32");
        let mut file = File::create(self.dir.join("pid")).map_err(failed)?;
        writeln!(file, "{pid}").map_err(failed)?;
        Ok(pid)
    }

    /// The last lines of the log, for errors.
    pub(crate) fn log_tail(&self) -> String {
        const LINES: usize = 5;
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// `kill -9`; returns when the process is gone. False if it did not run.
    pub(crate) fn kill(&self, clock: &dyn Clock) -> Result<bool, Error> {
        self.end(clock, Signal::KILL)
    }

    /// Asks the process to end, and after ten seconds makes it. False if it did not run.
    pub(crate) fn terminate(&self, clock: &dyn Clock) -> Result<bool, Error> {
        self.end(clock, Signal::TERM)
    }

    fn end(&self, clock: &dyn Clock, signal: Signal) -> Result<bool, Error> {
        let Some(pid) = self.pid() else { return Ok(false) };
        let process = Pid::from_raw(pid).expect("a live pid is not zero");
        let failed = |e| Error::denied(format!("process {pid} cannot be ended: {e}"));
        kill_process(process, signal).map_err(failed)?;
        let begun_ms = clock.monotonic_ms();
        let mut is_forced = signal == Signal::KILL;
        while self.reap().is_some() {
            let waited_ms = clock.monotonic_ms() - begun_ms;
            if waited_ms > END_MS_MAX && !is_forced {
                is_forced = true;
                kill_process(process, Signal::KILL).map_err(failed)?;
            }
            if waited_ms > 2 * END_MS_MAX {
                return Err(Error::retry(format!("process {pid} does not end; look at it")));
            }
            std::thread::sleep(POLL);
        }
        Ok(true)
    }

    /// The pid, if the process runs. Buries it first if it ended and is a child of this very
    /// process, as in `demo`.
    pub(crate) fn reap(&self) -> Option<i32> {
        let pid = self.pid()?;
        // Not our child: then /proc tells.
        let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        self.pid()
    }
}

/// Whether the kernel keeps of the process nothing but its exit code (proc(5), `stat`).
fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_over = |rest: &str| rest.trim_start().starts_with(['Z', 'X']);
    // The first thread may be over while others still hold the files, and with them the lock.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.rsplit(')').next().is_none_or(is_over) && threads <= 1
}
