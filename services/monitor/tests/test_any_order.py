# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The sums depend on the set of events and on nothing else: order, repetition, batch sizes, who comes first."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_events.memory import MemoryEventLog
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES
from dragoman_monitor.join import DUPLICATES, UNJOINED
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import sqlite_database


def clean_run(world, count):
    log, store = MemoryEventLog(), MemoryMonitorStore(RULES)
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(count)])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in range(count)])
    world.drain(log, store)
    return world.books(store)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), num_repeated=st.integers(0, 12), chunk=st.integers(1, 30))
def test_shuffled_repeated_and_late_events_give_equal_books(world, seed, count, num_repeated, chunk):
    rng = random.Random(seed)
    events = [(PREDICTIONS, world.message(world.prediction(n))) for n in range(count)]
    events += [(FEEDBACK, world.message(world.feedback(n))) for n in range(count)]
    repeated = rng.choices(events, k=num_repeated)
    events += repeated
    rng.shuffle(events)
    log, store = MemoryEventLog(), MemoryMonitorStore(RULES)
    for start in range(0, len(events), chunk):
        for topic, message in events[start : start + chunk]:
            log.write(topic, [message])
        world.drain(log, store, rng.sample([PREDICTIONS, FEEDBACK], k=2), max_records=rng.randrange(1, 20))
    windows, tallies = world.books(store)
    expected_windows, expected_tallies = clean_run(world, count)
    assert windows == expected_windows
    assert tallies == expected_tallies | ({DUPLICATES: num_repeated} if num_repeated else {})


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_corrected_labels_end_equal_in_any_order(world, seed):
    rng = random.Random(seed)
    corrections = [world.message(world.feedback(n, true_label=text)) for n in range(10) for text in ("acq", "earn")]
    results = []
    for _ in range(2):
        rng.shuffle(corrections)
        log, store = MemoryEventLog(), MemoryMonitorStore(RULES)
        log.write(FEEDBACK, corrections[:10])
        world.drain(log, store)
        log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(10)])
        log.write(FEEDBACK, corrections[10:])
        world.drain(log, store)
        results.append(world.books(store))
    assert results[0] == results[1]


def test_a_file_of_books_equals_a_recount_from_the_topics_bit_for_bit(world, tmp_path):
    log, store = (
        SqliteEventLog(tmp_path / "events.db"),
        SqlMonitorStore(sqlite_database(tmp_path / "monitor.db"), RULES),
    )
    rng = random.Random(7)
    numbers = list(range(600)) + rng.sample(range(600), 60)
    rng.shuffle(numbers)
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in numbers])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in reversed(numbers[:500])])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in range(1000, 1010)])
    world.drain(log, store, [FEEDBACK, PREDICTIONS], max_records=64)
    assert world.books(store) == world.books(world.recount(log))
    assert world.books(store)[1][UNJOINED] == 10
    log.close()
    store.close()


def test_books_that_are_lost_are_counted_again_from_the_start_of_the_log(world, tmp_path):
    log = SqliteEventLog(tmp_path / "events.db")
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(100)])
    first = MemoryMonitorStore(RULES)
    world.drain(log, first)
    assert log.consumer(PREDICTIONS, "monitor").committed() == {0: 100}
    second = SqlMonitorStore(sqlite_database(tmp_path / "monitor.db"), RULES)
    world.drain(log, second)
    assert world.books(second) == world.books(first)
    log.close()
    second.close()
