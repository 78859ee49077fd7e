"""What every Kafka client must be able to do here, written once for all Python clients.

A client takes part by an adapter (see `Adapter`). Each scenario uses the client alone: what it is
told about offsets, times and errors is all that counts.
"""

import dataclasses
import faulthandler
import os
import sys
import time
import traceback

DEADLINE_S = 30.0
RUN_S_MAX = 280
# Producer timestamps are far from the wall clock on purpose: nothing may replace them.
START_MS = 1_262_304_000_000


@dataclasses.dataclass(frozen=True)
class Sent:
    """A record as it is handed to a producer."""

    key: bytes | None
    value: bytes | None
    headers: tuple = ()
    timestamp: int = START_MS
    partition: int = 0


@dataclasses.dataclass(frozen=True)
class Read:
    """A record as a consumer gives it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple
    timestamp: int


class Member:
    """One member of a consumer group that commits only when told to."""

    def poll(self, timeout_s):
        """Returns the records that arrived, an empty list when none did in time."""
        raise NotImplementedError

    def assigned(self):
        """Returns the set of partitions that the member holds now."""
        raise NotImplementedError

    def commit(self):
        """Commits the position after the last polled record; returns when it is committed."""
        raise NotImplementedError

    def close(self):
        """Leaves the group."""
        raise NotImplementedError


class Adapter:
    """A client library behind the calls that the scenarios make."""

    name = ""
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")

    def produce(self, broker, topic, records, codec="none", acks="all", idempotent=False):
        """Produces in order, returns [(partition, offset)], raises what the client surfaces."""
        raise NotImplementedError

    def read(self, broker, topic, partition, count):
        """Reads `count` records from the beginning of a partition, fewer when time is up."""
        raise NotImplementedError

    def topics(self, broker):
        """Returns the set of names that the cluster lists."""
        raise NotImplementedError

    def create_topic(self, broker, topic, partitions):
        """Creates a topic by the admin API."""
        raise NotImplementedError

    def delete_topic(self, broker, topic):
        """Deletes a topic by the admin API."""
        raise NotImplementedError

    def partitions(self, broker, topic):
        """Returns the number of partitions by the metadata."""
        raise NotImplementedError

    def watermarks(self, broker, topic, partition):
        """Returns (first offset, next offset)."""
        raise NotImplementedError

    def offset_for_time(self, broker, topic, partition, timestamp):
        """Returns the first offset at or after the time, `None` past the last record."""
        raise NotImplementedError

    def committed(self, broker, group, topic, partitions):
        """Returns {partition: next offset}, without those that have none."""
        raise NotImplementedError

    def member(self, broker, group, topic):
        """Joins a group, from the earliest offset where it has committed none."""
        raise NotImplementedError


def sample(count, first=0, partition=0):
    """Records with every shape that a batch can hold."""
    records = []
    for i in range(first, first + count):
        key = None if i % 5 == 0 else b"key-%d" % i
        value = None if i % 7 == 3 else b"" if i % 7 == 4 else b"value %d " % i * (1 + i % 9)
        headers = ()
        if i % 3 == 0:
            headers = (("trace", b"%d" % i), ("trace", b"again"), ("empty", b""), ("bin", b"\0\xff"))
        if key is None and value is None:
            value = b"neither"
        records.append(Sent(key, value, headers, START_MS + i * 1000, partition))
    return records


class Bench:
    """What the scenarios share: the adapter, both clusters, and the stream's Kafka prefix."""

    def __init__(self, adapter):
        self.client = adapter
        self.source = os.environ["MAINSTEM_SOURCE"]
        self.replica = os.environ["MAINSTEM_REPLICA"]
        self.prefix = os.environ["MAINSTEM_STREAM"].strip("/").replace("/", ".")
        self.group = f"readers-{adapter.name}"
        # topic -> {partition: [Sent]}: what must be readable on both sides
        self.written = {}

    def topic(self, name):
        """The wire name of a topic in this client's stream."""
        return f"{self.prefix}.{name}"

    def write(self, name, records, **options):
        """Produces at the source and checks the offsets that the producer is told."""
        topic = self.topic(name)
        partitions = self.written.setdefault(topic, {})
        expected = []
        for record in records:
            log = partitions.setdefault(record.partition, [])
            expected.append((record.partition, len(log)))
            log.append(record)
        told = self.client.produce(self.source, topic, records, **options)
        same(sorted(told), sorted(expected), "offsets told to the producer")

    def check_read(self, broker, topic):
        """Reads a topic whole and compares it with what was written, record by record."""
        for partition, records in self.written[topic].items():
            found = self.client.read(broker, topic, partition, len(records))
            expected = [
                Read(partition, i, r.key, r.value, tuple(r.headers), r.timestamp)
                for i, r in enumerate(records)
            ]
            same([summary(r) for r in found], [summary(r) for r in expected], f"{topic}/{partition}")
            ends = self.client.watermarks(broker, topic, partition)
            same(ends, (0, len(records)), f"watermarks of {topic}/{partition}")


def summary(record):
    """A record with a long value cut, so that a difference can be printed."""
    value = record.value
    if value is not None and len(value) > 200:
        value = value[:20] + b"... %d bytes, sum %d" % (len(value), sum(value))
    return dataclasses.replace(record, value=value)


def same(found, expected, what):
    """Fails with the first difference."""
    if found == expected:
        return
    if isinstance(found, list) and isinstance(expected, list):
        for i, (a, b) in enumerate(zip(found, expected)):
            if a != b:
                raise AssertionError(f"{what}: item {i} is {a!r}, expected {b!r}")
        raise AssertionError(f"{what}: {len(found)} items, expected {len(expected)}")
    raise AssertionError(f"{what}: {found!r}, expected {expected!r}")


def until(condition, what, deadline_s=DEADLINE_S):
    """Polls until the condition holds; its last complaint is the failure."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            result = condition()
            if result:
                return result
            complaint = "not yet"
        except AssertionError as error:
            complaint = error
        if time.monotonic() > end:
            raise AssertionError(f"{what}: {complaint}, after {deadline_s:.0f} s")
        time.sleep(0.1)


def codec_scenario(codec):
    def run(bench):
        name = f"codec-{codec}"
        bench.write(name, sample(60), codec=codec)
        bench.write(name, sample(40, first=60), codec=codec)
        bench.check_read(bench.source, bench.topic(name))

    return run


def idempotent(bench):
    bench.write("idempotent", sample(300), idempotent=True, codec="gzip")
    bench.write("idempotent", sample(50, first=300), idempotent=True)
    bench.check_read(bench.source, bench.topic("idempotent"))


def leader_ack(bench):
    bench.write("leader-ack", sample(50), acks="1")
    bench.check_read(bench.source, bench.topic("leader-ack"))


def large_message(bench):
    big = Sent(b"big", bytes(i * 7 % 251 for i in range(900_000)), (), START_MS)
    bench.write("large", [big, Sent(b"small", b"after it")])
    bench.check_read(bench.source, bench.topic("large"))


def list_topics(bench):
    listed = bench.client.topics(bench.source)
    missing = set(bench.written) - listed
    assert not missing, f"not listed: {sorted(missing)}"


def create_and_delete(bench):
    topic = bench.topic("made-by-admin")
    bench.client.create_topic(bench.source, topic, 3)
    same(bench.client.partitions(bench.source, topic), 3, "partitions")
    for partition in range(3):
        told = bench.client.produce(bench.source, topic, sample(5, partition=partition))
        same(sorted(told), [(partition, i) for i in range(5)], "offsets")
    until(lambda: topic in bench.client.topics(bench.replica), "created at the replica")
    bench.client.delete_topic(bench.source, topic)
    until(lambda: topic not in bench.client.topics(bench.source), "deleted at the source")
    until(lambda: topic not in bench.client.topics(bench.replica), "deleted at the replica")


def group_of_two(bench):
    topic = bench.topic("grouped")
    bench.client.create_topic(bench.source, topic, 4)
    for partition in range(4):
        bench.write("grouped", sample(50, partition=partition))
    first = bench.client.member(bench.source, bench.group, topic)
    members, found = [first], []
    try:
        collect(members, found, lambda: first.assigned() == {0, 1, 2, 3}, "the first holds all")
        members.append(bench.client.member(bench.source, bench.group, topic))

        def shared():
            held = [member.assigned() for member in members]
            return all(held) and not held[0] & held[1] and held[0] | held[1] == {0, 1, 2, 3}

        collect(members, found, shared, "two members share the partitions")
        # A member that lost a partition has not committed: the other starts at the beginning.
        everything = {(p, i) for p in range(4) for i in range(50)}
        collect(members, found, lambda: {(r.partition, r.offset) for r in found} == everything,
                "all records reach the group")

        def committed():
            # A partition that changed hands is read again, so its position may still be behind.
            for member in members:
                member.commit()
            found = bench.client.committed(bench.source, bench.group, topic, range(4))
            return found == {p: 50 for p in range(4)}

        collect(members, found, committed, "the group commits its end")
    finally:
        for member in members:
            member.close()


def collect(members, found, condition, what):
    """Polls every member in turn until the condition holds."""

    def turn():
        for member in members:
            found.extend(member.poll(0.2))
        return condition()

    until(turn, what, 60.0)


def group_goes_on(bench):
    expected = {p: 50 for p in range(4)}
    topic = bench.topic("grouped")
    committed = bench.client.committed(bench.source, bench.group, topic, range(4))
    same(committed, expected, "committed offsets")
    for partition in range(4):
        bench.write("grouped", sample(10, first=50, partition=partition))
    member, found = bench.client.member(bench.source, bench.group, topic), []
    try:
        collect([member], found, lambda: len(found) >= 40, "the new records arrive")
        same(sorted({r.offset for r in found}), list(range(50, 60)), "offsets after a restart")
        same(len(found), 40, "records after a restart")
        member.commit()
    finally:
        member.close()


def offsets_for_times(bench):
    bench.write("timed", [Sent(None, b"%d" % i, (), START_MS + i * 1000) for i in range(20)])
    bench.write("timed", [Sent(None, b"%d" % i, (), START_MS + i * 1000) for i in range(20, 40)])
    topic = bench.topic("timed")
    for time_ms, expected in [
        (START_MS - 1, 0),
        (START_MS, 0),
        (START_MS + 10_500, 11),
        (START_MS + 20_000, 20),
        (START_MS + 39_000, 39),
        (START_MS + 39_001, None),
    ]:
        found = bench.client.offset_for_time(bench.source, topic, 0, time_ms)
        same(found, expected, f"offset for {time_ms}")


def replica_reads_the_same(bench):
    for topic in bench.written:
        until(lambda: topic in bench.client.topics(bench.replica), f"{topic} at the replica")

        def alike():
            bench.check_read(bench.replica, topic)
            return True

        until(alike, f"{topic} at the replica")


def replica_has_the_cursors(bench):
    expected = {p: 60 for p in range(4)}
    topic = bench.topic("grouped")

    def there():
        same(bench.client.committed(bench.replica, bench.group, topic, range(4)), expected, "offsets")
        return True

    until(there, "committed offsets at the replica")


def group_goes_on_at_the_replica(bench):
    topic = bench.topic("grouped")
    for partition in range(4):
        bench.write("grouped", sample(5, first=60, partition=partition))
    member, found = bench.client.member(bench.replica, bench.group, topic), []
    try:
        collect([member], found, lambda: len(found) >= 20, "the newest records arrive there")
        same(sorted({r.offset for r in found}), list(range(60, 65)), "offsets at the replica")
        same(len(found), 20, "records at the replica")
    finally:
        member.close()


def replica_refuses_a_producer(bench):
    topic = bench.topic("codec-none")
    start = time.monotonic()
    try:
        told = bench.client.produce(bench.replica, topic, [Sent(b"k", b"intruder")])
    except Exception as error:
        surfaced = f"{type(error).__name__}: {error}"
    else:
        raise AssertionError(f"it was accepted at {told}")
    took = time.monotonic() - start
    assert took < 15, f"told only after {took:.0f} s: {surfaced}"
    assert "policy" in surfaced.lower(), f"not a clear refusal: {surfaced}"
    bench.check_read(bench.replica, topic)


def compacted_topic(bench):
    """For adapters that create a topic with settings and look at them: `create_compacted`."""
    topic, client = bench.topic("compacted"), bench.client
    same(client.create_compacted(bench.source, topic), "compact", "its cleanup.policy")
    try:
        told = client.produce(bench.source, topic, [Sent(None, b"no key")])
    except Exception as error:
        assert "INVALID_RECORD" in str(error), f"not a clear refusal: {error}"
    else:
        raise AssertionError(f"a record without a key was accepted at {told}")
    last = {}
    for i in range(60):
        # One batch each, so that whole batches are superseded.
        key, value = b"key %d" % (i % 4), b"value %d" % i
        last[key] = (i, value)
        client.produce(bench.source, topic, [Sent(key, value)])
    client.produce(bench.source, topic, [Sent(b"end", b"end")])

    def newest(broker):
        found = client.read(broker, topic, 0, 61)
        same([r.offset for r in found], sorted({r.offset for r in found}), "offsets rise")
        seen = {r.key: (r.offset, r.value) for r in found}
        same({key: seen.get(key) for key in last}, last, "the newest of each key")
        return len(found)

    # Each look reads until nothing comes for a while.
    client.read_patience_s = 2
    until(lambda: newest(bench.source) < 15, "old records go", 60)
    same(client.watermarks(bench.source, topic, 0), (0, 61), "the offsets stay")
    until(lambda: newest(bench.replica) >= 5, "the replica has the newest")


def scenarios(adapter):
    """The list in order: later ones look at what earlier ones wrote."""
    listed = [(f"produce and consume, {codec}", codec_scenario(codec)) for codec in adapter.codecs]
    return listed + [
        ("idempotent producer", idempotent),
        ("acks=1", leader_ack),
        ("a message of 900 kB", large_message),
        ("list topics", list_topics),
        ("create and delete a topic", create_and_delete),
        ("a group of two", group_of_two),
        ("the group restarts and goes on", group_goes_on),
        ("offsets for times", offsets_for_times),
        ("the replica reads the same", replica_reads_the_same),
        ("committed offsets reach the replica", replica_has_the_cursors),
        ("the group goes on at the replica", group_goes_on_at_the_replica),
        ("the replica refuses a producer", replica_refuses_a_producer),
    ] + ([("a compacted topic", compacted_topic)] if hasattr(adapter, "create_compacted") else [])


def main(adapter, listed=None):
    """Runs all scenarios or those listed, prints a line for each, exits 0 when all held."""
    faulthandler.dump_traceback_later(RUN_S_MAX, exit=True)
    bench, failed = Bench(adapter), 0
    wanted = sys.argv[1:]
    for name, run in listed or scenarios(adapter):
        if wanted and not any(word in name for word in wanted):
            continue
        start = time.monotonic()
        try:
            run(bench)
        except Exception as error:
            failed += 1
            print(f"FAIL  {adapter.name}: {name}: {type(error).__name__}: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
        else:
            print(f"ok    {adapter.name}: {name} ({time.monotonic() - start:.1f} s)", flush=True)
    # Client threads that do not end must not keep the run from ending.
    sys.stdout.flush()
    os._exit(1 if failed else 0)
