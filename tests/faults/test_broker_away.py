# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The broker is away under load: callers see no error, and afterwards everything is there.

callers at a rate, half acked, half spooled -> a gateway process -> (no Kafka) -> its spool; then Kafka is back
"""

import asyncio
import time

import pytest

from tests.faults.conftest import DURABILITY, TENANTS
from tests.faults.figures import note
from tests.faults.load import Load
from tests.faults.processes import is_ready, target_of, until
from tests.faults.sizes import IS_FULL, SIZES

NUM_CALLERS = 128
ROWS = (8,)
SHARE = 0.9
"""Of the offered rate that must be answered while the broker is away: the rest is for a busy machine."""


async def away(scene, load, away_s):
    """Let the broker be away for a time; returns how many predictions were answered in it."""
    await until(lambda: load.calls.num_rows > 100, "calls are answered")
    await asyncio.to_thread(scene.broker.kill)
    before, start_s = load.calls.num_rows, time.monotonic()
    try:
        await until(lambda: time.monotonic() > start_s + away_s, "the outage is over", limit_s=away_s + 60)
    finally:
        num_rows = load.calls.num_rows - before
        await asyncio.to_thread(scene.broker.start)
    return num_rows


async def test_no_caller_sees_an_error_while_the_broker_is_away_and_nothing_is_lost(scene, platform):
    load = Load(platform, tenants=list(TENANTS), num_callers=NUM_CALLERS, rows=ROWS, events_s=SIZES.away_events_s)
    with scene.gateway(platform, **DURABILITY) as gateway, scene.monitor() as monitor:
        await is_ready(monitor)
        calling = asyncio.create_task(load.run(await target_of(gateway)))
        try:
            num_rows = await away(scene, load, SIZES.away_s)
        finally:
            load.stop()
            await calling
        assert set(load.calls.codes) == {"OK"}
        assert num_rows >= SHARE * SIZES.away_events_s * SIZES.away_s
        start_s = time.monotonic()
        await scene.until_replayed(limit_s=300)
        replayed_s = time.monotonic() - start_s
        await scene.until_read(limit_s=600)
        await scene.check(load.calls)
    note(
        f"broker away: {SIZES.away_s:.0f} s, {num_rows / SIZES.away_s:.0f} predictions/s answered meanwhile, "
        f"calls by code {dict(load.calls.codes)}, longest call {load.calls.longest_s:.2f} s; replayed after "
        f"{replayed_s:.1f} s more, in the books after {time.monotonic() - start_s:.1f} s"
    )


@pytest.mark.skipif(not IS_FULL, reason="the gateway's own tests have it small; make test-faults has it all")
async def test_a_spool_that_is_full_is_seen_by_callers(scene, platform):
    # What "while the spool lasts" means, and that an error would be noticed.
    load = Load(platform, tenants=list(TENANTS), num_callers=16, rows=ROWS)
    with scene.gateway(platform, SPOOL_MAX_EVENTS=400, **DURABILITY) as gateway:
        calling = asyncio.create_task(load.run(await target_of(gateway)))
        try:
            await until(lambda: load.calls.num_rows > 100, "calls are answered")
            await asyncio.to_thread(scene.broker.kill)
            try:
                await until(lambda: load.calls.codes["RESOURCE_EXHAUSTED"] > 0, "the spool is full")
            finally:
                await asyncio.to_thread(scene.broker.start)
        finally:
            load.stop()
            await calling
        await scene.until_replayed()
    with scene.monitor():
        await scene.until_read()
    assert set(load.calls.codes) == {"OK", "RESOURCE_EXHAUSTED"}
    await scene.check(load.calls)
