# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A monitor is killed inside the sink's transaction, and between the two commits: nothing lost, nothing twice.

One topic full of events; monitors die at one point after the other, and each goes on from what the last one left.
"""

import asyncio

import pytest

from dragoman_events.topics import DEAD_LETTERS, FEEDBACK, PREDICTIONS
from tests.faults import events, oracle
from tests.faults.figures import note
from tests.faults.oracle import BrokenPromiseError
from tests.faults.processes import until_killed
from tests.faults.sizes import IS_FULL, SIZES, SMALL
from tests.faults.topics import make_topics

SETTINGS = {"ROW_DAYS": 36_500, "MAX_BATCH_RECORDS": 40}
# Inside the transaction, then between Postgres' commit and Kafka's, then behind both.
POINTS = [
    ("before_counts", 3),
    ("before_commit", 4),
    ("after_commit", 3),
    ("before_kafka_commit", 3),
]
MORE_POINTS = [
    ("before_apply", 4),
    ("before_fence", 5),
    ("before_rows", 4),
    ("before_labels", 3),
    ("before_tallies", 1),
    ("before_commit", 1),
    ("before_commit", 17),
    ("after_commit", 1),
    ("after_kafka_commit", 2),
    ("after_kafka_commit", 9),
]


async def write(scene, num_events):
    await asyncio.to_thread(make_topics, scene.broker, scene.prefix)
    poison = events.poison()
    for topic, of in ((PREDICTIONS, events.prediction), (FEEDBACK, events.feedback)):
        messages = [of(number) for number in range(num_events)]
        # Here and there, so that letters are on their way at some of the kills.
        messages[100:100], messages[num_events // 2 : num_events // 2] = poison, poison
        await asyncio.to_thread(scene.topics.write, topic, messages)


async def check(scene):
    with scene.monitor(ROW_DAYS=36_500):
        await scene.until_read(limit_s=300)
    predictions, feedback, letters = [
        await asyncio.to_thread(scene.topics.read, topic) for topic in (PREDICTIONS, FEEDBACK, DEAD_LETTERS)
    ]
    oracle.check_lag(scene.books, scene.ends())
    oracle.check_books(scene.books, predictions, feedback)
    oracle.check_dead_letters(oracle.poison_of(predictions) + oracle.poison_of(feedback), letters)


async def test_a_monitor_killed_at_any_point_loses_and_repeats_nothing(scene):
    points = POINTS + MORE_POINTS * IS_FULL
    await write(scene, SIZES.num_events)
    for point, nth in points:
        with scene.monitor(point=point, nth=nth, **SETTINGS) as monitor:
            await until_killed(monitor)
    await check(scene)
    note(f"monitor kills: {len(points)} kills, at {', '.join(sorted({point for point, _ in points}))}")


async def test_a_monitor_for_which_kafkas_offset_is_the_truth_is_found_out(scene):
    await write(scene, SMALL.num_events)
    with scene.monitor("KAFKA_FIRST", point="before_apply", nth=5, **SETTINGS) as monitor:
        await until_killed(monitor)
    with scene.monitor("KAFKA_FIRST", **SETTINGS):
        await scene.until_read()
    predictions, feedback = [await asyncio.to_thread(scene.topics.read, topic) for topic in (PREDICTIONS, FEEDBACK)]
    with pytest.raises(BrokenPromiseError, match=r"not in the books|not what a fresh count of the topics gives"):
        oracle.check_books(scene.books, predictions, feedback)
