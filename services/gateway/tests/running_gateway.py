# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A gateway as `__main__` wires it, run in the test's own loop, and a client of it."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2

from dragoman.events.v1 import events_pb2
from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc as pb_grpc
from dragoman_common.settings import parse
from dragoman_events.message_event import message_of
from dragoman_events.opening import open_log
from dragoman_gateway.__main__ import run
from dragoman_gateway.settings import Settings
from inference import oip_pb2_grpc


class Gateway:
    """A running gateway, and how a client talks to it."""

    def __init__(self, platform, channel, http_port):
        self.platform = platform
        self.channel = channel
        self.url = f"http://127.0.0.1:{http_port}"
        self.own = pb_grpc.GatewayServiceStub(channel)
        self.oip = oip_pb2_grpc.GRPCInferenceServiceStub(channel)

    def auth(self, **claims):
        return (("authorization", f"Bearer {self.platform.token(**claims)}"),)

    async def classify(self, *texts, model="r8", version=0, timeout_s=10, **claims):
        selector = pb.ModelSelector(model=model, version=version)
        request = pb.ClassifyRequest(model=selector, texts=texts, client_id="mine")
        return await self.own.Classify(request, metadata=self.auth(**claims), timeout=timeout_s)

    @staticmethod
    async def refused(call):
        """The code and the text of a call that must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value.code(), caught.value.details()

    @staticmethod
    async def eventually(probe):
        return await eventually(probe)

    def events(self, topic="dragoman.predictions"):
        log = open_log(f"sqlite://{self.platform.folder}/events.db")
        kind = events_pb2.Prediction if topic == "dragoman.predictions" else events_pb2.Feedback
        try:
            return [message_of(record.event(), kind) for record in log.read(topic, 0, 10_000)]
        finally:
            log.close()


async def eventually(probe, *, timeout_s=10):
    """The first true value of `probe`, which may be a coroutine function."""
    async with asyncio.timeout(timeout_s):
        while True:
            value = probe()
            value = await value if asyncio.iscoroutine(value) else value
            if value:
                return value
            await asyncio.sleep(0.01)


@asynccontextmanager
async def gateway_running(platform, **changes):
    """A gateway that is ready, over a running platform; `changes` are settings, in capitals."""
    changed = {f"DRAGOMAN_GATEWAY_{name}": value for name, value in changes.items()}
    config = parse(Settings, platform.environment() | changed, prefix="DRAGOMAN_GATEWAY_")
    running = asyncio.ensure_future(run(config))
    ready = [config.server.ready_file, config.http_ready_file]
    await eventually(lambda: running.done() or all(path.exists() for path in ready))
    if running.done():
        running.result()
    ports = [json.loads(path.read_text())["port"] for path in ready]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        await eventually(lambda: is_serving(channel))
        yield Gateway(platform, channel, ports[1])
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def is_serving(channel):
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    return (await check(b"", timeout=5)).status == health_pb2.HealthCheckResponse.SERVING
