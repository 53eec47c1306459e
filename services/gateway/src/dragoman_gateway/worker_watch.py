# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Follows WatchLoaded of one worker into the worker table: what it holds, and its load where it reports no ORCA."""

from collections.abc import Callable

import grpc

from dragoman.inference.v1 import worker_pb2 as pb
from dragoman.inference.v1 import worker_pb2_grpc as pb_grpc
from dragoman_gateway.streams import WATCH_LIFE_S, follow
from dragoman_gateway.version import VersionKey
from dragoman_gateway.workers import WorkerReport, WorkerTable

_STATES = {
    pb.LOAD_STATE_LOADING: "LOADING",
    pb.LOAD_STATE_READY: "READY",
    pb.LOAD_STATE_DRAINING: "DRAINING",
    pb.LOAD_STATE_FAILED: "FAILED",
}
"""A state that a newer worker may report is none that can be routed to."""


def report_from_pb(message: pb.WatchLoadedResponse) -> WorkerReport:
    """One worker's report."""
    return WorkerReport(
        states={
            VersionKey(
                tenant=version.tenant, model=version.model, number=version.number, root_sha256=version.root_sha256
            ): _STATES.get(version.state, "UNKNOWN")
            for version in message.versions
        },
        num_waiting=message.load.num_waiting,
        num_running=message.load.num_running,
    )


async def watch_worker(
    address: str,
    pool: str,
    channel: grpc.aio.Channel,
    table: WorkerTable,
    *,
    on_report: Callable[[], None],
    on_broken: Callable[[], None],
) -> None:
    """Follow one worker until cancelled.

    Args:
        address: the worker's name in the table.
        pool: the pool that it belongs to.
        channel: to the worker.
        table: gets its reports.
        on_report: told after each.
        on_broken: told when the watch ends, however it ends; it begins again by itself.
    """
    stub = pb_grpc.WorkerServiceStub(channel)

    async def take(message: pb.WatchLoadedResponse) -> None:
        table.update(address, report_from_pb(message), pool=pool)
        on_report()

    await follow(
        f"worker {address}",
        lambda: stub.WatchLoaded(pb.WatchLoadedRequest(), timeout=WATCH_LIFE_S),
        take,
        on_broken,
    )
