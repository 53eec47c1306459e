# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Workers' load reports off the wire: in the trailer of a call, and out of band.

    trailer -> LoadReport;  StreamCoreMetrics -> LoadReport -> WorkerTable, silence -> WorkerTable

A worker that serves no OpenRcaService is balanced on what WatchLoaded says of its calls.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from dragoman_common.auth import calling_as
from dragoman_common.errors import DragomanError, UnimplementedError
from dragoman_common.status import translated
from dragoman_gateway.load import LoadReport
from dragoman_gateway.streams import FIRST_PAUSE_S, MAX_PAUSE_S, WATCH_LIFE_S
from dragoman_gateway.workers import WorkerTable
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport
from xds.service.orca.v3 import orca_pb2, orca_pb2_grpc

TRAILERS = ("dragoman-load-metrics-bin", "endpoint-load-metrics-bin")
"""Ours, and the standard's, which gRPC's C core keeps from us."""
INTERVAL_S = 0.2
SILENT_S = 0.8
"""Four reports missed: the worker is passed over."""
GIVE_UP_S = 2.0
"""Silent for this long, its calls in flight are tried elsewhere."""
_UNIMPLEMENTED_PAUSE_S = 60.0
_MAX_REPORT_BYTES = 4_096
_logger = logging.getLogger(__name__)


def report_from_pb(message: OrcaLoadReport) -> LoadReport:
    """One report. What a worker takes is read off the part of it that is pending."""
    named = message.named_metrics
    pending_tokens = max(0.0, named.get("pending_tokens", 0.0))
    share = message.application_utilization
    return LoadReport(
        pending_tokens=pending_tokens,
        capacity_tokens=pending_tokens / share if pending_tokens and share > 0.0 else None,
        waiting_calls=max(0.0, named.get("waiting_calls", 0.0)),
        running_calls=max(0.0, named.get("running_calls", 0.0)),
        queue_time_s=max(0.0, named.get("queue_time_ms", 0.0)) / 1e3,
    )


def report_from_trailer(metadata: Iterable[tuple[str, str | bytes]] | None) -> LoadReport | None:
    """The report in a call's trailing metadata; None where there is none that can be read."""
    trailers = dict(metadata or ())
    for name in TRAILERS:
        told = trailers.get(name)
        if isinstance(told, bytes) and len(told) <= _MAX_REPORT_BYTES:
            try:
                return report_from_pb(OrcaLoadReport.FromString(told))
            except DecodeError:
                return None
    return None


async def watch_load(address: str, channel: grpc.aio.Channel, table: WorkerTable) -> None:
    """Follow one worker's reports until cancelled; a stream that breaks begins again."""
    stub = orca_pb2_grpc.OpenRcaServiceStub(channel)
    interval = Duration()
    interval.FromNanoseconds(int(INTERVAL_S * 1e9))
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            # No user stands behind a watch: it is the gateway's own.
            with calling_as(""), translated():
                call: Any = stub.StreamCoreMetrics(
                    orca_pb2.OrcaLoadReportRequest(report_interval=interval), timeout=WATCH_LIFE_S
                )
                async for report in _heard(address, call, table):
                    table.update_load(address, report)
                    pause_s = FIRST_PAUSE_S
        except UnimplementedError:
            table.update_load(address, None)
            pause_s = _UNIMPLEMENTED_PAUSE_S
        except DragomanError as error:
            _logger.debug("load reports broken", extra={"worker": address, "reason": error.message})
        # Whether it is there is for WatchLoaded to say, as long as there are no reports to miss.
        table.set_silent(address, is_silent=False)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
        pause_s = min(pause_s * 2, MAX_PAUSE_S)


async def _heard(address: str, call: Any, table: WorkerTable) -> Any:
    """The reports of one stream. Once it has begun, silence is told to the table, and so is its end."""
    stream = aiter(call)
    is_first = True
    coming: asyncio.Future[OrcaLoadReport] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(stream))
            if not is_first:
                await _until_heard(address, coming, table)
            try:
                message = await coming
            except StopAsyncIteration:
                return
            is_first = False
            yield report_from_pb(message)
    finally:
        if coming is not None and not coming.done():
            coming.cancel()


async def _until_heard(address: str, coming: "asyncio.Future[OrcaLoadReport]", table: WorkerTable) -> None:
    done, _ = await asyncio.wait({coming}, timeout=SILENT_S)
    if done:
        return
    table.set_silent(address, is_silent=True)
    done, _ = await asyncio.wait({coming}, timeout=GIVE_UP_S - SILENT_S)
    if not done:
        _logger.warning("worker silent", extra={"worker": address, "silent_s": GIVE_UP_S})
        table.give_up(address)
        await asyncio.wait({coming})
    table.set_silent(address, is_silent=False)
