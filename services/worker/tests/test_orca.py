# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Load as others read it: in each call's trailer, refused ones too, and streamed; and what the numbers mean."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from dragoman.inference.v1 import worker_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_worker.load import LoadMeter
from dragoman_worker.orca import OWN_TRAILER, TRAILER, OrcaReporter, OrcaServicer
from dragoman_worker.resource_usage import ResourceUsage, own_cgroup
from dragoman_worker.servicer import POLICY, InferenceServicer, WorkerServicer
from inference import oip_pb2, oip_pb2_grpc
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport
from xds.service.orca.v3 import orca_pb2, orca_pb2_grpc


def infer_request(lengths=(3, 1), *, version="1"):
    request = oip_pb2.ModelInferRequest(model_name="r8", model_version=version)
    for name, values in (("token_ids", [1] * sum(lengths)), ("lengths", lengths)):
        request.inputs.add(name=name, datatype="INT32", shape=[len(values)])
        request.raw_input_contents.append(np.array(values, dtype="<i4").tobytes())
    return request


@asynccontextmanager
async def serving(placement):
    reporter = OrcaReporter(LoadMeter(placement.engines), ResourceUsage(None))
    inference = InferenceServicer(placement, reporter, version="0", max_rows=8, max_tokens=600, max_row_tokens=4096)
    orca = OrcaServicer(reporter)
    watching = WorkerServicer(placement, heartbeat_period_s=1)
    services = [
        Service(register=oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer=inference),
        Service(register=orca_pb2_grpc.add_OpenRcaServiceServicer_to_server, servicer=orca),
        Service(register=worker_pb2_grpc.add_WorkerServiceServicer_to_server, servicer=watching),
    ]
    async with running(services, POLICY, name="worker") as server:
        try:
            yield server, orca
        finally:
            await orca.stop()


@pytest.fixture
async def follower(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow(max_waiting_requests=4, max_waiting_tokens=1000)
    await follower.until_states({1: "READY"})
    return follower


async def load_of(call) -> OrcaLoadReport:
    trailer = dict(await call.trailing_metadata())
    return OrcaLoadReport.FromString(trailer[OWN_TRAILER])


async def test_an_answer_and_every_refusal_of_the_handler_bring_the_load(follower):
    async with serving(follower.placement) as (server, _), server.channel("gateway") as channel:
        oip = oip_pb2_grpc.GRPCInferenceServiceStub(channel)
        with calling_as("local"):
            answered = oip.ModelInfer(infer_request((3, 1)))
            await answered
            not_held = oip.ModelInfer(infer_request(version="7"))
            damaged = oip.ModelInfer(infer_request((0, 4)))
            for refused, code in (
                (not_held, grpc.StatusCode.UNAVAILABLE),
                (damaged, grpc.StatusCode.INVALID_ARGUMENT),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await refused
                assert failure.value.code() is code
        costs = [(await load_of(call)).request_cost["tokens"] for call in (answered, not_held, damaged)]
        assert costs == [4, 0, 0]
        assert (await load_of(answered)).named_metrics["pending_tokens"] == 0


async def test_the_standard_trailer_holds_the_same_bytes(follower):
    """A client of gRPC's C core cannot see it: the core takes it out. So it is looked at where it is given away."""
    reporter = OrcaReporter(LoadMeter(follower.placement.engines), ResourceUsage(None))
    (standard, bytes_), (own, same) = reporter.trailer(5)
    assert (standard, own, bytes_) == (TRAILER, OWN_TRAILER, same)
    assert standard == "endpoint-load-metrics-bin"
    assert OrcaLoadReport.FromString(bytes_).request_cost == {"tokens": 5}


async def test_an_overload_keeps_its_retry_delay_beside_the_load_that_caused_it(follower):
    os.kill(follower.launcher.pid, signal.SIGSTOP)
    engine = next(follower.placement.engines())
    async with serving(follower.placement) as (server, _), server.channel("gateway") as channel:
        oip = oip_pb2_grpc.GRPCInferenceServiceStub(channel)
        with calling_as("local"):
            waiting = [asyncio.ensure_future(_ended(oip.ModelInfer(infer_request((10,)), timeout=5))) for _ in range(4)]
            while engine.num_calls < 4:  # noqa: ASYNC110 - what is waited for is another task's call, not an event
                await asyncio.sleep(0)
            refused = oip.ModelInfer(infer_request((7,)))
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await refused
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailer = dict(await refused.trailing_metadata())
        assert "grpc-status-details-bin" in trailer
        load = OrcaLoadReport.FromString(trailer[OWN_TRAILER])
        assert load.named_metrics["pending_tokens"] == 40
        assert load.named_metrics["waiting_calls"] + load.named_metrics["running_calls"] == 4
        assert load.utilization["queue"] == 1.0
        assert load.application_utilization == pytest.approx(0.04)
        os.kill(follower.launcher.pid, signal.SIGCONT)
        assert await asyncio.gather(*waiting) == ["OK"] * 4


async def _ended(call) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as failure:
        return failure.code().name
    return "OK"


async def test_stream_reports_what_waits_and_how_long_a_new_call_would(follower):
    os.kill(follower.launcher.pid, signal.SIGSTOP)
    async with serving(follower.placement) as (server, _), server.channel("gateway") as gateway:
        async with server.channel("autoscaler") as autoscaler:
            request = orca_pb2.OrcaLoadReportRequest()
            request.report_interval.FromMilliseconds(1)
            stream = orca_pb2_grpc.OpenRcaServiceStub(autoscaler).StreamCoreMetrics(request, timeout=20)
            loop = asyncio.get_running_loop()
            assert (await stream.read()).named_metrics["pending_tokens"] == 0
            with calling_as("local"):
                call = asyncio.ensure_future(
                    _ended(oip_pb2_grpc.GRPCInferenceServiceStub(gateway).ModelInfer(infer_request((9,)), timeout=20))
                )
            reports, started_s = [], loop.time()
            while not reports or reports[-1].named_metrics["running_calls"] == 0:
                reports.append(await stream.read())
            # Its own shortest interval, whatever was asked for.
            assert loop.time() - started_s >= 0.09 * (len(reports) - 1)
            assert reports[-1].named_metrics["pending_tokens"] == 9
            os.kill(follower.launcher.pid, signal.SIGCONT)
            assert await call == "OK"
            while reports[-1].named_metrics["pending_tokens"] or not reports[-1].named_metrics["tokens_per_s"]:
                reports.append(await stream.read())
            assert reports[-1].rps_fractional > 0
            assert reports[-1].eps == 0
            stream.cancel()


async def test_stream_is_for_gateways_and_autoscalers_and_ends_when_the_worker_stops(follower):
    async with serving(follower.placement) as (server, orca):
        async with server.channel("operator") as operator:
            stub = orca_pb2_grpc.OpenRcaServiceStub(operator)
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await stub.StreamCoreMetrics(orca_pb2.OrcaLoadReportRequest(), timeout=10).read()
            assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED
        async with server.channel("autoscaler") as autoscaler:
            stub = orca_pb2_grpc.OpenRcaServiceStub(autoscaler)
            stream = stub.StreamCoreMetrics(orca_pb2.OrcaLoadReportRequest(), timeout=10)
            await stream.read()
            await orca.stop()
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                while await stream.read():
                    pass
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


class Queue:
    def __init__(self, **fields) -> None:
        self.num_calls = self.num_running_calls = self.in_flight_tokens = 0
        self.call_share = self.token_share = self.wait_s = 0.0
        for name, value in fields.items():
            setattr(self, name, value)

    def queue_time_s(self, now_s: float) -> float:
        return self.wait_s


def test_counts_are_sums_and_shares_are_those_of_the_fullest_version():
    full = Queue(num_calls=8, num_running_calls=2, in_flight_tokens=80, call_share=0.8, token_share=0.4, wait_s=0.5)
    idle = Queue(num_calls=1, num_running_calls=1, in_flight_tokens=5, call_share=0.1, token_share=0.02, wait_s=0.01)
    load = LoadMeter(lambda: [idle, full, Queue()]).load(10.0)
    assert (load.waiting_calls, load.running_calls, load.pending_tokens) == (6, 3, 85)
    assert (load.call_share, load.token_share, load.queue_time_ms) == (0.8, 0.4, 500)


def test_rates_are_of_the_last_whole_second_and_fall_to_zero_when_calls_stop():
    meter = LoadMeter(list)
    meter.load(100.0)
    for _ in range(10):
        meter.call_ended(num_tokens=20)
    meter.call_ended(is_error=True)
    assert meter.load(100.5).tokens_per_s == 0
    load = meter.load(102.0)
    assert (load.tokens_per_s, load.calls_per_s, load.errors_per_s) == (100, 5.5, 0.5)
    assert meter.load(103.0).calls_per_s == 0


async def test_queue_time_follows_the_recent_rate_and_the_oldest_call(make_engine):
    engine = await make_engine()
    loop = asyncio.get_running_loop()
    assert engine.queue_time_s(loop.time()) == 0
    await engine.score("local", [np.ones(100, dtype=np.int32)], loop.time() + 10)
    assert engine.queue_time_s(loop.time()) == 0
    rate = engine._tokens_per_s
    assert rate > 0
    calls = [
        asyncio.ensure_future(engine.score("local", [np.ones(50, dtype=np.int32)], loop.time() + 10)) for _ in range(4)
    ]
    await asyncio.sleep(0)
    assert engine.num_calls == 4
    assert engine.queue_time_s(loop.time()) == pytest.approx(200 / rate, rel=0.5)
    # A process that stands still makes what the rate promised worthless.
    assert engine.queue_time_s(loop.time() + 5000) > 4000
    await asyncio.gather(*calls)


def test_usage_is_that_of_the_container(tmp_path):
    (tmp_path / "pod").mkdir()
    memberships = tmp_path / "cgroup"
    memberships.write_text("0::/pod\n")
    assert own_cgroup(tmp_path, memberships) is None
    pod = tmp_path / "pod"
    (pod / "cpu.stat").write_text("usage_usec 1000000\nuser_usec 1\n")
    (pod / "cpu.max").write_text("50000 100000\n")
    (pod / "memory.current").write_text("1024\n")
    (pod / "memory.max").write_text("4096\n")
    assert own_cgroup(tmp_path, memberships) == pod
    usage = ResourceUsage(pod)
    usage.sample(10.0)
    (pod / "cpu.stat").write_text("usage_usec 1250000\nuser_usec 1\n")
    usage.sample(11.0)
    assert (usage.cpu_share, usage.memory_share) == (0.5, 0.25)
    (pod / "memory.max").write_text("max\n")
    usage.sample(12.0)
    assert 0 < usage.memory_share < 0.001


def test_without_a_container_the_front_is_counted():
    usage = ResourceUsage(own_cgroup(Path("/nowhere"), Path("/nowhere/cgroup")))
    usage.sample(0.0)
    assert 0 < usage.memory_share < 1
    assert usage.cpu_share == 0
