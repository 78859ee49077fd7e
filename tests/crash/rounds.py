#!/usr/bin/env python3
"""kill -9 in rounds: a source and its replica are killed at random moments under the load of
idempotent producers; afterwards every acknowledged record must stand in the source exactly once
and in order, and the replica must be the same byte for byte.

usage: .venv/bin/python tests/crash/rounds.py [--rounds N] [--seed N] [--binary PATH] [--keep] [--plant]
"""

import argparse
import array
import random
import sys
import threading
import time
import traceback
import zlib

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from clusters import Clusters, utc, wait_until
from load import Load, Script
from raw import Fetcher
from verify import FINDINGS_SHOWN, Account, Findings, compare_bytes

SOURCE, REPLICA = "source", "replica"
STREAM = "/crash"
TOPICS = {"crash.steady": 4, "crash.late": 2}
GROUP = "crash-group"
PROGRESS_S_MAX = 60
CATCH_UP_S_MAX = 120


class Committer(threading.Thread):
    """Commits in the source, over and over, what has been acknowledged there."""

    def __init__(self, broker, load):
        super().__init__(name="committer", daemon=True)
        self.load = load
        self.committed = {}  # (topic, partition) -> the last offset whose commit was answered
        self.commits = 0
        self._stop_asked = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": broker, "group.id": GROUP,
                                   "enable.auto.commit": False, "log_level": 2,
                                   "reconnect.backoff.max.ms": 300})

    def run(self):
        """Commits until it is stopped; a commit that fails is tried again with newer offsets."""
        while not self._stop_asked.wait(0.1):
            self.commit()

    def commit(self):
        """Commits every partition's acknowledged end; tells whether it was answered."""
        ends = dict(self.load.ends)
        if not ends:
            return False
        offsets = [TopicPartition(topic, partition, end)
                   for (topic, partition), end in ends.items()]
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            return False
        if any(answer.error for answer in answers):
            return False
        self.committed.update(ends)
        self.commits += 1
        return True

    def stop(self):
        """Ends the thread, then commits once more with everything up."""
        self._stop_asked.set()
        self.join()
        wait_until("the last commit is answered", self.commit, PROGRESS_S_MAX)
        self._consumer.close()


class LiveReader(threading.Thread):
    """Reads a partition of the replica while it is replicated, and remembers what it saw."""

    def __init__(self, broker, topic, partition):
        super().__init__(name="reader", daemon=True)
        self.topic, self.partition = topic, partition
        self.seen = array.array("L")
        self.failure = None
        self._stop_asked = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": broker, "group.id": "crash-reader",
                                   "enable.auto.commit": False, "auto.offset.reset": "error",
                                   "log_level": 2,
                                   "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 300})

    def run(self):
        """Every record in turn: an offset that is skipped or comes again is a failure."""
        self._consumer.assign([TopicPartition(self.topic, self.partition, 0)])
        while not self._stop_asked.is_set() and self.failure is None:
            for message in self._consumer.consume(500, 0.2):
                if message.error() is None:
                    if message.offset() != len(self.seen):
                        self.failure = f"offset {message.offset()} after {len(self.seen)} records"
                        break
                    self.seen.append(zlib.crc32(message.value() or b""))
                elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    self.failure = f"at {len(self.seen)}: {message.error()}"
        self._consumer.close()

    def stop(self):
        """Ends the thread."""
        self._stop_asked.set()
        self.join()


class Rounds:
    """The course of a run."""

    def __init__(self, clusters, seed, count, plant=False):
        self.clusters = clusters
        self.count = count
        self.plant = plant
        self.chance = random.Random(seed)
        self.kills = {"source": 0, "replica": 0, "both": 0}
        self.pauses = 0
        self.paused = False
        self.source = clusters.kafka(SOURCE)
        self.replica = clusters.kafka(REPLICA)
        self.load = Load(Script(seed), self.source, producers=5, rate=2500)
        self._set_up()
        self.committer = Committer(self.source, self.load)
        self.reader = LiveReader(self.replica, "crash.steady", 0)

    def run(self):
        """All rounds, then the load's end and the replica's catching up."""
        self.load.start()
        threading.excepthook = self._thread_ended
        self.committer.start()
        self.reader.start()
        try:
            for number in range(self.count):
                self._round(number)
                self._report(number + 1)
                if self.load.failures or self.reader.failure:
                    print(f"no more rounds, at {utc()}", flush=True)
                    break
            self._set_paused(False)
        except Exception:
            # Now, not when the load has had its time to end.
            self.print_evidence()
            raise
        finally:
            self.load.stop(PROGRESS_S_MAX)
            self.reader.stop()
        self.committer.stop()
        if self.plant:
            self.load.plant()
        self.wait_caught_up(CATCH_UP_S_MAX)

    def _thread_ended(self, how):
        self.load.fail(f"{how.thread.name} ended at {utc()}: {how.exc_value!r}")

    def print_evidence(self):
        """Prints both sides' ends and links as far as they can be had, and what servers logged."""
        for name, ask in (("ends at the source", lambda: self.ends(self.source)),
                          ("ends at the replica", lambda: self.ends(self.replica)),
                          ("acknowledged", lambda: self.load.ends),
                          ("the link", lambda: self.clusters.run(
                              "stream", "replica", "list", "-path", f"/mapr/{SOURCE}{STREAM}",
                              "-json"))):
            try:
                print(f"{name}: {ask()}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"{name}: {error}", flush=True)
        self.clusters.print_evidence()

    def wait_caught_up(self, seconds):
        """Waits until the replica has all that the source has now."""
        ends = self.ends(self.source)
        wait_until("the replica has caught up",
                   lambda: all(self._end(self.replica, *place) >= end
                               for place, end in ends.items()), seconds)

    def ends(self, broker):
        """(topic, partition) -> end, as far as topics exist."""
        with Fetcher(broker) as fetcher:
            return {place: fetcher.end(*place) for place in self.load.partitions}

    @staticmethod
    def _end(broker, topic, partition):
        try:
            with Fetcher(broker) as fetcher:
                return fetcher.end(topic, partition)
        except OSError:
            return -1

    def _set_up(self):
        path, replica = f"/mapr/{SOURCE}{STREAM}", f"/mapr/{REPLICA}{STREAM}"
        run = self.clusters.run
        run("stream", "create", "-path", path, "-produceperm", "p", "-consumeperm", "p",
            "-topicperm", "p")
        self._create_topic("crash.steady")
        run("stream", "replica", "autosetup", "-path", path, "-replica", replica)
        wait_until("the stream replicates", self._replicating, PROGRESS_S_MAX)

    def _create_topic(self, name):
        self.clusters.run("stream", "topic", "create", "-path", f"/mapr/{SOURCE}{STREAM}",
                          "-topic", name.partition(".")[2], "-partitions", str(TOPICS[name]))
        self.load.partitions = self.load.partitions + [(name, n) for n in range(TOPICS[name])]

    def _replicating(self):
        rows = self.clusters.rows("stream", "replica", "list", "-path", f"/mapr/{SOURCE}{STREAM}")
        return rows and rows[0]["replicaState"] == "REPLICA_STATE_REPLICATING"

    def _round(self, number):
        if number == self.count // 2:
            self._create_topic("crash.late")
        if number % 4 == 3:
            self.load.replace_one()
        if self.chance.random() < 0.15 or self.paused:
            self._set_paused(not self.paused)
        if number % 10 == 9 and not self.paused:
            self.wait_caught_up(CATCH_UP_S_MAX)
        # Some kills come before anything has been acknowledged since the last one.
        wanted = self.chance.choice((0, 1, 200, 1000, 3000))
        self.load.wait_acknowledged(self.load.acknowledged + wanted, PROGRESS_S_MAX)
        time.sleep(self.chance.uniform(0, 0.3))
        self._kill_one()

    def _kill_one(self):
        kind = self.chance.choices(("source", "replica", "both"), (4, 3, 3))[0]
        self.kills[kind] += 1
        victims = [SOURCE, REPLICA] if kind == "both" else [kind]
        for order in (self.clusters.kill, self.clusters.start):
            self.chance.shuffle(victims)
            for victim in victims:
                order(victim)
                time.sleep(self.chance.choice((0, 0, self.chance.uniform(0, 0.5))))

    def _set_paused(self, paused):
        if paused == self.paused:
            return
        self.clusters.run("stream", "replica", "pause" if paused else "resume", "-path",
                          f"/mapr/{SOURCE}{STREAM}", "-replica", f"/mapr/{REPLICA}{STREAM}")
        self.paused = paused
        self.pauses += paused

    def _report(self, done):
        if done % 10 == 0 or done == self.count:
            print(f"round {done}: {self.load.acknowledged} acknowledged", flush=True)


def verify(rounds):
    """Everything that must hold at the end; returns the findings."""
    findings = Findings()
    ends, there = rounds.ends(rounds.source), rounds.ends(rounds.replica)
    for place in ends:
        if ends[place] != there[place]:
            findings.add("differing ends", f"{place}: {ends[place]} and {there[place]}")
    account = Account(findings, rounds.load)
    for (topic, partition), end in ends.items():
        compare_bytes(findings, rounds.source, rounds.replica, topic, partition, end)
        values = account.compare_records(rounds.source, rounds.replica, topic, partition, end)
        if (topic, partition) == (rounds.reader.topic, rounds.reader.partition):
            if rounds.reader.seen != values[:len(rounds.reader.seen)]:
                findings.add("read and replaced", f"{topic}/{partition} at the replica")
    if rounds.reader.failure:
        findings.add("live reads", rounds.reader.failure)
    verify_commits(findings, rounds)
    return findings


def verify_commits(findings, rounds):
    """The last answered commits, in the source and, after a moment, in the replica."""
    wanted = rounds.committer.committed
    for broker in (rounds.source, rounds.replica):
        consumer = Consumer({"bootstrap.servers": broker, "group.id": GROUP})
        places = [TopicPartition(*place) for place in wanted]

        def missing():
            answers = consumer.committed(places, timeout=10)
            return [f"{one.topic}/{one.partition}: {one.offset}" for one in answers
                    if one.offset != wanted[one.topic, one.partition]]
        try:
            wait_until("commits arrive", lambda: not missing(), 20)
        except TimeoutError:
            findings.add("differing commits", f"{broker}: {missing()}")
        finally:
            consumer.close()


def print_summary(rounds, findings, seconds):
    """The counts; returns whether all of it holds."""
    counts = findings.counts
    faults = {what: count for what, count in counts.items() if what not in ("found", "batches")}
    sentences = findings.sentences + rounds.load.failures[:FINDINGS_SHOWN]
    if counts["found"] != rounds.load.acknowledged or not counts["found"]:
        sentences.append(f"{rounds.load.acknowledged} acknowledged, {counts['found']} found")
    if faults:
        sentences.append(f"faults in all: {faults}")
    for sentence in sentences:
        print(f"FAIL  {sentence}")
    kills = ", ".join(f"{name} {count}" for name, count in rounds.kills.items())
    print(f"rounds {sum(rounds.kills.values())} (killed: {kills}; paused {rounds.pauses} times), "
          f"{seconds:.0f} s")
    print(f"producers {len(rounds.load.all)}, commits {rounds.committer.commits}, live reads "
          f"{len(rounds.reader.seen)}, batches compared {counts['batches']}")
    print(f"acknowledged {rounds.load.acknowledged}, found {counts['found']}, "
          f"lost {counts['lost']}, duplicated {counts['duplicated']}, "
          f"out of order {counts['out of order']}, "
          f"differing {counts['differing records'] + counts['differing batches']}")
    return not sentences


def main(make=Rounds, description=__doc__):
    """Runs, prints, and exits 0 only if nothing was lost, duplicated or differs."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    options.add_argument("--keep", action="store_true", help="leave the data in place")
    options.add_argument("--plant", action="store_true",
                         help="plant a loss and a duplicate: exit 0 only if both are found")
    chosen = options.parse_args()
    seed = random.SystemRandom().getrandbits(32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}, {chosen.rounds} rounds", flush=True)
    begun = time.monotonic()
    holds, rounds = False, None
    with Clusters(chosen.binary, [SOURCE, REPLICA], chosen.keep, f"rounds-{seed}-") as clusters:
        try:
            rounds = make(clusters, seed, chosen.rounds, chosen.plant)
            rounds.run()
            findings = verify(rounds)
            holds = print_summary(rounds, findings, time.monotonic() - begun)
            if chosen.plant:
                holds = findings.counts["lost"] == findings.counts["duplicated"] == 1
        except Exception as error:  # pylint: disable=broad-except
            print(f"FAIL  at {utc()}: {error!r}")
            traceback.print_exc(file=sys.stdout)
        if not holds:
            (rounds or clusters).print_evidence()
    print(f"{'passed' if holds else 'FAILED'} with seed {seed}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
