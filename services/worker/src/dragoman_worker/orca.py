# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The worker's load on the wire, as the Open Request Cost Aggregation standard has it.

Owns the names in a report, the trailer of a call and OpenRcaService. Not the numbers (load.py, resource_usage.py).

    load -> report -> endpoint-load-metrics-bin of each ModelInfer, refused ones too
                   -> StreamCoreMetrics: now, and after each interval
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dragoman_common.auth import PolicyTable
from dragoman_common.errors import UnavailableError
from dragoman_worker.load import LoadMeter
from dragoman_worker.resource_usage import ResourceUsage
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport
from xds.service.orca.v3 import orca_pb2, orca_pb2_grpc

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

TRAILER = "endpoint-load-metrics-bin"
"""The standard's. gRPC's own C core, and so every Python client, keeps it for its balancers and shows it to nobody."""

OWN_TRAILER = "dragoman-load-metrics-bin"
"""The same bytes, under a name that our gateway can read."""

MIN_INTERVAL_S = 0.1
DEFAULT_INTERVAL_S = 1.0
POLICY: PolicyTable = {"/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics": frozenset({"gateway", "autoscaler"})}


class OrcaReporter:
    """Writes reports of what a meter reads."""

    def __init__(self, meter: LoadMeter, usage: ResourceUsage) -> None:
        self.meter = meter
        self._usage = usage

    def report(self) -> OrcaLoadReport:
        """The load now."""
        load = self.meter.load(asyncio.get_running_loop().time())
        report = OrcaLoadReport(
            cpu_utilization=self._usage.cpu_share,
            mem_utilization=self._usage.memory_share,
            rps_fractional=load.calls_per_s,
            eps=load.errors_per_s,
            application_utilization=load.token_share,
        )
        # Item by item takes half the time of whole dictionaries.
        report.utilization["queue"] = load.call_share
        named = report.named_metrics
        named["waiting_calls"] = load.waiting_calls
        named["running_calls"] = load.running_calls
        named["pending_tokens"] = load.pending_tokens
        named["queue_time_ms"] = load.queue_time_ms
        named["tokens_per_s"] = load.tokens_per_s
        return report

    def trailer(self, num_tokens: int) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata of a call that has ended; num_tokens is what it asked for."""
        report = self.report()
        report.request_cost["tokens"] = num_tokens
        told = report.SerializeToString()
        return ((TRAILER, told), (OWN_TRAILER, told))


class OrcaServicer(orca_pb2_grpc.OpenRcaServiceServicer):
    """Load out of band."""

    def __init__(self, reporter: OrcaReporter) -> None:
        self._reporter = reporter
        self._stopped = asyncio.Event()

    async def stop(self) -> None:
        """End the streams, so that the server can."""
        self._stopped.set()

    async def StreamCoreMetrics(  # noqa: N802 - the protocol's name
        self, request: orca_pb2.OrcaLoadReportRequest, _context: Context
    ) -> AsyncIterator[OrcaLoadReport]:
        """Send a report now and after each interval, at most ten a second."""
        asked_s = request.report_interval.ToNanoseconds() / 1e9
        interval_s = max(asked_s, MIN_INTERVAL_S) if asked_s > 0 else DEFAULT_INTERVAL_S
        while not self._stopped.is_set():
            yield self._reporter.report()
            try:
                async with asyncio.timeout(interval_s):
                    await self._stopped.wait()
            except TimeoutError:
                continue
        raise UnavailableError("the worker is stopping; ask again, and others")
