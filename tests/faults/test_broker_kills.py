# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The broker is killed (SIGKILL) at random moments under load, over and over: nothing lost, nothing twice.

64 callers, half of them acked, half spooled -> a gateway process -> Kafka -> a monitor process -> Postgres
"""

import asyncio
import random
import time
from dataclasses import replace

import pytest

from dragoman_events.topics import PREDICTIONS
from tests.faults.conftest import DURABILITY, TENANTS
from tests.faults.figures import note
from tests.faults.load import Load
from tests.faults.oracle import BrokenPromiseError
from tests.faults.processes import is_ready, target_of, until
from tests.faults.sizes import SIZES, SMALL

ONE_KILL = replace(SMALL, num_broker_kills=1, num_predictions=1_500)
NUM_CALLERS = 64
MIN_IN_FLIGHT = 50
MIN_EVENTS = 500
"""Between two kills: in the topic, not only answered."""


async def kill_over_and_over(scene, load, sizes):
    """Kill the broker as often as the sizes say, each time under the stated load; returns what each kill met."""
    rng, kills = random.Random(12), []
    num_before = 0

    async def num_in_topic():
        return sum((await asyncio.to_thread(scene.topics.ends, PREDICTIONS)).values())

    async def has_enough():
        return await num_in_topic() >= num_before + MIN_EVENTS

    while len(kills) < sizes.num_broker_kills:
        await until(has_enough, "enough events are in the topic", limit_s=120, pause_s=0.05)
        await asyncio.sleep(rng.uniform(0, 1.0))
        num_now = await num_in_topic()
        await until(lambda: load.num_in_flight >= MIN_IN_FLIGHT, "calls are in flight")
        num_in_flight = load.num_in_flight
        await asyncio.to_thread(scene.broker.kill)
        kills.append((num_in_flight, num_now - num_before))
        num_before = num_now
        await asyncio.to_thread(scene.broker.start)
    return kills


async def run(scene, platform, sizes, *gateway_words, **settings):
    load = Load(platform, tenants=list(TENANTS), num_callers=NUM_CALLERS, rows=sizes.rows)
    start_s = time.monotonic()
    with scene.gateway(platform, *gateway_words, **DURABILITY, **settings) as gateway, scene.monitor() as monitor:
        await is_ready(monitor)
        calling = asyncio.create_task(load.run(await target_of(gateway)))
        try:
            kills = await kill_over_and_over(scene, load, sizes)
            await until(
                lambda: load.calls.num_rows >= sizes.num_predictions,
                "all are predicted",
                limit_s=1_200,
                process=gateway,
            )
        finally:
            load.stop()
            await calling
            took_s = time.monotonic() - start_s
        await scene.until_replayed(limit_s=180)
        await scene.until_read(limit_s=300)
        predictions = await scene.check(load.calls)
    assert all(num_in_flight >= MIN_IN_FLIGHT and num_events >= MIN_EVENTS for num_in_flight, num_events in kills)
    calls = load.calls
    note(
        f"broker kills: {len(kills)} of the broker, {calls.num_rows} predictions answered OK in {took_s:.0f} s, "
        f"{len(predictions)} events in the topic, calls by code {dict(calls.codes)}, longest call "
        f"{calls.longest_s:.2f} s; at a kill >= {min(k[0] for k in kills)} calls in flight and >= "
        f"{min(k[1] for k in kills)} events since the last"
    )


async def test_no_event_is_lost_or_doubled_while_the_broker_is_killed(scene, platform):
    await run(scene, platform, SIZES)


async def test_a_gateway_that_answers_before_the_acknowledgement_is_found_out(scene, platform):
    # What was on its way to the broker at the kill was answered already, and nobody sends it again.
    with pytest.raises(BrokenPromiseError, match="answered OK are lost"):
        await run(scene, platform, ONE_KILL, "ANSWER_FIRST", KAFKA_DELIVERY_TIMEOUT_MS=500)
