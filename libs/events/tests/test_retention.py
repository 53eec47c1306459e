# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the SQLite log keeps: whole ranges from the oldest, unread ones only given up for the byte limit, and loudly."""

import logging
import sqlite3
from datetime import timedelta

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.testing import FakeClock
from dragoman_events.contracts import TOPIC
from dragoman_events.opening import open_log
from dragoman_events.ports import Message, OffsetOutOfRangeError
from dragoman_events.retention import DAY_S, SCHEMA, Retention
from dragoman_events.sqlite_log import FORMAT, SqliteEventLog

VALUE = b"x" * 1000
SEGMENT = 10_000
"""Bytes: ten messages and a little."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def clock():
    return FakeClock()


def open_with(path, clock, **keep):
    return SqliteEventLog(path, keep=Retention(segment_bytes=SEGMENT, **keep), clock=clock)


def fill(log, clock, count, topic=TOPIC):
    """One message a second: each write looks for what is too old."""
    for _ in range(count):
        log.write(topic, [Message(key=b"k", value=VALUE)])
        clock.advance(1)


def commit(log, offset, group="g", topic=TOPIC):
    consumer = log.consumer(topic, group)
    consumer.commit({0: offset})
    consumer.close()


def oldest(log, topic=TOPIC):
    records = log.read(topic, 0, 1)
    return records[0].offset if records else None


def used_bytes(path):
    connection = sqlite3.connect(path)
    pages, free, size = (
        connection.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count", "page_size")
    )
    connection.close()
    return (pages - free) * size


def test_what_is_too_old_goes_in_whole_ranges_and_offsets_go_on(path, clock):
    log = open_with(path, clock, max_age_s=DAY_S)
    fill(log, clock, 25)
    clock.advance(DAY_S - 3)
    (offset,) = log.write(TOPIC, [Message(key=b"k", value=VALUE)])
    assert offset == 25
    # Two ranges of ten and one of five; the third was written to less than a day ago.
    assert oldest(log) == 20
    clock.advance(DAY_S + 3_600)
    log.write("contract.other", [Message(key=b"k")])
    assert oldest(log) is None
    assert log.write(TOPIC, [Message(key=b"k")]) == [26]
    log.close()


def test_what_a_group_has_not_read_does_not_age_and_goes_once_it_has(path, clock, caplog):
    log = open_with(path, clock, max_age_s=DAY_S)
    fill(log, clock, 30)
    commit(log, 30, "quick")
    commit(log, 15, "slow")
    clock.advance(2 * DAY_S)
    fill(log, clock, 1)
    assert oldest(log) == 10
    commit(log, 30, "slow")
    fill(log, clock, 1)
    assert oldest(log) == 30
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    log.close()


def test_the_byte_limit_holds_and_takes_what_was_read_first(path, clock, caplog):
    limit = 60 * 4096
    log = open_with(path, clock, max_bytes=limit)
    fill(log, clock, 30, "contract.unread")
    commit(log, 0, "slow", "contract.unread")
    fill(log, clock, 500)
    assert used_bytes(path) <= limit + SEGMENT
    assert oldest(log, "contract.unread") == 0
    assert oldest(log) > 400
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    log.close()


def test_unread_events_go_for_the_byte_limit_loudly_and_the_gap_is_told(path, clock, caplog):
    limit = 60 * 4096
    log = open_with(path, clock, max_bytes=limit)
    fill(log, clock, 5)
    consumer = log.consumer(TOPIC, "slow")
    consumer.poll(5)
    consumer.commit()
    fill(log, clock, 495)
    assert used_bytes(path) <= limit + SEGMENT
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert sum(record.lost["slow"] for record in told) == oldest(log) - 5
    assert all("before they were read" in record.message for record in told)
    with pytest.raises(OffsetOutOfRangeError, match="dropped before they were read") as gap:
        consumer.poll(10)
    assert (gap.value.position, gap.value.oldest) == (5, oldest(log))
    consumer.close()
    log.close()


def test_the_file_stops_growing_at_the_limit(path, clock):
    log = open_with(path, clock, max_bytes=60 * 4096)
    fill(log, clock, 300)
    size = path.stat().st_size
    fill(log, clock, 600)
    assert path.stat().st_size <= size + SEGMENT
    log.close()


def test_a_range_that_cannot_be_dropped_now_costs_no_append(path, clock, caplog):
    log = open_with(path, clock, max_age_s=DAY_S)
    fill(log, clock, 20)
    clock.advance(2 * DAY_S)
    blocker = sqlite3.connect(path, isolation_level=None)
    log._writer.execute("PRAGMA busy_timeout=10")
    blocker.execute("BEGIN IMMEDIATE")
    log._trim()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert oldest(log) == 0
    assert "cannot be dropped now" in caplog.text
    log.close()


def test_a_file_of_the_first_format_is_taken_over_with_its_events(path, clock):
    first = sqlite3.connect(path)
    for statement in FORMAT.schema[: -len(SCHEMA)]:
        first.execute(statement)
    first.execute("INSERT INTO topics VALUES (?, 3)", (TOPIC,))
    first.executemany("INSERT INTO records VALUES (?, ?, x'6b', '{}', x'76')", [(TOPIC, n) for n in range(3)])
    first.execute(f"PRAGMA application_id={FORMAT.application_id}")
    first.execute("PRAGMA user_version=1")
    first.commit()
    first.close()
    log = open_with(path, clock, max_age_s=DAY_S)
    assert [record.offset for record in log.read(TOPIC, 0, 10)] == [0, 1, 2]
    assert log.write(TOPIC, [Message(key=b"k")]) == [3]
    assert log._writer.execute("SELECT num_bytes FROM segments ORDER BY first_offset").fetchall()[0] >= (3 * 4,)
    log.close()


def test_the_url_says_what_is_kept(path):
    log = open_log(f"sqlite://{path}?max_age_days=1.5&max_bytes=1000000")
    assert log._keep == Retention(max_age_s=1.5 * DAY_S, max_bytes=1_000_000)
    log.close()
    log = open_log(f"sqlite://{path}")
    assert log._keep == Retention(max_age_s=timedelta(days=30).total_seconds(), max_bytes=10 * 1024**3)
    log.close()


@pytest.mark.parametrize("query", ["max_age_days=x", "max_age_days=0", "max_bytes=-1", "max_bytes=1.5", "max_bytes="])
def test_a_limit_that_cannot_be_is_refused(path, query):
    with pytest.raises(InvalidArgumentError):
        open_log(f"sqlite://{path}?{query}")
