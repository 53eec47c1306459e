# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Workers' reports over a real connection: by TLS against the pool's name, silence noticed, refusals told."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from dragoman_autoscaler.ports import WorkerLoad
from dragoman_autoscaler.worker_client import WorkerClient
from dragoman_common.errors import PermissionDeniedError, UnavailableError
from dragoman_common.server import Service
from dragoman_common.testing import TestKeys, running, server_settings
from dragoman_common.testing_certificates import TestAuthority
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport
from xds.service.orca.v3 import orca_pb2_grpc

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
KEYS = TestKeys()


class Worker(orca_pb2_grpc.OpenRcaServiceServicer):
    def __init__(self, num_reports) -> None:
        self.num_reports = num_reports
        self.interval_s = 0.0
        self.ended = asyncio.Event()

    async def StreamCoreMetrics(self, request, context):
        self.interval_s = request.report_interval.ToNanoseconds() / 1e9
        try:
            for number in range(self.num_reports):
                report = OrcaLoadReport(rps_fractional=2)
                report.named_metrics["pending_tokens"] = number + 1
                yield report
            await asyncio.sleep(60)
        finally:
            self.ended.set()


@asynccontextmanager
async def serving(worker, *, allowed="autoscaler", settings=None):
    service = Service(register=orca_pb2_grpc.add_OpenRcaServiceServicer_to_server, servicer=worker)
    async with running(
        [service], {METHOD: frozenset({allowed})}, name="worker", keys=KEYS, settings=settings
    ) as server:
        yield server


def client(*, tls=None, silence_s=5.0):
    return WorkerClient(KEYS.tokens("autoscaler"), interval_s=0.25, silence_s=silence_s, tls=tls)


async def test_reports_come_as_they_are_sent_and_the_stream_ends_with_its_reader():
    worker = Worker(2)
    async with serving(worker) as server:
        async with aclosing(client().loads(server.target, server_name="workers")) as loads:
            assert [await anext(loads) for _ in range(2)] == [
                WorkerLoad(pending_tokens=1, calls_per_s=2),
                WorkerLoad(pending_tokens=2, calls_per_s=2),
            ]
        async with asyncio.timeout(10):
            await worker.ended.wait()
    assert worker.interval_s == 0.25


async def test_a_certificate_is_held_against_the_pools_name_and_not_the_address(tmp_path):
    files = TestAuthority().files(tmp_path / "tls", "workers.ns.svc")
    settings = server_settings(tls=files.settings())
    async with serving(Worker(1), settings=settings) as server:
        trusting = client(tls=files.settings().channels())
        async with aclosing(trusting.loads(server.target, server_name="workers.ns.svc")) as loads:
            assert (await anext(loads)).pending_tokens == 1
        for name, asking in (("others.ns.svc", trusting), ("workers.ns.svc", client())):
            async with aclosing(asking.loads(server.target, server_name=name)) as loads:
                with pytest.raises(UnavailableError):
                    await anext(loads)


async def test_a_worker_that_says_nothing_is_given_up():
    async with serving(Worker(1)) as server:
        async with aclosing(client(silence_s=0.5).loads(server.target, server_name="workers")) as loads:
            await anext(loads)
            with pytest.raises(UnavailableError, match="no report"):
                await anext(loads)


async def test_a_refusal_is_an_error_of_the_platforms_own():
    async with serving(Worker(1), allowed="gateway") as server:
        async with aclosing(client().loads(server.target, server_name="workers")) as loads:
            with pytest.raises(PermissionDeniedError):
                await anext(loads)
