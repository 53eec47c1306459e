# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Admission by deadline: refused at once, and only on what is known."""

import pytest

from dragoman_common.errors import OverloadedError
from dragoman_gateway.admission import MIN_CALLS, WINDOW_S, ServiceTimes, check_time
from dragoman_gateway.load import FRESH_S, LoadReport

SLOW = [4.0, 5.0, 6.0]


def check(make, *, left_s=2.0, queue_times_s=(5.0,), recent_s=SLOW):
    check_time(make.key(), left_s=left_s, queue_times_s=queue_times_s, recent_s=recent_s)


def test_a_call_that_cannot_be_answered_in_time_is_refused_with_a_delay(make):
    with pytest.raises(OverloadedError, match=r"about 5\.0 s now, and this one has 2\.0 s") as caught:
        check(make)
    assert caught.value.retry_after_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    "known",
    [
        {"left_s": None},
        {"left_s": 5.0},
        {"queue_times_s": ()},
        {"queue_times_s": (5.0, None)},
        {"queue_times_s": (5.0, 0.0), "recent_s": [1.5, 5.0, 6.0]},
        {"recent_s": ()},
        {"recent_s": [0.1, 0.2, 9.0]},
    ],
)
def test_what_is_missing_stale_or_not_agreed_refuses_nothing(make, known):
    check(make, **known)


def test_too_few_and_old_calls_are_nothing_to_go_by(make):
    times = ServiceTimes()
    for _ in range(MIN_CALLS - 1):
        times.ended(make.key(), 1.0, 3.0)
    assert not times.recent_s(make.key(), 1.0)
    times.ended(make.key(), 1.0, 3.0)
    assert list(times.recent_s(make.key(), 1.0)) == [3.0] * MIN_CALLS
    assert not times.recent_s(make.key(), 1.1 + WINDOW_S)
    assert not times.recent_s(make.key(2), 1.0)


def busy(world, key, queue_time_s=5.0):
    for _ in range(MIN_CALLS):
        world.service_times.ended(key, world.clock.monotonic_s(), 5.0)
    world.workers.update_load("worker-a", LoadReport(pending_tokens=9.0, queue_time_s=queue_time_s))


async def test_the_refusal_comes_before_any_work(world, make):
    busy(world, make.key())
    world.budget.left_s = 2.0
    with pytest.raises(OverloadedError):
        await world.pipeline.classify(world.call("oil"))
    assert (world.tokenizer.num_calls, world.scorer.calls, world.counts.num_late) == (0, [], 1)
    world.budget.left_s = 30.0
    await world.pipeline.classify(world.call("oil"))


async def test_a_stale_report_refuses_nothing(world, make):
    busy(world, make.key())
    world.budget.left_s = 2.0
    world.clock.advance(FRESH_S + 0.1)
    await world.pipeline.classify(world.call("oil"))


async def test_one_idle_worker_is_enough(world, make):
    world.report("worker-b", {make.key(): "READY"})
    busy(world, make.key())
    world.workers.update_load("worker-b", LoadReport(pending_tokens=0.0))
    world.service_times.ended(make.key(), 0.0, 0.01)
    world.budget.left_s = 2.0
    await world.pipeline.classify(world.call("oil"))
