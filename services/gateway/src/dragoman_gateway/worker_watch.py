# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Follows WatchLoaded of every worker target into the worker table. A worker that falls silent is dropped."""

import asyncio
from collections.abc import Mapping

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


async def watch_workers(channels: Mapping[str, grpc.aio.Channel], table: WorkerTable) -> None:
    """Follow all of them until cancelled."""
    async with asyncio.TaskGroup() as group:
        for address, channel in channels.items():
            group.create_task(_watch(address, channel, table))


async def _watch(address: str, channel: grpc.aio.Channel, table: WorkerTable) -> None:
    stub = pb_grpc.WorkerServiceStub(channel)

    async def take(message: pb.WatchLoadedResponse) -> None:
        table.update(address, report_from_pb(message))

    await follow(
        f"worker {address}",
        lambda: stub.WatchLoaded(pb.WatchLoadedRequest(), timeout=WATCH_LIFE_S),
        take,
        lambda: table.drop(address),
    )
