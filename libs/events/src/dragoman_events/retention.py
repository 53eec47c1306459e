# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How long the SQLite log keeps events: by age and by bytes, in whole ranges, from the oldest.

Owns the tables ``segments`` (ranges of offsets, with the time of their last append) and ``starts`` (the oldest offset
that a topic still has). sqlite_log.py calls it inside of its transactions.

    append -> note: the open segment grows, or the next one begins
    now and then -> due, drop_one: the oldest segment that is too old, and read; over the byte limit also an unread one
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dragoman_common.errors import InvalidArgumentError

DAY_S: Final = 86_400
SEGMENT_BYTES: Final = 1024 * 1024
"""A segment ends when it holds as much: what one transaction drops."""
SEGMENT_S: Final = 3_600
"""... or when it is as old: how much longer than asked for an event may stay."""

SCHEMA: Final = (
    """CREATE TABLE segments (
           topic TEXT NOT NULL, first_offset INTEGER NOT NULL, begin_us INTEGER NOT NULL, append_us INTEGER NOT NULL,
           num_bytes INTEGER NOT NULL,
           PRIMARY KEY (topic, first_offset)) WITHOUT ROWID""",
    "CREATE TABLE starts (topic TEXT PRIMARY KEY, start_offset INTEGER NOT NULL) WITHOUT ROWID",
)
UPGRADE: Final = (
    *SCHEMA,
    # What was there is one segment per topic, as old as the upgrade.
    """INSERT INTO segments
       SELECT topic, min("offset"), strftime('%s', 'now') * 1000000, strftime('%s', 'now') * 1000000,
              sum(length(key) + length(headers) + length(value))
       FROM records GROUP BY topic""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a log keeps. All processes that write one file should say the same: the smallest limits win.

    Raises:
        InvalidArgumentError: a limit is not positive.
    """

    max_age_s: float = 30 * DAY_S
    """Older events go once every group that has committed on their topic has read them."""
    max_bytes: int = 10 * 1024**3
    """The file's used pages. Above it the oldest events go, read or not: better a gap that is counted than no log."""
    segment_bytes: int = SEGMENT_BYTES

    def __post_init__(self) -> None:
        if self.max_age_s <= 0 or self.max_bytes <= 0 or self.segment_bytes <= 0:
            raise InvalidArgumentError("An event log's retention must be more than 0 days and 0 bytes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A range of offsets that is gone: [first, end)."""

    topic: str
    first: int
    end: int
    lost: Mapping[str, int]
    """Group -> how many of these events it had not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    topic: str
    first: int
    end: int
    append_us: int
    is_open: bool
    lost: Mapping[str, int]


def note(
    connection: sqlite3.Connection, topic: str, offset: int, num_bytes: int, *, now_us: int, retention: Retention
) -> None:
    """Say that records were appended from `offset` on."""
    cursor = connection.execute(
        """UPDATE segments SET num_bytes = num_bytes + :bytes, append_us = max(append_us, :now)
           WHERE topic = :topic AND num_bytes < :segment AND begin_us > :now - :length
             AND first_offset = (SELECT max(first_offset) FROM segments WHERE topic = :topic)""",
        {
            "topic": topic,
            "bytes": num_bytes,
            "now": now_us,
            "segment": retention.segment_bytes,
            "length": SEGMENT_S * 1_000_000,
        },
    )
    if not cursor.rowcount:
        connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", (topic, offset, now_us, now_us, num_bytes))


def start_offset(connection: sqlite3.Connection, topic: str) -> int:
    """The oldest offset that the topic may still hold."""
    row = connection.execute("SELECT start_offset FROM starts WHERE topic = ?", (topic,)).fetchone()
    return row[0] if row else 0


def is_due(connection: sqlite3.Connection, retention: Retention, now_us: int) -> bool:
    """Whether `drop_one` has something to do; needs no lock."""
    return _next(connection, retention, now_us) is not None


def drop_one(connection: sqlite3.Connection, retention: Retention, now_us: int) -> Dropped | None:
    """Drop the oldest segment that has to go, if there is one; the caller's transaction holds the write lock."""
    goes = _next(connection, retention, now_us)
    if goes is None:
        return None
    drop_before(connection, goes.topic, goes.end)
    return Dropped(topic=goes.topic, first=goes.first, end=goes.end, lost=goes.lost)


def drop_before(connection: sqlite3.Connection, topic: str, offset: int) -> None:
    """Forget the records before `offset`; the caller's transaction holds the write lock."""
    row = connection.execute("SELECT next_offset FROM topics WHERE topic = ?", (topic,)).fetchone()
    end = row[0] if row else 0
    start = min(offset, end)
    if start <= start_offset(connection, topic):
        return
    at = {"topic": topic, "start": start}
    connection.execute('DELETE FROM records WHERE topic = :topic AND "offset" < :start', at)
    connection.execute(
        """INSERT INTO starts VALUES (:topic, :start) ON CONFLICT (topic) DO UPDATE SET start_offset = :start""", at
    )
    if start == end:
        connection.execute("DELETE FROM segments WHERE topic = :topic", at)
        return
    # The segment that holds `start` keeps what is left of it.
    of_start = "(SELECT max(first_offset) FROM segments WHERE topic = :topic AND first_offset <= :start)"
    connection.execute(f"DELETE FROM segments WHERE topic = :topic AND first_offset < {of_start}", at)  # noqa: S608  no input
    connection.execute("UPDATE segments SET first_offset = :start WHERE topic = :topic AND first_offset < :start", at)


def _next(connection: sqlite3.Connection, retention: Retention, now_us: int) -> _Segment | None:
    oldest = sorted(_oldest(connection), key=lambda segment: segment.append_us)
    aged_us = now_us - int(retention.max_age_s * 1_000_000)
    for segment in oldest:
        if segment.append_us < aged_us and not segment.lost:
            return segment
    if _used_bytes(connection) <= retention.max_bytes:
        return None
    # What nobody misses goes first. A topic's newest segment stays.
    closed = [segment for segment in oldest if not segment.is_open]
    return next((segment for segment in closed if not segment.lost), closed[0] if closed else None)


def _oldest(connection: sqlite3.Connection) -> list[_Segment]:
    """Each topic's oldest segment."""
    segments = []
    for topic, next_offset in connection.execute("SELECT topic, next_offset FROM topics").fetchall():
        rows = connection.execute(
            "SELECT first_offset, append_us FROM segments WHERE topic = ? ORDER BY first_offset LIMIT 2", (topic,)
        ).fetchall()
        if not rows:
            continue
        (first, append_us), end = rows[0], rows[1][0] if len(rows) > 1 else next_offset
        lost = {
            group: end - max(first, committed)
            for group, committed in connection.execute(
                "SELECT consumer_group, next_offset FROM committed WHERE topic = ? AND next_offset < ?", (topic, end)
            )
        }
        segments.append(
            _Segment(topic=topic, first=first, end=end, append_us=append_us, is_open=len(rows) == 1, lost=lost)
        )
    return segments


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
