# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for a worker: bounded, told of, released at once, and no longer than they may."""

import asyncio
from contextlib import ExitStack

import pytest

from dragoman_common.errors import DeadlineExceededError, OverloadedError, UnavailableError
from dragoman_gateway.held import HeldCalls, PoolDemand

NOTHING = [PoolDemand(pool="default"), PoolDemand(pool="other")]


@pytest.fixture
def at_zero(make):
    """A version is wanted, there is no worker, and an autoscaler that could start one."""
    world = make.world(has_autoscaler=True)
    world.publish(make.key(), ready_at=())
    world.router.is_complete = True
    return world


def ask(world, *texts):
    return asyncio.ensure_future(world.pipeline.classify(world.call(*(texts or ("oil prices",)))))


def now_s():
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_held_calls_are_released_as_soon_as_a_worker_is_ready(at_zero, make):
    calls = [ask(at_zero, "oil prices"), ask(at_zero, "grain")]
    # Longer than a call waits for a version: the first worker takes as long as it takes.
    await asyncio.sleep(25)
    assert [demand.held_calls for demand in at_zero.held.demand()] == [2, 0]
    assert at_zero.held.demand()[0].held_tokens == 3
    # Its first worker is there, and loads.
    at_zero.report("w", {make.key(): "LOADING"})
    await asyncio.sleep(3)
    at_zero.report("w", {make.key(): "READY"})
    await asyncio.gather(*calls)
    assert now_s() == 28
    assert at_zero.held.demand() == NOTHING


@pytest.mark.looptime
async def test_a_call_that_comes_while_the_first_worker_loads_waits_as_long(at_zero, make):
    at_zero.report("w", {make.key(): "LOADING"})
    call = ask(at_zero)
    await asyncio.sleep(25)
    at_zero.report("w", {make.key(): "READY"})
    await call


@pytest.mark.looptime
async def test_a_call_for_the_second_model_of_a_starting_worker_waits_as_long(at_zero, make):
    at_zero.report("w", {make.key(7): "READY", make.key(): "LOADING"})
    call = ask(at_zero)
    await asyncio.sleep(25)
    at_zero.report("w", {make.key(7): "READY", make.key(): "READY"})
    await call


@pytest.mark.looptime
async def test_a_held_call_ends_with_its_deadline(at_zero):
    at_zero.budget.left_s = 25.0
    with pytest.raises(DeadlineExceededError):
        await ask(at_zero)
    assert now_s() == 25
    assert at_zero.held.demand() == NOTHING


@pytest.mark.looptime
async def test_a_version_is_waited_for_no_longer_where_workers_are_ready_or_nobody_starts_any(at_zero, make):
    at_zero.report("w", {make.key(7): "READY"})
    with pytest.raises(UnavailableError, match="10 s"):
        await ask(at_zero)
    alone = make.world()
    alone.publish(make.key(), ready_at=())
    with pytest.raises(UnavailableError, match="10 s"):
        await ask(alone)


@pytest.mark.looptime
async def test_more_calls_than_may_wait_are_refused_with_a_delay(at_zero, make):
    held = [ask(at_zero) for _ in range(at_zero.max_held_calls - 1)]
    await asyncio.sleep(1)
    with pytest.raises(OverloadedError, match="3 calls wait") as caught:
        await ask(at_zero)
    assert caught.value.retry_after_s == 2.0
    # A caller who leaves makes room.
    held[0].cancel()
    await asyncio.sleep(1)
    last = ask(at_zero)
    await asyncio.sleep(1)
    at_zero.report("w", {make.key(): "READY"})
    await asyncio.gather(*held[1:], last)


@pytest.mark.looptime
async def test_the_first_to_wait_is_the_first_to_be_sent(at_zero, make):
    order = []
    score = at_zero.scorer.score

    async def noted(address, key, rows):
        order.append(len(rows.token_ids))
        return await score(address, key, rows)

    at_zero.scorer.score = noted
    calls = [ask(at_zero, " ".join(["oil"] * size)) for size in (3, 1, 2)]
    await asyncio.sleep(1)
    at_zero.report("w", {make.key(): "READY"})
    await asyncio.gather(*calls)
    assert order == [3, 1, 2]


def test_one_tenant_fills_no_more_than_its_share(world):
    held = HeldCalls(("a",), world.clock, max_calls=10)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(held.held("flood", "a", 1))
        with pytest.raises(OverloadedError, match="8 of them your tenant's"):
            stack.enter_context(held.held("flood", "a", 1))
        for _ in range(2):
            stack.enter_context(held.held("other", "a", 1))
        with pytest.raises(OverloadedError, match="10 calls wait"):
            stack.enter_context(held.held("other", "a", 1))


def full_until(world, time_s, *, delay_s=1.0):
    """Every worker refuses until then."""
    score = world.scorer.score

    async def refusing(address, key, rows):
        if now_s() < time_s:
            raise OverloadedError("full", retry_after_s=delay_s)
        return await score(address, key, rows)

    world.scorer.score = refusing


@pytest.mark.looptime
async def test_calls_that_all_workers_are_too_full_for_wait_where_more_can_come(at_zero, make):
    at_zero.report("w", {make.key(): "READY"})
    full_until(at_zero, 7.0)
    calls = [ask(at_zero) for _ in range(3)]
    await asyncio.sleep(5)
    at_zero.clock.advance(5)
    (demand, _) = at_zero.held.demand()
    assert (demand.held_calls, demand.held_tokens, demand.oldest_wait_s) == (3, 6, 5.0)
    await asyncio.gather(*calls)
    assert 7.0 <= now_s() <= 8.0
    assert at_zero.counts.num_waited_full >= 3 * 7
    assert at_zero.held.demand() == NOTHING


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("has_autoscaler", "left_s", "delay_s"), [(False, 30.0, 1.0), (True, 0.9, 1.0), (True, 30.0, None)]
)
async def test_a_full_worker_is_not_waited_for_in_vain(make, has_autoscaler, left_s, delay_s):
    world = make.world(has_autoscaler=has_autoscaler)
    world.publish(make.key())
    world.router.is_complete = True
    full_until(world, 100.0, delay_s=delay_s)
    world.budget.left_s = left_s
    with pytest.raises(OverloadedError, match="full") as caught:
        await ask(world)
    assert caught.value.retry_after_s == delay_s
    assert now_s() == 0


@pytest.mark.looptime
async def test_no_more_calls_wait_for_room_than_may_wait(at_zero, make):
    at_zero.report("w", {make.key(): "READY"})
    full_until(at_zero, 100.0, delay_s=20.0)
    held = [ask(at_zero) for _ in range(at_zero.max_held_calls - 1)]
    await asyncio.sleep(1)
    with pytest.raises(OverloadedError, match="3 calls wait"):
        await ask(at_zero)
    for call in held:
        call.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert len(at_zero.held) == 0


def test_demand_is_told_by_pool_with_the_oldest_wait(world):
    held = HeldCalls(("a", "b"), world.clock, max_calls=9)
    with held.held("t", "a", 5):
        world.clock.advance(2.0)
        change = held.next_change()
        with held.held("t", "a", 7), held.held("t", None, 100):
            assert change.is_set()
            world.clock.advance(1.0)
            assert len(held) == 3
            assert held.demand() == [
                PoolDemand(pool="a", held_calls=2, held_tokens=12, oldest_wait_s=3.0),
                PoolDemand(pool="b"),
            ]
        assert held.demand()[0] == PoolDemand(pool="a", held_calls=1, held_tokens=5, oldest_wait_s=3.0)
    assert held.demand() == [PoolDemand(pool="a"), PoolDemand(pool="b")]
