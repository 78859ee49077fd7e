"""Transactions by stock clients: librdkafka, aiokafka, kafka-python and kafkajs write, librdkafka
and kafka-python read.

What is open, committed or aborted at the source must look the same at the replica.
"""

import asyncio
import os
import pathlib
import subprocess
import time
import uuid

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as PythonPartition
from kafka.structs import OffsetAndMetadata as PythonOffset

import scenarios
from confluent_kafka_client import ConfluentKafka
from scenarios import same, until

PARTITIONS = 2
TIMEOUT_S = 20.0


class Transactions(ConfluentKafka):
    name = "transactions"


def producer(bench, name, **settings):
    """A transactional producer that has begun."""
    made = Producer({
        "bootstrap.servers": bench.source,
        "transactional.id": f"{bench.prefix}-{name}",
        **settings,
    })
    made.init_transactions(TIMEOUT_S)
    return made


def make(bench, name):
    topic = bench.topic(name)
    bench.client.create_topic(bench.source, topic, PARTITIONS)
    return topic


def send(writer, topic, words):
    """Puts each word into both partitions, and waits until it is there."""
    for word in words:
        for partition in range(PARTITIONS):
            writer.produce(topic, value=word.encode(), partition=partition)
    same(writer.flush(TIMEOUT_S), 0, "records that were not delivered")


def read(broker, topic, isolation="read_committed"):
    """What a reader sees of both partitions before their ends; the same in each."""
    reader = Consumer({
        "bootstrap.servers": broker,
        "group.id": f"once-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": isolation,
    })
    found, ended = {partition: [] for partition in range(PARTITIONS)}, set()
    try:
        reader.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in found])
        deadline = time.monotonic() + TIMEOUT_S
        while len(ended) < PARTITIONS and time.monotonic() < deadline:
            for message in reader.consume(100, 0.2):
                if message.error() is None:
                    found[message.partition()].append(message.value().decode())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise KafkaException(message.error())
    finally:
        reader.close()
    same(len(ended), PARTITIONS, "partitions that were read to the end")
    same(found[0], found[1], "the two partitions")
    return found[0]


def check(bench, topic, committed, everything):
    """Both clusters show this to both kinds of readers."""
    for broker in (bench.source, bench.replica):

        def shown():
            same(read(broker, topic, "read_uncommitted"), everything, f"records at {broker}")
            same(read(broker, topic), committed, f"committed records at {broker}")
            return True

        until(shown, topic)


def end_of_stable(broker, topic):
    """The end that a reader of committed records is told."""
    reader = Consumer({
        "bootstrap.servers": broker, "group.id": "ends", "isolation.level": "read_committed",
    })
    try:
        return reader.get_watermark_offsets(TopicPartition(topic, 0), TIMEOUT_S)[1]
    finally:
        reader.close()


def commit(bench):
    topic, writer = make(bench, "committed"), producer(bench, "commit")
    writer.begin_transaction()
    send(writer, topic, ["one", "two"])
    same(end_of_stable(bench.source, topic), 0, "the stable end while it is open")
    check(bench, topic, [], ["one", "two"])
    writer.commit_transaction(TIMEOUT_S)
    check(bench, topic, ["one", "two"], ["one", "two"])
    writer.begin_transaction()
    send(writer, topic, ["three"])
    writer.commit_transaction(TIMEOUT_S)
    check(bench, topic, ["one", "two", "three"], ["one", "two", "three"])


def abort(bench):
    topic, writer = make(bench, "aborted"), producer(bench, "abort")
    for word, end in [
        ("kept", writer.commit_transaction),
        ("dropped", writer.abort_transaction),
        ("kept too", writer.commit_transaction),
        ("dropped too", writer.abort_transaction),
    ]:
        writer.begin_transaction()
        send(writer, topic, [word, word])
        end(TIMEOUT_S)
    everything = [word for word in ("kept", "dropped", "kept too", "dropped too") for _ in "ab"]
    check(bench, topic, ["kept"] * 2 + ["kept too"] * 2, everything)


def open_one_holds_readers(bench):
    topic = make(bench, "held")
    first, second = producer(bench, "held-1"), producer(bench, "held-2")
    first.begin_transaction()
    send(first, topic, ["open"])
    second.begin_transaction()
    send(second, topic, ["ended"])
    second.commit_transaction(TIMEOUT_S)
    check(bench, topic, [], ["open", "ended"])
    first.abort_transaction(TIMEOUT_S)
    check(bench, topic, ["ended"], ["open", "ended"])


def offsets_move_with_the_commit(bench):
    source, target = make(bench, "in"), make(bench, "out")
    group = f"{bench.prefix}-movers"
    plain = Producer({"bootstrap.servers": bench.source})
    send(plain, source, ["a", "b", "c"])
    writer = producer(bench, "mover")
    reader = Consumer({
        "bootstrap.servers": bench.source,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    })
    reader.subscribe([source])
    try:
        found = []
        until(lambda: found.extend(reader.consume(10, 0.2)) or len(found) >= 6, "records to move")
        places = reader.position(reader.assignment())

        def move(words):
            writer.begin_transaction()
            send(writer, target, words)
            writer.send_offsets_to_transaction(places, reader.consumer_group_metadata(), TIMEOUT_S)

        def committed(broker=bench.source):
            return bench.client.committed(broker, group, source, range(PARTITIONS))

        move(["lost"])
        writer.abort_transaction(TIMEOUT_S)
        same(committed(), {}, "offsets after an abort")
        move(["a", "b", "c"])
        writer.commit_transaction(TIMEOUT_S)
        same(committed(), {0: 3, 1: 3}, "offsets after the commit")
        check(bench, target, ["a", "b", "c"], ["lost", "a", "b", "c"])
        until(lambda: committed(bench.replica) == {0: 3, 1: 3}, "offsets at the replica")
    finally:
        reader.close()


def refusal(call, *codes):
    """The error of a call that must fail."""
    try:
        call()
    except KafkaException as error:
        told = error.args[0]
        assert told.code() in codes, f"an error of another kind: {told!r}"
        return told
    raise AssertionError("it was accepted")


def zombie_is_fenced(bench):
    topic = make(bench, "fenced")
    zombie = producer(bench, "twin")
    zombie.begin_transaction()
    send(zombie, topic, ["of the zombie"])
    heir = producer(bench, "twin")
    told = refusal(lambda: zombie.commit_transaction(TIMEOUT_S), KafkaError._FENCED)
    assert told.fatal(), f"the zombie may think that it can go on: {told!r}"
    heir.begin_transaction()
    send(heir, topic, ["of the heir"])
    heir.commit_transaction(TIMEOUT_S)
    check(bench, topic, ["of the heir"], ["of the zombie", "of the heir"])


def time_out_aborts(bench):
    topic = make(bench, "late")
    late = producer(bench, "late", **{"transaction.timeout.ms": 3000})
    late.begin_transaction()
    send(late, topic, ["late"])
    check(bench, topic, [], ["late"])
    until(lambda: end_of_stable(bench.source, topic) == 2, "the marker of the abort")
    told = refusal(lambda: late.commit_transaction(TIMEOUT_S), KafkaError._FENCED)
    assert told.fatal(), f"the commit may be tried again: {told!r}"
    heir = producer(bench, "late")
    heir.begin_transaction()
    send(heir, topic, ["in time"])
    heir.commit_transaction(TIMEOUT_S)
    check(bench, topic, ["in time"], ["late", "in time"])


def too_long_a_time_out_is_refused(bench):
    refusal(
        lambda: producer(bench, "patient", **{"transaction.timeout.ms": 3_600_000}),
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
    )


def aiokafka_writes(bench):
    """Its versions name no member of the group whose offsets it commits."""
    topic, group = make(bench, "aio"), f"{bench.prefix}-aio"
    member = bench.client.member(bench.source, group, topic)
    until(lambda: member.poll(0.2) is None or member.assigned(), "a member that is at work")

    async def write():
        writer = AIOKafkaProducer(
            bootstrap_servers=bench.source, transactional_id=f"{bench.prefix}-aio"
        )
        await writer.start()
        try:
            for word, keep in [("dropped", False), ("kept", True)]:
                await writer.begin_transaction()
                for partition in range(PARTITIONS):
                    await writer.send_and_wait(topic, word.encode(), partition=partition)
                place = {AioPartition(topic, 0): OffsetAndMetadata(7 if keep else 5, "")}
                await writer.send_offsets_to_transaction(place, group)
                await (writer.commit_transaction() if keep else writer.abort_transaction())
        finally:
            await writer.stop()

    try:
        asyncio.run(write())
        check(bench, topic, ["kept"], ["dropped", "kept"])
        found = bench.client.committed(bench.source, group, topic, range(PARTITIONS))
        same(found, {0: 7}, "offsets after the commit")
    finally:
        member.close()


def read_by_kafka_python(broker, topic, isolation):
    """The same as `read`."""
    reader = KafkaConsumer(
        bootstrap_servers=broker,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation,
    )
    found = {PythonPartition(topic, n): [] for n in range(PARTITIONS)}
    try:
        reader.assign(list(found))
        ends = reader.end_offsets(list(found))

        def is_read():
            for place, records in reader.poll(200).items():
                found[place].extend(record.value.decode() for record in records)
            return all(reader.position(place) >= ends[place] for place in found)

        until(is_read, f"{topic} is read to its end", TIMEOUT_S)
    finally:
        reader.close()
    first, second = found.values()
    same(first, second, "the two partitions")
    return first


def kafka_python_writes_and_reads(bench):
    """It names the member of the group whose offsets it commits."""
    source, target = make(bench, "python-in"), make(bench, "python-out")
    group = f"{bench.prefix}-python"
    send(Producer({"bootstrap.servers": bench.source}), source, ["a", "b", "c"])
    reader = KafkaConsumer(
        source,
        bootstrap_servers=bench.source,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    writer = KafkaProducer(
        bootstrap_servers=bench.source, transactional_id=f"{bench.prefix}-python"
    )
    try:
        writer.init_transactions()
        found = []

        def has_come():
            found.extend(record for records in reader.poll(200).values() for record in records)
            return len(found) >= 3 * PARTITIONS

        until(has_come, "records to move")
        places = {
            place: PythonOffset(reader.position(place), "", -1) for place in reader.assignment()
        }
        same(len(places), PARTITIONS, "partitions of the only member")
        for word, keep in [("dropped", False), ("kept", True)]:
            writer.begin_transaction()
            sent = [writer.send(target, word.encode(), partition=n) for n in range(PARTITIONS)]
            for future in sent:
                future.get(TIMEOUT_S)
            writer.send_offsets_to_transaction(places, reader.group_metadata())
            if keep:
                writer.commit_transaction()
            else:
                writer.abort_transaction()
            committed = bench.client.committed(bench.source, group, source, range(PARTITIONS))
            same(committed, {0: 3, 1: 3} if keep else {}, f"offsets after {word!r}")
    finally:
        writer.close(timeout=5)
        reader.close()
    check(bench, target, ["kept"], ["dropped", "kept"])
    for broker in (bench.source, bench.replica):
        for isolation, words in [
            ("read_committed", ["kept"]), ("read_uncommitted", ["dropped", "kept"]),
        ]:
            same(read_by_kafka_python(broker, target, isolation), words, f"{isolation} at {broker}")


def kafkajs_writes(bench):
    """Its versions are the oldest, and name no member of the group."""
    topic, group = make(bench, "js"), f"{bench.prefix}-js"
    script = pathlib.Path(__file__).with_name("kafkajs_transactions.mjs")
    words = ["node", str(script), bench.source, f"{bench.prefix}-js", topic, group]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"kafkajs: {done.stdout}{done.stderr}"
    check(bench, topic, ["kept"], ["dropped", "kept"])
    found = bench.client.committed(bench.source, group, topic, range(PARTITIONS))
    same(found, {0: 7}, "offsets after the commit")


def replica_refuses_a_transaction(bench):
    topic = bench.topic("committed")
    writer = Producer({
        "bootstrap.servers": bench.replica, "transactional.id": f"{bench.prefix}-intruder",
        "message.timeout.ms": 8000, "transaction.timeout.ms": 10_000,
    })
    writer.init_transactions(TIMEOUT_S)
    writer.begin_transaction()
    errors = []
    writer.produce(topic, b"intruder", partition=0, on_delivery=lambda e, _: errors.append(e))
    writer.flush(TIMEOUT_S)
    assert errors and errors[0] is not None, "it was accepted"
    assert errors[0].code() != KafkaError._MSG_TIMED_OUT, "it was not told, but ran out of time"
    check(bench, topic, ["one", "two", "three"], ["one", "two", "three"])


def mainstem(*words):
    """Runs a command of the binary under test."""
    done = subprocess.run([os.environ["MAINSTEM_BIN"], *words], capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def is_refused(broker, topic):
    """Whether a producer without transactions is refused for good."""
    errors = []
    writer = Producer({"bootstrap.servers": broker, "message.timeout.ms": 5000})
    writer.produce(topic, b"probe", partition=0, on_delivery=lambda e, _: errors.append(e))
    writer.flush(TIMEOUT_S)
    return errors[0] is not None and errors[0].code() == KafkaError.POLICY_VIOLATION


def promotion_ends_what_is_open(bench):
    path = os.environ["MAINSTEM_STREAM"] + "-promoted"
    source, replica = f"/mapr/source{path}", f"/mapr/replica{path}"
    everybody = ["-produceperm", "p", "-consumeperm", "p", "-topicperm", "p"]
    mainstem("stream", "create", "-path", source, *everybody)
    mainstem("stream", "replica", "autosetup", "-path", source, "-replica", replica)
    topic = path.strip("/").replace("/", ".") + ".t"
    bench.client.create_topic(bench.source, topic, PARTITIONS)
    writer = producer(bench, "promoted")
    writer.begin_transaction()
    send(writer, topic, ["kept"])
    writer.commit_transaction(TIMEOUT_S)
    writer.begin_transaction()
    send(writer, topic, ["open"])
    check(bench, topic, ["kept"], ["kept", "open"])
    mainstem("stream", "replica", "failover", "-path", replica)
    until(lambda: end_of_stable(bench.replica, topic) == 4, "the marker of the abort")
    same(read(bench.replica, topic), ["kept"], "committed records after the promotion")
    until(lambda: is_refused(bench.source, topic), "the old master has heard of the new one")
    told = refusal(lambda: writer.commit_transaction(TIMEOUT_S), KafkaError._FENCED)
    assert told.fatal(), f"the commit may be tried again: {told!r}"
    heir = Producer({
        "bootstrap.servers": bench.replica, "transactional.id": f"{bench.prefix}-promoted",
    })
    heir.init_transactions(TIMEOUT_S)
    heir.begin_transaction()
    send(heir, topic, ["of the new owner"])
    heir.commit_transaction(TIMEOUT_S)
    same(read(bench.replica, topic), ["kept", "of the new owner"], "what is committed there")


SCENARIOS = [
    ("commit", commit),
    ("abort", abort),
    ("an open transaction holds readers", open_one_holds_readers),
    ("offsets move with the commit", offsets_move_with_the_commit),
    ("a zombie is fenced", zombie_is_fenced),
    ("a time-out aborts", time_out_aborts),
    ("too long a time-out is refused", too_long_a_time_out_is_refused),
    ("aiokafka writes", aiokafka_writes),
    ("kafka-python writes and reads", kafka_python_writes_and_reads),
    ("kafkajs writes", kafkajs_writes),
    ("the replica refuses a transaction", replica_refuses_a_transaction),
    ("a promotion ends what is open", promotion_ends_what_is_open),
]

if __name__ == "__main__":
    scenarios.main(Transactions(), SCENARIOS)
