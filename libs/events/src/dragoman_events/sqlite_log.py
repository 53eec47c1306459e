# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log in one SQLite file: the laptop's, written and read by several processes at once.

    write(messages) -> wait for the writer before -> one IMMEDIATE transaction for all threads that waited:
                       take the topics' next offsets, insert, commit = one disk sync
    after a write, now and then -> retention.py drops what is too old or too much

Owns the file's tables; sqlite_consumer.py reads them. One partition per topic. It does not share a group's work between
consumers: two consumers of one group both see everything, so a user who may run twice fences its own writes (ports.py).
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dragoman_common.clock import Clock, SystemClock
from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_events import retention
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.ports import Message, Record
from dragoman_events.retention import Dropped, Retention
from dragoman_events.sqlite_consumer import NAME, PARTITION, SqliteConsumer, read
from dragoman_events.sqlite_file import (
    BUSY_TIMEOUT_S,
    FileFormat,
    connect,
    dump_headers,
    transaction,
    translated,
)

logger = logging.getLogger(__name__)

TRIM_INTERVAL_S: Final = 1.0
"""How often a writer looks for what is too old; after a segment's bytes in any case."""

MAX_DROPPED_SEGMENTS: Final = 4
"""Most that one look drops, each in a transaction of its own: other writers wait for no longer than that."""

FORMAT: Final = FileFormat(
    name=NAME,
    application_id=0x44524531,
    version=2,
    schema=(
        # Apart from the records, so that an offset is never used twice, whatever retention deletes.
        "CREATE TABLE topics (topic TEXT PRIMARY KEY, next_offset INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE records (
               topic TEXT NOT NULL, "offset" INTEGER NOT NULL,
               key BLOB NOT NULL, headers TEXT NOT NULL, value BLOB NOT NULL,
               PRIMARY KEY (topic, "offset")) WITHOUT ROWID""",
        """CREATE TABLE committed (
               topic TEXT NOT NULL, consumer_group TEXT NOT NULL, next_offset INTEGER NOT NULL,
               PRIMARY KEY (topic, consumer_group)) WITHOUT ROWID""",
        *retention.SCHEMA,
    ),
    upgrades={1: retention.UPGRADE},
)


class SqliteEventLog:
    """An ``EventLog`` (ports.py) in one file. Threads share it; each process opens its own.

    Args:
        path: the file; made when missing, in a folder that exists.
        keep: what is kept; by default 30 days and 10 GiB.
        clock: for the age of what is kept.
        busy_timeout_s: how long an append waits for the other writers before it is refused.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: Retention | None = None,
        clock: Clock | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._keep = keep or Retention()
        self._clock = clock or SystemClock()
        self._trim_due_s = 0.0
        self._num_untrimmed_bytes = 0
        self._busy_timeout_s = busy_timeout_s
        # Two connections, so that a reader never waits for a writer's disk sync.
        self._writer = connect(path, FORMAT, busy_timeout_s=busy_timeout_s)
        self._write_lock = threading.Lock()
        self._waiting: deque[_Write] = deque()
        self._reader = connect(path, FORMAT, busy_timeout_s=busy_timeout_s)
        self._read_lock = threading.Lock()

    def append(self, topic: str, key: bytes, events: Sequence[CloudEvent]) -> list[int]:
        return self.write(topic, [Message.of(key, event) for event in events])

    def write(self, topic: str, messages: Sequence[Message]) -> list[int]:
        if not messages:
            return []
        waiting = _Write(topic, [(message.key, dump_headers(message.headers), message.value) for message in messages])
        self._waiting.append(waiting)
        with self._write_lock:
            # Whoever gets the lock commits for all that came while the one before was syncing the disk.
            if not waiting.is_settled:
                self._commit_waiting()
        return waiting.result()

    def read(self, topic: str, offset: int, max_records: int, *, partition: int = PARTITION) -> list[Record]:
        if partition != PARTITION:
            return []
        with self._read_lock:
            return read(self._reader, self._path, topic, offset, max_records)

    def end_offsets(self, topic: str) -> dict[int, int]:
        with self._read_lock, translated(FORMAT.name, self._path):
            row = self._reader.execute("SELECT next_offset FROM topics WHERE topic = ?", (topic,)).fetchone()
        return {PARTITION: row[0] if row else 0}

    def consumer(self, topic: str, group: str) -> "SqliteConsumer":
        connection = connect(self._path, FORMAT, busy_timeout_s=self._busy_timeout_s)
        return SqliteConsumer(connection, self._path, topic, group)

    def drop_before(self, topic: str, offset: int) -> None:
        """Forget the messages before an offset, whoever has not read them yet.

        Raises:
            UnavailableError: nothing was dropped.
        """
        with self._write_lock, translated(FORMAT.name, self._path), transaction(self._writer):
            retention.drop_before(self._writer, topic, offset)

    def size_bytes(self) -> int:
        """What the log takes on disk, its write-ahead log included."""
        return sum(p.stat().st_size for p in (self._path, Path(f"{self._path}-wal")) if p.exists())

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    def _commit_waiting(self) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._commit(group)
        except DragomanError as error:
            for write in group:
                # One each: threads that raise one and the same object mix up their tracebacks.
                write.error = type(error)(error.message)
        except sqlite3.Error:
            # A value that SQLite does not take: the write that brought it fails alone.
            for write in group:
                try:
                    self._commit([write])
                except (sqlite3.Error, DragomanError) as error:
                    write.error = error
        self._trim()

    def _trim(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._trim_due_s and self._num_untrimmed_bytes < self._keep.segment_bytes:
            return
        self._trim_due_s, self._num_untrimmed_bytes = now_s + TRIM_INTERVAL_S, 0
        try:
            for _ in range(MAX_DROPPED_SEGMENTS):
                with translated(FORMAT.name, self._path):
                    if not retention.is_due(self._writer, self._keep, self._now_us()):
                        return
                    with transaction(self._writer):
                        dropped = retention.drop_one(self._writer, self._keep, self._now_us())
                if dropped:
                    _tell(dropped)
        except UnavailableError as error:
            # What was appended is on disk; the next look drops.
            logger.warning("old events cannot be dropped now: %s", error.message)

    def _now_us(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000)

    def _commit(self, group: Sequence["_Write"]) -> None:
        with translated(FORMAT.name, self._path), transaction(self._writer):
            offsets = [self._insert(write.topic, write.rows) for write in group]
        for write, of_write in zip(group, offsets, strict=True):
            write.offsets = of_write

    def _insert(self, topic: str, rows: Sequence[tuple[bytes, str, bytes]]) -> list[int]:
        (end,) = self._writer.execute(
            """INSERT INTO topics VALUES (:topic, :count)
               ON CONFLICT (topic) DO UPDATE SET next_offset = next_offset + :count RETURNING next_offset""",
            {"topic": topic, "count": len(rows)},
        ).fetchone()
        offsets = list(range(end - len(rows), end))
        self._writer.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
            [(topic, offset, *row) for offset, row in zip(offsets, rows, strict=True)],
        )
        num_bytes = sum(len(key) + len(headers) + len(value) for key, headers, value in rows)
        self._num_untrimmed_bytes += num_bytes
        retention.note(self._writer, topic, offsets[0], num_bytes, now_us=self._now_us(), retention=self._keep)
        return offsets


@dataclass(slots=True)
class _Write:
    """One thread's append on its way to the disk."""

    topic: str
    rows: Sequence[tuple[bytes, str, bytes]]
    offsets: list[int] | None = None
    error: Exception | None = None

    @property
    def is_settled(self) -> bool:
        return self.offsets is not None or self.error is not None

    def result(self) -> list[int]:
        if self.error is not None:
            raise self.error
        if self.offsets is None:
            raise UnavailableError("The event log's writer was interrupted: the events may be in the log or not.")
        return self.offsets


def _tell(dropped: Dropped) -> None:
    extra = {"topic": dropped.topic, "first": dropped.first, "end": dropped.end, "lost": dict(dropped.lost)}
    if dropped.lost:
        logger.error("events dropped before they were read: the event log is over its bytes", extra=extra)
    else:
        logger.info("old events dropped", extra=extra)
