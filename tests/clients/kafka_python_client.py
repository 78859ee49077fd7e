"""The scenarios by kafka-python."""

import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

import scenarios
from scenarios import Read


class KafkaPython(scenarios.Adapter):
    name = "kafka-python"

    def produce(self, broker, topic, records, codec="none", acks="all", idempotent=False):
        producer = KafkaProducer(
            bootstrap_servers=broker,
            acks="all" if acks == "all" else int(acks),
            compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent,
            max_request_size=2_000_000,
            linger_ms=5,
        )
        try:
            sent = [
                producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
                for record in records
            ]
            done = [future.get(timeout=scenarios.DEADLINE_S) for future in sent]
            return [(metadata.partition, metadata.offset) for metadata in done]
        finally:
            producer.close(timeout=5)

    def read(self, broker, topic, partition, count):
        consumer = self._consumer(broker, None)
        try:
            tp = TopicPartition(topic, partition)
            consumer.assign([tp])
            consumer.seek_to_beginning(tp)
            found, end = [], time.monotonic() + scenarios.DEADLINE_S
            while len(found) < count and time.monotonic() < end:
                found.extend(records_of(consumer.poll(500, max_records=count - len(found))))
            return found
        finally:
            consumer.close()

    def topics(self, broker):
        consumer = self._consumer(broker, None)
        try:
            return set(consumer.topics())
        finally:
            consumer.close()

    def partitions(self, broker, topic):
        consumer = self._consumer(broker, None)
        try:
            return len(consumer.partitions_for_topic(topic))
        finally:
            consumer.close()

    def create_topic(self, broker, topic, partitions):
        admin = KafkaAdminClient(bootstrap_servers=broker)
        try:
            admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)])
        finally:
            admin.close()

    def delete_topic(self, broker, topic):
        admin = KafkaAdminClient(bootstrap_servers=broker)
        try:
            admin.delete_topics([topic])
        finally:
            admin.close()

    def watermarks(self, broker, topic, partition):
        consumer = self._consumer(broker, None)
        try:
            tp = TopicPartition(topic, partition)
            return consumer.beginning_offsets([tp])[tp], consumer.end_offsets([tp])[tp]
        finally:
            consumer.close()

    def offset_for_time(self, broker, topic, partition, timestamp):
        consumer = self._consumer(broker, None)
        try:
            tp = TopicPartition(topic, partition)
            found = consumer.offsets_for_times({tp: timestamp})[tp]
            return None if found is None or found.offset < 0 else found.offset
        finally:
            consumer.close()

    def committed(self, broker, group, topic, partitions):
        consumer = self._consumer(broker, group)
        try:
            found = {p: consumer.committed(TopicPartition(topic, p)) for p in partitions}
            return {p: offset for p, offset in found.items() if offset is not None and offset >= 0}
        finally:
            consumer.close()

    def member(self, broker, group, topic):
        return Member(self._consumer(broker, group), topic)

    @staticmethod
    def _consumer(broker, group):
        return KafkaConsumer(
            bootstrap_servers=broker,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=500,
        )


class Member(scenarios.Member):
    def __init__(self, consumer, topic):
        self.consumer = consumer
        consumer.subscribe([topic])

    def poll(self, timeout_s):
        return records_of(self.consumer.poll(int(timeout_s * 1000)))

    def assigned(self):
        return {tp.partition for tp in self.consumer.assignment()}

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close()


def records_of(polled):
    return [
        Read(r.partition, r.offset, r.key, r.value, tuple(r.headers), r.timestamp)
        for records in polled.values()
        for r in records
    ]


if __name__ == "__main__":
    scenarios.main(KafkaPython())
