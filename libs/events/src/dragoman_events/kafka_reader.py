# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads stretches of Kafka's partitions without a group: for looking, recomputing, following.

read(topic, partition, offset, n) -> where the partition begins and ends -> fetch from there -> up to n, or the end
"""

import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from dragoman_common.errors import UnavailableError
from dragoman_events.kafka_client import allowed_s, error_of, held, opening, translated
from dragoman_events.kafka_record import record_of
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.ports import Record


class KafkaReader:
    """One reader for all threads of a process; one at a time.

    Args:
        config: the properties of a client.
        settings: how long a read may wait.
    """

    def __init__(self, config: dict[str, Any], settings: KafkaSettings) -> None:
        self._settings = settings
        self._config = config | {
            # Asked for by the library, never joined: partitions are assigned by hand and nothing is committed.
            "group.id": f"{settings.kafka_prefix}dragoman-reader",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
            # Reads are short: what is fetched ahead of them is thrown away.
            "queued.min.messages": 1,
            "queued.max.messages.kbytes": 4096,
            # The default is a second of waiting after each of them.
            "fetch.queue.backoff.ms": 1,
        }
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None

    def read(self, topic: str, name: str, partition: int, offset: int, max_records: int) -> list[Record]:
        """As ``EventLog.read``; `name` is what Kafka calls the topic, which must exist.

        Raises:
            UnavailableError: Kafka is away, or did not send all in time.
        """
        doing = f"reading {topic}/{partition}"
        ends_s = time.monotonic() + allowed_s(self._settings.kafka_request_timeout_ms)
        with held(self._lock, self._settings.kafka_request_timeout_ms, doing), translated(doing):
            if self._consumer is None:
                with opening():
                    self._consumer = Consumer(self._config)
            consumer = self._consumer
            oldest, end = consumer.get_watermark_offsets(
                TopicPartition(name, partition), timeout=max(0.1, ends_s - time.monotonic())
            )
            start = max(oldest, offset)
            if start >= end or max_records < 1:
                return []
            consumer.assign([TopicPartition(name, partition, start)])
            try:
                return _fetch(consumer, topic, end=end, max_records=max_records, ends_s=ends_s)
            finally:
                consumer.unassign()

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _fetch(consumer: Consumer, topic: str, *, end: int, max_records: int, ends_s: float) -> list[Record]:
    records: list[Record] = []
    while len(records) < max_records and (not records or records[-1].offset < end - 1):
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise UnavailableError(f"Kafka did not send all in time, reading {topic}.")
        message = consumer.poll(left_s)
        if message is None:
            continue
        error = message.error()
        if error is None:
            records.append(record_of(topic, message))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  public
            # The last offsets hold no messages (marks of a foreign transaction).
            break
        else:
            raise error_of(error, f"reading {topic}")
    return records
