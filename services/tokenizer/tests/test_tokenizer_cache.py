# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One load per key however many wait, and never more held than allowed."""

import asyncio
from contextvars import ContextVar

import pytest

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_tokenizer.tokenizer_cache import TokenizerCache

ANY = ContextVar("any", default="nobody")


class Loader:
    def __init__(self):
        self.num_loads = 0
        self.gate = asyncio.Event()
        self.failures = []

    async def __call__(self):
        self.num_loads += 1
        number = self.num_loads
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        return f"value {number}"


def cache_of(max_weight=10, **settings):
    return TokenizerCache(max_weight=max_weight, load_timeout_s=10, **settings)


async def value(text):
    return text


async def test_concurrent_callers_share_one_load():
    cache, load = cache_of(), Loader()
    calls = [asyncio.ensure_future(cache.get("a", load)) for _ in range(100)]
    await asyncio.sleep(0)
    load.gate.set()
    assert await asyncio.gather(*calls) == ["value 1"] * 100
    assert load.num_loads == 1
    assert await cache.get("a", load) == "value 1"
    assert load.num_loads == 1


async def test_caller_that_leaves_does_not_stop_the_load_of_the_others():
    cache, load = cache_of(), Loader()
    first, second = (asyncio.ensure_future(cache.get("a", load)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    load.gate.set()
    assert await second == "value 1"
    assert first.cancelled()
    assert load.num_loads == 1


async def test_load_goes_on_when_every_caller_has_left():
    cache, load = cache_of(), Loader()
    call = asyncio.ensure_future(cache.get("a", load))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    load.gate.set()
    assert await cache.get("a", load) == "value 1"
    assert load.num_loads == 1


async def test_failure_reaches_every_waiting_caller_and_is_not_kept():
    cache, load = cache_of(), Loader()
    load.failures.append(DataLossError("tampered"))
    calls = [asyncio.ensure_future(cache.get("a", load)) for _ in range(3)]
    await asyncio.sleep(0)
    load.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [DataLossError] * 3
    assert await cache.get("a", load) == "value 2"


async def test_load_runs_with_the_context_of_no_caller():
    ANY.set("first caller")
    cache = cache_of()

    async def load():
        return ANY.get()

    assert await cache.get("a", load) == "nobody"


@pytest.mark.looptime
async def test_load_that_hangs_is_given_up_and_tried_again():
    cache, load = cache_of(), Loader()
    with pytest.raises(UnavailableError, match="10 s"):
        await cache.get("a", load)
    assert asyncio.get_running_loop().time() == 10
    load.gate.set()
    assert await cache.get("a", load) == "value 2"


@pytest.mark.looptime
async def test_waiting_for_other_loads_counts_against_the_time_limit():
    cache, load = cache_of(max_concurrent_loads=1), Loader()
    results = await asyncio.gather(cache.get("a", load), cache.get("b", load), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 2
    assert asyncio.get_running_loop().time() == 10


async def test_least_recently_used_values_leave_when_the_weight_is_full():
    cache = cache_of(max_weight=10)
    for key in "abc":
        await cache.get(key, lambda key=key: value(key), weight=3)
    await cache.get("a", Loader())
    await cache.get("d", lambda: value("d"), weight=4)
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]
    assert cache.weight == 10


async def test_weight_never_exceeds_the_limit():
    cache = cache_of(max_weight=10)
    for number in range(200):
        await cache.get(number, lambda: value(""), weight=number % 10 + 1)
        assert cache.weight <= 10
    with pytest.raises(ValueError, match="weight 11"):
        await cache.get("x", lambda: value(""), weight=11)


async def test_closing_stops_loads_under_way():
    cache, load = cache_of(), Loader()
    call = asyncio.ensure_future(cache.get("a", load))
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await call
