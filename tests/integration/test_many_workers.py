# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One gateway and real workers that come, die and hang under load: callers see none of it."""

import asyncio
import signal
import time

import pytest

from tests.integration.conftest import RECIPES
from tests.integration.worker_pool import load_on, pool_of

pytestmark = pytest.mark.slow

MODEL = "many"
CALLERS = 12


@pytest.fixture(scope="module")
def served(installation):
    installation.serve(MODEL, installation.train(RECIPES / "linear.yaml", MODEL))
    return installation


@pytest.fixture
async def pool(served, tmp_path):
    """Two workers behind the name, and a gateway."""
    with pool_of(served, tmp_path, models=f"local/{MODEL}") as made:
        made.start_worker(1)
        made.start_worker(2)
        made.start_gateway()
        await asyncio.gather(made.until_ready(1), made.until_ready(2))
        made.say(1, 2)
        yield made


async def answered(load, count):
    """Wait for so many more answers."""
    wanted = len(load.answers) + count
    async with asyncio.timeout(60):
        while len(load.answers) < wanted:  # noqa: ASYNC110 - other processes answer
            await asyncio.sleep(0.01)


async def test_a_worker_killed_under_load_fails_no_call_and_a_new_one_is_used_within_5_s(pool, served):
    async with load_on(pool.target, served.token(), MODEL, num_callers=CALLERS) as load:
        await answered(load, 200)
        await pool.until_used(1, timeout_s=5)
        pool.signal(1, signal.SIGKILL)
        await answered(load, 200)
        pool.start_worker(3)
        pool.say(2, 3)
        await pool.until_ready(3)
        assert await pool.until_used(3, timeout_s=30) <= 5.0
        await answered(load, 200)
        # The other of the first two goes as well: all is answered by the new one.
        pool.signal(2, signal.SIGKILL)
        await answered(load, 200)
    assert load.failures == []


async def test_a_paused_worker_is_left_and_used_again(pool, served):
    async with load_on(pool.target, served.token(), MODEL, num_callers=CALLERS) as load:
        await answered(load, 200)
        paused_s = time.monotonic()
        pool.signal(1, signal.SIGSTOP)
        await answered(load, 400)
        async with asyncio.timeout(60):
            while time.monotonic() < paused_s + 4.0:  # noqa: ASYNC110 - the calls that hang end meanwhile
                await asyncio.sleep(0.05)
        pool.signal(1, signal.SIGCONT)
        resumed_s = time.monotonic()
        await pool.until_used(1, timeout_s=10)
        await answered(load, 200)
    assert load.failures == []
    # Those that it had taken along were tried elsewhere; those that came after a second met it no more.
    assert load.slowest_s(begun_after_s=paused_s - 1.0, before_s=paused_s + 1.0) < 8.0
    assert load.slowest_s(begun_after_s=paused_s + 1.5, before_s=resumed_s) < 1.5


async def test_the_last_addresses_hold_while_the_name_service_is_away_and_a_gone_name_cuts_nothing(pool, served):
    async with load_on(pool.target, served.token(), MODEL, num_callers=CALLERS) as load:
        await answered(load, 100)
        pool.lose_names()
        await answered(load, 300)
        pool.say(2)
        await answered(load, 300)
        # Its name has gone: it may be stopped when its calls have ended.
        pool.signal(1, signal.SIGTERM)
        await answered(load, 300)
    assert load.failures == []


async def test_calls_at_zero_workers_are_held_for_the_first_and_a_full_pool_fails_none(served, tmp_path):
    with pool_of(served, tmp_path, models=f"local/{MODEL}") as pool:
        pool.start_gateway(AUTOSCALER_TARGET=pool.start_autoscaler(), MAX_HOLD_MS="100")
        async with load_on(pool.target, served.token(), MODEL, num_callers=CALLERS, timeout_s=60) as load:
            async with asyncio.timeout(30):
                while await asyncio.to_thread(pool.held_calls) != CALLERS:  # noqa: ASYNC110 - another process tells
                    await asyncio.sleep(0.05)
            # Each caller's call is held, for longer than a version is waited for.
            pool.start_worker(1, MAX_WAITING_REQUESTS="4")
            await pool.until_ready(1)
            assert (load.answers, load.failures) == ([], [])
            pool.say(1)
            # It takes three calls of one tenant at once; there are twelve.
            await answered(load, 200)
            pool.start_worker(2, MAX_WAITING_REQUESTS="4")
            pool.say(1, 2)
            await pool.until_ready(2)
            await answered(load, 200)
        assert load.failures == []
