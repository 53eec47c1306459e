# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The plaintext port beside a TLS server: health as the server has it, within bounds, and nothing else."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc
from dragoman_common.server import Server, Service
from dragoman_common.testing import TestKeys, running, server_settings
from dragoman_common.testing_certificates import TestAuthority

SERVICE = pb.DESCRIPTOR.services_by_name["MonitorService"]
POLICY = {f"/{SERVICE.full_name}/{method.name}": frozenset({"gateway"}) for method in SERVICE.methods}
Status = health_pb2.HealthCheckResponse


@pytest.fixture
def tls(tmp_path):
    return TestAuthority().files(tmp_path / "tls").settings(is_mutual=True)


def serving(**settings):
    service = Service(
        register=monitor_pb2_grpc.add_MonitorServiceServicer_to_server,
        servicer=monitor_pb2_grpc.MonitorServiceServicer(),
    )
    settings = server_settings(health_listen="127.0.0.1:0", **settings)
    return running([service], POLICY, name="monitor", settings=settings)


def probing(server):
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.server.ports['health_port']}")


async def check(channel):
    return (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)).status


async def test_probe_in_the_clear_is_told_what_the_tls_server_is(tls):
    async with serving(tls=tls) as server, probing(server) as channel:
        assert await check(channel) == Status.SERVING
        await server.server.set_serving(is_serving=False)
        assert await check(channel) == Status.NOT_SERVING


async def test_nothing_but_health_is_served_there_with_any_token(tls):
    async with serving(tls=tls) as server, probing(server) as channel:
        metadata = (("authorization", f"Bearer {server.keys.tokens('gateway').token('monitor')}"),)
        for method in (*POLICY, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(b"", metadata=metadata, timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_probe_is_answered_while_others_hold_every_watch():
    async with serving(max_anonymous_watches=2) as server, probing(server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == Status.SERVING
        refused = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await check(channel) == Status.SERVING
        for watch in watches:
            watch.cancel()


async def test_probe_is_told_that_the_server_drains_and_the_port_closes_with_it():
    settings = server_settings(health_listen="127.0.0.1:0")
    server = Server([], settings, authenticator=TestKeys().authenticator("monitor"), policy={})
    await server.start()
    await server.set_serving(is_serving=True)
    told = []

    async def on_stop():
        told.append(await check(channel))

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports['health_port']}") as channel:
        assert await check(channel) == Status.SERVING
        await server.drain(on_stop)
        with pytest.raises(grpc.aio.AioRpcError):
            await check(channel)
    assert told == [Status.NOT_SERVING]


async def test_without_the_setting_there_is_no_such_port():
    server = Server([], server_settings(), authenticator=TestKeys().authenticator("monitor"), policy={})
    await server.start()
    assert set(server.ports) == {"port"}
    await server.drain()


async def test_port_that_is_taken_stops_the_start():
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    settings = server_settings(health_listen=f"127.0.0.1:{port}")
    server = Server([], settings, authenticator=TestKeys().authenticator("monitor"), policy={})
    with pytest.raises(RuntimeError, match="Failed to bind"):
        await server.start()
    taken.close()
    await server.drain()
