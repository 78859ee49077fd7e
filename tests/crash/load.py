"""Idempotent producers under load, and what each was told about every record."""

import array
import collections
import functools
import json
import logging
import random
import threading
import time
import zlib

from confluent_kafka import KafkaError, KafkaException, Producer

from clusters import utc
from homing import at_home

CODECS = ("none", "lz4", "zstd", "gzip", "snappy")
FILLER_BYTES = 1 << 20
VALUE_BYTES_MAX = 400_000
START_MS = 1_262_304_000_000
NOT_TOLD = -2
REFUSED = -3
# How the end of a producer that met a fatal error shows in the reports of what it still had.
GIVEN_UP = (KafkaError.UNKNOWN_PRODUCER_ID, KafkaError._FATAL, KafkaError._PURGE_QUEUE,
            KafkaError._PURGE_INFLIGHT)
SILENT = logging.getLogger("clients")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
OUT_OF_CONTACT = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)

Record = collections.namedtuple("Record", "key value headers timestamp")


class Script:
    """Which record a producer sends as its n-th to a partition: the same whenever it is asked."""

    def __init__(self, seed):
        self.seed = seed
        chance = random.Random(seed)
        words = [chance.randbytes(chance.randint(2, 12)) for _ in range(400)]
        text = b"".join(chance.choice(words) for _ in range(FILLER_BYTES // 6))
        self.filler = text[:FILLER_BYTES // 2] + chance.randbytes(FILLER_BYTES // 2)

    def record(self, producer, topic, partition, number):
        """The record; its value begins with its name."""
        name = b"%d/%s/%d/%d|" % (producer, topic.encode(), partition, number)
        draw = zlib.crc32(name, self.seed & 0xFFFF_FFFF)
        size = self._size(draw)
        start = draw % (FILLER_BYTES - VALUE_BYTES_MAX)
        value = name + self.filler[start:start + size]
        key = None if draw % 5 == 0 else b"k%d" % (draw % 97)
        headers = [("a", b"%d" % draw), ("a", None), ("b", b"")] if draw % 3 == 0 else None
        return Record(key, value, headers, START_MS + draw)

    @staticmethod
    def _size(draw):
        kind, rest = draw % 1000, draw // 1000
        if kind < 600:
            return 10 + rest % 190
        if kind < 940:
            return 1000
        if kind < 998:
            return 4000 + rest % 12_000
        return 100_000 + rest % (VALUE_BYTES_MAX - 100_000)


def read_name(value):
    """(producer, topic, partition, number) of a value, None when it has no name."""
    parts = value.partition(b"|")[0].split(b"/")
    if len(parts) != 4:
        return None
    return int(parts[0]), parts[1].decode(), int(parts[2]), int(parts[3])


class IdempotentProducer:
    """A stock idempotent producer that retries for ever, and its account of acknowledgements."""

    def __init__(self, load, number, broker):
        self.load = load
        self.number = number
        # (topic, partition) -> for each record the offset it was acknowledged with.
        self.told = collections.defaultdict(lambda: array.array("q"))
        # (topic, partition) -> for each record the load's era in which it was answered.
        self.eras = collections.defaultdict(lambda: array.array("h"))
        self.requests = 0  # Produce requests sent, as of a second ago at most
        self.lost_contact = 0
        settings = self._settings(broker)
        if load.home is None:
            self.producer = Producer(settings)
        else:
            self.producer = at_home(lambda: Producer(settings), load.partitions[0][0], load.home)

    def _settings(self, broker):
        number = self.number
        return {
            "bootstrap.servers": broker,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": CODECS[number % len(CODECS)],
            "message.timeout.ms": 0,
            "linger.ms": (0, 2, 20)[number % 3],
            "batch.num.messages": (10_000, 50, 500)[number % 3],
            "queue.buffering.max.messages": 3000,
            "socket.timeout.ms": 10_000,
            "retry.backoff.ms": 50,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 300,
            "topic.metadata.refresh.interval.ms": 2000,
            "log_level": 2,
            "error_cb": self._failed,
            "statistics.interval.ms": 1000,
            "stats_cb": self._counted,
            # A fatal error would be written to standard error, as well as told.
            **({"logger": SILENT} if self.load.refusable else {}),
        }

    def send(self, topic, partition):
        """Queues the next record of a partition; False when the queue is full."""
        told = self.told[topic, partition]
        record = self.load.script.record(self.number, topic, partition, len(told))
        callback = functools.partial(self._told, told, self.eras[topic, partition], len(told))
        try:
            self.producer.produce(topic, record.value, record.key, partition,
                                  on_delivery=callback, timestamp=record.timestamp,
                                  headers=record.headers or [])
        except BufferError:
            return False
        told.append(NOT_TOLD)
        self.eras[topic, partition].append(0)
        return True

    def _counted(self, statistics):
        brokers = json.loads(statistics)["brokers"].values()
        self.requests = sum(broker.get("req", {}).get("Produce", 0) for broker in brokers)

    def _told(self, told, eras, number, error, message):
        eras[number] = self.load.era
        if error is not None and self.load.may_refuse(error.code()):
            told[number] = REFUSED
            self.load.refuse()
            return
        if error is not None:
            self.load.fail(f"producer {self.number}: {message.topic()}/{message.partition()} "
                           f"record {number}: {error}")
            return
        told[number] = message.offset()
        self.load.acknowledge(message.topic(), message.partition(), message.offset())

    def _failed(self, error):
        if error.fatal() and not self.load.refusable:
            self.load.fail(f"producer {self.number}: fatal: {error}")
        if error.code() in OUT_OF_CONTACT:
            self.lost_contact += 1


class Load:
    """A thread that keeps a few producers busy at a given rate and replaces one now and then."""

    def __init__(self, script, broker, producers, rate, first=0, refusable=False):
        self.script = script
        self.broker = broker
        self.rate = rate
        self.first = first  # the number of the first producer
        self.refusable = refusable  # whether its topics change hands: then records are refused,
        self.fatal = collections.defaultdict(list)  # and producers end: era -> by which errors
        self.home = None  # with addresses of several clusters, that of the one to speak to
        self.era = 0  # set from outside: goes into the account with each answer
        self.refused = 0
        self.partitions = []
        self.failures = []
        self.acknowledged = 0
        self.ends = {}  # (topic, partition) -> above the highest acknowledged offset
        self.all = []  # every producer that ever was
        self._wanted = producers
        self._active = []
        self._retiring = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._replace = threading.Event()
        self._move = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self):
        """Begins to send."""
        self._thread.start()

    def stop(self, seconds):
        """Sends no more and waits until everything sent has been answered."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + seconds
        for one in self.all:
            left = self._guarded(one, lambda: one.producer.flush(
                max(0.0, deadline - time.monotonic())))
            if left:
                self.fail(f"producer {one.number}: {left} records unanswered after {seconds} s")

    def abandon(self):
        """Sends no more and gives up what is unanswered: the source will not come back."""
        self._stop.set()
        self._thread.join()
        for one in self.all:
            self._guarded(one, lambda: one.producer.poll(0))

    def plant(self, broker=None):
        """Sends one record twice and claims that another was acknowledged: both must be found."""
        topic, partition = self.partitions[0]
        first = self.all[0]
        record = self.script.record(first.number, topic, partition, 0)
        rival = Producer({"bootstrap.servers": broker or self.broker, "acks": "all"})
        rival.produce(topic, record.value, record.key, partition, timestamp=record.timestamp,
                      headers=record.headers or [])
        rival.flush(30)
        first.told[topic, partition].append(1 << 40)
        first.eras[topic, partition].append(self.era)

    def replace_one(self):
        """Lets the oldest producer finish, and a new one, with a new id, take its place."""
        self._replace.set()

    def move(self, home):
        """Lets all producers finish, and others, which speak to that cluster, take their places."""
        self.home = home
        self._move.set()

    def lost_contact(self):
        """How often each producer that is at work was told that its connection broke."""
        return {one.number: one.lost_contact for one in list(self._active)}

    def may_refuse(self, code):
        """Whether a record may be reported so."""
        return self.refusable and (code == KafkaError.POLICY_VIOLATION or code in GIVEN_UP)

    def refuse(self):
        """Counts one record that a cluster refused because it does not own the topic."""
        with self._changed:
            self.refused += 1
            self._changed.notify_all()

    def wait_acknowledged(self, total, seconds):
        """Waits until so many records are acknowledged in all."""
        with self._changed:
            if not self._changed.wait_for(
                    lambda: self.acknowledged >= total or self.failures, seconds):
                raise TimeoutError(f"{self.acknowledged} of {total} records acknowledged "
                                   f"after {seconds} s, at {utc()}; waiting: {self._waiting()}")

    def acknowledge(self, topic, partition, offset):
        """Counts one acknowledged record."""
        with self._changed:
            self.acknowledged += 1
            self.ends[topic, partition] = max(self.ends.get((topic, partition), 0), offset + 1)
            self._changed.notify_all()

    def fail(self, what):
        """Remembers what must not have happened."""
        with self._changed:
            self.failures.append(f"{what} (at {utc()})")
            self._changed.notify_all()

    def _waiting(self):
        producers = ((one.number, len(one.producer)) for one in list(self.all))
        return ", ".join(f"producer {number} {records}" for number, records in producers if records)

    def _run(self):
        try:
            self._send_until_stopped()
        except (KafkaException, ValueError) as error:
            self.fail(f"the load ended: {error!r}")

    def _guarded(self, one, call):
        """Makes a call of a producer; one that ended by a fatal error makes place for another."""
        try:
            return call()
        except KafkaException as error:
            ended = error.args[0].fatal() or error.args[0].code() == KafkaError._FATAL
            if not self.refusable or not ended:
                raise
            if one in self._active:
                self._active.remove(one)
                self._retiring.append(one)
                self.fatal[self.era].append(error.args[0].str())
                one.producer.purge()
            return None

    def _send_until_stopped(self):
        begun, sent = time.monotonic(), 0
        while not self._stop.is_set():
            self._keep_producers()
            due = int((time.monotonic() - begun) * self.rate)
            if sent >= due:
                self._stop.wait(0.002)
            for _ in range(min(due - sent, 100)):
                one = self._active[sent % len(self._active)]
                topic, partition = self.partitions[(sent // len(self._active))
                                                   % len(self.partitions)]
                taken = self._guarded(one, lambda: one.send(topic, partition))
                if taken is None:
                    break
                if taken:
                    sent += 1
                else:
                    # Queues are full: what is due counts from now on, so no burst follows.
                    begun = time.monotonic() - sent / self.rate
                    self._guarded(one, lambda: one.producer.poll(0.01))
                    break
            for one in self._active + self._retiring:
                self._guarded(one, lambda: one.producer.poll(0))

    def _keep_producers(self):
        if self._replace.is_set() and self._active:
            self._replace.clear()
            self._retiring.append(self._active.pop(0))
        if self._move.is_set():
            self._move.clear()
            self._retiring, self._active = self._retiring + self._active, []
        self._retiring = [one for one in self._retiring if len(one.producer)]
        while len(self._active) < self._wanted:
            one = IdempotentProducer(self, self.first + len(self.all), self.broker)
            self.all.append(one)
            self._active.append(one)
