#!/usr/bin/env python3
"""What people do at a source with stock clients, as the replica's clients see it: records deleted,
retention that overtakes a paused link, a topic deleted and made anew.

usage: .venv/bin/python tests/source/changes.py [--binary PATH] [--keep]
"""

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "crash")]

# pylint: disable=wrong-import-position
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from clusters import Clusters, CommandFailed, wait_until

SOURCE, REPLICA = "source", "replica"
PATH, COPY = f"/mapr/{SOURCE}/changes", f"/mapr/{REPLICA}/changes"
TOPIC = "changes.t"
PATIENCE_S = 60


class Course:
    """One run against one pair of clusters."""

    def __init__(self, clusters):
        self.clusters = clusters
        self.source, self.replica = clusters.kafka(SOURCE), clusters.kafka(REPLICA)
        self.admin = AdminClient({"bootstrap.servers": self.source})
        self.run = clusters.run
        self.run("stream", "create", "-path", PATH, "-produceperm", "p", "-consumeperm", "p",
                 "-topicperm", "p")
        self.create_topic()
        self.run("stream", "replica", "autosetup", "-path", PATH, "-replica", COPY)
        wait_until("the stream replicates", self._replicates, PATIENCE_S)

    def _replicates(self):
        row = self.clusters.rows("stream", "replica", "list", "-path", PATH)[0]
        return row["replicaState"] == "REPLICA_STATE_REPLICATING" and row["connected"]

    def create_topic(self):
        """A topic with one partition."""
        self.admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(PATIENCE_S)

    def produce(self, first, count):
        """Records whose values are their numbers, each a batch of its own."""
        producer = Producer({"bootstrap.servers": self.source, "acks": "all", "linger.ms": 0})
        for number in range(first, first + count):
            producer.produce(TOPIC, b"%d" % number, partition=0)
            if producer.flush(PATIENCE_S):
                raise TimeoutError(f"record {number} is not acknowledged")

    def bounds(self, broker):
        """(low, high) watermark as a stock consumer is told."""
        consumer = Consumer({"bootstrap.servers": broker, "group.id": "bounds", "log_level": 2})
        try:
            return consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=5)
        except KafkaException:
            return None
        finally:
            consumer.close()

    def read(self, broker, offset, count):
        """(offset, value) of so many records, read from an offset on."""
        consumer = Consumer({"bootstrap.servers": broker, "group.id": "read", "log_level": 2,
                             "enable.auto.commit": False, "auto.offset.reset": "error",
                             "fetch.wait.max.ms": 50})
        try:
            consumer.assign([TopicPartition(TOPIC, 0, offset)])
            found = []
            while len(found) < count:
                messages = consumer.consume(count - len(found), 20)
                if not messages:
                    raise TimeoutError(f"{broker}: {len(found)} of {count} records from {offset}")
                for message in messages:
                    if message.error():
                        raise ConnectionError(str(message.error()))
                    found.append((message.offset(), int(message.value())))
            return found
        finally:
            consumer.close()

    def partition(self, path):
        """The row of the one partition."""
        return self.clusters.rows("stream", "topic", "info", "-path", path, "-topic", "t")[0]

    def both(self, what, expected):
        """Waits until clients of both sides are told the same bounds."""
        for broker in (self.source, self.replica):
            wait_until(f"{what}: {broker} {expected}",
                       lambda broker=broker: self.bounds(broker) == expected, PATIENCE_S)

    def records_deleted(self):
        """DeleteRecords at the source, with the link up and while it is paused."""
        self.produce(0, 20)
        self.both("produced", (0, 20))
        for offset, paused in ((5, False), (12, True)):
            if paused:
                self.run("stream", "replica", "pause", "-path", PATH, "-replica", COPY)
            deleted = self.admin.delete_records([TopicPartition(TOPIC, 0, offset)])
            for future in deleted.values():
                expect("low watermark", future.result(PATIENCE_S).low_watermark, offset)
            if paused:
                self.run("stream", "replica", "resume", "-path", PATH, "-replica", COPY)
            self.both("deleted", (offset, 20))
        expect("the mark", self.partition(COPY)["trimmedoffset"], 12)
        expect("gaps", self.partition(COPY)["gaps"], [])
        expect("what is left", self.read(self.replica, 12, 8), [(n, n) for n in range(12, 20)])

    def retention_overtakes(self):
        """A gap: recorded at the replica, shown at both ends, passed over by a stock consumer."""
        self.run("stream", "replica", "pause", "-path", PATH, "-replica", COPY)
        self.produce(20, 30)
        # A second, and for ever again once it has taken everything.
        self.run("stream", "edit", "-path", PATH, "-ttl", "1")
        wait_until("retention has come", lambda: self.bounds(self.source) == (50, 50), PATIENCE_S)
        self.run("stream", "edit", "-path", PATH, "-ttl", "0")
        self.produce(50, 1)
        self.run("stream", "replica", "resume", "-path", PATH, "-replica", COPY)
        wait_until("the newest comes", lambda: self.bounds(self.replica) == (12, 51), PATIENCE_S)
        (gap,) = self.partition(COPY)["gaps"]
        expect("the gap", (gap["from"], gap["to"], gap["records"]), (20, 50, 30))
        row = self.clusters.rows("stream", "replica", "list", "-path", PATH)[0]
        expect("what the source shows", [(g["from"], g["to"]) for g in row["gaps"]], [(20, 50)])
        expect("across the gap", self.read(self.replica, 18, 3), [(18, 18), (19, 19), (50, 50)])
        expect("from within", self.read(self.replica, 33, 1), [(50, 50)])

    def made_anew(self):
        """The same name in the same second, and records at offsets that were used before."""
        self.admin.delete_topics([TOPIC])[TOPIC].result(PATIENCE_S)
        self.create_topic()
        self.produce(1000, 3)
        self.both("made anew", (0, 3))
        expect("only what is new", self.read(self.replica, 0, 3),
               [(0, 1000), (1, 1001), (2, 1002)])


def expect(what, found, wanted):
    """Raises a sentence unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


def main():
    """Runs all of it; exit 0 only if everything held."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    options.add_argument("--keep", action="store_true", help="leave the data in place")
    chosen = options.parse_args()
    with Clusters(chosen.binary, [SOURCE, REPLICA], chosen.keep) as clusters:
        try:
            course = Course(clusters)
            for part in (course.records_deleted, course.retention_overtakes, course.made_anew):
                part()
                print(f"ok    {part.__doc__.splitlines()[0]}", flush=True)
        except (AssertionError, CommandFailed, KafkaException, OSError, TimeoutError) as error:
            print(f"FAIL  {error}")
            print("\n".join(clusters.log_text().splitlines()[-40:]))
            return 1
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
