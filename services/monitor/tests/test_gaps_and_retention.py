# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Events that the log gave up are counted and passed; old rows are forgotten once the books are up to date."""

import logging
import threading

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_common.testing import FakeClock
from dragoman_events.memory import MemoryEventLog
from dragoman_events.retention import Retention as KeptEvents
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES
from dragoman_monitor.join import LOST
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.retention import DAY_S, Retention, RetentionSettings
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import sqlite_database

LIMIT_BYTES = 400_000


def write(world, log, numbers):
    for number in numbers:
        log.write(PREDICTIONS, [world.message(world.prediction(number))])


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    store = MemoryMonitorStore(RULES)
    if request.param == "sqlite":
        store = SqlMonitorStore(sqlite_database(tmp_path / "monitor.db"), RULES)
    yield store
    store.close()


def num_counted(world, store):
    windows, _ = world.books(store)
    return sum(
        count
        for of_series in windows.values()
        for counts in of_series.values()
        for (name, _, _), count in counts.items()
        if name == "code"
    )


def test_a_gap_is_passed_counted_and_logged(world, store, caplog):
    log = MemoryEventLog()
    write(world, log, range(10))
    world.drain(log, store)
    write(world, log, range(10, 30))
    log.drop_before(PREDICTIONS, 18)
    world.drain(log, store)
    assert store.offsets(PREDICTIONS) == {0: 30}
    assert num_counted(world, store) == 10 + 12
    assert world.books(store)[1][LOST] == 8
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert told.lost == 8
    world.drain(log, store)
    assert world.books(store)[1][LOST] == 8


def test_new_books_on_an_old_log_start_at_its_oldest_event_and_say_what_is_missing(world, store):
    log = MemoryEventLog()
    write(world, log, range(30))
    log.drop_before(PREDICTIONS, 30)
    world.drain(log, store)
    write(world, log, range(30, 35))
    world.drain(log, store)
    assert num_counted(world, store) == 5
    assert world.books(store)[1][LOST] == 30


def test_a_log_that_was_replaced_is_read_from_its_start(world, store):
    old, new = MemoryEventLog(), MemoryEventLog()
    write(world, old, range(30))
    world.drain(old, store)
    write(world, new, range(30, 40))
    reader = world.reader(PREDICTIONS, new, store)
    consumer = new.consumer(PREDICTIONS, "monitor")
    reader._go_to_truth(consumer, [0])
    reader.step(consumer)
    reader.step(consumer)
    assert store.offsets(PREDICTIONS) == {0: 10}
    assert num_counted(world, store) == 40
    assert LOST not in world.books(store)[1]


def test_a_log_over_its_bytes_while_the_monitor_is_away_is_a_counted_gap(world, store, tmp_path):
    clock = FakeClock()
    log = SqliteEventLog(
        tmp_path / "events.db", keep=KeptEvents(max_bytes=LIMIT_BYTES, segment_bytes=10_000), clock=clock
    )
    write(world, log, range(50))
    world.drain(log, store)
    for number in range(50, 1_500):
        clock.advance(1)
        write(world, log, [number])
    oldest = log.read(PREDICTIONS, 0, 1)[0].offset
    assert oldest > 50
    world.drain(log, store)
    assert num_counted(world, store) == 50 + 1_500 - oldest
    assert world.books(store)[1][LOST] == oldest - 50
    log.close()


def test_the_log_is_told_of_the_last_events_also_when_nothing_follows(world):
    log, store, clock = MemoryEventLog(), MemoryMonitorStore(RULES), FakeClock()
    write(world, log, range(5))
    reader = world.reader(PREDICTIONS, log, store, clock=clock)
    consumer = log.consumer(PREDICTIONS, "monitor")
    reader._go_to_truth(consumer, [0])
    reader.step(consumer)
    write(world, log, range(5, 7))
    reader.step(consumer)
    assert log.committed(PREDICTIONS, "monitor") == 5
    clock.advance(60)
    reader.step(consumer)
    assert log.committed(PREDICTIONS, "monitor") == 7


def test_old_rows_are_forgotten_only_while_the_books_are_up_to_date(world, store):
    log, clock = MemoryEventLog(), FakeClock()
    write(world, log, range(20))
    retention = Retention(
        (PREDICTIONS, FEEDBACK), log=log, store=store, clock=clock, settings=RetentionSettings(row_s=DAY_S)
    )
    clock.advance(10 * 366 * DAY_S)
    assert retention.step() == 0
    world.drain(log, store)
    before = world.books(store)
    assert retention.step() == 20
    assert world.books(store) == before


def test_forgetting_waits_out_an_outage(world):
    class Away(MemoryMonitorStore):
        num_calls = 0

        def forget(self, **_):
            self.num_calls += 1
            if self.num_calls < 3:
                raise UnavailableError("planted")
            stop.set()
            return 0

    class Stop(threading.Event):
        def wait(self, _):
            return self.is_set()

    stop, store = Stop(), Away(RULES)
    Retention((), log=MemoryEventLog(), store=store, clock=FakeClock(), settings=RetentionSettings()).run(stop)
    assert store.num_calls == 3
