# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Callers without a credential: what they hold open, and for how long, leaves room for those who may call."""

import asyncio
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from dragoman_common.server import ServerSettings, Service
from dragoman_common.status import error_from_rpc
from dragoman_common.testing import running

SERVICE = monitor_pb2.DESCRIPTOR.services_by_name["MonitorService"]
GET_REPORT = f"/{SERVICE.full_name}/GetReport"
POLICY = {f"/{SERVICE.full_name}/{method.name}": frozenset({"operator"}) for method in SERVICE.methods}
CHECK = "/grpc.health.v1.Health/Check"
CAP = 20


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    async def GetReport(self, request, context):
        return monitor_pb2.GetReportResponse()


@pytest.fixture
def serving(tmp_path):
    def serve(**changes):
        settings = ServerSettings(key_file=tmp_path, trust_file=tmp_path, max_concurrent_rpcs=CAP, **changes)
        service = Service(register=monitor_pb2_grpc.add_MonitorServiceServicer_to_server, servicer=Monitor())
        return running([service], POLICY, name="monitor", settings=settings)

    return serve


async def assert_answers_those_who_may_call(server):
    async with server.channel("operator") as channel:
        await monitor_pb2_grpc.MonitorServiceStub(channel).GetReport(monitor_pb2.GetReportRequest(), timeout=5)


async def first_answer(watch):
    """The status, or the error that the watch ended with."""
    try:
        return (await anext(aiter(watch))).status
    except grpc.aio.AioRpcError as failure:
        return error_from_rpc(failure)


async def test_more_anonymous_watches_than_calls_leave_room_for_a_caller_with_a_token(serving):
    async with serving() as server, grpc.aio.insecure_channel(server.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(25)]
        answers = await asyncio.gather(*(first_answer(watch) for watch in watches))
        assert answers.count(health_pb2.HealthCheckResponse.SERVING) == CAP // 4
        refusals = [answer for answer in answers if not isinstance(answer, int)]
        assert {(type(error).__name__, error.retry_after_s) for error in refusals} == {("OverloadedError", 1.0)}
        await assert_answers_those_who_may_call(server)
        assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1


async def test_ended_watches_make_room(serving):
    async with serving(max_anonymous_watches=1) as server, grpc.aio.insecure_channel(server.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        first = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert await first_answer(first) == 1
        first.cancel()
        # The server learns of the end a moment later.
        async with asyncio.timeout(5):
            while await first_answer(stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)) != 1:
                pass


async def test_an_anonymous_watch_ends_with_its_life(serving):
    async with serving(max_anonymous_watch_ms=50) as server, grpc.aio.insecure_channel(server.target) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert await first_answer(watch) == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(watch))
        assert (caught.value.code(), "0.050 s" in caught.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)


async def test_anonymous_calls_that_never_send_their_request_leave_room(serving):
    async with serving() as server, grpc.aio.insecure_channel(server.target) as channel:
        halves = [channel.stream_unary(CHECK)(timeout=30) for _ in range(25)]
        refused, _ = await asyncio.wait(
            [asyncio.ensure_future(half.code()) for half in halves], return_when=asyncio.FIRST_COMPLETED
        )
        assert {task.result() for task in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await assert_answers_those_who_may_call(server)
        for half in halves:
            half.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*(half.code() for half in halves))


async def test_calls_without_a_token_are_refused_before_they_take_a_place_for_long(serving):
    async with serving() as server, grpc.aio.insecure_channel(server.target) as channel:
        halves = [channel.stream_unary(GET_REPORT)(timeout=30) for _ in range(25)]
        codes = set(await asyncio.gather(*(half.code() for half in halves)))
        assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        await assert_answers_those_who_may_call(server)
