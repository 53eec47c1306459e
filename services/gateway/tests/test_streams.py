# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Watches: they end by error, by silence or by themselves, and always begin again."""

import asyncio
from contextlib import suppress

import pytest
from google.protobuf.duration_pb2 import Duration

from dragoman.inference.v1 import worker_pb2 as pb
from dragoman_common.errors import UnavailableError
from dragoman_gateway.streams import DEFAULT_SILENCE_S, MAX_PAUSE_S, follow
from dragoman_gateway.worker_watch import report_from_pb


class Call:
    """A server stream of the test's making: messages, delays in seconds, and an error to end with."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.is_cancelled = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if not isinstance(step, int | float):
                return step
            await asyncio.sleep(step)
        raise StopAsyncIteration

    def cancel(self):
        self.is_cancelled = True


def message(heartbeat_s=2):
    return pb.WatchLoadedResponse(heartbeat_period=Duration(seconds=heartbeat_s))


class Follower:
    def __init__(self, *calls):
        self.calls = list(calls)
        self.opened_at_s, self.taken, self.broken_at_s = [], [], []

    def open(self):
        self.opened_at_s.append(asyncio.get_running_loop().time())
        return self.calls.pop(0) if self.calls else Call(1e9)

    async def take(self, taken):
        self.taken.append(taken)

    async def run(self, for_s):
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await follow(
                    "test", self.open, self.take, lambda: self.broken_at_s.append(asyncio.get_running_loop().time())
                )


@pytest.mark.looptime
async def test_three_missed_heartbeats_end_a_watch():
    silent = Call(message(2), 1e9)
    follower = Follower(silent, Call(message(2)))
    await follower.run(10)
    assert silent.is_cancelled
    assert follower.broken_at_s[0] == 6.0
    assert len(follower.taken) == 2


@pytest.mark.looptime
async def test_a_watch_that_never_speaks_is_given_up():
    follower = Follower(Call(1e9))
    await follower.run(DEFAULT_SILENCE_S + 1)
    assert follower.broken_at_s == [DEFAULT_SILENCE_S]
    assert len(follower.opened_at_s) == 2


@pytest.mark.looptime
async def test_failures_are_retried_ever_more_slowly_and_for_ever():
    follower = Follower(*[Call(UnavailableError("gone")) for _ in range(20)])
    await follower.run(30)
    pauses = [after - before for before, after in zip(follower.opened_at_s, follower.opened_at_s[1:], strict=False)]
    assert pauses[0] <= 0.1
    assert max(pauses) <= MAX_PAUSE_S
    assert min(pauses[6:]) >= MAX_PAUSE_S / 2


@pytest.mark.looptime
async def test_a_message_makes_the_next_pause_short_again():
    failures = [Call(UnavailableError("gone")) for _ in range(6)]
    follower = Follower(*failures, Call(message(), UnavailableError("gone")))
    await follower.run(20)
    assert follower.opened_at_s[7] - follower.opened_at_s[6] <= 0.1


def test_a_state_of_a_newer_worker_is_not_ready():
    version = pb.LoadedVersion(tenant="local", model="r8", number=1, root_sha256="a" * 64)
    version.state = 77
    assert list(report_from_pb(pb.WatchLoadedResponse(versions=[version])).states.values()) == ["UNKNOWN"]
