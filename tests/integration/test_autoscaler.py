# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The autoscaler as a process beside the platform, asked as KEDA asks: over mutual TLS, by KEDA's own protocol.

Whether its numbers scale a Deployment well is shown by bench/autoscale and on a cluster. Here: that what callers wait
for arrives in them, and that neither a silent worker nor a restart makes them small.
"""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager

import grpc
import pytest

from dragoman.autoscaler.v1 import autoscaler_pb2 as pb
from dragoman.autoscaler.v1 import autoscaler_pb2_grpc as pb_grpc
from dragoman_client.async_client import AsyncClient
from dragoman_common.channel import connect
from dragoman_common.service_keys import KeyTokens
from dragoman_common.testing_certificates import TestAuthority
from externalscaler import externalscaler_pb2 as keda
from externalscaler import externalscaler_pb2_grpc as keda_grpc
from tests.integration.conftest import RECIPES
from tests.integration.test_model_process_kills import children

TARGETS = {"pending-tokens": 50.0, "queue-time-ms": 100.0, "work-percent": 75.0}
REF = keda.ScaledObjectRef(
    name="worker",
    namespace="dragoman",
    scalerMetadata={"pool": "default", "targetPendingTokens": "50", "targetQueueTimeMs": "100"},
)
NUM_CALLS = 30
WITHIN_S = 20.0


class Autoscaler:
    """The process, and KEDA's channel to it."""

    def __init__(self, folder, environment) -> None:
        self._folder, self._environment = folder, environment
        self.authority = TestAuthority()
        self._server = self.authority.files(folder / "autoscaler-tls", identity="autoscaler")
        self._process = None

    async def start(self) -> None:
        ready = self._folder / "ready.json"
        ready.unlink(missing_ok=True)
        environment = self._environment | {
            "DRAGOMAN_AUTOSCALER_READY_FILE": str(ready),
            "DRAGOMAN_AUTOSCALER_TLS_CERT_FILE": str(self._server.chain),
            "DRAGOMAN_AUTOSCALER_TLS_KEY_FILE": str(self._server.key),
            "DRAGOMAN_AUTOSCALER_TLS_CLIENT_CA_FILE": str(self._server.authorities),
        }
        with (self._folder / "autoscaler.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "dragoman_autoscaler", env=environment, stderr=log
            )
        async with asyncio.timeout(30):
            while not ready.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        self.target = f"127.0.0.1:{json.loads(ready.read_text())['port']}"

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        self._process.terminate()
        return await self._process.wait()

    @asynccontextmanager
    async def as_keda(self):
        shown = self.authority.issue(identity="keda")
        credentials = grpc.ssl_channel_credentials(self.authority.pem, shown.key, shown.chain)
        async with grpc.aio.secure_channel(self.target, credentials) as channel:
            yield keda_grpc.ExternalScalerStub(channel)

    @asynccontextmanager
    async def as_gateway(self, key):
        shown = self.authority.files(self._folder / "gateway-tls", identity="gateway").settings().channels()
        async with connect(self.target, audience="autoscaler", tokens=KeyTokens(key), tls=shown) as channel:
            yield pb_grpc.AutoscalerServiceStub(channel)


@pytest.fixture(scope="module")
def served(installation):
    """A linear model, which prod points to."""
    installation.serve("scaled", installation.train(RECIPES / "linear.yaml", "scaled"))
    return installation


@pytest.fixture
async def autoscaler(served, tmp_path):
    own = {
        "KEY_FILE": served.home / "keys" / "autoscaler.pem",
        "TRUST_FILE": served.home / "keys" / "trust.json",
        "POOLS": f"default={served.service_target('worker')},nobody=no-such-host.invalid:9000",
        "REPORT_INTERVAL_MS": 100,
        "STALE_AFTER_MS": 1000,
        "SMOOTHING_MS": 500,
        "COOL_DOWN_S": 2,
    }
    environment = os.environ | {f"DRAGOMAN_AUTOSCALER_{name}": str(value) for name, value in own.items()}
    process = Autoscaler(tmp_path, environment)
    await process.start()
    yield process
    await process.kill()


async def value(scaler, metric, ref=REF) -> float:
    answer = await scaler.GetMetrics(keda.GetMetricsRequest(scaledObjectRef=ref, metricName=metric))
    (found,) = answer.metricValues
    return found.metricValueFloat if found.metricValueFloat > 0 else float(found.metricValue)


async def until(predicate, within_s=WITHIN_S):
    async with asyncio.timeout(within_s):
        while not await predicate():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)


async def is_quiet(scaler) -> bool:
    """Heard, and nothing waits."""
    return await value(scaler, "pending-tokens") < 1


@asynccontextmanager
async def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def model_processes(front) -> list[int]:
    """Of every model that other tests have left there, too: which is ours nobody says."""
    started = children(front)
    return [*started, *(pid for each in started for pid in children(each))]


@pytest.mark.slow
async def test_what_callers_wait_for_is_what_keda_is_told(served, autoscaler):
    front = int(served.service("worker")["pid"])
    async with autoscaler.as_keda() as scaler, AsyncClient(served.target, served.token()) as client:
        spec = await scaler.GetMetricSpec(REF)
        assert {one.metricName: one.targetSizeFloat for one in spec.metricSpecs} == TARGETS
        await until(lambda: is_quiet(scaler))
        activity = scaler.StreamIsActive(REF, timeout=60)
        # A new process does not give away what it finds before its cool-down is over.
        while (await activity.read()).result:
            pass
        async with stopped(*model_processes(front)):
            calls = [
                asyncio.ensure_future(client.classify("scaled", ["a word and another"], timeout_s=30))
                for _ in range(NUM_CALLS)
            ]
            assert (await activity.read()).result
            # Four words a call, and they all wait: more than one worker's target.
            await until(lambda: _is_at_least(scaler, "pending-tokens", 4 * NUM_CALLS * 0.9))
            await until(lambda: _is_at_least(scaler, "queue-time-ms", 300))
            assert await value(scaler, "pending-tokens") <= 4 * NUM_CALLS
        await asyncio.gather(*calls)
        await until(lambda: is_quiet(scaler))
        assert not (await activity.read()).result
        activity.cancel()


async def _is_at_least(scaler, metric, least) -> bool:
    return await value(scaler, metric) >= least


@pytest.mark.slow
async def test_a_worker_that_falls_silent_and_a_restart_keep_what_there_is(served, autoscaler):
    front = int(served.service("worker")["pid"])
    async with autoscaler.as_keda() as scaler:
        await until(lambda: is_quiet(scaler))
        async with stopped(front):
            for metric, target in TARGETS.items():
                await until(lambda metric=metric, target=target: _is_at_least(scaler, metric, target))
                # One worker is there, and one is kept.
                assert await value(scaler, metric) == target
            await autoscaler.kill()
            await autoscaler.start()
            async with autoscaler.as_keda() as anew:
                begun_s = time.monotonic()
                while time.monotonic() - begun_s < 2:
                    assert await value(anew, "pending-tokens") == TARGETS["pending-tokens"]
                    assert (await anew.IsActive(REF)).result
                    await asyncio.sleep(0.1)
        async with autoscaler.as_keda() as anew:
            await until(lambda: is_quiet(anew))


@pytest.mark.slow
async def test_demand_that_a_gateway_holds_wakes_a_pool_without_workers_until_it_is_told_otherwise(served, autoscaler):
    ref = keda.ScaledObjectRef(scalerMetadata={"pool": "nobody"})
    async with autoscaler.as_keda() as scaler, autoscaler.as_gateway(served.key("gateway")) as gateway:

        async def is_idle() -> bool:
            # Until the name was asked for once, nothing is known.
            return not (await scaler.IsActive(ref)).result

        await until(is_idle)
        report = pb.ReportDemandRequest(reporter="gateway-0")
        held = report.pools.add(pool="nobody", held_calls=3, held_tokens=90)
        held.oldest_wait.FromMilliseconds(200)
        report.lifetime.FromSeconds(5)
        activity = scaler.StreamIsActive(ref, timeout=60)
        assert not (await activity.read()).result
        await gateway.ReportDemand(report)
        assert (await activity.read()).result
        assert await value(scaler, "pending-tokens", ref) == 90
        # A gateway that dies says nothing more: its report ends by itself, then the cool-down.
        assert not (await activity.read()).result
        assert await value(scaler, "pending-tokens", ref) == 0
        activity.cancel()
    assert await autoscaler.stop() == 0
