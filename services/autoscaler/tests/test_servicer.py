# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""As KEDA and the gateways see it: on a real server, with KEDA's own messages."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from dragoman.autoscaler.v1 import autoscaler_pb2 as pb
from dragoman.autoscaler.v1 import autoscaler_pb2_grpc as pb_grpc
from dragoman_autoscaler import servicer
from dragoman_autoscaler.convert import load_from_pb
from dragoman_autoscaler.pool import PoolLimits
from dragoman_autoscaler.pools import Pools
from dragoman_autoscaler.ports import WorkerLoad
from dragoman_autoscaler.servicer import POLICY, DemandServicer, KedaServicer
from dragoman_autoscaler.targets import Targets
from dragoman_common.server import Service
from dragoman_common.testing import FakeClock, TestKeys, running, server_settings
from dragoman_common.testing_certificates import TestAuthority
from externalscaler import externalscaler_pb2 as keda
from externalscaler import externalscaler_pb2_grpc as keda_grpc
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

AUTHORITY = TestAuthority()
KEYS = TestKeys()


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pools = Pools(["small", "gpu"], PoolLimits(cool_down_s=30), self.clock)
        self.scaler = KedaServicer(self.pools, Targets())
        self.small, self.gpu = self.pools

    def resolve(self, pool, *addresses):
        pool.resolved(addresses, self.clock.monotonic_s())
        self.pools.change()

    def report(self, pool, address, **load):
        pool.reported(address, WorkerLoad(**load), self.clock.monotonic_s())
        self.pools.change()


@pytest.fixture
def serve(tmp_path):
    """Serves a scene over mutual TLS, as in a cluster: KEDA has a certificate and no token."""
    files = AUTHORITY.files(tmp_path / "tls", identity="autoscaler")
    settings = server_settings(tls=files.settings(is_mutual=True))

    @asynccontextmanager
    async def serving(scene):
        services = [
            Service(register=keda_grpc.add_ExternalScalerServicer_to_server, servicer=scene.scaler),
            Service(register=pb_grpc.add_AutoscalerServiceServicer_to_server, servicer=DemandServicer(scene.pools)),
        ]
        async with running(services, POLICY, name="autoscaler", keys=KEYS, settings=settings) as server:
            async with by_certificate(server.target, "keda") as as_keda:
                async with server.channel("gateway", tls=channel_tls(tmp_path, "gateway")) as as_gateway:
                    yield server, keda_grpc.ExternalScalerStub(as_keda), pb_grpc.AutoscalerServiceStub(as_gateway)
                    await scene.scaler.stop()

    return serving


def by_certificate(target, identity) -> grpc.aio.Channel:
    shown = AUTHORITY.issue(identity=identity)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(AUTHORITY.pem, shown.key, shown.chain))


def channel_tls(folder, identity):
    return AUTHORITY.files(folder / identity, identity=identity).settings().channels()


def ref(pool="small", **targets):
    names = {"tokens": "targetPendingTokens", "queue_ms": "targetQueueTimeMs", "utilization": "targetUtilization"}
    metadata = {"pool": pool, "scalerAddress": "x:1"} | {names[name]: str(value) for name, value in targets.items()}
    return keda.ScaledObjectRef(name="worker", namespace="dragoman", scalerMetadata=metadata)


def demand(reporter="g1", *, calls=0, tokens=0, lifetime_s=30, pool="small"):
    request = pb.ReportDemandRequest(reporter=reporter)
    request.pools.add(pool=pool, held_calls=calls, held_tokens=tokens)
    request.lifetime.FromSeconds(lifetime_s)
    return request


async def code_of(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value.code(), failure.value.details()


async def test_spec_and_values_fill_the_integer_and_the_float_fields(serve):
    scene = Scene()
    scene.resolve(scene.small, "a")
    scene.report(scene.small, "a", pending_tokens=10.25, queue_time_ms=0.5)
    async with serve(scene) as (_, scaler, _):
        spec = await scaler.GetMetricSpec(ref(tokens=1000, queue_ms=0.5, utilization=0.8))
        assert [(one.metricName, one.targetSize, one.targetSizeFloat) for one in spec.metricSpecs] == [
            ("pending-tokens", 1000, 1000.0),
            ("queue-time-ms", 1, 0.5),
            ("work-percent", 80, 80.0),
        ]
        for name, whole, exact in (("pending-tokens", 11, 10.25), ("queue-time-ms", 1, 0.5), ("work-percent", 0, 0)):
            answer = await scaler.GetMetrics(keda.GetMetricsRequest(scaledObjectRef=ref(), metricName=name))
            assert [(one.metricName, one.metricValue, one.metricValueFloat) for one in answer.metricValues] == [
                (name, whole, exact)
            ]


async def test_a_pool_or_a_metric_that_is_not_there_is_refused_with_those_that_are(serve):
    scene = Scene()
    async with serve(scene) as (_, scaler, _):
        code, details = await code_of(scaler.IsActive(ref("big")))
        assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "pool: no 'big' here; there are gpu, small")
        code, details = await code_of(scaler.StreamIsActive(ref("big")).read())
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        request = keda.GetMetricsRequest(scaledObjectRef=ref(), metricName="s0-pending-tokens")
        code, details = await code_of(scaler.GetMetrics(request))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "there are pending-tokens, queue-time-ms, work-percent" in details


async def test_pools_are_apart(serve):
    scene = Scene()
    scene.resolve(scene.small)
    scene.resolve(scene.gpu)
    async with serve(scene) as (_, scaler, gateway):
        await gateway.ReportDemand(demand(calls=2, tokens=70))
        assert (await scaler.IsActive(ref())).result
        assert not (await scaler.IsActive(ref("gpu"))).result
        request = keda.GetMetricsRequest(scaledObjectRef=ref("gpu"), metricName="pending-tokens")
        assert (await scaler.GetMetrics(request)).metricValues[0].metricValue == 0


async def test_held_demand_activates_an_empty_pool_at_once_and_cools_down_after_it(serve):
    scene = Scene()
    scene.resolve(scene.small)
    async with serve(scene) as (_, scaler, gateway):
        stream = scaler.StreamIsActive(ref(), timeout=20)
        assert not (await stream.read()).result
        await gateway.ReportDemand(demand(calls=1, tokens=9000))
        assert (await stream.read()).result
        request = keda.GetMetricsRequest(scaledObjectRef=ref(), metricName="pending-tokens")
        assert (await scaler.GetMetrics(request)).metricValues[0].metricValue == 9000
        await gateway.ReportDemand(demand())
        scene.clock.advance(29)
        assert (await scaler.IsActive(ref())).result
        scene.clock.advance(1.1)
        # Nothing is said that ends it: the stream looks by itself.
        assert not (await stream.read()).result
        stream.cancel()


async def test_a_pool_is_active_while_a_report_lives_and_cools_down_from_its_end(serve):
    scene = Scene()
    scene.resolve(scene.small)
    async with serve(scene) as (_, scaler, gateway):
        await gateway.ReportDemand(demand(calls=1, tokens=9, lifetime_s=50))
        for _ in range(49):
            scene.clock.advance(1)
            assert (await scaler.IsActive(ref())).result
        scene.clock.advance(29)
        assert (await scaler.IsActive(ref())).result
        scene.clock.advance(2)
        assert not (await scaler.IsActive(ref())).result


async def test_stream_says_a_state_once_and_as_soon_as_it_changes(serve, monkeypatch):
    # It does not look by itself within this test.
    monkeypatch.setattr(servicer, "COOL_DOWN_CHECK_S", 1e4)
    scene = Scene()
    scene.resolve(scene.small, "a")
    async with serve(scene) as (_, scaler, _):
        stream = scaler.StreamIsActive(ref(), timeout=20)
        assert (await stream.read()).result
        for pending in (5, 6, 7, 0):
            scene.report(scene.small, "a", pending_tokens=pending)
        scene.clock.advance(31)
        scene.report(scene.small, "a")
        assert not (await stream.read()).result
        stream.cancel()


async def test_streams_end_in_good_order_when_the_service_stops(serve):
    scene = Scene()
    async with serve(scene) as (_, scaler, _):
        stream = scaler.StreamIsActive(ref(), timeout=20)
        await stream.read()
        await scene.scaler.stop()
        assert await stream.read() is grpc.aio.EOF


async def test_blind_is_an_answer_and_no_error(serve):
    scene = Scene()
    scene.resolve(scene.small, "a", "b", "c")
    async with serve(scene) as (_, scaler, _):
        answer = await scaler.GetMetrics(keda.GetMetricsRequest(scaledObjectRef=ref(tokens=100)))
        assert {one.metricName: one.metricValue for one in answer.metricValues} == {
            "pending-tokens": 300,
            "queue-time-ms": 750,
            "work-percent": 225,
        }
        assert (await scaler.IsActive(ref())).result


async def test_demand_for_a_pool_that_is_not_followed_here_does_not_lose_the_rest(serve):
    scene = Scene()
    scene.resolve(scene.small)
    request = demand(calls=1, tokens=5)
    request.pools.add(pool="elsewhere", held_calls=1)
    async with serve(scene) as (_, scaler, gateway):
        await gateway.ReportDemand(request)
        assert (await scaler.IsActive(ref())).result
        code, details = await code_of(gateway.ReportDemand(demand(lifetime_s=0)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.startswith("lifetime")


async def test_every_method_is_for_keda_or_the_gateway_alone(serve, tmp_path):
    scene = Scene()
    async with serve(scene) as (server, _, _):
        methods = [method for method in server.server.methods if not method.startswith("/grpc.health")]
        assert sorted(methods) == sorted(POLICY)
        as_nobody = by_certificate(server.target, "")
        as_operator = server.channel("operator", tls=channel_tls(tmp_path, ""))
        async with as_nobody, as_operator as operator, by_certificate(server.target, "gateway") as gateway:
            async with by_certificate(server.target, "keda") as as_keda:
                for method in methods:
                    for channel, expected in (
                        (as_nobody, grpc.StatusCode.UNAUTHENTICATED),
                        (operator, grpc.StatusCode.PERMISSION_DENIED),
                        (as_keda if "ReportDemand" in method else gateway, grpc.StatusCode.PERMISSION_DENIED),
                    ):
                        kind = "unary_stream" if "Stream" in method else "unary_unary"
                        call = getattr(channel, kind)(method)(b"\xff\xff", timeout=10)
                        code, _ = await code_of(call.read() if kind == "unary_stream" else call)
                        assert code is expected


def test_a_report_with_numbers_that_are_none_counts_as_nothing():
    report = OrcaLoadReport(rps_fractional=float("nan"))
    report.named_metrics["pending_tokens"] = float("inf")
    report.named_metrics["queue_time_ms"] = -5
    assert load_from_pb(report) == WorkerLoad()


async def test_reports_and_streams_of_many_do_not_wait_for_each_other(serve):
    scene = Scene()
    scene.resolve(scene.small)
    async with serve(scene) as (_, scaler, gateway):
        streams = [scaler.StreamIsActive(ref(), timeout=20) for _ in range(20)]
        assert [(await stream.read()).result for stream in streams] == [False] * 20
        await gateway.ReportDemand(demand(calls=1))
        assert [one.result for one in await asyncio.gather(*(stream.read() for stream in streams))] == [True] * 20
        for stream in streams:
            stream.cancel()
