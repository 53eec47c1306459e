# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Two monitor processes on one store, one SIGSTOPped at a chosen statement and resumed: no row twice, none missing."""

import os
import signal
import subprocess
import sys

import pytest

from dragoman_events.memory import MemoryEventLog
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES
from dragoman_monitor.opening import open_database
from dragoman_monitor.sql import SqlMonitorStore

LIMIT_S = 60
NUM_ROWS = 40

# Reads both topics to their ends in batches of 4; stops itself before the n-th statement of a kind, if there is one.
CHILD = """
import logging, os, signal, sys, threading
from pathlib import Path
from dragoman_common.clock import SystemClock
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.consumer import ConsumerSettings, TopicReader
from dragoman_monitor.contracts import RULES
from dragoman_monitor.convert import label_from_record, prediction_from_record
from dragoman_monitor.dead_letter_topic import DeadLetterTopic
from dragoman_monitor import sql, sql_rows
from dragoman_monitor.database import WRITES
from dragoman_monitor.opening import open_database
from dragoman_monitor.sql import SqlMonitorStore
from sqlalchemy import event

sys.stdout.reconfigure(line_buffering=True)
folder, url, fatal, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
database = open_database(url)
log, store = SqliteEventLog(folder / "events.db"), SqlMonitorStore(database, RULES)
# A short wait: the other monitor may stand still with the lock in its hand.
short = {"sqlite": "PRAGMA busy_timeout=20", "postgresql": "SET lock_timeout = 20"}[database.engine.dialect.name]
if sys.argv[5] == "impatient server":
    short = "SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 200"
seen = 0

def trace(statement, connection):
    global seen
    if connection.get_execution_options().get(WRITES) and statement.startswith(fatal):
        seen += 1
        if seen == after:
            os.kill(os.getpid(), signal.SIGSTOP)

event.listen(database.engine, "checkout", lambda dbapi, *_: (dbapi.cursor().execute(short), dbapi.commit()))
if database.engine.dialect.name == "postgresql":
    # On SQLite it is a statement.
    event.listen(database.engine, "begin", lambda c: trace("BEGIN", c))
event.listen(database.engine, "before_cursor_execute", lambda c, cursor, statement, *_: trace(statement, c))
event.listen(database.engine, "commit", lambda c: trace("COMMIT", c))

if sys.argv[5] == "no fence":
    sql.fence = lambda connection, batch: connection.execute(
        sql_rows.insert_into(connection, sql.OFFSETS).on_conflict_do_update(
            index_elements=["topic", "partition"], set_={"next": batch.following}
        ),
        {"topic": batch.topic, "partition": batch.partition, "next": batch.following},
    )

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
print("opened")
sys.stdin.readline()
READ = {PREDICTIONS: prediction_from_record, FEEDBACK: label_from_record}

def is_read(topic):
    return store.offsets(topic).get(0, 0) >= log.end_offsets(topic)[0]

class Stop(threading.Event):
    def is_set(self):
        return is_read(topic)

    def wait(self, _):
        return False

# What was written to a topic while this process stood still in the other one is read, too.
while topics := [topic for topic in READ if not is_read(topic)]:
    topic, read = topics[0], READ[topics[0]]
    TopicReader(
        topic, read, log=log, store=store, send=DeadLetterTopic(log).send, clock=SystemClock(),
        settings=ConsumerSettings(max_records=4, poll_timeout_s=0.0),
    ).run(Stop())
"""


def start(folder, books_url, fatal="NEVER", after=1, bug=""):
    """A monitor that has opened its log and books and waits for a word."""
    arguments = [sys.executable, "-c", CHILD, str(folder), books_url, fatal, str(after), bug]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout.readline() == "opened\n", process.communicate()
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def start_stopped(folder, books_url, fatal, after, bug=""):
    """A monitor that stands still."""
    process = start(folder, books_url, fatal, after, bug)
    go(process)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), process.communicate()
    return process


@pytest.fixture
def log(tmp_path):
    log = SqliteEventLog(tmp_path / "events.db")
    yield log
    log.close()


def write(world, log, numbers):
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in numbers])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in numbers])


def is_each_row_counted_once(world, books_url, log, count):
    store = SqlMonitorStore(open_database(books_url), RULES)
    clean = MemoryEventLog()
    write(world, clean, range(count))
    found = world.books(store)
    store.close()
    return found == world.books(world.recount(log)) == world.books(world.recount(clean))


def overtake(world, tmp_path, books_url, log, fatal, after, bug=""):
    """Stop a monitor, let another read everything, write more, resume; returns what the resumed one said."""
    write(world, log, range(NUM_ROWS))
    stopped = start_stopped(tmp_path, books_url, fatal, after, bug)
    try:
        other = start(tmp_path, books_url)
        other.communicate("go\n", timeout=LIMIT_S)
        assert other.returncode == 0
        write(world, log, range(NUM_ROWS, 2 * NUM_ROWS))
        stopped.send_signal(signal.SIGCONT)
        output, _ = stopped.communicate(timeout=LIMIT_S)
    finally:
        stopped.kill()
        stopped.wait()
    assert stopped.returncode == 0, output
    return output


# BEGIN: a batch is polled, nothing is locked, and another monitor goes past it.
@pytest.mark.parametrize(("fatal", "after"), [("BEGIN", 3), ("BEGIN", 6), ("BEGIN", 14), ("BEGIN", 20)])
def test_a_monitor_that_was_stopped_between_batches_is_told_that_it_was_overtaken(
    world, tmp_path, books_url, log, fatal, after
):
    assert "another monitor was first" in overtake(world, tmp_path, books_url, log, fatal, after)
    assert is_each_row_counted_once(world, books_url, log, 2 * NUM_ROWS)


def test_without_the_fence_the_same_run_is_found_out(world, tmp_path, books_url, log):
    overtake(world, tmp_path, books_url, log, "BEGIN", 6, bug="no fence")
    assert not is_each_row_counted_once(world, books_url, log, 2 * NUM_ROWS)


@pytest.mark.parametrize(
    ("fatal", "after"), [("UPDATE offsets", 3), ("INSERT INTO counts", 9), ("COMMIT", 4), ("COMMIT", 13)]
)
def test_a_monitor_that_was_stopped_inside_a_transaction_blocks_and_then_counts_once(
    world, tmp_path, books_url, log, fatal, after
):
    write(world, log, range(NUM_ROWS))
    other = start(tmp_path, books_url)
    stopped = start_stopped(tmp_path, books_url, fatal, after)
    try:
        go(other)
        # The lock is held by a process that stands still: the other says so and stays alive.
        assert any("cannot read events now" in line for line in other.stdout)
        stopped.send_signal(signal.SIGCONT)
        outputs = [process.communicate(timeout=LIMIT_S) for process in (stopped, other)]
    finally:
        for process in (stopped, other):
            process.kill()
            process.wait()
    assert stopped.returncode == other.returncode == 0, outputs
    assert is_each_row_counted_once(world, books_url, log, NUM_ROWS)


@pytest.mark.parametrize(("fatal", "after"), [("UPDATE offsets", 3), ("COMMIT", 13)])
def test_a_server_ends_the_transaction_of_a_monitor_that_stands_still(world, tmp_path, postgres, log, fatal, after):
    url = world.postgres_url(postgres)
    write(world, log, range(NUM_ROWS))
    stopped = start_stopped(tmp_path, url, fatal, after, "impatient server")
    try:
        other = start(tmp_path, url, bug="impatient server")
        # It reads everything while the first one stands still.
        output, _ = other.communicate("go\n", timeout=LIMIT_S)
        assert other.returncode == 0, output
        assert is_each_row_counted_once(world, url, log, NUM_ROWS)
        stopped.send_signal(signal.SIGCONT)
        output, _ = stopped.communicate(timeout=LIMIT_S)
    finally:
        stopped.kill()
        stopped.wait()
    assert stopped.returncode == 0
    assert "cannot read events now" in output
    assert is_each_row_counted_once(world, url, log, NUM_ROWS)
