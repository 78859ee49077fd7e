"""Replication lag as clients see it: acknowledged at the source, then visible at the replica."""

import statistics
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

PARTITION = 0
RATE = 1000
SECONDS = 8
WAIT_S_MAX = 60


class Watcher(threading.Thread):
    """A consumer at the end of a partition that notes when each record arrives."""

    def __init__(self, broker, topic):
        super().__init__(daemon=True)
        self.arrived = {}
        self._wanted = None
        self._consumer = Consumer({"bootstrap.servers": broker, "group.id": "bench-lag",
                                   "enable.auto.commit": False, "fetch.wait.max.ms": 500,
                                   "fetch.min.bytes": 1})
        place = TopicPartition(topic, PARTITION)
        self.end = self._consumer.get_watermark_offsets(place, timeout=WAIT_S_MAX)[1]
        self._consumer.assign([TopicPartition(topic, PARTITION, self.end)])

    def run(self):
        """Polls until every record has been seen, or time is up."""
        deadline = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < deadline and len(self.arrived) != self._wanted:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.arrived[message.offset()] = time.monotonic()
        self._consumer.close()

    def finish(self, records):
        """Waits until so many records have been seen."""
        self._wanted = records
        self.join()
        if len(self.arrived) != records:
            raise TimeoutError(f"{len(self.arrived)} of {records} records were seen")


def measure_lag(source, replica, topic, size, rate=RATE, seconds=SECONDS, replica_topic=None):
    """Sends at a moderate rate; returns how many records, and p50 and p99 of each stretch of
    their way in ms."""
    watchers = [Watcher(source, topic), Watcher(replica, replica_topic or topic)]
    for watcher in watchers:
        watcher.start()
    sent, acknowledged = {}, {}
    producer = Producer({"bootstrap.servers": source, "acks": "all", "linger.ms": 0})
    acks = threading.Event()

    def poll():
        while not acks.is_set():
            producer.poll(0.05)
    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    begun = time.monotonic()
    for number in range(rate * seconds):
        ahead = begun + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        produced = time.monotonic()

        def told(error, message, produced=produced):
            if error is None:
                sent[message.offset()] = produced
                acknowledged[message.offset()] = time.monotonic()
        producer.produce(topic, b"x" * size, partition=PARTITION, on_delivery=told)
    producer.flush(WAIT_S_MAX)
    acks.set()
    poller.join()
    for watcher in watchers:
        watcher.finish(len(acknowledged))
    here, there = (watcher.arrived for watcher in watchers)
    return len(acknowledged), {
        **stretch("produce to ack", sent, acknowledged),
        **stretch("ack to visible at replica", acknowledged, there),
        **stretch("visible at source to visible at replica", here, there),
        **stretch("produce to visible at source", sent, here),
        **stretch("produce to visible at replica", sent, there),
    }


def stretch(name, begin, end):
    """p50 and p99 of the time between two moments of each record."""
    times = [(end[offset] - moment) * 1000 for offset, moment in begin.items()]
    cuts = statistics.quantiles(times, n=100)
    return {f"{name} p50 ms": cuts[49], f"{name} p99 ms": cuts[98]}
