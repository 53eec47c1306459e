# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Repeated, shuffled, late and poisonous events, written straight to the topics: the same books, and no lag.

a tenth twice, in any order -> Kafka -> a monitor process -> Postgres == the events once and in order, in memory
"""

import asyncio
import random

import pytest

from dragoman_events.ports import Record
from dragoman_events.topics import DEAD_LETTERS, FEEDBACK, PREDICTIONS
from tests.faults import events, oracle
from tests.faults.figures import note
from tests.faults.oracle import BrokenPromiseError
from tests.faults.processes import is_ready
from tests.faults.sizes import SIZES, SMALL
from tests.faults.topics import make_topics

# The events are of another year, and their rows are to be kept all the same.
SETTINGS = {"ROW_DAYS": 36_500, "MAX_BATCH_RECORDS": 200}
COPIES_OF_POISON = 3


def shuffled(messages, rng):
    """A tenth of them twice, all in a random order."""
    mixed = messages + rng.sample(messages, len(messages) // 10)
    rng.shuffle(mixed)
    return mixed


async def run(scene, num_events, *words):
    rng = random.Random(5)
    clean = {
        PREDICTIONS: [events.prediction(n) for n in range(num_events)],
        FEEDBACK: [events.feedback(n) for n in range(num_events)],
    }
    poison = events.poison() * COPIES_OF_POISON
    await asyncio.to_thread(make_topics, scene.broker, scene.prefix)
    # The poison of one topic is poison in the other.
    for topic in (FEEDBACK, PREDICTIONS):
        mixed = shuffled(clean[topic], rng) + poison
        rng.shuffle(mixed)
        await asyncio.to_thread(scene.topics.write, topic, mixed)
    with scene.monitor(*words, **SETTINGS) as monitor:
        await is_ready(monitor)
        await scene.until_read(limit_s=120)
    predictions, feedback, letters = [
        await asyncio.to_thread(scene.topics.read, topic) for topic in (PREDICTIONS, FEEDBACK, DEAD_LETTERS)
    ]
    oracle.check_lag(scene.books, scene.ends())
    oracle.check_books(scene.books, predictions, feedback)
    places = oracle.poison_of(predictions) + oracle.poison_of(feedback)
    assert len(places) == 2 * len(poison)
    oracle.check_dead_letters(places, letters)
    # And what nobody repeated, shuffled or poisoned gives the same counters.
    assert oracle.counters(oracle.recount(predictions, feedback)) == oracle.counters(straight(clean))
    return len(predictions) + len(feedback)


def straight(clean):
    """The books of the same events, each once and in order."""
    records = [
        [Record(topic=topic, offset=n, key=m.key, headers=m.headers, value=m.value) for n, m in enumerate(messages)]
        for topic, messages in clean.items()
    ]
    return oracle.recount(*records)


async def test_the_books_are_the_same_and_each_poison_is_a_dead_letter_once(scene):
    count = await run(scene, SIZES.num_events)
    note(f"crooked events: {count} events, a tenth repeated, shuffled, late, {len(events.poison())} kinds of poison")


async def test_a_monitor_that_does_not_deduplicate_is_found_out(scene):
    with pytest.raises(BrokenPromiseError, match="rows are counted, the topic has"):
        await run(scene, SMALL.num_events, "NO_DEDUPE")
