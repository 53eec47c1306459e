# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books: the contract on both keepers, and what only a file can get wrong."""

import sqlite3

import pytest

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_monitor.contracts import RULES, START_US, MonitorStoreContract, batch, label, letter, prediction
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.join import DUPLICATES
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.ports import OtherRulesError
from dragoman_monitor.sqlite import SqliteMonitorStore
from dragoman_monitor.sqlite_format import FORMAT


class TestMemoryMonitorStore(MonitorStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryMonitorStore(RULES)


class TestSqliteMonitorStore(MonitorStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = SqliteMonitorStore(tmp_path / "monitor.db", RULES)
        yield store
        store.close()


def dump(path):
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


@pytest.mark.parametrize("table", ["offsets", "predictions", "labels", "counts", "tallies", "waiting_dead_letters"])
def test_a_failure_at_any_write_leaves_neither_rows_nor_offset(tmp_path, table):
    path = tmp_path / "monitor.db"
    store = SqliteMonitorStore(path, RULES)
    store.apply(batch(prediction("r-0"), label("r-7")))
    before = dump(path)
    event = "UPDATE" if table == "offsets" else "INSERT"
    store._writer.execute(
        f"CREATE TEMP TRIGGER crash BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'planted'); END"
    )
    full = batch(prediction("r-1"), prediction("r-0"), label("r-0"), expected=2, letters=[letter(5)])
    with pytest.raises(sqlite3.IntegrityError, match="planted"):
        store.apply(full)
    assert dump(path) == before
    store._writer.execute("DROP TRIGGER crash")
    store.apply(full)
    assert store.offsets(full.topic) == {0: full.following}
    store.close()


def test_two_files_handles_are_fenced_from_each_other(tmp_path):
    one, other = (SqliteMonitorStore(tmp_path / "monitor.db", RULES) for _ in range(2))
    one.apply(batch(prediction("r-1")))
    with pytest.raises(Exception, match="not at offset 0"):
        other.apply(batch(prediction("r-1")))
    other.apply(batch(prediction("r-2"), expected=1))
    assert one.offsets("contract.topic") == {0: 2}
    one.close()
    other.close()


def test_books_of_the_first_format_are_taken_over_whole(tmp_path):
    path = tmp_path / "monitor.db"
    first = sqlite3.connect(path)
    for statement in FORMAT.schema[: -len(FORMAT.upgrades[1])]:
        first.execute(statement)
    first.execute("INSERT INTO rules VALUES (?)", (RULES.describe(),))
    first.execute("INSERT INTO offsets VALUES ('contract.topic', 0, 1)")
    first.execute("INSERT INTO predictions VALUES ('acme', 'r-0', 0, 'stable', 'r8', 1, ?, 'earn', 1)", (START_US,))
    first.execute(f"PRAGMA application_id={FORMAT.application_id}")
    first.execute("PRAGMA user_version=1")
    first.commit()
    first.close()
    store = SqliteMonitorStore(path, RULES)
    store.apply(batch(prediction("r-0"), expected=1))
    assert store.tallies() == {DUPLICATES: 1}
    assert store.forget(predictions_before_us=START_US + 1, labels_before_us=0) == 1
    store.close()


def test_counters_of_other_rules_are_refused(tmp_path):
    SqliteMonitorStore(tmp_path / "monitor.db", RULES).close()
    with pytest.raises(OtherRulesError, match=r"window_s=60 .* window_s=30"):
        SqliteMonitorStore(tmp_path / "monitor.db", CountingRules(window_s=30))
    SqliteMonitorStore(tmp_path / "monitor.db", RULES).close()


def test_another_programs_file_and_a_missing_folder_are_refused(tmp_path):
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(FailedPreconditionError, match="not a Dragoman monitor state"):
        SqliteMonitorStore(tmp_path / "other.db", RULES)
    with pytest.raises(UnavailableError):
        SqliteMonitorStore(tmp_path / "none" / "monitor.db", RULES)
