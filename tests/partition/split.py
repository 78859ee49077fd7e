#!/usr/bin/env python3
"""A network that parts two clusters, and a promotion on the far side: both take writes for a while.
The wire is cut by DROP rules under load, the replica is promoted, and clients go on at both. When
the wire is back, the old master must be fenced; what only it had must be set aside at the offsets
that it was acknowledged with, and be listed as exactly that range; both sides must be byte for byte
the same; and the topics must go back under load. Once asynchronous, once synchronous with the
policy to refuse: then nothing that was acknowledged may be set aside.

usage: tests/partition/split.py [--records N] [--binary PATH] [--keep]
"""

import pathlib
import sys
import threading
import time
import traceback

from confluent_kafka import Producer

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "crash")]

# pylint: disable=wrong-import-position
from clusters import wait_until
from pair import arguments, run_apart
from raw import Fetcher
from verify import Findings, compare_bytes, read_all

PARTITIONS = 3
RATE = 600
WAIT_S_MAX = 90
# Calm for so long, a producer that was acknowledged all the time is not any more.
STANDS_STILL_S = 3


class Writer(threading.Thread):
    """Writes to one cluster until it is stopped, and remembers each acknowledgement."""

    def __init__(self, broker, topic, name):
        super().__init__(name=name, daemon=True)
        self.topic = topic
        self.acknowledged = {}  # (partition, offset) -> value
        self.refusals = []
        self._ended = threading.Event()
        self._producer = Producer({"bootstrap.servers": broker, "acks": "all", "linger.ms": 5,
                                   "enable.idempotence": True, "message.timeout.ms": 0,
                                   "retry.backoff.ms": 50, "log_level": 2})

    def run(self):
        """Refusals end it: whoever is refused turns elsewhere."""
        number, begun = 0, time.monotonic()
        while not self._ended.is_set() and not self.refusals:
            if number < (time.monotonic() - begun) * RATE and len(self._producer) < 2000:
                value = b"%s/%d" % (self.name.encode(), number)
                self._producer.produce(self.topic, value, partition=number % PARTITIONS,
                                       on_delivery=self._told)
                number += 1
                self._producer.poll(0)
            else:
                self._producer.poll(0.005)

    def _told(self, error, message):
        if error is None:
            self.acknowledged[message.partition(), message.offset()] = message.value()
        else:
            self.refusals.append(error.name())

    def wait_more(self, records):
        """Waits for so many acknowledgements more."""
        wanted = len(self.acknowledged) + records
        wait_until(f"{self.name}: {records} records more are acknowledged", lambda: (
            len(self.acknowledged) >= wanted), WAIT_S_MAX)

    def wait_refused(self):
        """Waits until a cluster says that it is not the owner."""
        wait_until(f"{self.name} is refused", lambda: self.refusals, WAIT_S_MAX)
        if self.refusals[0] != "POLICY_VIOLATION":
            raise AssertionError(f"{self.name} was refused by {self.refusals[0]}")

    def finish(self):
        """Sends no more; what is under way is answered or given up."""
        self._ended.set()
        self.join()
        if self.refusals:
            self._producer.purge()
        self._producer.flush(WAIT_S_MAX)

    def give_up(self):
        """Ends, if it has not: what is under way is forgotten."""
        self._ended.set()
        self.join()
        self._producer.purge()
        self._producer.flush(1)


class Course:
    """One stream, parted and joined again."""

    def __init__(self, pair, spaces, synchronous, records):
        self.pair, self.spaces, self.records = pair, spaces, records
        self.synchronous = synchronous
        name = "split-sync" if synchronous else "split-async"
        self.path = {side: f"/mapr/{side}/{name}" for side in ("source", "replica")}
        self.broker = {side: pair.kafka(side) for side in self.path}
        self.topic = f"{name}.t"
        self.writers = []
        self.kept = 0  # acknowledged records that were set aside
        self.findings = Findings()

    def run(self):
        """Everything in turn; the network is whole and nobody writes when it is over."""
        try:
            self._run()
        finally:
            self.spaces.heal()
            for writer in self.writers:
                writer.give_up()
            told = {writer.name: len(writer.acknowledged) for writer in self.writers}
            print(f"{self.topic}: acknowledged {told}, set aside {self.kept} of them, batches "
                  f"compared {self.findings.counts['batches']}", flush=True)

    def _run(self):
        self._set_up()
        old = self._write("source", "old")
        old.wait_more(self.records)
        for chain in ("INPUT", "OUTPUT"):
            self.spaces.drop(self.spaces.destination, chain)
        wait_until("the source says that the link is down", lambda: (
            not self._row("source")["connected"]), WAIT_S_MAX)
        if self.synchronous:
            self._wait_still(old)
        else:
            # What is acknowledged from here on the replica does not have.
            old.wait_more(self.records)
        rows = self.pair.rows("stream", "replica", "failover", "-path", self.path["replica"])
        cut = {row["partition"]: row["offset"] for row in rows if row.get("topic") == "t"}
        new = self._write("replica", "new")
        new.wait_more(self.records)
        if not self.synchronous:
            old.wait_more(1)  # nobody can have told it yet
        self.spaces.heal()
        old.wait_refused()
        old.finish()
        self._wait_joined(new)
        self._check_set_aside(old, cut)
        self._go_back(new)
        self._verify(cut)

    def _set_up(self):
        run = self.pair.run
        run("stream", "create", "-path", self.path["source"], "-produceperm", "p",
            "-consumeperm", "p", "-topicperm", "p")
        run("stream", "topic", "create", "-path", self.path["source"], "-topic", "t",
            "-partitions", str(PARTITIONS))
        run("stream", "replica", "autosetup", "-path", self.path["source"], "-replica",
            self.path["replica"], "-multimaster", "true")
        wait_until("the stream replicates both ways", lambda: all(
            self._row(side)["replicaState"] == "REPLICA_STATE_REPLICATING"
            and self._row(side)["connected"] for side in self.path), WAIT_S_MAX)
        if self.synchronous:
            run("stream", "replica", "edit", "-path", self.path["source"], "-replica",
                self.path["replica"], "-synchronous", "true", "-synctimeout", "1000",
                "-syncpolicy", "refuse")
            wait_until("it is in force", lambda: self._row("source")["syncState"] == "inforce",
                       WAIT_S_MAX)

    def _row(self, side):
        return self.pair.rows("stream", "replica", "list", "-path", self.path[side])[0]

    def _write(self, side, name):
        writer = Writer(self.broker[side], self.topic, name)
        self.writers.append(writer)
        writer.start()
        return writer

    @staticmethod
    def _wait_still(writer):
        seen = [len(writer.acknowledged), time.monotonic()]

        def stands_still():
            if len(writer.acknowledged) != seen[0]:
                seen[:] = [len(writer.acknowledged), time.monotonic()]
            return time.monotonic() - seen[1] > STANDS_STILL_S
        wait_until("nothing is acknowledged any more", stands_still, WAIT_S_MAX)

    def ends(self, side):
        """The end of each partition."""
        with Fetcher(self.broker[side]) as fetcher:
            return [fetcher.end(self.topic, number) for number in range(PARTITIONS)]

    def _wait_joined(self, new):
        """Under load: the old master has what the new one was given after the promotion."""
        last = {}
        for partition, offset in list(new.acknowledged):
            last[partition] = max(offset, last.get(partition, 0))

        def first(side, partition, offset):
            with Fetcher(self.broker[side]) as fetcher:
                return fetcher.fetch(self.topic, partition, offset)[2][:1]

        def has_joined():
            ends = self.ends("source")
            return all(ends[partition] > offset and first("source", partition, offset)
                       == first("replica", partition, offset)
                       for partition, offset in last.items())
        wait_until("the old master has joined", has_joined, WAIT_S_MAX)

    def _check_set_aside(self, old, cut):
        """What is listed is what was cut off, from the cut to the old master's end."""
        link = self.pair.rows("stream", "replica", "list", "-path", self.path["source"])[0]
        kept = {row["partition"]: row for row in link["setAside"] if row["topic"] == "t"}
        beyond = {}
        for (partition, offset), value in old.acknowledged.items():
            if offset >= cut[partition]:
                beyond.setdefault(partition, {})[offset] = value
        if self.synchronous and beyond:
            self.findings.add("acknowledged and not at the replica", f"{beyond}")
        if not self.synchronous and not beyond:
            self.findings.add("no split", f"nothing was acknowledged beyond the cut at {cut}")
        for partition, values in beyond.items():
            row = kept.get(partition)
            if row is None or row["from"] != cut[partition] or row["to"] <= max(values):
                self.findings.add("window", f"partition {partition}: cut at {cut[partition]}, "
                                  f"acknowledged to {max(values)}, listed {row}")
                continue
            there = {message.offset(): message.value() for message in read_all(
                self.broker["source"], f"{self.topic.rpartition('.')[0]}.{row['keptIn']}",
                partition, row["to"], row["from"])}
            if set(there) != set(range(row["from"], row["to"])):
                self.findings.add("window", f"partition {partition}: {row} is not all there")
            wrong = [offset for offset, value in values.items() if there.get(offset) != value]
            if wrong:
                self.findings.add("lost", f"partition {partition}, set aside, at {wrong[:5]}")
        self.kept = sum(map(len, beyond.values()))

    def _go_back(self, new):
        """Under load; then the old master is the owner again."""
        self.pair.run("stream", "replica", "failback", "-path", self.path["replica"], "-replica",
                      self.path["source"])
        new.wait_refused()
        new.finish()
        again = self._write("source", "again")
        again.wait_more(self.records)
        again.finish()

    def _verify(self, cut):
        ends = self.ends("source")
        wait_until("both have the same ends", lambda: self.ends("replica") == ends, WAIT_S_MAX)
        for partition, end in enumerate(ends):
            compare_bytes(self.findings, self.broker["source"], self.broker["replica"],
                          self.topic, partition, end)
            there = {message.offset(): message.value() for message in read_all(
                self.broker["replica"], self.topic, partition, end)}
            if len(set(there.values())) != len(there):
                self.findings.add("duplicated", f"partition {partition}")
            for writer in self.writers:
                for (number, offset), value in writer.acknowledged.items():
                    is_here = number == partition and not (
                        writer.name == "old" and offset >= cut[partition])
                    if is_here and there.get(offset) != value:
                        self.findings.add("lost", f"{value} of {number} at {offset}")


def run(pair, spaces, records, failures):
    """Both courses, whatever becomes of the first."""
    for synchronous in (False, True):
        course = Course(pair, spaces, synchronous, records)
        try:
            course.run()
        except Exception:  # pylint: disable=broad-exception-caught
            failures.append(f"{course.topic}: {traceback.format_exc()}")
        failures += course.findings.sentences


def main():
    """Runs it in namespaces."""
    options = arguments(__doc__)
    options.add_argument("--records", type=int, default=1500, help="in each stretch of time")
    chosen = options.parse_args()
    return run_apart(chosen, lambda pair, spaces, failures: run(
        pair, spaces, chosen.records, failures))


if __name__ == "__main__":
    sys.exit(main())
