# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Two monitors in one group, one of which stands still (SIGSTOP) for longer than its session, with a batch in hand.

The other gets its partitions and reads everything; then the first goes on: no row twice, none missing.
"""

import asyncio
import time

import pytest

from dragoman_events.topics import FEEDBACK, PREDICTIONS
from tests.faults import events, oracle
from tests.faults.figures import note
from tests.faults.oracle import BrokenPromiseError
from tests.faults.processes import is_ready, is_stopped, until
from tests.faults.sizes import SIZES, SMALL
from tests.faults.topics import make_topics

SETTINGS = {"ROW_DAYS": 36_500, "MAX_BATCH_RECORDS": 40}


async def write(scene, numbers):
    for topic, of in ((PREDICTIONS, events.prediction), (FEEDBACK, events.feedback)):
        await asyncio.to_thread(scene.topics.write, topic, [of(number) for number in numbers])


async def run(scene, sizes, *words):
    """Stop one of two monitors before it applies a batch, let the other go on, resume; returns what the first said."""
    await asyncio.to_thread(make_topics, scene.broker, scene.prefix)
    third = sizes.num_events // 3
    with scene.monitor("STOP", *words, point="before_apply", nth=6, **SETTINGS) as first:
        await is_ready(first)
        await write(scene, range(third))
        await until(lambda: is_stopped(first), "it stands still", process=first)
        start_s = time.monotonic()
        with scene.monitor(*words, **SETTINGS):
            # Everything of before, which it gets only when Kafka has given up on the first one.
            await scene.until_read(limit_s=120)
            await write(scene, range(third, 2 * third))
            await scene.until_read(limit_s=120)
            await until(lambda: time.monotonic() > start_s + sizes.pause_s, "the pause is over")
            first.resume()
            await write(scene, range(2 * third, 3 * third))
            await until(lambda: "partitions taken away" in first.said(), "it knows that it was gone")
            await scene.until_read(limit_s=120)
    predictions, feedback = [await asyncio.to_thread(scene.topics.read, topic) for topic in (PREDICTIONS, FEEDBACK)]
    oracle.check_lag(scene.books, scene.ends())
    oracle.check_books(scene.books, predictions, feedback)
    return first.said()


async def test_a_monitor_that_was_stopped_for_longer_than_its_session_counts_nothing_twice(scene):
    said = await run(scene, SIZES)
    assert "another monitor was first" in said
    note(
        f"paused monitor: one of two stopped for {SIZES.pause_s} s with a batch in hand, session {SIZES.session_ms} ms"
    )


async def test_monitors_without_the_fence_are_found_out(scene):
    with pytest.raises(BrokenPromiseError, match=r"tallies|repetitions|behind"):
        await run(scene, SMALL, "NO_FENCE")
