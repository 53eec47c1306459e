# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log in one SQLite file: the laptop's, written and read by several processes at once.

    write(messages) -> wait for the writer before -> one IMMEDIATE transaction for all threads that waited:
                       take the topics' next offsets, insert, commit = one disk sync
    poll -> records from the position on; nothing there: wait until another connection has committed something

Owns the file's tables. One partition per topic. It does not share a group's work between consumers: two consumers of
one group both see everything, so a user who may run twice fences its own writes (see ports.py).
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.ports import Message, Record
from dragoman_events.sqlite_file import (
    BUSY_TIMEOUT_S,
    FileFormat,
    connect,
    dump_headers,
    load_headers,
    transaction,
    translated,
)

PARTITION: Final = 0

WAKE_INTERVAL_S: Final = 0.02
"""How often a waiting consumer asks whether the file has changed: one integer from shared memory."""

FORMAT: Final = FileFormat(
    name="event log",
    application_id=0x44524531,
    version=1,
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
    ),
)


class SqliteEventLog:
    """An ``EventLog`` (ports.py) in one file. Threads share it; each process opens its own.

    Args:
        path: the file; made when missing, in a folder that exists.
        busy_timeout_s: how long an append waits for the other writers before it is refused.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
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
            return _read(self._reader, topic, offset, max_records)

    def end_offsets(self, topic: str) -> dict[int, int]:
        with self._read_lock, translated(FORMAT.name):
            row = self._reader.execute("SELECT next_offset FROM topics WHERE topic = ?", (topic,)).fetchone()
        return {PARTITION: row[0] if row else 0}

    def consumer(self, topic: str, group: str) -> "SqliteConsumer":
        return SqliteConsumer(connect(self._path, FORMAT, busy_timeout_s=self._busy_timeout_s), topic, group)

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

    def _commit(self, group: Sequence["_Write"]) -> None:
        with translated(FORMAT.name), transaction(self._writer):
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


class SqliteConsumer:
    """A ``Consumer`` (ports.py) on a connection of its own, which ``close`` closes."""

    def __init__(self, connection: sqlite3.Connection, topic: str, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._position = self.committed().get(PARTITION, 0)

    def poll(self, max_records: int, timeout_s: float = 0.0) -> list[Record]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            # The version is taken first: what is committed after it, and missed by the read, changes it.
            version = self._version()
            records = _read(self._connection, self._topic, self._position, max_records)
            if records:
                self._position = records[-1].offset + 1
                return records
            while self._version() == version:
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    return []
                time.sleep(min(WAKE_INTERVAL_S, remaining_s))

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._position = offsets.get(PARTITION, self._position)

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        offset = self._position if offsets is None else offsets.get(PARTITION)
        if offset is None:
            return
        with translated(FORMAT.name), transaction(self._connection):
            self._connection.execute(
                """INSERT INTO committed VALUES (?, ?, ?)
                   ON CONFLICT (topic, consumer_group) DO UPDATE SET next_offset = excluded.next_offset""",
                (self._topic, self._group, offset),
            )

    def committed(self) -> dict[int, int]:
        with translated(FORMAT.name):
            row = self._connection.execute(
                "SELECT next_offset FROM committed WHERE topic = ? AND consumer_group = ?", (self._topic, self._group)
            ).fetchone()
        return {PARTITION: row[0]} if row else {}

    def close(self) -> None:
        self._connection.close()

    def _version(self) -> int:
        with translated(FORMAT.name):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def _read(connection: sqlite3.Connection, topic: str, offset: int, max_records: int) -> list[Record]:
    with translated(FORMAT.name):
        rows = connection.execute(
            """SELECT "offset", key, headers, value FROM records
               WHERE topic = ? AND "offset" >= ? ORDER BY "offset" LIMIT ?""",
            (topic, offset, max_records),
        ).fetchall()
    return [
        Record(topic=topic, partition=PARTITION, offset=row[0], key=row[1], headers=load_headers(row[2]), value=row[3])
        for row in rows
    ]
