# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Workers come and go by name: each address is a worker, a new one is used, a gone one drains, a broken one is left."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import numpy as np
import pytest

from dragoman_common.auth import calling_as
from dragoman_common.channel import connect
from dragoman_common.errors import UnavailableError
from dragoman_gateway.clients import WorkerClient
from dragoman_gateway.fleet import WorkerFleet
from dragoman_gateway.ports import EncodedRows
from dragoman_gateway.targets import parse_worker_targets
from dragoman_gateway.version import VersionKey
from dragoman_gateway.workers import WorkerTable

ROWS = EncodedRows(
    token_ids=np.array([5], dtype=np.int32),
    lengths=np.array([1], dtype=np.int32),
    truncated=(False,),
    num_unknown=(0,),
)


class Scene:
    """Up to three workers, each on an address of its own, and a fleet that follows the name `workers`."""

    def __init__(self, stack, many_workers, fake_platform, eventually):
        self.names = many_workers.Names()
        self.keys = fake_platform.TestKeys()
        self.table = WorkerTable(random.Random(7))
        self.client = WorkerClient(timeout_s=10)
        self.opened = []
        manifest = fake_platform.manifest_of(1)
        self.key = VersionKey(tenant="local", model="r8", number=1, root_sha256=manifest.root_sha256)
        self.workers, self.servers = [], []
        self._stack, self._many_workers, self._fake = stack, many_workers, fake_platform
        self._manifest = manifest
        self._port = 0
        self._eventually = eventually

    async def add(self):
        """Start one more worker; gives its address."""
        worker = self._fake.Worker()
        worker.hold(self._manifest)
        host = f"127.0.0.{1 + len(self.workers)}"
        server = await self._stack.enter_async_context(AsyncExitStack())
        self._port = await server.enter_async_context(
            self._many_workers.worker_running(self.keys, worker, f"{host}:{self._port}")
        )
        self.workers.append(worker)
        self.servers.append(server)
        return f"{host}:{self._port}"

    def fleet(self, target="gpu=workers.ns.svc:1"):
        def open_channel(address, server_name):
            self.opened.append((address, server_name))
            return connect(address, audience="worker", tokens=self.keys.tokens("gateway"))

        return WorkerFleet(parse_worker_targets([target]), self.names, open_channel, self.table, self.client)

    def chosen(self):
        """The addresses that calls go to."""
        return {self.table.choose(self.key) for _ in range(40)} - {None}

    async def until_chosen(self, *addresses, timeout_s=10):
        await self._eventually(lambda: self.chosen() == set(addresses), timeout_s=timeout_s)

    async def score(self, address):
        with calling_as("local"):
            return await self.client.score(address, self.key, ROWS)


@pytest.fixture
async def scene(many_workers, fake_platform, running_gateway):
    async with AsyncExitStack() as stack:
        made = Scene(stack, many_workers, fake_platform, running_gateway.eventually)
        task = asyncio.ensure_future(made.fleet().run())
        yield made
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_every_address_of_the_name_is_a_worker(scene):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    assert scene.table.has_workers("gpu")
    assert not scene.table.has_workers("default")
    # What a certificate is held against is the name, not the address.
    assert scene.opened == [(first, "workers.ns.svc"), (second, "workers.ns.svc")]
    assert (await scene.score(second)).shape == (1, 3)


async def test_a_new_worker_is_used_within_5_s_of_its_first_report(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    second = await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second, timeout_s=5)


async def test_a_broken_connection_drops_the_worker_at_once(scene):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    await scene.servers[1].aclose()
    await scene.until_chosen(first, timeout_s=1)


async def test_an_address_that_lost_its_name_ends_its_calls_and_takes_no_new_ones(scene):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    scene.workers[1].is_open.clear()
    call = asyncio.ensure_future(scene.score(second))
    await scene.workers[1].was_called.wait()
    scene.names.say(first)
    assert scene.chosen() == {first}
    scene.workers[1].is_open.set()
    assert (await call).shape == (1, 3)
    # The name is back before the worker has gone: the connection was kept.
    scene.names.say(first, second)
    assert scene.chosen() == {first, second}
    assert len(scene.opened) == 2


async def test_workers_whose_names_have_all_gone_answer_while_they_can(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.names.say()
    assert scene.chosen() == {first}
    await scene.servers[0].aclose()
    await scene.until_chosen()


async def test_a_worker_without_name_and_connection_is_forgotten_and_may_come_back(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.names.say()
    scene.workers[0].feed.cut(UnavailableError("gone"))
    await scene.until_chosen()
    scene.names.say(first)
    await scene.until_chosen(first)
    assert len(scene.opened) == 2
