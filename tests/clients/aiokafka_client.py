"""The scenarios by aiokafka, whose event loop runs in a thread of its own."""

import asyncio
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import scenarios
from scenarios import Read


class Loop:
    """Runs coroutines to their end from ordinary calls."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(90)


LOOP = Loop()


class AioKafka(scenarios.Adapter):
    name = "aiokafka"

    def produce(self, broker, topic, records, codec="none", acks="all", idempotent=False):
        async def run():
            producer = AIOKafkaProducer(
                bootstrap_servers=broker,
                acks="all" if acks == "all" else int(acks),
                compression_type=None if codec == "none" else codec,
                enable_idempotence=idempotent,
                max_request_size=2_000_000,
                request_timeout_ms=20_000,
            )
            await producer.start()
            try:
                sent = [
                    await producer.send(
                        topic,
                        value=record.value,
                        key=record.key,
                        partition=record.partition,
                        timestamp_ms=record.timestamp,
                        headers=list(record.headers),
                    )
                    for record in records
                ]
                done = await asyncio.wait_for(asyncio.gather(*sent), scenarios.DEADLINE_S)
                return [(metadata.partition, metadata.offset) for metadata in done]
            finally:
                await producer.stop()

        return LOOP.run(run())

    def read(self, broker, topic, partition, count):
        async def run(consumer):
            tp = TopicPartition(topic, partition)
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            found, end = [], time.monotonic() + scenarios.DEADLINE_S
            while len(found) < count and time.monotonic() < end:
                polled = await consumer.getmany(timeout_ms=500, max_records=count - len(found))
                found.extend(records_of(polled))
            return found

        return self._with_consumer(broker, None, run)

    def topics(self, broker):
        async def run(consumer):
            return set(await consumer.topics())

        return self._with_consumer(broker, None, run)

    def partitions(self, broker, topic):
        async def run(admin):
            described = await admin.describe_topics([topic])
            return len(described[0]["partitions"])

        return self._with_admin(broker, run)

    def create_topic(self, broker, topic, partitions):
        async def run(admin):
            new = NewTopic(topic, num_partitions=partitions, replication_factor=1)
            answer = await admin.create_topics([new])
            for error in answer.topic_errors:
                assert error[1] == 0, f"create: {error}"

        self._with_admin(broker, run)

    def delete_topic(self, broker, topic):
        async def run(admin):
            answer = await admin.delete_topics([topic])
            for error in answer.topic_error_codes:
                assert error[1] == 0, f"delete: {error}"

        self._with_admin(broker, run)

    def watermarks(self, broker, topic, partition):
        async def run(consumer):
            tp = TopicPartition(topic, partition)
            first, end = await consumer.beginning_offsets([tp]), await consumer.end_offsets([tp])
            return first[tp], end[tp]

        return self._with_consumer(broker, None, run)

    def offset_for_time(self, broker, topic, partition, timestamp):
        async def run(consumer):
            tp = TopicPartition(topic, partition)
            found = (await consumer.offsets_for_times({tp: timestamp}))[tp]
            return None if found is None or found.offset < 0 else found.offset

        return self._with_consumer(broker, None, run)

    def committed(self, broker, group, topic, partitions):
        async def run(consumer):
            asked = [TopicPartition(topic, p) for p in partitions]
            consumer.assign(asked)
            found = {tp.partition: await consumer.committed(tp) for tp in asked}
            return {p: offset for p, offset in found.items() if offset is not None}

        return self._with_consumer(broker, group, run)

    def member(self, broker, group, topic):
        return Member(broker, group, topic)

    @staticmethod
    def _with_consumer(broker, group, use):
        async def run():
            consumer = consumer_of(broker, group)
            await consumer.start()
            try:
                return await use(consumer)
            finally:
                await consumer.stop()

        return LOOP.run(run())

    @staticmethod
    def _with_admin(broker, use):
        async def run():
            admin = AIOKafkaAdminClient(bootstrap_servers=broker)
            await admin.start()
            try:
                return await use(admin)
            finally:
                await admin.close()

        return LOOP.run(run())


class Member(scenarios.Member):
    def __init__(self, broker, group, topic):
        async def start():
            self.consumer = consumer_of(broker, group, topic)
            await self.consumer.start()

        # Joining waits for the other members' next poll, so it goes on in the background.
        self.starting = asyncio.run_coroutine_threadsafe(start(), LOOP.loop)

    def poll(self, timeout_s):
        if not self._started(timeout_s):
            return []
        return records_of(LOOP.run(self.consumer.getmany(timeout_ms=int(timeout_s * 1000))))

    def assigned(self):
        return {tp.partition for tp in self.consumer.assignment()} if self._started(0) else set()

    def commit(self):
        LOOP.run(self.consumer.commit())

    def close(self):
        self.starting.result(scenarios.DEADLINE_S)
        LOOP.run(self.consumer.stop())

    def _started(self, timeout_s):
        try:
            self.starting.result(timeout_s)
            return True
        except TimeoutError:
            return False


def consumer_of(broker, group, *topics):
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=500,
    )


def records_of(polled):
    return [
        Read(r.partition, r.offset, r.key, r.value, tuple(r.headers), r.timestamp)
        for records in polled.values()
        for r in records
    ]


if __name__ == "__main__":
    scenarios.main(AioKafka())
