"""Compares what was acknowledged, what the source holds and what the replica holds."""

import array
import collections
import itertools
import zlib

from confluent_kafka import Consumer, KafkaError, TopicPartition

from load import read_name
from raw import Fetcher

READ_S_MAX = 60
FINDINGS_SHOWN = 20


class Findings:
    """What was counted, and the first sentences about what is wrong."""

    def __init__(self):
        self.counts = collections.Counter()
        self.sentences = []

    def add(self, what, sentence):
        """Counts a fault and keeps a sentence about it."""
        self.counts[what] += 1
        if len(self.sentences) < FINDINGS_SHOWN:
            self.sentences.append(f"{what}: {sentence}")


def read_all(broker, topic, partition, end, begin=0):
    """Every record of a partition from `begin` to `end`, as a stock consumer gives it."""
    consumer = Consumer({
        "bootstrap.servers": broker,
        "group.id": "crash-verify",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "log_level": 2,
        "check.crcs": True,
        "queued.max.messages.kbytes": 16_384,
        "fetch.wait.max.ms": 100,
    })
    try:
        consumer.assign([TopicPartition(topic, partition, begin)])
        offset = begin
        while offset < end:
            messages = consumer.consume(min(1000, end - offset), READ_S_MAX)
            if not messages:
                raise TimeoutError(f"{broker} {topic}/{partition}: nothing at {offset} of {end}")
            for message in messages:
                if message.error() is None:
                    offset = message.offset() + 1
                    yield message
                elif message.error().code() != KafkaError._ALL_BROKERS_DOWN:
                    raise ConnectionError(f"{topic}/{partition}@{offset}: {message.error()}")
    finally:
        consumer.close()


def content(message):
    """All that a reader can see of a record."""
    return (message.partition(), message.offset(), message.timestamp(), message.key(),
            message.value(), message.headers())


def compare_bytes(findings, source, replica, topic, partition, end):
    """The stored batches of both sides, byte for byte and offset for offset."""
    with Fetcher(source) as here, Fetcher(replica) as there:
        pairs = itertools.zip_longest(here.batches(topic, partition, end),
                                      there.batches(topic, partition, end))
        for mine, theirs in pairs:
            findings.counts["batches"] += 1
            if mine != theirs:
                at = (mine or theirs).base
                findings.add("differing batches", f"{topic}/{partition} at {at}")


class Account:
    """Finds every acknowledged record in the source, once and in order, and the same in the
    replica."""

    def __init__(self, findings, load):
        self.findings = findings
        self.load = load
        self.producers = {one.number: one for one in load.all}

    def compare_records(self, source, replica, topic, partition, end):
        """Reads one partition on both sides in step."""
        found = {}  # producer -> for each of its records whether it has been read
        highest = collections.defaultdict(lambda: -1)
        values = array.array("L")
        pairs = itertools.zip_longest(read_all(source, topic, partition, end),
                                      read_all(replica, topic, partition, end))
        for mine, theirs in pairs:
            if mine is None or theirs is None or content(mine) != content(theirs):
                at = (mine or theirs).offset()
                self.findings.add("differing records", f"{topic}/{partition} at {at}")
            if mine is not None:
                values.append(zlib.crc32(mine.value() or b""))
                self._place(found, highest, mine)
        self._lost(found, topic, partition)
        return values

    def _place(self, found, highest, message):
        topic, partition = message.topic(), message.partition()
        place = f"{topic}/{partition}@{message.offset()}"
        name = read_name(message.value() or b"")
        told = self._told(name, topic, partition)
        if told is None:
            self.findings.add("strange records", f"{place}: {message.value()[:60]!r}")
            return
        producer, number = name[0], name[3]
        seen = found.setdefault(producer, bytearray(len(told)))
        if seen[number]:
            self.findings.add("duplicated", f"{place}: {name}")
            return
        seen[number] = 1
        self.findings.counts["found"] += 1
        if number < highest[producer]:
            self.findings.add("out of order", f"{place}: {name} after {highest[producer]}")
        highest[producer] = max(highest[producer], number)
        if told[number] >= 0 and told[number] != message.offset():
            self.findings.add("elsewhere", f"{place}: acknowledged as {told[number]}")
        sent = self.load.script.record(producer, topic, partition, number)
        got = (message.value(), message.key(), message.timestamp()[1], message.headers())
        if got != (sent.value, sent.key, sent.timestamp, sent.headers):
            self.findings.add("altered", f"{place}: {name}")

    def _told(self, name, topic, partition):
        """What the record's producer was told about that partition, None if it is none of ours."""
        if name is None or name[0] not in self.producers or name[1:3] != (topic, partition):
            return None
        told = self.producers[name[0]].told.get((topic, partition))
        return told if told is not None and name[3] < len(told) else None

    def _lost(self, found, topic, partition):
        for producer in self.load.all:
            told = producer.told.get((topic, partition), ())
            seen = found.get(producer.number, bytearray(len(told)))
            for number, offset in enumerate(told):
                if offset >= 0 and not seen[number]:
                    self.findings.add("lost", f"{topic}/{partition}: {producer.number}'s record "
                                              f"{number}, acknowledged as {offset}")
