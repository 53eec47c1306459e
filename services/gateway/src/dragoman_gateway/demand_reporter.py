# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tells every replica of the autoscaler which calls are held here: the demand that no worker can report.

    HeldCalls -> ReportDemand to each address of AUTOSCALER_TARGET: at each change, and once a period

Every report is whole, so one that is lost is made good by the next; a report that fails costs no call anything.
"""

import asyncio
import functools
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from dragoman.autoscaler.v1 import autoscaler_pb2 as pb
from dragoman.autoscaler.v1 import autoscaler_pb2_grpc as pb_grpc
from dragoman_common.auth import calling_as
from dragoman_common.endpoint import Endpoint
from dragoman_common.errors import DragomanError
from dragoman_common.name_service import NameService
from dragoman_common.status import translated
from dragoman_gateway.held import HeldCalls, PoolDemand

PERIOD_S = 2.0
LIFETIME_S = 10.0
"""What is held does not look gone when a few reports are lost, nor for long when this process is."""
_MIN_GAP_S = 0.1
"""Changes within it make one report."""
_TIMEOUT_S = 1.0
_logger = logging.getLogger(__name__)


class DemandReporter:
    """One reporter per address; the addresses follow the name."""

    def __init__(
        self,
        endpoint: Endpoint,
        names: NameService,
        open_channel: Callable[[str, str], grpc.aio.Channel],
        held: HeldCalls,
        *,
        period_s: float = PERIOD_S,
    ) -> None:
        self._endpoint = endpoint
        self._names = names
        self._open_channel = open_channel
        self._held = held
        self._period_s = period_s
        self._reporter = f"gateway-{secrets.token_hex(8)}"
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as group:
            await self._names.follow(self._endpoint, functools.partial(self._take, group))

    def _take(self, group: asyncio.TaskGroup, addresses: tuple[str, ...]) -> None:
        for address in set(self._tasks) - set(addresses):
            self._tasks.pop(address).cancel()
        for address in set(addresses) - set(self._tasks):
            self._tasks[address] = group.create_task(self._report(address))

    async def _report(self, address: str) -> None:
        was_taken = True
        async with self._open_channel(address, self._endpoint.server_name) as channel:
            stub: Any = pb_grpc.AutoscalerServiceStub(channel)
            while True:
                change = self._held.next_change()
                reason = await self._send(stub)
                if (reason is None) is not was_taken:
                    was_taken = reason is None
                    text = "autoscaler takes demand again" if was_taken else "autoscaler takes no demand"
                    _logger.warning(text, extra={"autoscaler": address, "reason": reason or ""})
                await asyncio.sleep(_MIN_GAP_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._period_s - _MIN_GAP_S):
                        await change.wait()

    async def _send(self, stub: Any) -> str | None:
        """Send one report; what went wrong, if anything did."""
        try:
            # No user stands behind it: what is held is of all tenants.
            with calling_as(""), translated():
                await stub.ReportDemand(self._request(), timeout=_TIMEOUT_S)
        except DragomanError as error:
            return error.message
        return None

    def _request(self) -> pb.ReportDemandRequest:
        return pb.ReportDemandRequest(
            reporter=self._reporter,
            pools=[_demand_to_pb(demand) for demand in self._held.demand()],
            lifetime=_duration(LIFETIME_S),
        )


def _demand_to_pb(demand: PoolDemand) -> pb.PoolDemand:
    return pb.PoolDemand(
        pool=demand.pool,
        held_calls=demand.held_calls,
        held_tokens=demand.held_tokens,
        oldest_wait=_duration(demand.oldest_wait_s),
    )


def _duration(seconds: float) -> Duration:
    made = Duration()
    made.FromNanoseconds(int(seconds * 1e9))
    return made
