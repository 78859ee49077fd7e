#!/usr/bin/env python3
"""Sets up wide topologies with real clusters, compares every byte, and measures what one stopped
replica costs the others and what 10,000 partitions cost a link; see bench/README.md.

usage: .venv/bin/python bench/topologies.py [--replicas N] [--partitions N] [--rounds N]
       [--only replicas|upstreams|partitions] [--binary PATH]
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import statistics
import sys
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "crash"))

from clusters import Clusters, rss_bytes, wait_until  # noqa: E402
from confluent_kafka import Producer  # noqa: E402
from lag import measure_lag  # noqa: E402
from raw import Fetcher  # noqa: E402

HUB, FAR, LONE = "hub", "far", "lone"
ALIKE_S_MAX = 120
RATE, SECONDS, SIZE = 50, 10, 1000
PARTITIONS_PER_TOPIC = 1000


class Net:
    """Clusters and their REST doors, which are quicker to ask than the command line."""

    def __init__(self, clusters):
        rows = clusters.rows("dev", "status")
        self.admin = {row["cluster"]: row["admin"] for row in rows}
        self.kafka = {row["cluster"]: row["kafka"] for row in rows}
        self.pids = {row["cluster"]: int(row["pid"]) for row in rows}

    def ask(self, cluster, words, **flags):
        """One command; a refusal is an exception with its sentence."""
        query = urllib.parse.urlencode(flags)
        url = f"http://{self.admin[cluster]}/rest/{words}?{query}"
        post = not words.endswith("list")
        request = urllib.request.Request(url, data=b"" if post else None)
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        if answer["status"] != "OK":
            raise RuntimeError(f"{words} {flags}: {answer}")
        return answer.get("data", [])

    def stream(self, cluster, path, topic=None, partitions=1):
        """A stream that keeps everything, perhaps with a topic."""
        self.ask(cluster, "stream/create", path=path, ttl=0)
        if topic:
            self.ask(cluster, "stream/topic/create", path=path, topic=topic, partitions=partitions)

    def agree(self, source, source_path, replica, replica_path):
        """Both halves of an agreement."""
        there, here = f"/mapr/{replica}{replica_path}", f"/mapr/{source}{source_path}"
        self.ask(replica, "stream/upstream/add", path=replica_path, upstream=here)
        self.ask(source, "stream/replica/add", path=source_path, replica=there)


def together(work, items):
    """Runs a call for each item, a few at a time."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, items))


def produce(broker, topic, partitions, count, mark):
    """So many records for each partition, acknowledged."""
    producer = Producer({"bootstrap.servers": broker, "acks": "all", "linger.ms": 5})
    for number in range(count):
        for partition in range(partitions):
            producer.produce(topic, f"{mark} {number}".encode() * 4, partition=partition)
            producer.poll(0)
    if producer.flush(60):
        raise TimeoutError(f"{topic}: not all was acknowledged")


def content(broker, topic, partitions):
    """Every stored byte of a topic."""
    with Fetcher(broker) as fetcher:
        return [[batch.data for batch in fetcher.batches(topic, n, fetcher.end(topic, n))]
                for n in range(partitions)]


def wait_alike(one, other, partitions):
    """Waits until two topics, each (broker, name), hold the same bytes."""
    def alike():
        try:
            return content(*one, partitions) == content(*other, partitions)
        except ConnectionError:  # the topic has not come yet
            return False
    wait_until(f"{other} is like {one}", alike, ALIKE_S_MAX)


def replicas(net, count, rounds):
    """One stream with many replicas, of which one stops now and then."""
    net.stream(HUB, "/one", "t", 2)
    paths = [f"/one-{n}" for n in range(count)]
    home = {path: LONE if path == paths[-1] else FAR for path in paths}
    begun = time.monotonic()

    def link(path):
        net.stream(home[path], path)
        net.agree(HUB, "/one", home[path], path)
    together(link, paths)
    produce(net.kafka[HUB], "one.t", 2, 200, "first")
    for path in paths:
        wait_alike((net.kafka[HUB], "one.t"), (net.kafka[home[path]], f"{path[1:]}.t"), 2)
    print(f"{count} replicas: set up and alike in {time.monotonic() - begun:.1f} s", flush=True)
    figures = {"all run": [], "one stopped": []}
    for _ in range(rounds):
        for case, runs in figures.items():
            if case == "one stopped":
                os.kill(net.pids[LONE], signal.SIGSTOP)
            try:
                _, lag = measure_lag(net.kafka[HUB], net.kafka[FAR], "one.t", SIZE, RATE, SECONDS,
                                     f"{paths[0][1:]}.t")
            finally:
                os.kill(net.pids[LONE], signal.SIGCONT)
            runs.append(lag)
    for path in paths:
        wait_alike((net.kafka[HUB], "one.t"), (net.kafka[home[path]], f"{path[1:]}.t"), 2)
    for what in ("produce to ack p50 ms", "produce to ack p99 ms",
                 "ack to visible at replica p50 ms", "ack to visible at replica p99 ms"):
        run, stopped = (statistics.median(lag[what] for lag in runs) for runs in figures.values())
        print(f"{what}: {run:.1f} with all, {stopped:.1f} with one stopped, "
              f"factor {stopped / run:.2f}", flush=True)
    print(f"memory: hub {rss_bytes(net.pids[HUB]) >> 20} MiB, "
          f"far {rss_bytes(net.pids[FAR]) >> 20} MiB; all alike at the end", flush=True)


def upstreams(net, count):
    """Many streams into one, each with a topic of its own."""
    net.stream(HUB, "/all")
    begun = time.monotonic()

    def link(number):
        net.stream(FAR, f"/from-{number}", f"t{number}")
        net.agree(FAR, f"/from-{number}", HUB, "/all")
        produce(net.kafka[FAR], f"from-{number}.t{number}", 1, 100, f"upstream {number}")
    together(link, range(count))
    for number in range(count):
        wait_alike((net.kafka[FAR], f"from-{number}.t{number}"),
                   (net.kafka[HUB], f"all.t{number}"), 1)
    rows = net.ask(HUB, "stream/upstream/list", path="/all")
    fed = sum(row["topicsFed"] for row in rows)
    faults = sum(len(row["faults"]) for row in rows)
    print(f"{len(rows)} upstreams: set up and alike in {time.monotonic() - begun:.1f} s; "
          f"{fed} topics fed, {faults} faults", flush=True)


def connections(pid):
    """TCP connections that a process has established."""
    inodes = set()
    for name in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(name))
        except OSError:
            continue
    lines = pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(1 for f in fields if f[3] == "01" and f"socket:[{f[9]}]" in inodes)


def partitions(net, count, rounds):
    """One link with very many partitions, broken and made again."""
    topics = [f"t{n}" for n in range(count // PARTITIONS_PER_TOPIC)]
    net.stream(HUB, "/wide")
    net.stream(FAR, "/wide")
    before = {name: rss_bytes(pid) for name, pid in net.pids.items()}
    for topic in topics:
        net.ask(HUB, "stream/topic/create", path="/wide", topic=topic,
                partitions=PARTITIONS_PER_TOPIC)
    begun = time.monotonic()
    net.agree(HUB, "/wide", FAR, "/wide")

    def arrived(mark):
        produce(net.kafka[HUB], f"wide.{topics[-1]}", 1, 1, mark)
        wait_alike((net.kafka[HUB], f"wide.{topics[-1]}"), (net.kafka[FAR], f"wide.{topics[-1]}"), 1)

    def uptodate():
        return net.ask(HUB, "stream/replica/list", path="/wide")[0]["isUptodate"]
    arrived("first")
    wait_until("all partitions are there", uptodate, ALIKE_S_MAX)
    print(f"{count} partitions: first set-up {time.monotonic() - begun:.1f} s", flush=True)
    for topic in topics:
        produce(net.kafka[HUB], f"wide.{topic}", PARTITIONS_PER_TOPIC, 1, "one each")
    wait_until("all records are there", uptodate, ALIKE_S_MAX)
    links = connections(net.pids[HUB])
    here = {"path": "/wide", "replica": f"/mapr/{FAR}/wide"}
    steady = []
    for number in range(rounds):
        net.ask(HUB, "stream/replica/pause", **here)
        wait_until("the link rests", lambda: not net.ask(
            HUB, "stream/replica/list", path="/wide")[0]["connected"], 30)
        begun = time.monotonic()
        net.ask(HUB, "stream/replica/resume", **here)
        arrived(f"round {number}")
        wait_until("up to date", uptodate, ALIKE_S_MAX)
        steady.append(time.monotonic() - begun)
    print(f"from reconnect to steady state: median {statistics.median(steady):.2f} s, most "
          f"{max(steady):.2f} s of {rounds}; {links} connections at the hub", flush=True)
    net.stream(HUB, "/calm", "t")
    waits = {}
    for case in ("link stands", "link reconnects"):
        if case == "link reconnects":
            net.ask(HUB, "stream/replica/pause", **here)
            net.ask(HUB, "stream/replica/resume", **here)
        _, lag = measure_lag(net.kafka[HUB], net.kafka[HUB], "calm.t", SIZE, RATE, 5)
        waits[case] = lag["produce to ack p99 ms"]
    print(f"produce p99 ms beside it: {waits}", flush=True)
    for name in (HUB, FAR):
        grown = rss_bytes(net.pids[name]) - before[name]
        print(f"memory of {name}: +{grown >> 20} MiB, {grown // count} bytes a partition", flush=True)


def main():
    """Every part on clusters of its own."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--replicas", type=int, default=64)
    options.add_argument("--partitions", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", choices=["replicas", "upstreams", "partitions"])
    options.add_argument("--binary", default=None, help="default: target/release/mainstem")
    chosen = options.parse_args()
    parts = {
        "replicas": lambda net: replicas(net, chosen.replicas, chosen.rounds),
        "upstreams": lambda net: upstreams(net, chosen.replicas),
        "partitions": lambda net: partitions(net, chosen.partitions, chosen.rounds),
    }
    for name, part in parts.items():
        if chosen.only in (None, name):
            with Clusters(chosen.binary, [HUB, FAR, LONE]) as clusters:
                part(Net(clusters))


if __name__ == "__main__":
    main()
