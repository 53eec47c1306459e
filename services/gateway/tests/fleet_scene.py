# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Up to a few fake workers behind one name, and a fleet that follows it."""

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import numpy as np

from dragoman_common.auth import calling_as
from dragoman_common.channel import connect
from dragoman_common.testing import FakeNames
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
        self.names = FakeNames()
        self.keys = fake_platform.TestKeys()
        self.table = WorkerTable(random.Random(7))
        self.client = WorkerClient(timeout_s=10, on_load=self.table.update_load)
        self.opened = []
        manifest = fake_platform.manifest_of(1)
        self.key = VersionKey(tenant="local", model="r8", number=1, root_sha256=manifest.root_sha256)
        self.workers, self.servers = [], []
        self._stack, self._many_workers, self._fake = stack, many_workers, fake_platform
        self._manifest = manifest
        self._port = 0
        self.eventually = eventually

    async def add(self, orca=None):
        """Start one more worker; gives its address."""
        worker = self._fake.Worker()
        worker.hold(self._manifest)
        host = f"127.0.0.{1 + len(self.workers)}"
        server = await self._stack.enter_async_context(AsyncExitStack())
        self._port = await server.enter_async_context(
            self._many_workers.worker_running(self.keys, worker, f"{host}:{self._port}", orca)
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
        await self.eventually(lambda: self.chosen() == set(addresses), timeout_s=timeout_s)

    async def score(self, address):
        with calling_as("local"):
            return await self.client.score(address, self.key, ROWS)


@asynccontextmanager
async def scene_running(many_workers, fake_platform, eventually):
    async with AsyncExitStack() as stack:
        made = Scene(stack, many_workers, fake_platform, eventually)
        task = asyncio.ensure_future(made.fleet().run())
        yield made
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
