# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every statement of the books' transaction, and two monitors on one log: no row twice, none missing."""

import signal
import subprocess
import sys
import threading

import pytest

from dragoman.events.v1 import events_pb2 as pb
from dragoman_events.message_event import message_of
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import DEAD_LETTERS, FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES
from dragoman_monitor.join import DEAD_LETTERS as DEAD_LETTER_TALLY
from dragoman_monitor.opening import open_database
from dragoman_monitor.sql import SqlMonitorStore

# Reads the topics in batches of 8 and dies before the n-th statement of a kind in the books' writing transactions.
CHILD = """
import os, signal, sys, threading
from pathlib import Path
from dragoman_common.clock import SystemClock
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.consumer import ConsumerSettings, TopicReader
from dragoman_monitor.contracts import RULES
from dragoman_monitor.convert import label_from_record, prediction_from_record
from dragoman_monitor.dead_letter_topic import DeadLetterTopic
from dragoman_monitor.database import WRITES
from dragoman_monitor.opening import open_database
from dragoman_monitor.sql import SqlMonitorStore
from sqlalchemy import event

folder, url, fatal, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
database = open_database(url)
log, store = SqliteEventLog(folder / "events.db"), SqlMonitorStore(database, RULES)
seen = 0

def trace(statement, connection):
    global seen
    if connection.get_execution_options().get(WRITES) and statement.startswith(fatal):
        seen += 1
        if seen == after:
            os.kill(os.getpid(), signal.SIGKILL)

event.listen(database.engine, "before_cursor_execute", lambda c, cursor, statement, *_: trace(statement, c))
event.listen(database.engine, "commit", lambda c: trace("COMMIT", c))

class Stop(threading.Event):
    def is_set(self):
        return store.offsets(topic).get(0, 0) >= log.end_offsets(topic)[0]

for topic, read in ((PREDICTIONS, prediction_from_record), (FEEDBACK, label_from_record)):
    TopicReader(
        topic, read, log=log, store=store, send=DeadLetterTopic(log).send, clock=SystemClock(),
        settings=ConsumerSettings(max_records=8, poll_timeout_s=0.0),
    ).run(Stop())
"""


def fill(world, path, *, poisoned=True):
    log = SqliteEventLog(path)
    messages = [world.message(world.prediction(n)) for n in range(40)]
    if poisoned:
        for place in (3, 17, 18):
            messages.insert(place, Message(key=b"k", value=b"\xff"))
    log.write(PREDICTIONS, messages)
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in range(50)])
    return log


@pytest.mark.parametrize(
    ("fatal", "after"),
    [
        ("SELECT rules", 1),
        ("SELECT rules", 3),
        ("UPDATE offsets", 1),
        ("UPDATE offsets", 3),
        ("SELECT predictions", 4),
        ("INSERT INTO predictions", 1),
        ("INSERT INTO predictions", 4),
        ("INSERT INTO counts", 2),
        ("INSERT INTO tallies", 1),
        ("INSERT INTO waiting_dead_letters", 2),
        ("SELECT waiting_dead_letters", 2),
        ("DELETE FROM waiting_dead_letters", 1),
        ("COMMIT", 2),
        ("COMMIT", 3),
        ("COMMIT", 4),
        ("INSERT INTO labels", 1),
        ("INSERT INTO labels", 5),
    ],
)
def test_a_kill_at_any_statement_loses_and_repeats_nothing(world, tmp_path, books_url, fatal, after):
    log = fill(world, tmp_path / "events.db")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), books_url, fatal, str(after)], check=False, timeout=60
    )
    assert child.returncode == -signal.SIGKILL
    store = SqlMonitorStore(open_database(books_url), RULES)
    world.drain(log, store, max_records=8)
    # Also when all was read: letters that wait are sent at a start.
    world.reader(PREDICTIONS, log, store)._run(world.UntilRead(log, store, [PREDICTIONS]))
    letters = [message_of(record.event(), pb.DeadLetter).offset for record in log.read(DEAD_LETTERS, 0, 100)]
    assert sorted(letters) == [3, 17, 18]
    assert world.books(store) == world.books(world.recount(log))
    assert world.books(store)[1][DEAD_LETTER_TALLY] == 3
    store.close()
    log.close()


def test_a_run_that_nobody_kills_ends(world, tmp_path, books_url):
    log = fill(world, tmp_path / "events.db")
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), books_url, "NEVER", "1"], check=True, timeout=60)
    store = SqlMonitorStore(open_database(books_url), RULES)
    assert store.offsets(FEEDBACK) == log.end_offsets(FEEDBACK)
    store.close()
    log.close()


def test_two_monitors_that_read_the_same_offsets_count_nothing_twice(world, tmp_path, books_url):
    log = fill(world, tmp_path / "events.db", poisoned=False)
    stores = [SqlMonitorStore(open_database(books_url), RULES) for _ in range(2)]

    def read(store):
        for topic in (PREDICTIONS, FEEDBACK):
            world.reader(topic, log, store, max_records=3).run(world.UntilRead(log, store, [topic]))

    threads = [threading.Thread(target=read, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.books(stores[0]) == world.books(world.recount(log))
    for store in stores:
        store.close()
    log.close()


def test_a_monitor_that_was_paused_goes_on_from_where_the_other_got(world, tmp_path, books_url):
    log = fill(world, tmp_path / "events.db", poisoned=False)
    paused, other = (SqlMonitorStore(open_database(books_url), RULES) for _ in range(2))
    reader = world.reader(PREDICTIONS, log, paused, max_records=5)
    consumer = log.consumer(PREDICTIONS, "monitor")
    reader._go_to_truth(consumer, [0])
    reader.step(consumer)
    world.drain(log, other)
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(100, 110)])
    while paused.offsets(PREDICTIONS) != log.end_offsets(PREDICTIONS):
        reader.step(consumer)
    assert world.books(paused) == world.books(world.recount(log))
    consumer.close()
    paused.close()
    other.close()
    log.close()
