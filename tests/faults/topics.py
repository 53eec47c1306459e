# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The topics as anybody sees them who has a Kafka client: confluent-kafka alone. Our log's code only makes them.

`Topics(broker, prefix)` reads all of a topic, says how far its partitions go, and writes what it is given.
"""

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.opening import open_log
from dragoman_events.ports import Message, Record
from dragoman_events.topics import LAYOUTS

LIMIT_S = 120


class Topics:
    """One platform's topics, by our names."""

    def __init__(self, broker, prefix):
        self._settings = broker.client_settings() | {"log_level": 0, "reconnect.backoff.max.ms": 100}
        self._prefix = prefix

    def ends(self, topic):
        """Per partition the offset behind the last message."""
        consumer = self._consumer()
        try:
            return self._ends(consumer, topic)
        finally:
            consumer.close()

    def read(self, topic):
        """Everything that is in the topic now, each partition in its order."""
        consumer = self._consumer()
        try:
            ends = self._ends(consumer, topic)
            left = {partition for partition, end in ends.items() if end}
            consumer.assign([TopicPartition(self._prefix + topic, partition, 0) for partition in left])
            records, give_up_s = [], time.monotonic() + LIMIT_S
            while left:
                assert time.monotonic() < give_up_s, f"{topic} cannot be read to its end"
                for message in consumer.consume(1_000, 1.0):
                    assert message.error() is None, message.error()
                    records.append(record_of(topic, message))
                    if message.offset() + 1 >= ends[message.partition()]:
                        left.discard(message.partition())
            return sorted(records, key=lambda record: (record.partition, record.offset))
        finally:
            consumer.close()

    def write(self, topic, messages: Iterable[Message]):
        """Append as they are, in this order; acknowledged on return."""
        failures = []
        settings = {"acks": "all", "partitioner": "murmur2_random", "message.max.bytes": 2_000_000}
        producer = Producer(self._settings | settings)
        for message in messages:
            producer.produce(
                self._prefix + topic,
                key=message.key,
                value=message.value,
                headers=list(message.headers.items()),
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
            producer.poll(0)
        assert producer.flush(LIMIT_S) == 0
        assert not failures, failures[0]

    def _consumer(self):
        return Consumer(
            self._settings
            | {"group.id": "oracle", "enable.auto.commit": False, "auto.offset.reset": "error", "fetch.wait.max.ms": 10}
        )

    def _ends(self, consumer, topic):
        name, ends, give_up_s = self._prefix + topic, {}, time.monotonic() + LIMIT_S
        while len(ends) < LAYOUTS[topic].num_partitions:
            try:
                ends[len(ends)] = consumer.get_watermark_offsets(TopicPartition(name, len(ends)), timeout=10)[1]
            except KafkaException:
                # A broker that has just come back does not lead every partition yet.
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(0.05)
        return ends


def make_topics(broker, prefix):
    """Make a platform's topics, as any of its services does at its start."""
    settings = KafkaSettings(kafka_create_topics=True, kafka_replication=1, kafka_prefix=prefix)
    open_log(f"kafka://{broker.bootstrap}", settings).close()


def record_of(topic, message):
    headers = {name: value or b"" for name, value in message.headers() or ()}
    return Record(
        topic=topic,
        partition=message.partition(),
        offset=message.offset(),
        key=message.key() or b"",
        headers=headers,
        value=message.value() or b"",
    )
