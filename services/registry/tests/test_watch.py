# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A follower that does not keep up is cut off; memory and the other followers do not notice."""

from dataclasses import dataclass

import pytest

from dragoman_registry.watch import AliasWatch, FollowerTooSlowError


@dataclass(frozen=True)
class Event:
    number: int


async def test_a_slow_follower_is_cut_off_and_a_quick_one_misses_nothing():
    watch = AliasWatch(max_queued=3)
    with watch.follow(lambda _: True) as slow, watch.follow(lambda _: True) as quick:
        for number in range(10):
            watch.publish(Event(number))
            assert await quick.next_event(1) == Event(number)
        assert slow._queue.qsize() == 1
        with pytest.raises(FollowerTooSlowError):
            await slow.next_event(1)


@pytest.mark.looptime
async def test_a_quiet_stream_says_so_after_its_time(looptime):
    watch = AliasWatch()
    with watch.follow(lambda _: True) as follower:
        assert await follower.next_event(10) is None
        assert looptime == 10


async def test_a_follower_that_left_is_not_told():
    watch = AliasWatch()
    with watch.follow(lambda _: True) as follower:
        pass
    watch.publish(Event(1))
    assert follower._queue.empty()
