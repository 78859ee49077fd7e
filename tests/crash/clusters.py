"""Clusters of the binary under test in a folder of their own, and what /proc says of them."""

import datetime
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND_S_MAX = 60
LOG_LINES_SHOWN = 40
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A command of the binary ended with another exit code than 0, or not in time."""


class Clusters:
    """A few clusters that live as long as the `with` block, each a process of its own."""

    def __init__(self, binary, names, keep=False, label=""):
        self.binary = str(pathlib.Path(binary or ROOT / "target/release/mainstem").resolve())
        self.names = names
        self.keep = keep
        self.home = pathlib.Path(tempfile.mkdtemp(prefix=f"mainstem-{label}"))
        self.environment = {**os.environ, "MAINSTEM_HOME": str(self.home)}

    def __enter__(self):
        try:
            data = str(self.home / "data")
            self.run("dev", "up", "--clusters", ",".join(self.names), "--ports", "auto",
                     "--data", data)
        except CommandFailed:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        subprocess.run([self.binary, "dev", "down"], env=self.environment,
                       capture_output=True, check=False, timeout=COMMAND_S_MAX)
        if self.keep:
            print(f"kept: {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *words):
        """Runs a command of the binary and returns what it printed."""
        begun = utc()
        try:
            done = subprocess.run([self.binary, *words], env=self.environment, check=False,
                                  capture_output=True, text=True, timeout=COMMAND_S_MAX)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{' '.join(words)}, begun {begun}: still runs after "
                                f"{COMMAND_S_MAX} s") from error
        if done.returncode != 0:
            raise CommandFailed(f"{' '.join(words)}, begun {begun}, ended {utc()}: exit "
                                f"{done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def rows(self, *words):
        """Runs a command with -json and returns its rows."""
        return json.loads(self.run(*words, "-json")).get("data", [])

    def status(self, name):
        """The row of one cluster in `dev status`."""
        return next(row for row in self.rows("dev", "status") if row["cluster"] == name)

    def kafka(self, name):
        """The address of a cluster's Kafka listener, which stays over restarts."""
        return self.status(name)["kafka"]

    def pid(self, name):
        """The process that serves a cluster now."""
        return int(self.status(name)["pid"])

    def kill(self, name):
        """kill -9."""
        self.run("dev", "kill", name)

    def start(self, name):
        """Starts a killed cluster; it is ready when this returns."""
        self.run("dev", "start", name)

    def log_text(self):
        """Everything that the servers have logged so far."""
        texts = (path.read_text(errors="replace") for path in self.home.rglob("*.log"))
        return "\n".join(texts)

    def print_evidence(self):
        """Prints what a failure leaves to look at, and keeps the data."""
        self.keep = True
        print(f"---- {self.home}, at {utc()}: processes")
        ps = subprocess.run(["ps", "-eo", "pid,ppid,stat,etime,args"], capture_output=True,
                            text=True, check=False)
        print("\n".join(line for line in ps.stdout.splitlines() if str(self.home) in line))
        for path in sorted(self.home.rglob("*.log")):
            print(f"---- the end of {path}")
            lines = path.read_text(errors="replace").splitlines()
            print("\n".join(lines[-LOG_LINES_SHOWN:]), flush=True)


def utc():
    """The time as the servers' logs have it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def wait_until(what, holds, seconds):
    """Waits for a condition and returns its first truth; a missed deadline is an error."""
    deadline = time.monotonic() + seconds
    while True:
        result = holds()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s, at {utc()}: {what}")
        time.sleep(0.05)


def rss_bytes(pid):
    """What a process has resident."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def rss_peak_bytes(pid):
    """The most that a process has had resident since `forget_rss_peak`."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/status has no VmHWM")


def forget_rss_peak(pid):
    """Lets the peak begin at what is resident now."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_us(pid):
    """User and system time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US
