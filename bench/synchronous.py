#!/usr/bin/env python3
"""Measures what producers wait for with an asynchronous and with a synchronous replica: acks=all,
in turns within one run; see bench/README.md.

usage: .venv/bin/python bench/synchronous.py [--turns N] [--seconds N] [--rate N] [--binary PATH]
"""

import argparse
import pathlib
import statistics
import sys
import threading
import time

from confluent_kafka import Producer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "crash"))

from clusters import Clusters, wait_until  # noqa: E402

SOURCE, REPLICA = "source", "replica"
KINDS = {"async": "false", "inforce": "true"}
SIZE = 1000
WAIT_S_MAX = 60


def create(clusters, state, synchronous):
    """A stream of that kind with its replica, which is waited for."""
    path, replica = f"/mapr/{SOURCE}/{state}", f"/mapr/{REPLICA}/{state}"
    clusters.run("stream", "create", "-path", path, "-produceperm", "p", "-consumeperm", "p",
                 "-topicperm", "p")
    clusters.run("stream", "topic", "create", "-path", path, "-topic", "t", "-partitions", "1")
    clusters.run("stream", "replica", "autosetup", "-path", path, "-replica", replica,
                 "-synchronous", synchronous)
    wait_until(f"{path} replicates", lambda: is_standing(clusters, state), WAIT_S_MAX)


def is_standing(clusters, state):
    """Whether the replica is what its stream is measured for."""
    rows = clusters.rows("stream", "replica", "list", "-path", f"/mapr/{SOURCE}/{state}")
    return (bool(rows) and rows[0]["replicaState"] == "REPLICA_STATE_REPLICATING"
            and rows[0]["connected"] and rows[0]["syncState"] == state)


def turn(broker, topic, rate, seconds):
    """Sends at a moderate rate; returns the milliseconds from each `produce` to its reply."""
    producer = Producer({"bootstrap.servers": broker, "acks": "all", "linger.ms": 0})
    waited, done = [], threading.Event()

    def poll():
        while not done.is_set():
            producer.poll(0.05)
    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    begun = time.monotonic()
    for number in range(rate * seconds):
        ahead = begun + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        produced = time.monotonic()

        def told(error, _, produced=produced):
            if error is None:
                waited.append((time.monotonic() - produced) * 1000)
        producer.produce(topic, b"x" * SIZE, partition=0, on_delivery=told)
    producer.flush(WAIT_S_MAX)
    done.set()
    poller.join()
    return waited


def main():
    """Runs and prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--seconds", type=int, default=8)
    options.add_argument("--rate", type=int, default=500)
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    chosen = options.parse_args()
    waited = {state: [] for state in KINDS}
    with Clusters(chosen.binary, [SOURCE, REPLICA]) as clusters:
        broker = clusters.kafka(SOURCE)
        for state, synchronous in KINDS.items():
            create(clusters, state, synchronous)
            turn(broker, f"{state}.t", chosen.rate, 1)
        for number in range(chosen.turns):
            for state in KINDS:
                times = turn(broker, f"{state}.t", chosen.rate, chosen.seconds)
                if is_standing(clusters, state):
                    waited[state] += times
                else:
                    print(f"turn {number}: the replica is not {state}; its figures are left out")
    for state, times in waited.items():
        cuts = statistics.quantiles(times, n=100)
        print(f"{state:8} {len(times)} records, produce to ack: p50 {cuts[49]:.2f} ms, "
              f"p99 {cuts[98]:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
