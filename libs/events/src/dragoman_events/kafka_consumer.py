# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a topic of Kafka in a group.

    poll -> what the group hands over or takes away -> records; moves the positions of their partitions
            a partition whose position Kafka does not have: OffsetOutOfRangeError, until somebody seeks

Owns where each partition starts: at what `seek` said, else at what the group committed, else at the oldest message.
Commits nothing by itself. While Kafka is away a poll returns nothing, and goes on by itself when it is back.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from dragoman_common import deadline
from dragoman_events.kafka_client import REFUSALS, allowed_s, error_of, opening, translated
from dragoman_events.kafka_record import record_of
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.kafka_topics import KafkaTopics
from dragoman_events.ports import OffsetOutOfRangeError, Record

logger = logging.getLogger(__name__)

# The group went on without us: whoever has the partitions now says how far they are.
_NO_LONGER_OURS: Final = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID}
)
_STATE: Final = frozenset({KafkaError._STATE, KafkaError._PREV_IN_PROGRESS})  # noqa: SLF001  public

_WARN_INTERVAL_S: Final = 30.0
"""How often an outage is mentioned: the library tells of it at every attempt to connect."""


def consumer_config(config: dict[str, Any], settings: KafkaSettings, group: str) -> dict[str, Any]:
    """The properties of a consumer: it decides itself what is done with, and where to start."""
    return config | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Never pass over a gap in silence.
        "auto.offset.reset": "error",
        "session.timeout.ms": settings.kafka_session_timeout_ms,
        "heartbeat.interval.ms": max(100, settings.kafka_session_timeout_ms // 5),
        # Bounds what a slow reader holds in memory.
        "queued.max.messages.kbytes": 16 * 1024,
        # How long fetching rests at that bound; the default is a second.
        "fetch.queue.backoff.ms": 20,
    }


class KafkaConsumer:
    """A ``Consumer`` (ports.py).

    Args:
        config: the properties of a consumer.
        settings: how long to wait for answers.
        topics: for names and numbers.
        topic: what is read, under our name.
    """

    def __init__(self, config: dict[str, Any], settings: KafkaSettings, topics: KafkaTopics, topic: str) -> None:
        self._settings = settings
        self._topics = topics
        self._topic = topic
        self._name = topics.name(topic)
        self._assigned: set[int] = set()
        self._positions: dict[int, int] = {}
        self._seeks: dict[int, int] = {}
        self._unplaced: set[int] = set()
        self._refusal: KafkaError | None = None
        self._warn_due_s = 0.0
        self._is_closed = False
        with opening():
            self._consumer = Consumer(config | {"error_cb": self._note_error})
        self._consumer.subscribe(
            [self._name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, max_records: int, timeout_s: float = 0.0) -> list[Record]:
        ends_s = time.monotonic() + timeout_s
        while True:
            for partition in sorted(self._unplaced):
                self._place(partition)
            with translated(f"polling {self._topic}"):
                first = self._consumer.poll(max(0.0, ends_s - time.monotonic()))
                more = self._consumer.consume(max_records - 1, 0) if first is not None and max_records > 1 else []
            records = self._records([*([] if first is None else [first]), *more])
            if records:
                self._refusal = None
                return records
            if not self._unplaced and time.monotonic() >= ends_s:
                if self._refusal is not None:
                    refusal, self._refusal = self._refusal, None
                    raise error_of(refusal, f"polling {self._topic}")
                return []

    def seek(self, offsets: Mapping[int, int]) -> None:
        for partition, offset in offsets.items():
            if partition in self._assigned:
                self._start(partition, offset)
            else:
                self._seeks[partition] = offset

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        wanted = self._positions if offsets is None else offsets
        places = [
            TopicPartition(self._name, partition, offset)
            for partition, offset in wanted.items()
            if partition in self._assigned
        ]
        if not places:
            return
        doing = f"committing on {self._topic}"
        with translated(doing):
            try:
                answers = self._consumer.commit(offsets=places, asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() not in _NO_LONGER_OURS:
                    raise
                logger.info("the group has gone on without this consumer", extra={"topic": self._topic})
                return
        for answer in answers or ():
            if answer.error is not None and answer.error.code() not in _NO_LONGER_OURS:
                raise error_of(answer.error, doing)

    def committed(self) -> dict[int, int]:
        with deadline.within(self._settings.kafka_request_timeout_ms / 1000):
            return self._committed()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._consumer.close()

    def _committed(self) -> dict[int, int]:
        count = self._topics.num_partitions(self._topic) or 0
        places = [TopicPartition(self._name, partition) for partition in range(count)]
        if not places:
            return {}
        doing = f"asking what is committed on {self._topic}"
        with translated(doing):
            answers = self._consumer.committed(places, timeout=allowed_s(self._settings.kafka_request_timeout_ms))
        for answer in answers:
            if answer.error is not None:
                raise error_of(answer.error, doing)
        return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}

    def _records(self, messages: list[KafkaMessage]) -> list[Record]:
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._note_message_error(message, error)
                continue
            record = record_of(self._topic, message)
            if record.offset < self._positions.get(record.partition, 0):
                # Fetched before a seek moved the position on.
                continue
            self._positions[record.partition] = record.offset + 1
            records.append(record)
        return records

    def _note_message_error(self, message: KafkaMessage, error: KafkaError) -> None:
        code, partition = error.code(), message.partition()
        if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  public
            if partition in self._assigned:
                self._unplaced.add(partition)
        elif code == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001  public
            logger.warning("polled too late: the group takes this consumer for dead", extra={"topic": self._topic})
        else:
            raise error_of(error, f"polling {self._topic}")

    def _place(self, partition: int) -> None:
        """Start a partition whose position Kafka does not have: nothing was committed, or what stood there is gone."""
        timeout_s = allowed_s(self._settings.kafka_request_timeout_ms)
        with translated(f"looking for the ends of {self._topic}"):
            oldest, end = self._consumer.get_watermark_offsets(
                TopicPartition(self._name, partition), timeout=max(0.1, timeout_s)
            )
        position = self._positions.get(partition)
        if position is None:
            position = self.committed().get(partition, oldest)
        if not oldest <= position <= end:
            raise OffsetOutOfRangeError(self._topic, partition, position, oldest=oldest, end=end)
        self._start(partition, position)

    def _start(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset
        with translated(f"seeking on {self._topic}"):
            try:
                self._consumer.seek(TopicPartition(self._name, partition, offset))
            except KafkaException as error:
                if error.args[0].code() not in _STATE:
                    raise
                # Its fetcher stands still after a refused offset: only a new assignment starts it.
                self._consumer.assign(
                    [
                        TopicPartition(self._name, p, self._positions[p])
                        if p in self._positions
                        # What was committed.
                        else TopicPartition(self._name, p)
                        for p in sorted(self._assigned)
                    ]
                )
        self._unplaced.discard(partition)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self._assigned.add(place.partition)
            if place.partition in self._seeks:
                place.offset = self._positions[place.partition] = self._seeks.pop(place.partition)
        logger.info(
            "partitions handed over", extra={"topic": self._topic, "partitions": [p.partition for p in partitions]}
        )
        # Without an offset of ours it starts at what is committed.
        consumer.assign(partitions)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self._assigned.discard(place.partition)
            self._positions.pop(place.partition, None)
            self._unplaced.discard(place.partition)
        logger.info(
            "partitions taken away", extra={"topic": self._topic, "partitions": [p.partition for p in partitions]}
        )

    def _note_error(self, error: KafkaError) -> None:
        if error.code() in REFUSALS:
            self._refusal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() > self._warn_due_s:  # noqa: SLF001  public
            self._warn_due_s = time.monotonic() + _WARN_INTERVAL_S
            logger.warning("no broker answers; reading goes on when one does", extra={"topic": self._topic})
