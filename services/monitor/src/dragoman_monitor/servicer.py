# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gRPC face: the caller's own counters -> measures, usage. Owns the policy of its methods, no rules."""

import asyncio
from typing import Any, Final

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common import deadline
from dragoman_common.auth import current_caller
from dragoman_common.errors import InvalidArgumentError
from dragoman_events.ports import EventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor import convert
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.join import DEAD_LETTERS, DUPLICATES, EXPIRED, LATE, LOST, UNJOINED
from dragoman_monitor.metrics import lag as lag_of
from dragoman_monitor.ports import MonitorStore, Query, Snapshot
from dragoman_monitor.prediction import MAX_NAME_BYTES, check_text
from dragoman_monitor.report import version_reports
from dragoman_monitor.usage import DAY_S, UsageQuery, usage_of

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["MonitorService"]
POLICY: Final = {
    f"/{_SERVICE.full_name}/{method.name}": frozenset({"gateway", "operator"}) for method in _SERVICE.methods
}
"""Who may read reports: an operator for the tenant of its token, the gateway for the tenant that it serves."""

_FRESHNESS_BYTES: Final = 256
"""What a reply holds beside the versions, at most."""


class MonitorServicer(pb_grpc.MonitorServiceServicer):
    """Answers for the tenant of the caller; raises DragomanErrors.

    Args:
        store: the books.
        log: for how far the topics have grown.
        rules: what the counters mean.
        max_windows: most windows in one reply.
        max_bytes: the largest reply, which callers can read.
    """

    def __init__(
        self,
        store: MonitorStore,
        log: EventLog,
        rules: CountingRules,
        *,
        max_windows: int = 1_000,
        max_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self._store = store
        self._log = log
        self._rules = rules
        self._max_windows = max_windows
        self._max_bytes = max_bytes

    async def GetReport(  # noqa: N802 -- gRPC's
        self,
        request: pb.GetReportRequest,
        context: Any,  # noqa: ARG002 -- gRPC's
    ) -> pb.GetReportResponse:
        """Counts and measures of the caller's tenant; a model without counts has an empty report."""
        query = _query(_tenant(), request)
        deadline.check("reading the books")
        return await asyncio.to_thread(self._report, query, with_windows=request.with_windows)

    async def GetUsage(  # noqa: N802 -- gRPC's
        self,
        request: pb.GetUsageRequest,
        context: Any,  # noqa: ARG002 -- gRPC's
    ) -> pb.GetUsageResponse:
        """What the caller's tenant used."""
        query = UsageQuery(
            tenant=_tenant(),
            start_us=convert.time_from_request("start_time", request.start_time),
            end_us=convert.time_from_request("end_time", request.end_time),
            span_s=request.span_s or DAY_S,
        )
        query.check(window_s=self._rules.window_s, max_spans=self._max_windows)
        deadline.check("reading the books")
        return await asyncio.to_thread(self._usage, query)

    def _usage(self, query: UsageQuery) -> pb.GetUsageResponse:
        # The lag first: what is counted in between makes it too large, never too small.
        lag = lag_of(PREDICTIONS, log=self._log, store=self._store)
        reply = pb.GetUsageResponse(
            usage=[convert.usage_to_pb(usage) for usage in usage_of(self._store.usage(query))], predictions_lag=lag
        )
        if reply.ByteSize() > self._max_bytes:
            raise InvalidArgumentError("the usage does not fit into one reply; ask for less time or longer spans")
        return reply

    def _report(self, query: Query, *, with_windows: bool) -> pb.GetReportResponse:
        snapshot = self._store.snapshot(query)
        num_windows = sum(len(windows) for windows in snapshot.windows.values())
        if with_windows and num_windows > self._max_windows:
            raise InvalidArgumentError(
                f"with_windows: the report has {num_windows} windows, at most {self._max_windows} fit; "
                "narrow start_time and end_time, or name a version"
            )
        return pb.GetReportResponse(
            versions=version_reports(
                query.model,
                snapshot,
                self._rules,
                with_windows=with_windows,
                max_bytes=self._max_bytes - _FRESHNESS_BYTES,
            ),
            freshness=pb.ReportFreshness(
                predictions_lag=self._lag(PREDICTIONS, snapshot),
                feedback_lag=self._lag(FEEDBACK, snapshot),
                num_duplicates=snapshot.tallies.get(DUPLICATES, 0),
                num_dead_letters=snapshot.tallies.get(DEAD_LETTERS, 0),
                num_unjoined_feedback=snapshot.tallies.get(UNJOINED, 0),
                num_expired_feedback=snapshot.tallies.get(EXPIRED, 0),
                num_late_predictions=snapshot.tallies.get(LATE, 0),
                num_lost_events=snapshot.tallies.get(LOST, 0),
            ),
        )

    def _lag(self, topic: str, snapshot: Snapshot) -> int:
        # The ends are read after the offsets, so a lag is never below 0.
        ends = self._log.end_offsets(topic)
        return sum(end - snapshot.offsets.get((topic, partition), 0) for partition, end in ends.items())


def _tenant() -> str:
    tenant = current_caller().tenant
    if not tenant:
        raise InvalidArgumentError("no tenant: send the metadata entry dragoman-tenant")
    return tenant


def _query(tenant: str, request: pb.GetReportRequest) -> Query:
    check_text("model", request.model, MAX_NAME_BYTES)
    if request.version < 0:
        raise InvalidArgumentError("version must not be negative; 0 is every version")
    start_us = convert.time_from_request("start_time", request.start_time) if request.HasField("start_time") else None
    end_us = convert.time_from_request("end_time", request.end_time) if request.HasField("end_time") else None
    if start_us is not None and end_us is not None and start_us >= end_us:
        raise InvalidArgumentError("start_time must be before end_time")
    return Query(tenant=tenant, model=request.model, version=request.version or None, start_us=start_us, end_us=end_us)
