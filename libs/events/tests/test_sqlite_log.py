# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The SQLite log: the contract, and what only a file with several processes can get wrong."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError
from dragoman_events.contracts import TOPIC, EventLogContract, event
from dragoman_events.opening import open_log
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import FORMAT, SqliteEventLog


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def log(path):
    log = SqliteEventLog(path)
    yield log
    log.close()


class TestSqliteEventLog(EventLogContract):
    @pytest.fixture
    def log(self, log):
        return log

    @pytest.mark.xfail(strict=True, reason="no group membership in a file: users fence their own writes (ports.py)")
    def test_consumers_of_one_group_share_the_work(self, log):
        super().test_consumers_of_one_group_share_the_work(log)


WRITER = """
import sys
from pathlib import Path
from dragoman_events.contracts import TOPIC, event
from dragoman_events.sqlite_log import SqliteEventLog
log = SqliteEventLog(Path(sys.argv[1]))
base, count = int(sys.argv[2]), int(sys.argv[3])
for number in range(base, base + count):
    (offset,) = log.append(TOPIC, b"k", [event(number)])
    print(offset, number, flush=True)
"""


def start_writer(path, base, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(base), str(count)], stdout=subprocess.PIPE, text=True
    )


def test_processes_that_write_together_lose_and_repeat_nothing(path):
    writers = [start_writer(path, base, 50) for base in (0, 1000, 2000)]
    acknowledged = {}
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        acknowledged |= {int(offset): int(number) for offset, number in map(str.split, out.splitlines())}
    log = SqliteEventLog(path)
    assert {offset: f"id-{number}" for offset, number in acknowledged.items()} == {
        record.offset: record.event().id for record in log.read(TOPIC, 0, 1000)
    }
    assert list(range(150)) == sorted(acknowledged)
    log.close()


def test_what_a_killed_writer_had_acknowledged_is_in_the_log(path):
    writer = start_writer(path, 0, 1_000_000)
    acknowledged = [writer.stdout.readline().split() for _ in range(100)]
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    acknowledged += [line.split() for line in rest.splitlines() if len(line.split()) == 2]
    log = SqliteEventLog(path)
    found = {record.offset: record.event().id for record in log.read(TOPIC, 0, 1_000_000)}
    assert {int(offset): f"id-{number}" for offset, number in acknowledged}.items() <= found.items()
    assert list(range(len(found))) == list(found)
    log.close()


def test_another_process_wakes_a_waiting_poll(path, log):
    consumer = log.consumer(TOPIC, "g")
    writer = start_writer(path, 7, 1)
    assert [event(7)] == [record.event() for record in consumer.poll(10, timeout_s=30)]
    writer.communicate(timeout=30)
    consumer.close()


def test_a_commit_by_the_consumer_itself_does_not_hide_an_append(log):
    consumer = log.consumer(TOPIC, "g")
    consumer.commit({0: 0})
    log.append(TOPIC, b"k", [event(1)])
    assert [event(1)] == [record.event() for record in consumer.poll(10, timeout_s=30)]
    consumer.close()


def test_a_log_opened_again_holds_what_was_appended(path, log):
    log.append(TOPIC, b"k", [event(1)])
    log.close()
    again = SqliteEventLog(path)
    assert [event(1)] == [record.event() for record in again.read(TOPIC, 0, 10)]
    assert again.append(TOPIC, b"k", [event(2)]) == [1]
    again.close()


def test_a_failed_write_leaves_nothing_and_the_log_goes_on(path, log):
    with pytest.raises(sqlite3.ProgrammingError):
        log.write(TOPIC, [Message(key=b"k"), Message(key=object())])  # type: ignore[arg-type]
    assert log.end_offsets(TOPIC) == {0: 0}
    assert log.append(TOPIC, b"k", [event(1)]) == [0]


def write_together(log, appends):
    """Run appends in threads that all wait for the writer before; returns the statements that were run for them."""
    statements, results = [], {}
    log._writer.set_trace_callback(statements.append)

    def append(name, messages):
        try:
            results[name] = log.write(TOPIC, messages)
        except sqlite3.Error as error:
            results[name] = error

    threads = [threading.Thread(target=append, args=item) for item in appends.items()]
    with log._write_lock:
        for thread in threads:
            thread.start()
        while len(log._waiting) < len(threads):
            os.sched_yield()
    for thread in threads:
        thread.join()
    return statements, results


def test_threads_that_wait_for_the_disk_share_one_commit(log):
    appends = {n: [Message(key=b"%d" % n), Message(key=b"%d" % n)] for n in range(8)}
    statements, results = write_together(log, appends)
    assert statements.count("COMMIT") == 1
    assert sorted(offset for offsets in results.values() for offset in offsets) == list(range(16))
    for n, offsets in results.items():
        assert [b"%d" % n] * 2 == [log.read(TOPIC, offset, 1)[0].key for offset in offsets]


def test_a_write_that_cannot_be_stored_fails_alone(log):
    _, results = write_together(
        log, {"good": [Message(key=b"g")], "bad": [Message(key=object())], "fine": [Message(key=b"f")]}
    )
    assert isinstance(results.pop("bad"), sqlite3.ProgrammingError)
    assert sorted(results.values()) == [[0], [1]]
    assert {record.key for record in log.read(TOPIC, 0, 10)} == {b"g", b"f"}


def test_a_writer_that_waits_too_long_is_refused_as_unavailable(path, log):
    impatient = SqliteEventLog(path, busy_timeout_s=0.01)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="event log"):
        impatient.append(TOPIC, b"k", [event(1)])
    blocker.execute("ROLLBACK")
    assert impatient.append(TOPIC, b"k", [event(1)]) == [0]
    blocker.close()
    impatient.close()


def test_every_commit_is_synced(log):
    # 2 is FULL; the journal mode is a property of the file.
    assert log._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_file_is_its_owners_alone(path, log):
    assert path.stat().st_mode & 0o777 == 0o600
    assert log.size_bytes() > 0


def test_a_file_of_another_program_is_refused(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(FailedPreconditionError, match="not a Dragoman event log"):
        SqliteEventLog(path)


def test_a_file_of_a_newer_format_is_refused(path, log):
    log._writer.execute(f"PRAGMA user_version={FORMAT.version + 1}")
    with pytest.raises(FailedPreconditionError, match=f"format {FORMAT.version + 1}"):
        SqliteEventLog(path)


def test_a_missing_folder_is_unavailable(tmp_path):
    with pytest.raises(UnavailableError, match="cannot be made"):
        SqliteEventLog(tmp_path / "none" / "events.db")


def test_a_url_opens_the_log(path):
    log = open_log(f"sqlite://{path}")
    log.append(TOPIC, b"k", [event(1)])
    log.close()
    assert path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "kafka://broker",
        "kafka://user:secret@broker:9092",
        "kafka://broker:9092/topic",
        "kafka://broker:9092?acks=1",
        "events.db",
        "",
        "sqlite://events.db",
        "sqlite:///",
        "sqlite:///a.db?x=1",
        "sqlite:///a.db?max_bytes=1&max_bytes=2",
        "sqlite:///a.db#x",
    ],
)
def test_an_unknown_url_is_refused(url):
    with pytest.raises(InvalidArgumentError, match="event log's URL"):
        open_log(url)
