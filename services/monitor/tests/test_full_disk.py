# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A full disk under the books: the reader says so, waits, and goes on by itself; nothing is half-written."""

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_events.memory import MemoryEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES, batch, prediction
from dragoman_monitor.sqlite import SqliteMonitorStore

NUM_ROWS = 2_000


@pytest.fixture
def full(tmp_path):
    """Books that may take a few pages more."""
    store = SqliteMonitorStore(tmp_path / "monitor.db", RULES)
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count={pages + 20}")
    yield store
    store.close()


class Waiting:
    """A stop whose waits take no time and make space at the third."""

    def __init__(self, is_set, make_space):
        self.is_set = is_set
        self._make_space = make_space
        self.num_waits = 0

    def wait(self, _):
        self.num_waits += 1
        if self.num_waits == 3:
            self._make_space()


def test_a_reader_waits_for_space_and_counts_every_row_once(world, full, caplog):
    log = MemoryEventLog()
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(NUM_ROWS)])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in range(NUM_ROWS)])
    stop = Waiting(
        lambda: full.offsets(PREDICTIONS) == log.end_offsets(PREDICTIONS),
        lambda: full._writer.execute("PRAGMA max_page_count=1000000"),
    )
    world.reader(PREDICTIONS, log, full).run(stop)
    assert stop.num_waits == 3
    assert "disk is full" in caplog.text
    world.drain(log, full)
    assert world.books(full) == world.books(world.recount(log))


def test_a_batch_that_does_not_fit_leaves_nothing_and_names_the_file(full, tmp_path):
    large = batch(*(prediction(f"{n:0200d}") for n in range(NUM_ROWS)))
    with pytest.raises(UnavailableError, match=r"monitor\.db cannot be written: its disk is full") as refused:
        full.apply(large)
    assert str(tmp_path) in refused.value.message
    assert full.offsets(large.topic) == {}
    assert full.tallies() == {}
    full._writer.execute("PRAGMA max_page_count=1000000")
    full.apply(large)
    assert full.offsets(large.topic) == {0: NUM_ROWS}
