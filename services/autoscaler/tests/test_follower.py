# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Addresses come and go, workers fall silent, the name service hangs: what is known stays true."""

import asyncio

import pytest

from dragoman_autoscaler.follower import PoolFollower
from dragoman_autoscaler.places import PoolPlace
from dragoman_autoscaler.pool import Pool, PoolLimits, Sight
from dragoman_autoscaler.ports import WorkerLoad
from dragoman_common.endpoint import Endpoint

PLACE = PoolPlace(pool="p", endpoint=Endpoint(host="workers", port=9000))
ONE, TWO = "10.0.0.1:9000", "10.0.0.2:9000"


@pytest.fixture
async def follow(names, workers, loop_clock):
    tasks = []

    def start():
        pool = Pool("p", PoolLimits(), asyncio.get_running_loop().time())
        follower = PoolFollower(PLACE, pool, names=names, source=workers, clock=loop_clock, on_change=lambda: None)
        tasks.append(asyncio.create_task(follower.run()))
        return pool, follower, tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_a_new_worker_is_heard_within_two_seconds_and_a_lost_one_is_forgotten(follow, names, workers):
    names.say(ONE)
    workers.says = {ONE: WorkerLoad(pending_tokens=10), TWO: WorkerLoad(pending_tokens=30)}
    pool, _, task = follow()
    await asyncio.sleep(0.1)
    assert pool.state(now_s()).num_workers == 1
    names.say(ONE, TWO)
    await asyncio.sleep(2)
    assert pool.state(now_s()).num_workers == workers.num_streams == 2
    assert workers.names == {"workers"}
    names.say(TWO)
    await asyncio.sleep(30)
    state = pool.state(now_s())
    assert (state.num_workers, workers.num_streams) == (1, 1)
    assert state.pending_tokens == pytest.approx(30, rel=0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert workers.num_streams == 0


@pytest.mark.looptime
async def test_a_name_service_that_does_not_answer_holds_up_no_start_and_leaves_the_pool_blind(follow):
    pool, follower, _ = follow()
    async with asyncio.timeout(10):
        await follower.has_asked.wait()
    await asyncio.sleep(600)
    assert pool.state(now_s()).sight is Sight.BLIND
    assert pool.is_active(now_s())


@pytest.mark.looptime
async def test_workers_that_fall_silent_blind_the_pool_until_they_speak_again(follow, names, workers):
    names.say(ONE, TWO)
    workers.says = {ONE: WorkerLoad(pending_tokens=10), TWO: WorkerLoad(pending_tokens=30)}
    pool, *_ = follow()
    await asyncio.sleep(30)
    said = workers.says
    workers.says = {}
    await asyncio.sleep(10)
    state = pool.state(now_s())
    assert (state.sight, state.num_workers) == (Sight.BLIND, 2)
    assert state.pending_tokens == pytest.approx(40, rel=0.01)
    workers.says = said
    await asyncio.sleep(2)
    assert pool.state(now_s()).sight is Sight.KNOWN


@pytest.mark.looptime
async def test_a_name_without_addresses_is_an_empty_pool(follow, names):
    names.say()
    pool, *_ = follow()
    await asyncio.sleep(1)
    assert pool.state(now_s()).sight is Sight.EMPTY
    assert not pool.is_active(now_s())
