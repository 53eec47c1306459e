# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Held demand reaches every replica of the autoscaler, at each change and once a period, and costs calls nothing."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from dragoman.autoscaler.v1 import autoscaler_pb2 as pb
from dragoman.autoscaler.v1 import autoscaler_pb2_grpc as pb_grpc
from dragoman_common.auth import current_caller
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.endpoint import parse_endpoint
from dragoman_common.errors import UnavailableError
from dragoman_common.server import ServerSettings, Service
from dragoman_common.testing import FakeNames, TestKeys, running
from dragoman_gateway.demand_reporter import LIFETIME_S, DemandReporter
from dragoman_gateway.held import HeldCalls


class Autoscaler(pb_grpc.AutoscalerServiceServicer):
    def __init__(self):
        self.reports = []
        self.error = None

    async def ReportDemand(self, request, context):
        if self.error:
            raise self.error
        self.reports.append((current_caller().identity, request))
        return pb.ReportDemandResponse()

    @property
    def newest(self):
        """(held calls, held tokens) of the pool `gpu`, as last told."""
        pools = {pool.pool: pool for pool in self.reports[-1][1].pools} if self.reports else {}
        return (pools["gpu"].held_calls, pools["gpu"].held_tokens) if pools else None


class Scene:
    def __init__(self, names, keys, held):
        self.names, self.keys, self.held = names, keys, held
        self.replicas, self.port = [], 0

    async def add(self, stack):
        """One more replica; gives its address."""
        host = f"127.0.0.{1 + len(self.replicas)}"
        settings = ServerSettings(key_file=Path("k"), trust_file=Path("t"), listen=f"{host}:{self.port}")
        self.replicas.append(Autoscaler())
        service = Service(register=pb_grpc.add_AutoscalerServiceServicer_to_server, servicer=self.replicas[-1])
        policy = {"/dragoman.autoscaler.v1.AutoscalerService/ReportDemand": frozenset({"gateway"})}
        server = await stack.enter_async_context(
            running([service], policy, name="autoscaler", keys=self.keys, settings=settings)
        )
        self.port = int(server.target.rpartition(":")[2])
        return f"{host}:{self.port}"


@asynccontextmanager
async def reporting(scene, *, period_s):
    def open_channel(address, _server_name):
        return connect(address, audience="autoscaler", tokens=scene.keys.tokens("gateway"))

    target = parse_endpoint("autoscaler.ns.svc:1")
    reporter = DemandReporter(target, scene.names, open_channel, scene.held, period_s=period_s)
    task = asyncio.ensure_future(reporter.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def stack():
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
def made(many_workers):
    return Scene(FakeNames(), TestKeys(), HeldCalls(("gpu", "cpu"), SystemClock(), max_calls=9))


async def test_every_replica_hears_of_each_change(made, stack, running_gateway):
    eventually = running_gateway.eventually
    first, second = await made.add(stack), await made.add(stack)
    made.names.say(first, second)
    async with reporting(made, period_s=60):
        await eventually(lambda: [replica.newest for replica in made.replicas] == [(0, 0)] * 2)
        with made.held.held("t", "gpu", 7):
            await eventually(lambda: [replica.newest for replica in made.replicas] == [(1, 7)] * 2)
        await eventually(lambda: [replica.newest for replica in made.replicas] == [(0, 0)] * 2)
    identity, report = made.replicas[0].reports[0]
    assert (identity, report.lifetime.seconds) == ("gateway", LIFETIME_S)
    assert [pool.pool for pool in report.pools] == ["gpu", "cpu"]
    assert len({report.reporter for replica in made.replicas for _, report in replica.reports}) == 1


async def test_many_changes_make_few_reports(made, stack, running_gateway):
    made.names.say(await made.add(stack))
    async with reporting(made, period_s=60):
        await running_gateway.eventually(lambda: made.replicas[0].newest == (0, 0))
        for _ in range(500):
            with made.held.held("t", "gpu", 1):
                await asyncio.sleep(0)
        with made.held.held("t", "gpu", 7):
            await running_gateway.eventually(lambda: made.replicas[0].newest == (1, 7))
    assert len(made.replicas[0].reports) < 30


async def test_a_report_is_repeated_each_period_and_a_failed_one_made_good(made, stack, running_gateway):
    made.names.say(await made.add(stack))
    (replica,) = made.replicas
    replica.error = UnavailableError("starting")
    with made.held.held("t", "gpu", 7):
        async with reporting(made, period_s=0.15):
            await asyncio.sleep(0)
            replica.error = None
            await running_gateway.eventually(lambda: len(replica.reports) >= 3)
    assert replica.newest == (1, 7)


async def test_a_new_replica_is_told_and_a_gone_one_is_not(made, stack, running_gateway):
    first, second = await made.add(stack), await made.add(stack)
    made.names.say(first)
    async with reporting(made, period_s=0.15):
        await running_gateway.eventually(lambda: made.replicas[0].newest == (0, 0))
        made.names.say(second)
        await running_gateway.eventually(lambda: made.replicas[1].newest == (0, 0))
        told = len(made.replicas[0].reports)
        await running_gateway.eventually(lambda: len(made.replicas[1].reports) >= 3)
    assert len(made.replicas[0].reports) <= told + 1


async def test_a_held_call_of_the_wired_gateway_is_told_and_answered(
    made, stack, running_gateway, platform, fake_platform
):
    """The whole way: no worker is ready, the autoscaler hears of it, a worker comes, the call is answered."""
    made.keys = platform.keys
    address = await made.add(stack)
    manifest = fake_platform.manifest_of(1)
    platform.worker.states.clear()
    environment = {
        "AUTOSCALER_TARGET": address,
        "WORKER_TARGETS": f"gpu={platform.targets['worker']}",
        "POOL_MODELS": "gpu=local/r8",
        "MAX_HOLD_MS": "100",
    }
    async with running_gateway.gateway_running(platform, **environment) as gateway:
        call = asyncio.ensure_future(gateway.classify("oil prices"))
        await running_gateway.eventually(lambda: made.replicas[0].newest == (1, 2))
        platform.worker.hold(manifest)
        assert (await call).version == 1
        await running_gateway.eventually(lambda: made.replicas[0].newest == (0, 0))
