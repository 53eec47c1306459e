# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a topic of the SQLite log in a group.

    poll -> records from the position on; nothing there: wait until another connection has committed something
            the position's record was dropped: OffsetOutOfRangeError

Owns the reading statements and the table ``committed``; sqlite_log.py owns the file's format.
"""

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dragoman_events import retention
from dragoman_events.ports import OffsetOutOfRangeError, Record
from dragoman_events.sqlite_file import load_headers, transaction, translated

NAME: Final = "event log"
PARTITION: Final = 0

WAKE_INTERVAL_S: Final = 0.02
"""How often a waiting consumer asks whether the file has changed: one integer from shared memory."""


class SqliteConsumer:
    """A ``Consumer`` (ports.py) on a connection of its own, which ``close`` closes."""

    def __init__(self, connection: sqlite3.Connection, path: Path, topic: str, group: str) -> None:
        self._connection = connection
        self._path = path
        self._topic = topic
        self._group = group
        committed = self.committed()
        self._position = committed[PARTITION] if committed else self._range()[0]

    def poll(self, max_records: int, timeout_s: float = 0.0) -> list[Record]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            # The version is taken first: what is committed after it, and missed by the read, changes it.
            version = self._version()
            records = read(self._connection, self._path, self._topic, self._position, max_records)
            if not records or records[0].offset != self._position:
                self._check_position()
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
        with translated(NAME, self._path), transaction(self._connection):
            self._connection.execute(
                """INSERT INTO committed VALUES (?, ?, ?)
                   ON CONFLICT (topic, consumer_group) DO UPDATE SET next_offset = excluded.next_offset""",
                (self._topic, self._group, offset),
            )

    def committed(self) -> dict[int, int]:
        with translated(NAME, self._path):
            row = self._connection.execute(
                "SELECT next_offset FROM committed WHERE topic = ? AND consumer_group = ?", (self._topic, self._group)
            ).fetchone()
        return {PARTITION: row[0]} if row else {}

    def close(self) -> None:
        self._connection.close()

    def _check_position(self) -> None:
        start, end = self._range()
        if not start <= self._position <= end:
            raise OffsetOutOfRangeError(self._topic, PARTITION, self._position, oldest=start, end=end)

    def _range(self) -> tuple[int, int]:
        """The oldest offset, and the one behind the newest."""
        with translated(NAME, self._path):
            # The start first: it only grows, and never beyond the end.
            start = retention.start_offset(self._connection, self._topic)
            row = self._connection.execute("SELECT next_offset FROM topics WHERE topic = ?", (self._topic,)).fetchone()
        return start, row[0] if row else 0

    def _version(self) -> int:
        with translated(NAME, self._path):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def read(connection: sqlite3.Connection, path: Path, topic: str, offset: int, max_records: int) -> list[Record]:
    """Up to `max_records` of a topic from an offset on, or from the oldest that is left."""
    with translated(NAME, path):
        rows = connection.execute(
            """SELECT "offset", key, headers, value FROM records
               WHERE topic = ? AND "offset" >= ? ORDER BY "offset" LIMIT ?""",
            (topic, offset, max_records),
        ).fetchall()
    return [
        Record(topic=topic, partition=PARTITION, offset=row[0], key=row[1], headers=load_headers(row[2]), value=row[3])
        for row in rows
    ]
