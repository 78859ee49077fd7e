#!/usr/bin/env python3
"""A source and its replica, each in a network namespace, are cut off from each other under load by
DROP rules: both ways, so that connections are half open, then one way, then the other. While they
are, the source must say so within the bound; after each healing the link must be back within the
bound; in the end every acknowledged record stands on both sides once, byte for byte.

usage: tests/partition/partition.py [--seconds N] [--binary PATH] [--keep] [--seed N]
       --seconds 600 is the long form: each of the cuts lasts ten minutes
"""

import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "crash")]

# pylint: disable=wrong-import-position
from clusters import wait_until
from load import Load, Script
from pair import arguments, run_apart
from raw import Fetcher
from verify import Account, Findings, compare_bytes

PATH, REPLICA = "/mapr/source/cut", "/mapr/replica/cut"
TOPIC, PARTITIONS = "cut.t", 3
RATE = 800
# Ten seconds of silence end a session; a second until the next look, and one for the command.
NOTICE_S_MAX = 14
# The longest pause between two calls (5 s), a call that was begun before the healing (5 s).
RETURN_S_MAX = 15
CATCH_UP_S_MAX = 120


class Course:
    """One run."""

    def __init__(self, pair, spaces, seed):
        self.pair, self.spaces = pair, spaces
        self.source, self.replica = pair.kafka("source"), pair.kafka("replica")
        self.load = Load(Script(seed), self.source, producers=3, rate=RATE)
        self.load.partitions = [(TOPIC, number) for number in range(PARTITIONS)]
        run = pair.run
        run("stream", "create", "-path", PATH, "-produceperm", "p", "-consumeperm", "p",
            "-topicperm", "p")
        run("stream", "topic", "create", "-path", PATH, "-topic", "t", "-partitions",
            str(PARTITIONS))
        run("stream", "replica", "autosetup", "-path", PATH, "-replica", REPLICA)
        wait_until("the stream replicates", self._replicates, 60)

    def row(self):
        """What the source says of its replica."""
        return self.pair.rows("stream", "replica", "list", "-path", PATH)[0]

    def _replicates(self):
        row = self.row()
        return row["replicaState"] == "REPLICA_STATE_REPLICATING" and row["connected"]

    def cut(self, what, rules, seconds):
        """Cuts the wire for a time; the source says so, and the link comes back."""
        self.load.wait_acknowledged(self.load.acknowledged + RATE, 60)
        begun = time.monotonic()
        for rule in rules:
            self.spaces.drop(*rule)
        noticed = self._until(lambda: not self.row()["connected"], NOTICE_S_MAX,
                              f"{what}: the source still calls the link connected")
        row = self.row()
        if row["isUptodate"] or "errors" not in row:
            raise AssertionError(f"{what}: I9: {row}")
        acknowledged = self.load.acknowledged
        time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
        if self.load.acknowledged == acknowledged:
            raise AssertionError(f"{what}: producers at the source were held up")
        behind = self.row()
        if behind["lagSeconds"] < seconds / 2 or behind["lagRecords"] == 0:
            raise AssertionError(f"{what}: I9: after {seconds} s the lag is said to be {behind}")
        self.spaces.heal()
        back = self._until(lambda: self.row()["connected"], RETURN_S_MAX,
                           f"{what}: the link is not back")
        caught_up = self._until(self._is_near, CATCH_UP_S_MAX, f"{what}: it does not catch up")
        print(f"{what}: {seconds} s, noticed after {noticed:.1f} s, {behind['lagRecords']} records "
              f"behind, back after {back:.1f} s, caught up {caught_up:.1f} s later", flush=True)

    @staticmethod
    def _until(holds, seconds, otherwise):
        begun = time.monotonic()
        wait_until(otherwise, holds, seconds)
        return time.monotonic() - begun

    def _is_near(self):
        return self.row()["lagSeconds"] < 2

    def ends(self, broker):
        """The end of each partition."""
        with Fetcher(broker) as fetcher:
            return {place: fetcher.end(*place) for place in self.load.partitions}

    def verify(self):
        """Every record on both sides, once, and every batch byte for byte."""
        ends = self.ends(self.source)
        wait_until("all is there", lambda: self.ends(self.replica) == ends, CATCH_UP_S_MAX)
        findings = Findings()
        account = Account(findings, self.load)
        for (topic, partition), end in ends.items():
            compare_bytes(findings, self.source, self.replica, topic, partition, end)
            account.compare_records(self.source, self.replica, topic, partition, end)
        return findings


def run(pair, spaces, chosen, failures):
    """All three cuts, and the account of what was acknowledged."""
    print(f"seed {chosen.seed}", flush=True)
    course, there = Course(pair, spaces, chosen.seed), spaces.destination
    course.load.start()
    try:
        course.cut("both ways", [(there, "INPUT"), (there, "OUTPUT")], chosen.seconds)
        course.cut("to the replica", [(there, "INPUT")], chosen.seconds)
        course.cut("from the replica", [(there, "OUTPUT")], chosen.seconds)
    finally:
        spaces.heal()
        course.load.stop(60)
        failures += course.load.failures
    findings = course.verify()
    failures += findings.sentences
    acknowledged, counts = course.load.acknowledged, findings.counts
    if not counts["found"] == acknowledged > 0:
        failures.append(f"{counts['found']} records of {acknowledged} were found")
    print(f"acknowledged {acknowledged}, found {counts['found']}, lost {counts['lost']}, duplicated "
          f"{counts['duplicated']}, batches compared {counts['batches']}", flush=True)


def main():
    """Runs it in namespaces."""
    options = arguments(__doc__)
    options.add_argument("--seconds", type=int, default=30, help="how long each cut lasts")
    options.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    chosen = options.parse_args()
    if chosen.seconds < 2 * NOTICE_S_MAX:
        options.error(f"a cut of less than {2 * NOTICE_S_MAX} s is not sure to be noticed")
    return run_apart(chosen, lambda *words: run(words[0], words[1], chosen, words[2]))


if __name__ == "__main__":
    sys.exit(main())
