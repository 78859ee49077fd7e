#!/usr/bin/env python3
"""A write that waits for a synchronous replica when its cluster dies, is sent again to the cluster
that has come back, and waits there until that hears of the new owner: it is refused then, since it
is not in the new owner's history, and stands in what is set aside.

usage: .venv/bin/python tests/crash/stranded.py [--binary PATH] [--keep]
"""

import argparse
import json
import sys

from confluent_kafka import Producer

from clusters import Clusters, CommandFailed, utc, wait_until

HERE, THERE = "a", "b"
STREAM = "/stranded"
STEP_S_MAX = 60


class Course:
    """One stream, agreements of one way or both."""

    def __init__(self, clusters, number, both_ways, records):
        self.clusters = clusters
        self.stream, self.topic = f"{STREAM}{number}", f"{STREAM[1:]}{number}.t"
        self.both_ways = both_ways
        self.records = records  # that the new owner takes
        self.path = {name: f"/mapr/{name}{self.stream}" for name in (HERE, THERE)}
        self.answers = []
        self.requests = 0
        self.producer = Producer({
            "bootstrap.servers": clusters.kafka(HERE), "enable.idempotence": True, "acks": "all",
            "message.timeout.ms": 0, "log_level": 2, "linger.ms": 0, "retry.backoff.ms": 20,
            "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100,
            "statistics.interval.ms": 200, "stats_cb": self._counted})

    def run(self):
        """Returns how the write was answered in the end."""
        self._set_up()
        self._write("in time")
        self._wait("the first is answered", lambda: self.answers)
        self.clusters.kill(THERE)
        self._write("stranded")
        self._wait("it waits", lambda: self._link()["putsPending"] > 0)
        self.clusters.kill(HERE)
        self.clusters.start(THERE)
        self.clusters.run("stream", "replica", "failover", "-path", self.path[THERE])
        self._write_there()
        self.clusters.kill(THERE)
        requests = self.requests
        self.clusters.start(HERE)
        self._wait("it is sent again", lambda: self.requests > requests)
        self.clusters.start(THERE)
        self._wait("the old master is fenced", self._is_fenced)
        self.clusters.run("stream", "replica", "failback", "-path", self.path[THERE], "-replica",
                          self.path[HERE])
        self._wait("it is set aside", lambda: self._link()["setAside"])
        self._wait("it is answered", lambda: len(self.answers) == 2)
        return self.answers

    def _set_up(self):
        run = self.clusters.run
        run("stream", "create", "-path", self.path[HERE], "-produceperm", "p", "-consumeperm",
            "p", "-topicperm", "p")
        run("stream", "topic", "create", "-path", self.path[HERE], "-topic", "t")
        run("stream", "replica", "autosetup", "-path", self.path[HERE], "-replica",
            self.path[THERE], "-multimaster", "true" if self.both_ways else "false",
            "-synchronous", "true", "-synctimeout", "120000")
        self._wait("it is in force", lambda: self._link().get("syncState") == "inforce")
        if self.both_ways:
            run("stream", "replica", "edit", "-path", self.path[THERE], "-replica",
                self.path[HERE], "-synchronous", "false")

    def _link(self):
        rows = self.clusters.rows("stream", "replica", "list", "-path", self.path[HERE])
        return rows[0] if rows else {}

    def _write(self, value):
        self.producer.produce(self.topic, value, partition=0, on_delivery=lambda error, message:
                              self.answers.append(error.name() if error else message.offset()))

    def _write_there(self):
        producer = Producer({"bootstrap.servers": self.clusters.kafka(THERE), "acks": "all"})
        for _ in range(self.records):
            producer.produce(self.topic, "of the new owner", partition=0)
        if producer.flush(STEP_S_MAX):
            raise TimeoutError("the new owner does not acknowledge")

    def _is_fenced(self):
        rows = self.clusters.rows("stream", "topic", "info", "-path", self.path[HERE], "-topic",
                                  "t")
        return rows[0]["term"] > 1

    def _counted(self, statistics):
        brokers = json.loads(statistics)["brokers"].values()
        self.requests = sum(one.get("req", {}).get("Produce", 0) for one in brokers)

    def _wait(self, what, holds):
        wait_until(what, lambda: self.producer.poll(0) is not None and holds(), STEP_S_MAX)


def main():
    """Exit 0 only if no write was acknowledged that both sides do not have."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    options.add_argument("--keep", action="store_true", help="leave the data in place")
    chosen = options.parse_args()
    holds = True
    with Clusters(chosen.binary, [HERE, THERE], chosen.keep, "stranded-") as clusters:
        try:
            for number in range(4):
                course = Course(clusters, number, number < 2, 5 * (number % 2))
                answers = course.run()
                print(f"{'both ways' if course.both_ways else 'one way'}, {course.records} records "
                      f"of the new owner: answered by {answers}", flush=True)
                if answers != [0, "POLICY_VIOLATION"]:
                    print(f"FAIL  expected {[0, 'POLICY_VIOLATION']}")
                    holds = False
        except (TimeoutError, CommandFailed, OSError) as error:
            print(f"FAIL  at {utc()}: {error!r}")
            holds = False
        if not holds:
            clusters.print_evidence()
    print("passed" if holds else "FAILED")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
