# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""GetUsage: what a tenant used, each request and row once, in spans that add up."""

import grpc
import pytest

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_events.memory import MemoryEventLog
from dragoman_events.message_event import event_of
from dragoman_events.ports import Message
from dragoman_events.topics import DEAD_LETTERS, PREDICTIONS
from dragoman_monitor.contracts import MINUTE_US, RULES, START_US
from dragoman_monitor.convert import time_to_pb
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.servicer import POLICY, MonitorServicer

HOUR_US = 60 * MINUTE_US


@pytest.fixture
def log():
    return MemoryEventLog()


@pytest.fixture
def store():
    return MemoryMonitorStore(RULES)


@pytest.fixture
async def server(log, store):
    service = Service(
        register=pb_grpc.add_MonitorServiceServicer_to_server,
        servicer=MonitorServicer(store, log, RULES, max_windows=48),
    )
    async with running([service], POLICY, name="monitor") as server:
        yield server


async def usage(server, *, tenant="acme", start_us=START_US, end_us=START_US + 2 * HOUR_US, span_s=3600):
    request = pb.GetUsageRequest(start_time=time_to_pb(start_us), end_time=time_to_pb(end_us), span_s=span_s)
    async with server.channel("operator", tenant=tenant) as channel:
        reply = await pb_grpc.MonitorServiceStub(channel).GetUsage(request)
    return [
        (u.start_time.ToMicroseconds(), u.model, u.version, u.num_requests, u.num_rows, u.num_tokens)
        for u in reply.usage
    ]


def row(world, request_id, number, **changes):
    fields = {"version": 1, "arm": "stable", "code": "OK", "label": "earn", "num_tokens": 10, "row": number}
    return world.prediction(1, request_id=request_id, accept_time=time_to_pb(START_US), **fields | changes)


async def test_usage_counts_requests_once_and_answered_rows_with_their_tokens(world, log, store, server):
    late = {"accept_time": time_to_pb(START_US + HOUR_US)}
    rows = [
        row(world, "r-1", 0),
        row(world, "r-1", 1, num_tokens=20),
        row(world, "r-1", 1, num_tokens=20),  # said twice
        row(world, "r-1", 0, arm="shadow", version=2),
        row(world, "r-2", 0, arm="canary", version=2),
        row(world, "r-3", 0, code="UNAVAILABLE", label=""),
        world.prediction(
            1, request_id="r-4", row=0, version=1, arm="stable", code="OK", label="earn", num_tokens=7, **late
        ),
        row(world, "r-5", 0, tenant="other"),
    ]
    log.write(PREDICTIONS, [world.message(each) for each in rows])
    world.drain(log, store, [PREDICTIONS])
    assert await usage(server) == [
        (START_US, "r8", 1, 2, 2, 30),
        (START_US, "r8", 2, 1, 1, 10),
        (START_US + HOUR_US, "r8", 1, 1, 1, 7),
    ]
    assert await usage(server, span_s=7200) == [(START_US, "r8", 1, 3, 3, 37), (START_US, "r8", 2, 1, 1, 10)]
    assert await usage(server, tenant="other") == [(START_US, "r8", 1, 1, 1, 10)]


def sampled(world, request_id, rate):
    value = row(world, request_id, 0)
    extensions = {"tenant": "acme", "requestid": request_id, "sampledrate": rate}
    return Message.of(request_id.encode(), event_of(value, source="dragoman/gateway", extensions=extensions))


async def test_a_sampled_event_stands_for_those_left_out(world, log, store, server):
    log.write(PREDICTIONS, [sampled(world, "r-1", "100"), sampled(world, "r-2", "100")])
    world.drain(log, store, [PREDICTIONS])
    assert await usage(server) == [(START_US, "r8", 1, 200, 200, 2000)]


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "10000001", "9" * 40])
async def test_a_sampled_rate_that_is_none_is_poison(world, log, store, rate):
    log.write(PREDICTIONS, [sampled(world, "r-1", rate)])
    world.drain(log, store, [PREDICTIONS])
    assert len(log.read(DEAD_LETTERS, 0, 10)) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"span_s": 90}, "span_s is 90; it must be a multiple of the window, 60 s"),
        ({"span_s": -60}, "span_s is -60"),
        ({"start_us": START_US + MINUTE_US}, "start_time must be a whole number of spans of 3600 s"),
        ({"end_us": START_US}, "start_time must be before end_time"),
        ({"end_us": START_US + 49 * HOUR_US}, "49 spans lie between start_time and end_time, at most 48 may"),
    ],
)
async def test_spans_that_do_not_fit_are_refused_by_name(server, request_, reason):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await usage(server, **request_)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in refused.value.details()
