#!/usr/bin/env python3
"""Measures a source and its replica with stock clients: durable produce, consume, catch-up, live
replication and its lag. Prints medians of interleaved runs; see bench/README.md.

usage: .venv/bin/python bench/run.py [--runs N] [--sizes 1000,100] [--megabytes N] [--binary PATH]
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "crash"))

from clusters import Clusters, cpu_us, rss_bytes, wait_until  # noqa: E402
from lag import measure_lag  # noqa: E402
from raw import Fetcher  # noqa: E402

SOURCE, REPLICA = "source", "replica"
PARTITIONS = 4
PHASE_S_MAX = 300
LINES = 2000  # different records; the file repeats them
SYNC_BYTES = 64 << 10


class Meter:
    """What one phase took: time, CPU of both servers and of the client."""

    def __init__(self, pids):
        self.pids = pids
        self.begun = time.monotonic()
        self.cpu = {name: cpu_us(pid) for name, pid in pids.items()}
        self.client = client_cpu_us()

    def stop(self, records, size):
        """The figures of the phase."""
        seconds = time.monotonic() - self.begun
        figures = {"records/s": records / seconds, "MB/s": records * size / seconds / 1e6,
                   "client CPU us": (client_cpu_us() - self.client) / records}
        for name, pid in self.pids.items():
            figures[f"{name} CPU us"] = (cpu_us(pid) - self.cpu[name]) / records
            figures[f"{name} RSS MB"] = rss_bytes(pid) / 1e6
        return figures


def client_cpu_us():
    """User and system time of the clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


class Bench:
    """One pair of clusters, measured again and again on fresh streams."""

    def __init__(self, clusters, folder, megabytes):
        self.clusters = clusters
        self.folder = pathlib.Path(folder)
        self.megabytes = megabytes
        self.pids = {name: clusters.pid(name) for name in (SOURCE, REPLICA)}
        self.kafka = {name: clusters.kafka(name) for name in (SOURCE, REPLICA)}

    def run(self, size, number):
        """All phases on a new stream; returns {phase: figures}."""
        records = self.megabytes * 1_000_000 // max(size, 250)
        stream = f"/bench-{size}-{number}"
        topic = f"bench-{size}-{number}.t"
        self._create(stream)
        lines = self._lines(size, records)
        phases = {
            "produce": self._produce(topic, lines, records, size),
            "consume": self._consume(SOURCE, topic, records, size),
            "catch-up": self._catch_up(stream, topic, records, size),
            "live": self._live(topic, lines, records, size),
        }
        phases["consume at replica"] = self._consume(REPLICA, topic, records, size)
        phases["lag"] = self._lag(topic, size)
        for name in (REPLICA, SOURCE):
            self.clusters.run("stream", "delete", "-path", f"/mapr/{name}{stream}")
        return phases

    def _create(self, stream):
        path = f"/mapr/{SOURCE}{stream}"
        run = self.clusters.run
        run("stream", "create", "-path", path, "-produceperm", "p", "-consumeperm", "p",
            "-topicperm", "p")
        run("stream", "topic", "create", "-path", path, "-topic", "t",
            "-partitions", str(PARTITIONS))

    def _lines(self, size, records):
        """A file with a record a line, which stays in the page cache."""
        path = self.folder / f"{size}.lines"
        if not path.exists():
            block = [os.urandom(size).hex()[:size].encode() for _ in range(LINES)]
            with path.open("wb") as file:
                for start in range(0, records, LINES):
                    file.write(b"\n".join(block[:records - start]) + b"\n")
        return path

    def _kcat(self, *words):
        command = ["kcat", *words, "-q"]
        subprocess.run(command, check=True, timeout=PHASE_S_MAX, stdout=subprocess.DEVNULL)

    def _produce(self, topic, lines, records, size):
        meter = Meter(self.pids)
        self._kcat("-P", "-b", self.kafka[SOURCE], "-t", topic, "-X", "acks=all", "-l", str(lines))
        figures = meter.stop(records, size)
        self._wait_end(SOURCE, topic, records)
        return figures

    def _consume(self, name, topic, records, size):
        meter = Meter(self.pids)
        self._kcat("-C", "-b", self.kafka[name], "-t", topic, "-o", "beginning",
                   "-c", str(records), "-f", "")
        return meter.stop(records, size)

    def _catch_up(self, stream, topic, records, size):
        """The documented steps by hand, so that the clock starts when the data may flow."""
        source, replica = f"/mapr/{SOURCE}{stream}", f"/mapr/{REPLICA}{stream}"
        run = self.clusters.run
        run("stream", "create", "-path", replica, "-copymetafrom", source)
        run("stream", "replica", "add", "-path", source, "-replica", replica, "-paused", "true")
        run("stream", "upstream", "add", "-path", replica, "-upstream", source)
        meter = Meter(self.pids)
        run("stream", "replica", "resume", "-path", source, "-replica", replica)
        self._wait_end(REPLICA, topic, records)
        return meter.stop(records, size)

    def _live(self, topic, lines, records, size):
        """A producer at full speed and the link at once; ends when the replica has it all."""
        meter = Meter(self.pids)
        self._kcat("-P", "-b", self.kafka[SOURCE], "-t", topic, "-X", "acks=all", "-l", str(lines))
        produced = time.monotonic()
        self._wait_end(REPLICA, topic, 2 * records)
        behind = time.monotonic() - produced
        return {**meter.stop(records, size), "behind at end ms": behind * 1000}

    def _lag(self, topic, size):
        """One record a request: what each costs on its own, and how long it is on its way."""
        meter = Meter(self.pids)
        records, stretches = measure_lag(self.kafka[SOURCE], self.kafka[REPLICA], topic, size)
        figures = meter.stop(records, size)
        cpu = {what: figures[what] for what in figures if what.endswith("CPU us")
               and not what.startswith("client")}
        return {**stretches, **cpu}

    def _wait_end(self, name, topic, records):
        def held():
            try:
                with Fetcher(self.kafka[name]) as fetcher:
                    return sum(fetcher.end(topic, n) for n in range(PARTITIONS)) >= records
            except ConnectionError:  # the topic has not come yet
                return False
        wait_until(f"{records} records in {topic} at {name}", held, PHASE_S_MAX)


def sync_ms(folder):
    """p50 of overwriting and syncing blocks that were written before: what the disk gives."""
    path = pathlib.Path(folder) / "sync"
    block, times = os.urandom(SYNC_BYTES), []
    path.write_bytes(block * 200)
    with path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())
        for _ in range(200):
            begun = time.monotonic()
            file.write(block)
            os.fdatasync(file.fileno())
            times.append((time.monotonic() - begun) * 1000)
    return statistics.median(times)


def machine():
    """What the figures were measured on."""
    cpu = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo", encoding="ascii")
           if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{len(cpu)} x {cpu[0]}, {memory} GiB, Linux {os.uname().release}"


def print_table(size, runs):
    """The median of each figure, a phase a line."""
    print(f"\n{size} B records, median of {len(runs)}")
    for phase in runs[0]:
        figures = {what: statistics.median(run[phase][what] for run in runs)
                   for what in runs[0][phase]}
        cells = ", ".join(f"{what} {shown(value)}" for what, value in figures.items())
        print(f"  {phase}: {cells}")


def shown(value):
    """A figure with as many digits as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def main():
    """Runs every size in turn, so that drift of the machine meets all alike."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--sizes", default="1000,100")
    options.add_argument("--megabytes", type=int, default=400, help="a phase writes so much")
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    options.add_argument("--json", default=None, help="where all runs are written")
    chosen = options.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    runs = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as folder:
        disk_ms = sync_ms(folder)
        print(f"{machine()}; {SYNC_BYTES >> 10} KiB write + fdatasync p50 {disk_ms:.2f} ms")
        with Clusters(chosen.binary, [SOURCE, REPLICA]) as clusters:
            bench = Bench(clusters, folder, chosen.megabytes)
            for number in range(chosen.runs):
                for size in sizes:
                    runs[size].append(bench.run(size, number))
                    print(f"run {number + 1}, {size} B: " + ", ".join(
                        f"{phase} {shown(figures.get('records/s', 0))}/s"
                        for phase, figures in runs[size][-1].items() if phase != "lag"),
                        flush=True)
    for size in sizes:
        print_table(size, runs[size])
    if chosen.json:
        pathlib.Path(chosen.json).write_text(json.dumps(runs, indent=1), encoding="ascii")


if __name__ == "__main__":
    main()
