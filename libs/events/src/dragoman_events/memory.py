# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log in memory: the fake for tests, held by the same contract as the real ones. Keeps nothing on disk."""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

from dragoman_events.cloud_event import CloudEvent
from dragoman_events.ports import Message, OffsetOutOfRangeError, Record

PARTITION = 0


class MemoryEventLog:
    """One partition per topic. Several consumers of one group each see everything: there is no rebalancing."""

    def __init__(self) -> None:
        self._topics: dict[str, list[Message]] = defaultdict(list)
        self._starts: defaultdict[str, int] = defaultdict(int)
        self._committed: dict[tuple[str, str], int] = {}
        self._appended = threading.Condition()

    def append(self, topic: str, key: bytes, events: Sequence[CloudEvent]) -> list[int]:
        return self.write(topic, [Message.of(key, event) for event in events])

    def write(self, topic: str, messages: Sequence[Message]) -> list[int]:
        with self._appended:
            first = len(self._topics[topic])
            # Headers are copied: what is in the log cannot be changed from outside.
            self._topics[topic].extend(Message(key=m.key, headers=dict(m.headers), value=m.value) for m in messages)
            self._appended.notify_all()
        return list(range(first, first + len(messages)))

    def read(self, topic: str, offset: int, max_records: int, *, partition: int = PARTITION) -> list[Record]:
        if partition != PARTITION:
            return []
        with self._appended:
            start = max(self._starts[topic], offset)
            messages = self._topics[topic][start : start + max_records]
        return [
            Record(topic=topic, offset=start + i, key=m.key, headers=dict(m.headers), value=m.value)
            for i, m in enumerate(messages)
        ]

    def end_offsets(self, topic: str) -> dict[int, int]:
        with self._appended:
            return {PARTITION: len(self._topics[topic])}

    def consumer(self, topic: str, group: str) -> "MemoryConsumer":
        return MemoryConsumer(self, topic, group)

    def drop_before(self, topic: str, offset: int) -> None:
        """Forget the messages before an offset, whoever has not read them yet."""
        with self._appended:
            self._starts[topic] = max(self._starts[topic], min(offset, len(self._topics[topic])))

    def start_offset(self, topic: str) -> int:
        """The oldest offset that can be read."""
        with self._appended:
            return self._starts[topic]

    def close(self) -> None:
        """Nothing is held."""

    def wait_for(self, topic: str, offset: int, timeout_s: float) -> None:
        """Return once ``offset`` exists, or when the time is over."""
        with self._appended:
            self._appended.wait_for(lambda: len(self._topics[topic]) > offset, timeout_s)

    def committed(self, topic: str, group: str) -> int | None:
        """What a group has committed."""
        with self._appended:
            return self._committed.get((topic, group))

    def set_committed(self, topic: str, group: str, offset: int) -> None:
        """Move a group's committed offset."""
        with self._appended:
            self._committed[topic, group] = offset


class MemoryConsumer:
    """A reader of one topic of a ``MemoryEventLog``."""

    def __init__(self, log: MemoryEventLog, topic: str, group: str) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        committed = log.committed(topic, group)
        self._position = log.start_offset(topic) if committed is None else committed

    def poll(self, max_records: int, timeout_s: float = 0.0) -> list[Record]:
        oldest, end = self._log.start_offset(self._topic), self._log.end_offsets(self._topic)[PARTITION]
        if not oldest <= self._position <= end:
            raise OffsetOutOfRangeError(self._topic, PARTITION, self._position, oldest=oldest, end=end)
        self._log.wait_for(self._topic, self._position, timeout_s)
        records = self._log.read(self._topic, self._position, max_records)
        if records:
            self._position = records[-1].offset + 1
        return records

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._position = offsets.get(PARTITION, self._position)

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        offset = self._position if offsets is None else offsets.get(PARTITION)
        if offset is not None:
            self._log.set_committed(self._topic, self._group, offset)

    def committed(self) -> dict[int, int]:
        offset = self._log.committed(self._topic, self._group)
        return {} if offset is None else {PARTITION: offset}

    def close(self) -> None:
        """Nothing is held."""
