# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log on Kafka: the cluster's, with partitions, copies and groups that share the work.

    write -> kafka_producer.py -> topic's partitions -> kafka_consumer.py (in a group), kafka_reader.py (without)
                                  ^ kafka_topics.py makes and checks them

Owns nothing but the four together. Needs the extra ``kafka``.
"""

from collections.abc import Sequence

from dragoman_common import deadline
from dragoman_common.errors import DragomanError
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.kafka_client import client_config
from dragoman_events.kafka_consumer import KafkaConsumer, consumer_config
from dragoman_events.kafka_producer import KafkaWriter, producer_config
from dragoman_events.kafka_reader import KafkaReader
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.kafka_topics import KafkaTopics
from dragoman_events.ports import Message, Record
from dragoman_events.topics import TOPICS


class KafkaEventLog:
    """An ``EventLog`` (ports.py). Threads share it. Not to be used across a fork.

    Args:
        brokers: host:port, separated by commas; some of the cluster's.
        settings: everything else.

    Raises:
        InvalidArgumentError: the settings lead to no usable client.
        FailedPreconditionError: a topic of topics.py is missing and may not be made, or is not as it must be. With all
            brokers away this is found out at the topic's first use.
        KafkaRefusesError: credentials or certificates are wrong.
    """

    def __init__(self, brokers: str, settings: KafkaSettings) -> None:
        self._settings = settings
        self._config = client_config(brokers, settings)
        self._topics = KafkaTopics(self._config, settings)
        try:
            self._topics.prepare(TOPICS)
        except DragomanError:
            self._topics.close()
            raise
        self._writer = KafkaWriter(producer_config(self._config, settings), settings)
        self._reader = KafkaReader(self._config, settings)

    def append(self, topic: str, key: bytes, events: Sequence[CloudEvent]) -> list[int]:
        return self.write(topic, [Message.of(key, event) for event in events])

    def write(self, topic: str, messages: Sequence[Message]) -> list[int]:
        if not messages:
            return []
        # One limit for all of it: the first append to a topic looks at the topic, too.
        with deadline.within(self._settings.kafka_delivery_timeout_ms / 1000):
            self._topics.ensure(topic)
            return self._writer.write(self._topics.name(topic), messages)

    def read(self, topic: str, offset: int, max_records: int, *, partition: int = 0) -> list[Record]:
        with deadline.within(self._settings.kafka_request_timeout_ms / 1000):
            if partition >= (self._topics.num_partitions(topic) or 0):
                return []
            return self._reader.read(topic, self._topics.name(topic), partition, offset, max_records)

    def end_offsets(self, topic: str) -> dict[int, int]:
        with deadline.within(self._settings.kafka_request_timeout_ms / 1000):
            return self._topics.ends(topic) or {0: 0}

    def consumer(self, topic: str, group: str) -> KafkaConsumer:
        self._topics.ensure(topic)
        config = consumer_config(self._config, self._settings, self._topics.name(group))
        return KafkaConsumer(config, self._settings, self._topics, topic)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._topics.close()
