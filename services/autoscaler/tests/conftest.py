# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names and workers that tests move by hand."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from dragoman_autoscaler.ports import WorkerLoad
from dragoman_common.errors import UnavailableError
from dragoman_common.testing import FakeNames


class FakeWorkers:
    """Workers that say what a test has them say, once every half second; one without a word is away."""

    def __init__(self) -> None:
        self.says: dict[str, WorkerLoad] = {}
        self.num_streams = 0
        self.names: set[str] = set()

    async def loads(self, address: str, *, server_name: str) -> AsyncGenerator[WorkerLoad, None]:
        self.names.add(server_name)
        self.num_streams += 1
        try:
            while address in self.says:
                yield self.says[address]
                await asyncio.sleep(0.5)
            raise UnavailableError("away")
        finally:
            self.num_streams -= 1


class LoopClock:
    """The running loop's time."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture
def names():
    return FakeNames()


@pytest.fixture
def workers():
    return FakeWorkers()


@pytest.fixture
def loop_clock():
    return LoopClock()
