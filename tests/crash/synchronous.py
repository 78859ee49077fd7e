#!/usr/bin/env python3
"""A synchronous replica under the load of idempotent producers: it is killed, degraded after its
time-out and comes back by itself; it is killed while policy refuses to go on without it; at last
the source is killed for good, and every acknowledged record must be at the replica.

usage: .venv/bin/python tests/crash/synchronous.py [--records N] [--seed N] [--binary PATH] [--keep]
       [--plant]
"""

import argparse
import random
import sys
import time

from clusters import Clusters, CommandFailed, wait_until
from load import Load, Script
from raw import Fetcher
from verify import Account, Findings, compare_bytes

SOURCE, REPLICA = "source", "replica"
STREAM = "/safe"
TOPIC = "safe.t"
PARTITIONS = 4
TIMEOUT_MS = 1500
ALARM = "VOLUME_ALARM_TABLE_REPL_ASYNC"
STEP_S_MAX = 60


class Course:
    """The course of a run."""

    def __init__(self, clusters, seed, records, plant):
        self.clusters = clusters
        self.records = records
        self.plant = plant
        self.paths = {name: f"/mapr/{name}{STREAM}" for name in (SOURCE, REPLICA)}
        self.kafka = {name: clusters.kafka(name) for name in (SOURCE, REPLICA)}
        self.load = Load(Script(seed), self.kafka[SOURCE], producers=3, rate=1500)
        self.load.partitions = [(TOPIC, number) for number in range(PARTITIONS)]
        self.findings = Findings()

    def run(self):
        """All steps in turn."""
        self._set_up()
        self.load.start()
        try:
            self._go_on()
            self._degrade_and_return()
            self._refuse_and_return()
            if self.plant:
                self.clusters.run("stream", "replica", "pause", "-path", self.paths[SOURCE],
                                  "-replica", self.paths[REPLICA])
            self._go_on()
        finally:
            # The source is lost for good, with what has not been acknowledged by then.
            self.clusters.kill(SOURCE)
            self.load.abandon()
        self._verify_without_source()

    def _set_up(self):
        run = self.clusters.run
        run("stream", "create", "-path", self.paths[SOURCE], "-produceperm", "p",
            "-consumeperm", "p", "-topicperm", "p")
        run("stream", "topic", "create", "-path", self.paths[SOURCE], "-topic", "t",
            "-partitions", str(PARTITIONS))
        run("stream", "replica", "autosetup", "-path", self.paths[SOURCE], "-replica",
            self.paths[REPLICA], "-synchronous", "true", "-synctimeout", str(TIMEOUT_MS))
        self._wait_state("inforce")

    def _row(self):
        rows = self.clusters.rows("stream", "replica", "list", "-path", self.paths[SOURCE])
        return rows[0] if rows else {}

    def _alarms(self):
        rows = self.clusters.rows("alarm", "list", "-cluster", SOURCE)
        return [row["alarm name"] for row in rows]

    def _wait_state(self, state):
        wait_until(f"syncState is {state}", lambda: self._row().get("syncState") == state,
                   STEP_S_MAX)

    def _go_on(self):
        self.load.wait_acknowledged(self.load.acknowledged + self.records, STEP_S_MAX)

    def _degrade_and_return(self):
        """Acknowledgements go on without the replica, and that is told exactly."""
        self.clusters.kill(REPLICA)
        self._wait_state("degraded")
        wait_until("the alarm is raised", lambda: ALARM in self._alarms(), STEP_S_MAX)
        first = dict(self.load.ends)
        self._go_on()
        last = dict(self.load.ends)
        self.clusters.start(REPLICA)
        self._wait_state("inforce")
        wait_until("the alarm is cleared", lambda: ALARM not in self._alarms(), STEP_S_MAX)
        window = self._row()["windowsAtRisk"][-1]
        print(f"degraded for {window['toMs'] - window['fromMs']} ms, at risk: "
              + ", ".join(f"{at['partition']}: {at['fromOffset']} to {at['toOffset']}"
                          for at in window["partitions"]), flush=True)
        listed = {at["partition"]: at for at in window["partitions"]}
        for (topic, partition), end in last.items():
            begin = first.get((topic, partition), 0)
            at = listed.get(partition, {"fromOffset": 0, "toOffset": 0})
            if begin < end and not (at["fromOffset"] <= begin and end <= at["toOffset"]):
                self.findings.add("window", f"{begin} to {end} of {partition} is not in {at}")
        self._go_on()

    def _refuse_and_return(self):
        """Nothing is acknowledged without the replica, and producers go on by themselves."""
        self.clusters.run("stream", "replica", "edit", "-path", self.paths[SOURCE], "-replica",
                          self.paths[REPLICA], "-syncpolicy", "refuse")
        self._go_on()
        windows = len(self._row()["windowsAtRisk"])
        self.clusters.kill(REPLICA)
        self._wait_state("refusing")
        refused, requests = self.load.acknowledged, self._requests()
        # Stock clients send again what was refused, at once and again and again.
        wait_until("a producer has tried again", lambda: self._requests() > requests + 20,
                   STEP_S_MAX)
        if self.load.acknowledged != refused:
            self.findings.add("refusal", f"{self.load.acknowledged - refused} acknowledged")
        self.clusters.start(REPLICA)
        self._wait_state("inforce")
        self._go_on()
        if len(self._row()["windowsAtRisk"]) != windows:
            self.findings.add("refusal", "a window at risk where nothing went without the replica")

    def _requests(self):
        return sum(one.requests for one in self.load.all)

    def _verify_without_source(self):
        """The replica's half of the agreement goes, and all that it has is read there."""
        self.clusters.run("stream", "upstream", "remove", "-path", self.paths[REPLICA],
                          "-upstream", self.paths[SOURCE])
        account = Account(self.findings, self.load)
        replica = self.kafka[REPLICA]
        for topic, partition in self.load.partitions:
            with Fetcher(replica) as fetcher:
                end = fetcher.end(topic, partition)
            compare_bytes(self.findings, replica, replica, topic, partition, end)
            account.compare_records(replica, replica, topic, partition, end)


def print_summary(course, seconds):
    """The counts; returns whether all of it holds."""
    counts = course.findings.counts
    for sentence in course.findings.sentences + course.load.failures[:5]:
        print(f"FAIL  {sentence}")
    faults = sum(count for what, count in counts.items() if what not in ("found", "batches"))
    holds = (faults == 0 and not course.load.failures
             and counts["found"] >= course.load.acknowledged > 0)
    print(f"acknowledged {course.load.acknowledged}, at the replica {counts['found']}, lost "
          f"{counts['lost']}, duplicated {counts['duplicated']}, out of order "
          f"{counts['out of order']}, {seconds:.0f} s")
    return holds


def main():
    """Runs, prints, and exits 0 only if everything that was acknowledged is at the replica."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=5000, help="acknowledged in each step")
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    options.add_argument("--keep", action="store_true", help="leave the data in place")
    options.add_argument("--plant", action="store_true", help="pause the replica before the source "
                         "is lost: exit 0 only if the loss is found")
    chosen = options.parse_args()
    seed = random.SystemRandom().getrandbits(32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    begun = time.monotonic()
    with Clusters(chosen.binary, [SOURCE, REPLICA], chosen.keep) as clusters:
        try:
            course = Course(clusters, seed, chosen.records, chosen.plant)
            course.run()
            holds = print_summary(course, time.monotonic() - begun)
            if chosen.plant:
                holds = course.findings.counts["lost"] > 0
        except (TimeoutError, CommandFailed, OSError) as error:
            print(f"FAIL  {error}")
            holds = False
        if not holds:
            print("\n".join(clusters.log_text().splitlines()[-60:]))
    print(f"{'passed' if holds else 'FAILED'} with seed {seed}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
