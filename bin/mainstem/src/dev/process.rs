//! Server processes: started apart from the terminal, found again by their pid file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mainstem_env::Clock;
use mainstem_types::Error;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

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
        let arguments = arguments(pid)?;
        // One that dies shows none, and until it is dead it holds its ports and its data's lock.
        let runs = if arguments.is_empty() { !is_over(pid) } else { self.is_named_in(&arguments) };
        runs.then_some(pid)
    }

    fn is_named_in(&self, arguments: &[u8]) -> bool {
        let config = self.config();
        arguments.split(|byte| *byte == 0).any(|one| one == config.as_os_str().as_encoded_bytes())
    }

    /// Starts this very binary as a server that outlives the command.
    pub(crate) fn spawn(&self) -> Result<i32, Error> {
        std::env::current_exe().and_then(|binary| self.spawn_binary(&binary)).map_err(|e| {
            Error::storage(format!("the server in {} cannot be started: {e}", self.dir.display()))
        })
    }

    fn spawn_binary(&self, binary: &Path) -> io::Result<i32> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).expect("Linux pids are positive i32");
        let mut file = File::create(self.dir.join("pid"))?;
        writeln!(file, "{pid}")?;
        // The parent goes on before the child's exec is over (vfork(2)). Until it is, the child
        // shows its parent's arguments or none, and would be taken for something else.
        while !arguments(pid).is_some_and(|arguments| self.is_named_in(&arguments))
            && child.try_wait()?.is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
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

/// A process's arguments, in one read: between two of them it may exec or end, and what the second
/// gives belongs to other memory.
fn arguments(pid: i32) -> Option<Vec<u8>> {
    /// Two paths of the greatest length and a few words.
    const BYTES_MAX: usize = 16 * 1024;
    let mut arguments = vec![0; BYTES_MAX];
    let read = File::open(format!("/proc/{pid}/cmdline")).ok()?.read(&mut arguments).ok()?;
    arguments.truncate(read);
    Some(arguments)
}

/// Whether the kernel keeps of the process nothing but its exit code (proc(5), `stat`), or not
/// even that.
fn is_over(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let is_zombie = |rest: &str| rest.trim_start().starts_with(['Z', 'X']);
    // The first thread may be over while others still hold the files, and with them the lock.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.rsplit(')').next().is_none_or(is_zombie) && threads <= 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mainstem_env::SystemClock;

    use super::*;

    #[test]
    fn arguments_are_never_a_part_of_them_while_a_process_begins_or_ends() {
        let own = [b"true\0".as_slice(), &[b'a'; 300], b"\0"].concat();
        let parents = fs::read("/proc/self/cmdline").unwrap();
        let whole = BTreeSet::from([own, parents, Vec::new()]);
        for _ in 0..200 {
            let mut child = Command::new("true").arg("a".repeat(300)).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            // It stays to be seen, dead, until it is waited for.
            while !is_over(pid) {
                let seen = arguments(pid).unwrap();
                assert!(whole.contains(&seen), "{:?}", String::from_utf8_lossy(&seen));
            }
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_server_is_known_from_its_spawning_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::in_dir(dir.path());
        assert_eq!(process.pid(), None, "it was never started");
        // What the shell finds in its folder when it is called as the server would be.
        fs::write(dir.path().join("serve"), "kill -STOP $$\n").unwrap();
        for _ in 0..20 {
            let pid = process.spawn_binary(Path::new("/bin/sh")).unwrap();
            assert_eq!(process.pid(), Some(pid));
            assert!(process.kill(&SystemClock::new()).unwrap());
            assert_eq!(process.pid(), None);
        }
        assert!(!process.kill(&SystemClock::new()).unwrap(), "it was killed before");
    }
}
