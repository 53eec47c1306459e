# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads one topic into the books, in a thread of its own, until it is told to stop.

    poll -> read each record (or make a dead letter of it) -> apply as one transaction -> tell the log, now and then

Owns the loop and what happens when somebody else was first or a part is away. Knows neither protobuf nor SQL.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from dragoman_common.clock import Clock
from dragoman_common.errors import InvalidArgumentError, UnavailableError
from dragoman_events.ports import Consumer, EventLog, OffsetOutOfRangeError, Record
from dragoman_events.topics import DEAD_LETTERS
from dragoman_monitor.dead_letter import DeadLetter, cut
from dragoman_monitor.join import Batch
from dragoman_monitor.ports import FencedError, MonitorStore, Send
from dragoman_monitor.prediction import MAX_NAME_BYTES, Label, Prediction

logger = logging.getLogger(__name__)

GROUP: Final = "monitor"

Read = Callable[[Record], Prediction | Label]
"""Raises InvalidArgumentError where a record is poison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    """How a topic is read."""

    max_records: int = 2_000
    """Most records per transaction: more cost less each and are seen later."""
    poll_timeout_s: float = 0.5
    """Longest wait for a record; also how long a stop may take."""
    commit_interval_s: float = 5.0
    """How often the log is told how far the books are. For onlookers: the offset in the books is the truth."""
    retry_delay_s: float = 1.0
    """How long to wait when the log or the books are away."""


class TopicReader:
    """One topic's reader. ``run`` belongs to one thread.

    Args:
        topic: what is read.
        read: turns a record into a noun of the monitor.
        log: where the topic is.
        store: the books.
        send: appends dead letters to their topic, once each.
        clock: for the time of a rejection and the commit interval.
        settings: sizes and waits.
    """

    def __init__(
        self,
        topic: str,
        read: Read,
        *,
        log: EventLog,
        store: MonitorStore,
        send: Send,
        clock: Clock,
        settings: ConsumerSettings = ConsumerSettings(),
    ) -> None:
        self._topic = topic
        self._read = read
        self._log = log
        self._store = store
        self._send = send
        self._clock = clock
        self._settings = settings
        self._next: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._commit_due_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Read until ``stop`` is set. Outages are waited out; anything else that goes wrong is raised."""
        while not stop.is_set():
            try:
                self._run(stop)
            except UnavailableError:
                logger.warning("cannot read events now", extra={"topic": self._topic}, exc_info=True)
                stop.wait(self._settings.retry_delay_s)

    def _run(self, stop: threading.Event) -> None:
        consumer = self._log.consumer(self._topic, GROUP)
        try:
            self._go_to_truth(consumer, self._log.end_offsets(self._topic))
            # Letters of a run that died before it could send them.
            self._store.send_dead_letters(self._send)
            while not stop.is_set():
                self.step(consumer)
            consumer.commit(self._next)
        finally:
            consumer.close()

    def step(self, consumer: Consumer) -> None:
        """Poll once and apply what came.

        Raises:
            UnavailableError: the log or the books are away; open a new consumer.
        """
        try:
            records = consumer.poll(self._settings.max_records, self._settings.poll_timeout_s)
        except OffsetOutOfRangeError as error:
            self._pass_gap(consumer, error)
            return
        for partition, of_partition in groupby(sorted(records, key=_place), lambda record: record.partition):
            self._apply(consumer, partition, list(of_partition))
        now_s = self._clock.monotonic_s()
        if self._next != self._told and now_s >= self._commit_due_s:
            # Also when nothing came: the log keeps events until they are committed.
            consumer.commit(self._next)
            self._told = dict(self._next)
            self._commit_due_s = now_s + self._settings.commit_interval_s

    def _apply(self, consumer: Consumer, partition: int, records: Sequence[Record]) -> None:
        if partition not in self._next:
            # Handed over by the group just now. What the log thinks is committed is not where the books are.
            self._go_to_truth(consumer, [partition])
            return
        expected = self._next[partition]
        fresh = [record for record in records if record.offset >= expected]
        if not fresh:
            return
        batch = self._batch(partition, expected, fresh)
        try:
            self._store.apply(batch)
        except FencedError:
            logger.info("another monitor was first", extra={"topic": self._topic, "partition": partition})
            self._go_to_truth(consumer, [partition])
            return
        self._next[partition] = batch.following
        if batch.dead_letters:
            self._store.send_dead_letters(self._send)

    def _pass_gap(self, consumer: Consumer, error: OffsetOutOfRangeError) -> None:
        """Go on from the oldest event that is left, and count those that are not."""
        partition = error.partition
        self._go_to_truth(consumer, [partition])
        expected = self._next[partition]
        if error.oldest <= expected <= error.end:
            # Only this consumer's position was out of range, not the books.
            return
        num_lost = max(0, error.oldest - expected)
        try:
            self._store.apply(
                Batch(
                    topic=self._topic,
                    partition=partition,
                    expected=expected,
                    following=error.oldest,
                    num_lost=num_lost,
                )
            )
        except FencedError:
            self._go_to_truth(consumer, [partition])
            return
        logger.error("%s", error.message, extra={"topic": self._topic, "partition": partition, "lost": num_lost})
        consumer.seek({partition: error.oldest})
        self._next[partition] = error.oldest

    def _go_to_truth(self, consumer: Consumer, partitions: Sequence[int] | Mapping[int, int]) -> None:
        truth = self._store.offsets(self._topic)
        offsets = {partition: truth.get(partition, 0) for partition in partitions}
        consumer.seek(offsets)
        self._next |= offsets

    def _batch(self, partition: int, expected: int, records: Sequence[Record]) -> Batch:
        predictions: list[Prediction] = []
        labels: list[Label] = []
        rejected: list[tuple[Record, str]] = []
        for record in records:
            try:
                noun = self._read(record)
            except InvalidArgumentError as error:
                rejected.append((record, error.message))
            else:
                if isinstance(noun, Prediction):
                    predictions.append(noun)
                else:
                    labels.append(noun)
        return Batch(
            topic=self._topic,
            partition=partition,
            expected=expected,
            following=records[-1].offset + 1,
            predictions=predictions,
            labels=labels,
            dead_letters=self._dead_letters(rejected),
        )

    def _dead_letters(self, rejected: Sequence[tuple[Record, str]]) -> list[DeadLetter]:
        if not rejected:
            return []
        search_from = self._log.end_offsets(DEAD_LETTERS)
        reject_time_us = int(self._clock.now().timestamp() * 1_000_000)
        letters = []
        for record, reason in rejected:
            value = cut(record.value)
            suffix = f" Of {len(record.value)} bytes the first {len(value)} are kept." * (value != record.value)
            letters.append(
                DeadLetter(
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    reason=reason + suffix,
                    value=value,
                    headers={name: cut(header) for name, header in record.headers.items()},
                    tenant=_tenant(record),
                    reject_time_us=reject_time_us,
                    search_from=search_from,
                )
            )
            logger.warning(
                "dead letter",
                extra={"topic": record.topic, "partition": record.partition, "offset": record.offset, "reason": reason},
            )
        return letters


def _place(record: Record) -> tuple[int, int]:
    return record.partition, record.offset


def _tenant(record: Record) -> str:
    """Whose letter it is, as far as the envelope can be read."""
    raw = record.headers.get("ce_tenant", b"")
    text = raw.decode(errors="replace")
    return text if len(raw) <= MAX_NAME_BYTES and "\ufffd" not in text and "\0" not in text else ""
