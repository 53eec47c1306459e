# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books: the contract on every keeper, and what only a database can get wrong."""

import sqlite3
import threading

import pytest
from sqlalchemy import event, select

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_monitor.contracts import (
    RULES,
    START_US,
    MonitorStoreContract,
    batch,
    counts_of,
    label,
    letter,
    prediction,
    tallies_of,
)
from dragoman_monitor.counts import CONFUSION, CountingRules
from dragoman_monitor.join import DUPLICATES
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.opening import open_database
from dragoman_monitor.ports import FencedError, OtherRulesError, Series
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import FORMAT, sqlite_database
from dragoman_monitor.tables import METADATA


class TestMemoryMonitorStore(MonitorStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryMonitorStore(RULES)


class TestSqlMonitorStore(MonitorStoreContract):
    @pytest.fixture
    def store(self, books_url):
        store = SqlMonitorStore(open_database(books_url), RULES)
        yield store
        store.close()


def dump(database):
    with database.reading() as connection:
        return {name: sorted(map(tuple, connection.execute(select(METADATA.tables[name])))) for name in METADATA.tables}


@pytest.mark.parametrize("table", ["offsets", "predictions", "labels", "counts", "tallies", "waiting_dead_letters"])
def test_a_failure_at_any_write_leaves_neither_rows_nor_offset(books_url, table):
    database = open_database(books_url)
    store = SqlMonitorStore(database, RULES)
    store.apply(batch(prediction("r-0"), label("r-7")))
    before = dump(database)
    fatal = "UPDATE offsets" if table == "offsets" else f"INSERT INTO {table}"

    def crash(_connection, _cursor, statement, *_):
        if statement.startswith(fatal):
            raise RuntimeError("planted")

    event.listen(database.engine, "before_cursor_execute", crash)
    full = batch(prediction("r-1"), prediction("r-0"), label("r-0"), expected=2, letters=[letter(5)])
    with pytest.raises(RuntimeError, match="planted"):
        store.apply(full)
    event.remove(database.engine, "before_cursor_execute", crash)
    assert dump(database) == before
    store.apply(full)
    assert store.offsets(full.topic) == {0: full.following}
    store.close()


def test_two_handles_are_fenced_from_each_other(books_url):
    one, other = (SqlMonitorStore(open_database(books_url), RULES) for _ in range(2))
    one.apply(batch(prediction("r-1")))
    with pytest.raises(FencedError, match="not at offset 0"):
        other.apply(batch(prediction("r-1")))
    other.apply(batch(prediction("r-2"), expected=1))
    assert one.offsets("contract.topic") == {0: 2}
    one.close()
    other.close()


def test_a_row_and_its_label_that_are_written_at_the_same_time_are_joined(books_url):
    stores = [SqlMonitorStore(open_database(books_url), RULES) for _ in range(2)]
    count, size = 20, 10
    start = threading.Barrier(2)

    def write(store, noun, topic):
        start.wait()
        for n in range(0, count * size, size):
            store.apply(batch(*(noun(f"r-{n + i}") for i in range(size)), expected=n, topic=topic))

    threads = [
        threading.Thread(target=write, args=(store, noun, topic))
        for store, noun, topic in zip(stores, (prediction, label), ("rows", "labels"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts_of(stores[0])[Series(1, "stable")][CONFUSION, "earn", "earn"] == count * size
    assert tallies_of(stores[0]) == {}
    for store in stores:
        store.close()


# The tables of the first format, from before Alembic.
FIRST_FORMAT = """
CREATE TABLE rules (description TEXT NOT NULL);
CREATE TABLE offsets (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE predictions (
    tenant TEXT NOT NULL, request_id TEXT NOT NULL, "row" INTEGER NOT NULL, arm TEXT NOT NULL,
    model TEXT NOT NULL, version INTEGER NOT NULL, start_us INTEGER NOT NULL,
    label TEXT NOT NULL, is_covered INTEGER NOT NULL,
    PRIMARY KEY (tenant, request_id, "row", arm)) WITHOUT ROWID;
CREATE TABLE labels (
    tenant TEXT NOT NULL, request_id TEXT NOT NULL, "row" INTEGER NOT NULL,
    label TEXT NOT NULL, receive_time_us INTEGER NOT NULL,
    PRIMARY KEY (tenant, request_id, "row")) WITHOUT ROWID;
CREATE TABLE counts (
    tenant TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, arm TEXT NOT NULL,
    start_us INTEGER NOT NULL, name TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (tenant, model, version, arm, start_us, name, first, second)) WITHOUT ROWID;
CREATE TABLE tallies (
    tenant TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE waiting_dead_letters (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    reason TEXT NOT NULL, value BLOB NOT NULL, headers TEXT NOT NULL, tenant TEXT NOT NULL,
    reject_time_us INTEGER NOT NULL, search_from TEXT NOT NULL,
    PRIMARY KEY (topic, partition, "offset")) WITHOUT ROWID;
"""


def test_books_of_the_first_format_are_taken_over_whole(tmp_path):
    path = tmp_path / "monitor.db"
    first = sqlite3.connect(path)
    first.executescript(FIRST_FORMAT)
    first.execute("INSERT INTO rules VALUES (?)", (RULES.describe(),))
    first.execute("INSERT INTO offsets VALUES ('contract.topic', 0, 1)")
    first.execute("INSERT INTO predictions VALUES ('acme', 'r-0', 0, 'stable', 'r8', 1, ?, 'earn', 1)", (START_US,))
    first.execute(f"PRAGMA application_id={FORMAT.application_id}")
    first.execute("PRAGMA user_version=1")
    first.commit()
    first.close()
    store = SqlMonitorStore(sqlite_database(path), RULES)
    store.apply(batch(prediction("r-0"), expected=1))
    assert store.tallies() == {DUPLICATES: 1}
    assert store.forget(predictions_before_us=START_US + 1, labels_before_us=0) == 1
    store.close()


def test_counters_of_other_rules_are_refused(books_url):
    SqlMonitorStore(open_database(books_url), RULES).close()
    with pytest.raises(OtherRulesError, match=r"window_s=60 .* window_s=30"):
        SqlMonitorStore(open_database(books_url), CountingRules(window_s=30))
    SqlMonitorStore(open_database(books_url), RULES).close()


def test_another_programs_file_and_a_missing_folder_are_refused(tmp_path):
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(FailedPreconditionError, match="not a Dragoman monitor state"):
        SqlMonitorStore(sqlite_database(tmp_path / "other.db"), RULES)
    with pytest.raises(UnavailableError):
        SqlMonitorStore(sqlite_database(tmp_path / "none" / "monitor.db"), RULES)
