# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Several tokenizers behind one name: the calls are spread, and one that is away costs no call."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from dragoman.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.endpoint import parse_endpoint
from dragoman_common.errors import InvalidArgumentError, UnavailableError
from dragoman_common.server import ServerSettings, Service
from dragoman_common.testing import FakeNames, TestKeys, running
from dragoman_gateway.contracts import TokenizerContract
from dragoman_gateway.retry_budget import RetryBudget
from dragoman_gateway.tokenizer_fleet import TokenizerFleet
from dragoman_gateway.version import VersionKey

KEY = VersionKey(tenant="local", model="r8", number=1, root_sha256="1" * 64)


class Scene:
    def __init__(self, stack, many_workers, fake_platform):
        self.names = FakeNames()
        self.keys = TestKeys()
        self.policy = many_workers.policy_of(tokenizer_pb2)
        self.made = fake_platform.Tokenizer
        self.stack = stack
        self.tokenizers, self.servers, self.port = [], [], 0
        self.retries = RetryBudget()
        self.left_s = 30.0
        self.fleet = TokenizerFleet(
            parse_endpoint("tokenizers.ns.svc:1"),
            self.names,
            lambda address, _: connect(address, audience="tokenizer", tokens=self.keys.tokens("gateway")),
            timeout_s=5,
            retries=self.retries,
            remaining_s=lambda: self.left_s,
            clock=SystemClock(),
            choice=random.Random(7),
        )

    async def add(self):
        """Start one more; gives its address."""
        host = f"127.0.0.{1 + len(self.servers)}"
        self.tokenizers.append(self.made())
        service = Service(
            register=tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server, servicer=self.tokenizers[-1]
        )
        settings = ServerSettings(
            key_file=Path("k"), trust_file=Path("t"), listen=f"{host}:{self.port}", drain_grace_ms=50
        )
        server = await self.stack.enter_async_context(AsyncExitStack())
        made = await server.enter_async_context(
            running([service], self.policy, name="tokenizer", keys=self.keys, settings=settings)
        )
        self.port = int(made.target.rpartition(":")[2])
        self.servers.append(server)
        return f"{host}:{self.port}"

    async def encode(self, *texts):
        with calling_as("local"):
            return await self.fleet.encode(KEY, texts or ("oil",))

    def num_calls(self):
        return [len(tokenizer.tenants) for tokenizer in self.tokenizers]


@pytest.fixture
async def made(many_workers, fake_platform):
    async with AsyncExitStack() as stack:
        scene = Scene(stack, many_workers, fake_platform)
        task = asyncio.ensure_future(scene.fleet.run())
        scene.names.say(await scene.add(), await scene.add())
        await asyncio.sleep(0)
        yield scene
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class TestTokenizerFleet(TokenizerContract):
    @pytest.fixture
    def tokenizer(self, made):
        with calling_as("local"):
            yield made.fleet

    @pytest.fixture
    def key(self):
        return KEY


async def test_calls_are_spread_over_the_addresses(made):
    await asyncio.gather(*(made.encode() for _ in range(40)))
    assert min(made.num_calls()) >= 15


async def test_a_tokenizer_that_dies_fails_no_call(made):
    await asyncio.gather(*(made.encode() for _ in range(10)))
    made.tokenizers[0].is_open.clear()
    calls = [asyncio.ensure_future(made.encode()) for _ in range(20)]
    await asyncio.sleep(0)
    await made.servers[0].aclose()
    await asyncio.gather(*calls)
    await asyncio.gather(*(made.encode() for _ in range(20)))


async def test_one_that_is_alone_is_tried_again(made):
    made.names.say(f"127.0.0.2:{made.port}")
    made.tokenizers[1].inner.failures = [UnavailableError("starting")] * 2
    await made.encode()
    made.tokenizers[1].inner.failures = [UnavailableError("gone")] * 3
    with pytest.raises(UnavailableError, match="tokenizer"):
        await made.encode()


@pytest.mark.parametrize("spent", ["time", "budget"])
async def test_no_attempt_beyond_deadline_and_budget(made, spent):
    for tokenizer in made.tokenizers:
        tokenizer.inner.failures = [UnavailableError("gone")] * 9
    made.left_s = 0.01 if spent == "time" else 30.0
    while spent == "budget" and made.retries.take():
        pass
    with pytest.raises(UnavailableError):
        await made.encode()
    assert sum(made.num_calls()) == 1


async def test_a_refused_row_is_an_answer(made):
    with pytest.raises(InvalidArgumentError):
        await made.encode(" ")
    assert sum(made.num_calls()) == 1


async def test_a_name_without_addresses_keeps_the_last_and_none_is_unavailable(made, many_workers, fake_platform):
    made.names.say()
    await made.encode()
    async with AsyncExitStack() as stack:
        with pytest.raises(UnavailableError):
            await Scene(stack, many_workers, fake_platform).encode()


async def test_one_that_failed_is_passed_over_for_a_while(made):
    made.tokenizers[0].inner.failures = [UnavailableError("gone")] * 99
    for _ in range(20):
        await made.encode()
    assert Counter(made.num_calls())[20] == 1
    assert made.num_calls()[0] == 1
