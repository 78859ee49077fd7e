"""How long a fail-over of many topics takes: the command, and until a write is taken."""

import random
import statistics
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from clusters import wait_until

STREAM = "/many"
WATCHED = 20
CREATED_AT_ONCE = 250
SET_UP_S_MAX = 600


class Writer(threading.Thread):
    """Writes to a topic until a write is acknowledged."""

    def __init__(self, broker, topic):
        super().__init__(name=topic, daemon=True)
        self.topic = topic
        self.refused = 0
        self.taken_at = None
        self.failure = None
        self._producer = Producer({"bootstrap.servers": broker, "acks": "all", "linger.ms": 0,
                                   "log_level": 2})
        # So that what is measured does not begin with a look for the leader.
        self._producer.list_topics(topic, timeout=60)

    def run(self):
        """A refusal is no reason to give up: the next one may be taken."""
        while self.taken_at is None and self.failure is None:
            self._producer.produce(self.topic, b"is it yours?", partition=0,
                                   on_delivery=self._told)
            if self._producer.flush(60):
                self.failure = "no answer"

    def _told(self, error, _):
        if error is None:
            self.taken_at = time.monotonic()
        elif error.name() == "POLICY_VIOLATION":
            self.refused += 1
        else:
            self.failure = str(error)


def measure(clusters, here, there, topics, partitions, seed):
    """Sets up, fails over and prints; tells whether everything came to an end."""
    names = set_up(clusters, here, there, topics, partitions)
    chance = random.Random(seed)
    clusters.kill(here)
    writers = [Writer(clusters.kafka(there), f"{STREAM[1:]}.{name}")
               for name in chance.sample(names, min(WATCHED, topics))]
    for writer in writers:
        writer.start()
    wait_until("every writer has been refused", lambda: all(
        one.refused or one.failure for one in writers), 60)
    begun = time.monotonic()
    rows = clusters.rows("stream", "replica", "failover", "-path", f"/mapr/{there}{STREAM}")
    ended = time.monotonic()
    for writer in writers:
        writer.join(60)
    failures = [f"{one.topic}: {one.failure}" for one in writers if one.taken_at is None]
    cut = [row for row in rows if row.get("topic")]
    if len(cut) != topics * partitions:
        failures.append(f"the answer names {len(cut)} partitions of {topics * partitions}")
    for failure in failures:
        print(f"FAIL  {failure}")
    if not failures:
        taken = sorted(1000 * (one.taken_at - begun) for one in writers)
        print(f"{topics} topics of {partitions} partitions: the command took "
              f"{1000 * (ended - begun):.0f} ms; from its start to the first acknowledged write in "
              f"{len(taken)} topics: least {taken[0]:.0f} ms, median "
              f"{statistics.median(taken):.0f} ms, most {taken[-1]:.0f} ms", flush=True)
    return not failures


def set_up(clusters, here, there, topics, partitions):
    """A stream with a record in each partition, all of it at both sides."""
    begun = time.monotonic()
    path, replica = f"/mapr/{here}{STREAM}", f"/mapr/{there}{STREAM}"
    clusters.run("stream", "create", "-path", path, "-produceperm", "p", "-consumeperm", "p",
                 "-topicperm", "p")
    broker = clusters.kafka(here)
    names = [f"t{number}" for number in range(topics)]
    admin = AdminClient({"bootstrap.servers": broker})
    for first in range(0, topics, CREATED_AT_ONCE):
        asked = [NewTopic(f"{STREAM[1:]}.{name}", partitions)
                 for name in names[first:first + CREATED_AT_ONCE]]
        for future in admin.create_topics(asked, request_timeout=60).values():
            future.result(SET_UP_S_MAX)
    clusters.run("stream", "replica", "autosetup", "-path", path, "-replica", replica)
    fill(broker, names, partitions)
    wait_until("the replica has everything", lambda: is_in_step(clusters, path, topics),
               SET_UP_S_MAX)
    print(f"set up in {time.monotonic() - begun:.1f} s", flush=True)
    return names


def fill(broker, names, partitions):
    """One record into each partition."""
    failures = []
    producer = Producer({"bootstrap.servers": broker, "acks": "all", "log_level": 2})
    for name in names:
        for partition in range(partitions):
            producer.produce(f"{STREAM[1:]}.{name}", b"first", partition=partition,
                             on_delivery=lambda error, _: error and failures.append(str(error)))
        producer.poll(0)
    if producer.flush(SET_UP_S_MAX) or failures:
        raise TimeoutError(f"records are not acknowledged: {failures[:3]}")


def is_in_step(clusters, path, topics):
    """Whether the source counts nothing as missing, of all its topics."""
    rows = clusters.rows("stream", "replica", "list", "-path", path)
    return (rows and rows[0]["replicaState"] == "REPLICA_STATE_REPLICATING"
            and rows[0]["connected"] and rows[0]["isUptodate"] and not rows[0]["putsPending"]
            and rows[0]["recordsSent"] >= topics)
