# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls against a real server: who may call, what malformed bytes become, and how deadlines travel."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc
from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman_common import deadline, errors, status
from dragoman_common.auth import AUTHENTICATED, calling_as, current_caller
from dragoman_common.server import PolicyGapError, ServerSettings, Service
from dragoman_common.testing import TestKeys, running, server_settings

GET_REPORT = "/dragoman.monitor.v1.MonitorService/GetReport"
SERVICE = pb.DESCRIPTOR.services_by_name["MonitorService"]
POLICY = {f"/{SERVICE.full_name}/{method.name}": frozenset({"operator", "gateway"}) for method in SERVICE.methods}


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    def __init__(self, behaviour=None):
        self.behaviour = behaviour
        self.seen = []

    async def GetReport(self, request, context):
        self.seen.append((current_caller(), deadline.remaining_s()))
        if self.behaviour:
            await self.behaviour()
        return pb.GetReportResponse()


def service(monitor):
    return Service(register=monitor_pb2_grpc.add_MonitorServiceServicer_to_server, servicer=monitor)


async def call(running_server, identity="operator", request=None, **options):
    async with running_server.channel(identity) as channel:
        return await monitor_pb2_grpc.MonitorServiceStub(channel).GetReport(request or pb.GetReportRequest(), **options)


async def code_of_raw_call(target, method, data, metadata=()):
    async with grpc.aio.insecure_channel(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method)(data, metadata=metadata, timeout=5)
    return caught.value.code(), caught.value.details()


async def test_call_without_token_is_unauthenticated_even_when_its_body_is_malformed():
    async with running([service(Monitor())], POLICY, name="monitor") as server:
        assert (await code_of_raw_call(server.target, GET_REPORT, b"\xff\xff"))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_unknown_method_without_token_is_unauthenticated():
    async with running([service(Monitor())], POLICY, name="monitor") as server:
        code, _ = await code_of_raw_call(server.target, "/dragoman.monitor.v1.MonitorService/DropAll", b"")
        assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_malformed_body_with_token_is_invalid_argument():
    keys = TestKeys()
    async with running([service(Monitor())], POLICY, name="monitor", keys=keys) as server:
        token = (("authorization", "Bearer " + keys.tokens("operator").token("monitor")),)
        code, _ = await code_of_raw_call(server.target, GET_REPORT, b"\xff\xff", token)
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_identity_without_a_row_is_denied():
    async with running([service(Monitor())], POLICY, name="monitor") as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(server, "worker")
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_token_for_another_service_is_refused():
    keys = TestKeys()
    async with running([service(Monitor())], POLICY, name="monitor", keys=keys) as server:
        token = (("authorization", "Bearer " + keys.tokens("operator").token("registry")),)
        code, _ = await code_of_raw_call(server.target, GET_REPORT, b"", token)
        assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_server_with_a_method_outside_the_policy_refuses_to_start():
    with pytest.raises(PolicyGapError, match="GetReport"):
        async with running([service(Monitor())], {}, name="monitor"):
            pass


async def test_health_answers_anyone_and_watch_ends_when_the_server_drains():
    async with (
        running([service(Monitor())], POLICY, name="monitor") as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        seen = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for answer in watch:
                if not seen:
                    drain = asyncio.create_task(server.server.drain())
                seen.append(answer.status)
        await drain
        assert seen == [1, 2]
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_that_have_arrived_and_not_started_are_unavailable_when_the_server_drains():
    started, go_on = asyncio.Event(), asyncio.Event()

    async def behaviour():
        started.set()
        await go_on.wait()

    monitor = Monitor(behaviour)
    async with running([service(monitor)], POLICY, name="monitor") as server, server.channel("operator") as channel:
        stub = monitor_pb2_grpc.MonitorServiceStub(channel)
        calls = [asyncio.ensure_future(stub.GetReport(pb.GetReportRequest(), timeout=30)) for _ in range(300)]
        await started.wait()
        drain = asyncio.create_task(server.server.drain())
        go_on.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await drain
    num_answered = sum(isinstance(answer, pb.GetReportResponse) for answer in answers)
    codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert num_answered == len(monitor.seen) < len(calls)
    assert codes == {grpc.StatusCode.UNAVAILABLE}


async def test_tenant_is_believed_from_the_gateway_and_not_from_an_operator():
    monitor = Monitor()
    async with running([service(monitor)], POLICY, name="monitor") as server:
        with calling_as("acme", "ann"):
            await call(server, "gateway")
            await call(server, "operator")
    assert [(caller.tenant, caller.subject) for caller, _ in monitor.seen] == [("acme", "ann"), ("local", "operator")]


async def test_call_without_deadline_gets_the_default_one():
    monitor = Monitor()
    keys = TestKeys()
    async with running([service(monitor)], POLICY, name="monitor", keys=keys) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            token = (("authorization", "Bearer " + keys.tokens("operator").token("monitor")),)
            await channel.unary_unary(GET_REPORT)(b"", metadata=token)
    assert 0 < monitor.seen[0][1] <= 30


async def test_call_that_outlives_its_default_deadline_ends_with_deadline_exceeded(tmp_path):
    settings = ServerSettings(key_file=tmp_path, trust_file=tmp_path, default_deadline_ms=50)
    keys = TestKeys()
    forever = Monitor(asyncio.Event().wait)
    async with running([service(forever)], POLICY, name="monitor", keys=keys, settings=settings) as server:
        token = (("authorization", "Bearer " + keys.tokens("operator").token("monitor")),)
        async with grpc.aio.insecure_channel(server.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(GET_REPORT)(b"", metadata=token)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_client_deadline_is_passed_on_to_the_next_service():
    inner = Monitor()
    async with running([service(inner)], POLICY, name="monitor") as second:

        async def ask_second():
            await call(second, "gateway")

        async with running([service(Monitor(ask_second))], POLICY, name="monitor") as first:
            await call(first, timeout=2)
    # gRPC rounds a deadline up on its way.
    assert inner.seen[0][1] <= 2.1


@pytest.mark.parametrize("error", list(status.STATUS), ids=lambda e: e.__name__)
async def test_error_reaches_the_client_as_itself(error):
    async def fail():
        raise error("model: say what is wrong")

    async with running([service(Monitor(fail))], POLICY, name="monitor") as server:
        with pytest.raises(error, match="model: say what is wrong") as caught, status.translated():
            await call(server)
    assert type(caught.value) is error


async def test_retry_delay_reaches_the_client():
    async def fail():
        raise errors.OverloadedError("queue is full", retry_after_s=2.5)

    async with running([service(Monitor(fail))], POLICY, name="monitor") as server:
        with pytest.raises(errors.OverloadedError) as caught, status.translated():
            await call(server)
    assert caught.value.retry_after_s == 2.5


async def test_what_is_not_believed_is_in_the_log_by_name(caplog):
    async def fail():
        raise errors.DataLossError("acme/r8/versions/3: no signature by a trusted key")

    async with running([service(Monitor(fail))], POLICY, name="monitor") as server:
        with pytest.raises(errors.DataLossError), status.translated():
            await call(server)
    [record] = [record for record in caplog.records if record.message == "audit: object refused"]
    assert (record.object, record.levelname) == ("acme/r8/versions/3", "ERROR")
    assert record.reason.endswith("no signature by a trusted key")


async def test_defect_is_logged_and_its_text_kept_from_the_caller(caplog):
    async def fail():
        raise KeyError("secret internals")

    async with running([service(Monitor(fail))], POLICY, name="monitor") as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(server)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "secret internals" in caplog.text


async def test_failure_of_another_service_without_a_meaning_of_ours_is_internal():
    async def fail():
        raise errors.DragomanError("UNKNOWN: what a peer said")

    async with running([service(Monitor(fail))], POLICY, name="monitor") as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(server)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")


def test_every_error_has_a_status():
    def walk(cls):
        for sub in cls.__subclasses__():
            yield sub
            yield from walk(sub)

    # By class: an error of another package, loaded by its own tests, may be made from other arguments than a text.
    assert [e for e in walk(errors.DragomanError) if not any(cls in status.STATUS for cls in e.__mro__)] == []


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    async def PublishVersion(self, request_iterator, context):
        parts = [part async for part in request_iterator]
        return registry_pb2.PublishVersionResponse(created=len(parts) == 3)

    async def DownloadFile(self, request, context):
        for index in range(3):
            yield registry_pb2.DownloadFileResponse(data=bytes([index]))

    async def WatchAliases(self, request, context):
        yield registry_pb2.WatchAliasesResponse(is_snapshot_complete=True)
        await asyncio.Event().wait()


async def test_streams_pass_the_interceptor_in_both_directions():
    methods = [m.name for m in registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].methods]
    policy = {f"/dragoman.registry.v1.RegistryService/{name}": AUTHENTICATED for name in methods}
    add = registry_pb2_grpc.add_RegistryServiceServicer_to_server
    async with running([Service(register=add, servicer=Registry())], policy, name="registry") as server:
        async with server.channel("operator") as channel:
            stub = registry_pb2_grpc.RegistryServiceStub(channel)
            parts = iter([registry_pb2.PublishVersionRequest()] * 3)
            assert (await stub.PublishVersion(parts)).created
            got = [r.data async for r in stub.DownloadFile(registry_pb2.DownloadFileRequest())]
            assert got == [b"\0", b"\1", b"\2"]
            watch = stub.WatchAliases(registry_pb2.WatchAliasesRequest(), timeout=30)
            assert (await watch.read()).is_snapshot_complete
            drain = asyncio.create_task(server.server.drain())
            with pytest.raises(errors.UnavailableError, match="stopping"), status.translated():
                await watch.read()
            await drain
        async with grpc.aio.insecure_channel(server.target) as channel:
            pass


async def test_stream_without_token_is_refused_before_it_sends_anything():
    methods = [m.name for m in registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].methods]
    policy = {f"/dragoman.registry.v1.RegistryService/{name}": AUTHENTICATED for name in methods}
    add = registry_pb2_grpc.add_RegistryServiceServicer_to_server
    async with running([Service(register=add, servicer=Registry())], policy, name="registry") as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            publish = registry_pb2_grpc.RegistryServiceStub(channel).PublishVersion(timeout=5)
            assert await publish.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_connections_that_come_of_age_are_left_without_a_failed_call():
    settings = server_settings(max_connection_age_s=1)
    peers = set()

    class Named(Monitor):
        async def GetReport(self, request, context):
            peers.add(context.peer())
            return pb.GetReportResponse()

    async with running([service(Named())], POLICY, name="monitor", settings=settings) as server:
        async with server.channel("operator") as channel:
            stub = monitor_pb2_grpc.MonitorServiceStub(channel)
            async with asyncio.timeout(30):
                while len(peers) < 3:
                    await stub.GetReport(pb.GetReportRequest())
