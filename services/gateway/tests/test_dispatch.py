# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Attempts: what is tried again, where, how often, and what is not."""

import asyncio

import pytest

from dragoman_common.errors import DeadlineExceededError, InvalidArgumentError, OverloadedError, UnavailableError
from dragoman_gateway.load import LoadReport
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.outliers import BASE_EJECTION_S, FAILURES_IN_A_ROW
from dragoman_gateway.ports import CallLostError
from dragoman_gateway.retry_budget import MIN_BURST, RetryBudget


@pytest.fixture
def three(make):
    """Three workers hold the version; the lower their letter, the less they are loaded."""
    world = make.world()
    world.publish(make.key(), ready_at=("a", "b", "c"))
    world.router.is_complete = True
    for place, address in enumerate("abc"):
        world.workers.update_load(address, LoadReport(pending_tokens=10.0 * place))
    return world


def fails(world, **errors):
    world.scorer.failures = {address: [error] * 50 for address, error in errors.items()}


def gone():
    return UnavailableError("gone")


def full():
    return OverloadedError("full", retry_after_s=0.1)


async def ask(world):
    return await world.pipeline.classify(world.call("oil"))


@pytest.mark.looptime
async def test_each_attempt_is_at_another_worker(three):
    fails(three, a=gone(), b=gone(), c=gone())
    with pytest.raises(UnavailableError):
        await ask(three)
    assert sorted(three.scorer.calls) == ["a", "b", "c"]


@pytest.mark.looptime
@pytest.mark.parametrize(
    "error", [ContractBrokenError("a defect"), InvalidArgumentError("no"), DeadlineExceededError("late")]
)
async def test_what_is_an_answer_is_not_tried_again(three, error):
    fails(three, a=error, b=error, c=error)
    with pytest.raises(type(error)):
        await ask(three)
    assert len(three.scorer.calls) == 1


@pytest.mark.looptime
async def test_a_full_worker_is_followed_by_a_less_loaded_one(three):
    fails(three, b=full(), c=full())
    for _ in range(20):
        await ask(three)
    assert three.scorer.calls.count("a") == 20
    assert three.counts.num_retried_full == len(three.scorer.calls) - 20 > 0


@pytest.mark.looptime
async def test_the_least_loaded_worker_that_is_full_ends_the_call_at_once(three):
    fails(three, a=full(), b=full(), c=full())
    before_s = asyncio.get_running_loop().time()
    with pytest.raises(OverloadedError) as caught:
        for _ in range(20):
            await ask(three)
    assert caught.value.retry_after_s == 0.1
    # Nobody was asked who is busier than one that has refused.
    assert three.scorer.calls[-1] == "a"
    assert asyncio.get_running_loop().time() - before_s < 1.0


@pytest.mark.looptime
async def test_an_input_that_ends_processes_is_not_carried_to_a_third_worker(three):
    lost = CallLostError("its process ended")
    fails(three, a=lost, b=lost, c=lost)
    with pytest.raises(CallLostError):
        await ask(three)
    assert len(three.scorer.calls) == 2


@pytest.mark.looptime
async def test_no_attempt_begins_past_the_deadline(three):
    fails(three, a=gone(), b=gone(), c=gone())
    three.budget.left_s = 0.02
    with pytest.raises(UnavailableError):
        await ask(three)
    assert len(three.scorer.calls) == 1


@pytest.mark.looptime
async def test_pauses_are_jittered_and_grow(three):
    fails(three, a=gone(), b=gone(), c=gone())
    took_s = set()
    for _ in range(5):
        before_s = asyncio.get_running_loop().time()
        with pytest.raises(UnavailableError):
            await ask(three)
        took_s.add(round(asyncio.get_running_loop().time() - before_s, 6))
    assert len(took_s) == 5
    assert min(took_s) >= 0.075
    assert max(took_s) <= 0.225


@pytest.mark.looptime
async def test_retries_are_a_tenth_of_the_calls_beyond_the_burst(three):
    fails(three, a=gone(), b=gone(), c=gone())
    three.scorer.failures = {address: [gone()] * 10_000 for address in "abc"}
    num_calls = 1_000
    for _ in range(num_calls):
        with pytest.raises(UnavailableError):
            await ask(three)
    num_retries = len(three.scorer.calls) - num_calls
    assert three.counts.num_retried_away == num_retries
    assert three.counts.num_denied > 0
    assert MIN_BURST <= num_retries <= MIN_BURST + 0.1 * num_calls


def test_a_full_bucket_is_no_fuller():
    budget = RetryBudget(burst=2)
    for _ in range(1_000):
        budget.count_call()
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(10):
        budget.count_call()
    assert [budget.take() for _ in range(2)] == [True, False]


def test_refusals_spend_only_the_upper_half():
    budget = RetryBudget(burst=4)
    assert [budget.take(is_refusal=True) for _ in range(3)] == [True, True, False]
    assert [budget.take() for _ in range(3)] == [True, True, False]


@pytest.mark.looptime
async def test_a_worker_that_fails_in_a_row_gets_no_calls_for_some_seconds(three):
    three.scorer.failures = {"a": [ContractBrokenError("a defect")] * FAILURES_IN_A_ROW}
    num_failed = 0
    for _ in range(60):
        try:
            await ask(three)
        except ContractBrokenError:
            num_failed += 1
    assert num_failed == FAILURES_IN_A_ROW
    assert three.counts.num_ejections == 1
    ended = len(three.scorer.calls) - three.scorer.calls[::-1].index("a")
    assert len(three.scorer.calls) - ended > 20
    three.clock.advance(BASE_EJECTION_S)
    for _ in range(20):
        await ask(three)
    assert "a" in three.scorer.calls[60:]


@pytest.mark.looptime
async def test_a_call_at_a_worker_that_falls_silent_is_answered_by_another(three):
    score = three.scorer.score

    async def never_by_a(address, key, rows):
        if address == "a":
            await asyncio.Event().wait()
        return await score(address, key, rows)

    three.scorer.score = never_by_a
    for address in "bc":
        three.workers.set_silent(address, is_silent=True)
    call = asyncio.ensure_future(ask(three))
    await asyncio.sleep(0.1)
    for address in "bc":
        three.workers.set_silent(address, is_silent=False)
    three.workers.set_silent("a", is_silent=True)
    three.workers.give_up("a")
    assert len((await call).rows) == 1


@pytest.mark.looptime
async def test_a_cancelled_call_leaves_no_load_behind(three):
    three.scorer.score = lambda *_: asyncio.Event().wait()
    call = asyncio.ensure_future(ask(three))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [three.workers._workers[address].load.num_in_flight for address in "abc"] == [0, 0, 0]
