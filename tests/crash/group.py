"""A stock consumer of a classic group that commits cursors, and its account of what came."""

import array
import threading
import time
import zlib

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from clusters import wait_until
from homing import at_home

GROUP = "failover-group"
COMMIT_EVERY_S = 0.2
PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTO_OFFSET_RESET,
           KafkaError.NOT_LEADER_FOR_PARTITION)


class Session:
    """One assignment: where the group's cursors stood, and what came from there on."""

    def __init__(self, era, committed):
        self.era = era
        self.committed = committed  # (topic, partition) -> the cursor when it was assigned
        self.first = {}  # (topic, partition) -> the first offset that came
        self.seen = {}  # (topic, partition) -> checksums of the values, from `first` on


class GroupReader(threading.Thread):
    """Reads all topics of a stream as a group of one, with the addresses of both clusters."""

    def __init__(self, addresses, home, topics, load):
        super().__init__(name="group", daemon=True)
        self.load = load
        self.topics = topics
        self.sessions = []
        # (topic, partition) -> the last offset whose commit was answered since it moved
        self.committed = {}
        self.floors = {}  # era -> (what the cursors were when it began, whether exactly)
        self.era = 0
        self.resets = 0
        self._home = home
        self._move = threading.Event()
        self._held = threading.Event()
        self._unanswered = 0
        self._stop_asked = threading.Event()
        self._settings = {
            "bootstrap.servers": addresses, "group.id": GROUP, "log_level": 2,
            "enable.auto.commit": False, "auto.offset.reset": "error", "fetch.wait.max.ms": 50,
            "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 300,
            "topic.metadata.refresh.interval.ms": 2000, "heartbeat.interval.ms": 500,
            "session.timeout.ms": 10_000, "socket.timeout.ms": 10_000,
            "on_commit": self._committed,
        }
        self._consumer = None

    def run(self):
        """Reads and commits until it is stopped."""
        try:
            while not self._stop_asked.is_set():
                self._move.clear()
                self._held.clear()
                self.committed = {}
                self._consumer = at_home(lambda: Consumer(self._settings), self.topics[0],
                                         self._home)
                self._consumer.subscribe(self.topics, on_assign=self._assigned)
                self._read()
                self._consumer.close()
        except (KafkaException, OSError, ValueError) as error:
            self.load.fail(f"the group's consumer ended: {error!r}")

    def _read(self):
        sessions = len(self.sessions)
        due = time.monotonic()
        while not self._stop_asked.is_set() and not self._move.is_set():
            for message in self._consumer.consume(500, 0.05):
                self._take(message)
            ready = len(self.sessions) > sessions and not self._held.is_set()
            if ready and time.monotonic() >= due:
                due = time.monotonic() + COMMIT_EVERY_S
                self._commit()

    def expect(self, era, floor, exactly=False):
        """Sessions that begin from now on are of that era, and begin there at least."""
        self.floors[era] = floor, exactly
        self.era = era

    def hold(self, seconds):
        """Reads on and commits no more; returns the cursors when every commit is answered."""
        self._held.set()
        wait_until("commits are answered", lambda: self._unanswered == 0, seconds)
        return dict(self.committed)

    def move(self, home):
        """Leaves its cluster, and joins the group anew at that one."""
        self._home = home
        self._move.set()

    def stop(self):
        """Leaves the group."""
        self._stop_asked.set()
        self.join()

    def position(self):
        """(topic, partition) -> next offset, in the present session."""
        if not self.sessions:
            return {}
        session = self.sessions[-1]
        return {place: first + len(session.seen[place])
                for place, first in list(session.first.items())}

    def wait_at(self, ends, seconds):
        """Waits until it has read, in its present session, everything below these offsets."""
        def there():
            position = self.position()
            begun = self.sessions[-1].committed if self.sessions else {}
            return self.load.failures or all(
                position.get(place, begun.get(place, -1)) >= end for place, end in ends.items())
        try:
            wait_until("the group has read on", there, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: to {ends}, is at {self.position()}") from error

    def _assigned(self, consumer, partitions):
        def answer():
            try:
                return consumer.committed(partitions, timeout=5)
            except KafkaException:
                return None
        # Only a description: the client asks for the cursors by itself, to begin there.
        cursors = wait_until("the cursors are told", answer, 60)
        self.sessions.append(Session(self.era, {(one.topic, one.partition): one.offset
                                                     for one in cursors}))

    def _take(self, message):
        if message.error() is not None:
            code = message.error().code()
            if code not in PASSING:
                self.load.fail(f"the group's consumer: {message.error()}")
            self.resets += code == KafkaError._AUTO_OFFSET_RESET
            return
        session, place = self.sessions[-1], (message.topic(), message.partition())
        first = session.first.setdefault(place, message.offset())
        seen = session.seen.setdefault(place, array.array("L"))
        if message.offset() != first + len(seen):
            self.load.fail(f"the group's consumer: {place}: {message.offset()} after {len(seen)} "
                           f"records from {first}, in session {len(self.sessions)}")
        seen.append(zlib.crc32(message.value()))

    def _commit(self):
        offsets = [TopicPartition(*place, offset) for place, offset in self.position().items()]
        if offsets and not self._unanswered:
            self._unanswered += 1
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def _committed(self, error, partitions):
        self._unanswered -= 1
        if error is None:
            self.committed.update({(one.topic, one.partition): one.offset for one in partitions
                                   if one.error is None and one.offset >= 0})


def check_sessions(findings, reader, logs):
    """Every session begins at the group's cursor, and none before what was sure to be committed.

    `logs`: for a place the checksums of each history that readers may have seen."""
    for number, session in enumerate(reader.sessions):
        for place, cursor in session.committed.items():
            name = f"session {number + 1}, {place}"
            first = session.first.get(place)
            findings.counts["group sessions"] += 1
            if first is not None and first != cursor:
                findings.add("group", f"{name}: begins at {first}, its cursor is {cursor}")
            sure, exactly = reader.floors.get(session.era, ({}, False))
            least = sure.get(place, 0)
            if cursor < least or (exactly and cursor > least):
                findings.add("group", f"{name}: its cursor is {cursor}, {least} was committed")
            seen = session.seen.get(place, ())
            if first is not None and not any(
                    seen == log[first:first + len(seen)] for log in logs[place]):
                findings.add("group", f"{name}: what it saw is in no history from {first} on")
            findings.counts["group records"] += len(seen)
