"""The scenarios by confluent-kafka (librdkafka)."""

import time
import uuid

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

import scenarios
from scenarios import Read

TIMEOUT_S = 10.0


class ConfluentKafka(scenarios.Adapter):
    name = "confluent-kafka"
    read_patience_s = scenarios.DEADLINE_S

    def produce(self, broker, topic, records, codec="none", acks="all", idempotent=False):
        producer = Producer({
            "bootstrap.servers": broker,
            "acks": acks,
            "compression.type": codec,
            "enable.idempotence": idempotent,
            "message.max.bytes": 2_000_000,
            "message.timeout.ms": 20_000,
        })
        told, errors = [], []

        def delivered(error, message):
            if error is not None:
                errors.append(error)
            else:
                told.append((message.partition(), message.offset()))

        for record in records:
            producer.produce(
                topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                timestamp=record.timestamp,
                headers=list(record.headers),
                on_delivery=delivered,
            )
        left = producer.flush(scenarios.DEADLINE_S)
        if errors:
            raise KafkaException(errors[0])
        assert left == 0, f"{left} records not delivered"
        return told

    def read(self, broker, topic, partition, count):
        consumer = self._consumer(broker, f"once-{uuid.uuid4()}")
        try:
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
            found, end = [], time.monotonic() + self.read_patience_s
            while len(found) < count and time.monotonic() < end:
                found.extend(read_of(m) for m in consumer.consume(count - len(found), 0.5))
            return found
        finally:
            consumer.close()

    def topics(self, broker):
        return set(self._admin(broker).list_topics(timeout=TIMEOUT_S).topics)

    def partitions(self, broker, topic):
        return len(self._admin(broker).list_topics(timeout=TIMEOUT_S).topics[topic].partitions)

    def create_topic(self, broker, topic, partitions):
        admin = self._admin(broker)
        admin.create_topics([NewTopic(topic, num_partitions=partitions)])[topic].result(TIMEOUT_S)

    def create_compacted(self, broker, topic):
        admin = self._admin(broker)
        config = {"cleanup.policy": "compact"}
        new = NewTopic(topic, num_partitions=1, config=config)
        admin.create_topics([new])[topic].result(TIMEOUT_S)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        # Changed and put back, as tools do.
        for value in ["compact,delete", "compact"]:
            step = ConfigEntry("cleanup.policy", value, incremental_operation=AlterConfigOpType.SET)
            changed = ConfigResource(
                ConfigResource.Type.TOPIC, topic, incremental_configs=[step]
            )
            admin.incremental_alter_configs([changed])[changed].result(TIMEOUT_S)
        described = admin.describe_configs([resource])[resource].result(TIMEOUT_S)
        return described["cleanup.policy"].value

    def delete_topic(self, broker, topic):
        # The client must outlive its future.
        admin = self._admin(broker)
        admin.delete_topics([topic])[topic].result(TIMEOUT_S)

    def watermarks(self, broker, topic, partition):
        consumer = self._consumer(broker, f"once-{uuid.uuid4()}")
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)
        finally:
            consumer.close()

    def offset_for_time(self, broker, topic, partition, timestamp):
        consumer = self._consumer(broker, f"once-{uuid.uuid4()}")
        try:
            asked = [TopicPartition(topic, partition, timestamp)]
            found = consumer.offsets_for_times(asked, timeout=TIMEOUT_S)[0]
            if found.error is not None:
                raise KafkaException(found.error)
            return None if found.offset < 0 else found.offset
        finally:
            consumer.close()

    def committed(self, broker, group, topic, partitions):
        consumer = self._consumer(broker, group)
        try:
            asked = [TopicPartition(topic, partition) for partition in partitions]
            found = consumer.committed(asked, timeout=TIMEOUT_S)
            return {tp.partition: tp.offset for tp in found if tp.offset >= 0}
        finally:
            consumer.close()

    def member(self, broker, group, topic):
        return Member(self._consumer(broker, group), topic)

    @staticmethod
    def _admin(broker):
        return AdminClient({"bootstrap.servers": broker})

    @staticmethod
    def _consumer(broker, group):
        return Consumer({
            "bootstrap.servers": broker,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 500,
        })


class Member(scenarios.Member):
    def __init__(self, consumer, topic):
        self.consumer = consumer
        consumer.subscribe([topic])

    def poll(self, timeout_s):
        return [read_of(message) for message in self.consumer.consume(500, timeout_s)]

    def assigned(self):
        return {tp.partition for tp in self.consumer.assignment()}

    def commit(self):
        try:
            committed = self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._NO_OFFSET:
                return
            raise
        for done in committed:
            if done.error is not None:
                raise KafkaException(done.error)

    def close(self):
        self.consumer.close()


def read_of(message):
    if message.error() is not None:
        raise KafkaException(message.error())
    return Read(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
        message.timestamp()[1],
    )


if __name__ == "__main__":
    scenarios.main(ConfluentKafka())
