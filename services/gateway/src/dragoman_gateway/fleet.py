# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Every worker there is: one channel and one follower per address, from the day it is found to its last call.

    names -> NameService -> addresses -> Member: channel, WatchLoaded and ORCA -> WorkerTable
                                      WorkerClient sends on the channel

An address that has gone from its name is drained: it gets no new call while another worker can take it, its calls in
flight end, and it is forgotten once its watch is broken too. A worker whose watch breaks is not routed to from that
moment on, whatever the name says.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from dragoman_common.name_service import NameService
from dragoman_gateway.clients import WorkerClient
from dragoman_gateway.orca import watch_load
from dragoman_gateway.targets import WorkerTarget
from dragoman_gateway.worker_watch import watch_worker
from dragoman_gateway.workers import WorkerTable

OpenChannel = Callable[[str, str], grpc.aio.Channel]
"""Address, and the host name that its certificate must have."""
_logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Member:
    target: WorkerTarget
    task: asyncio.Task[None] | None = None
    is_named: bool = True
    is_watched: bool = False


class WorkerFleet:
    """Follows all targets. An address that two of them name belongs to the first that named it."""

    def __init__(
        self,
        targets: Sequence[WorkerTarget],
        names: NameService,
        open_channel: OpenChannel,
        table: WorkerTable,
        client: WorkerClient,
    ) -> None:
        self._targets = targets
        self._names = names
        self._open_channel = open_channel
        self._table = table
        self._client = client
        self._members: dict[str, _Member] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for target in self._targets:
                take = functools.partial(self._take, group, target)
                group.create_task(self._names.follow(target.endpoint, take))

    def _take(self, group: asyncio.TaskGroup, target: WorkerTarget, addresses: tuple[str, ...]) -> None:
        for address in addresses:
            member = self._members.get(address)
            if member is None:
                _logger.info("worker found", extra={"worker": address, "pool": target.pool})
                member = self._members[address] = _Member(target=target)
                member.task = group.create_task(self._follow(address, member))
            elif member.target == target:
                member.is_named = True
                self._table.set_leaving(address, is_leaving=False)
        for address, member in self._members.items():
            if member.target == target and member.is_named and address not in addresses:
                _logger.info("worker's name has gone", extra={"worker": address, "pool": target.pool})
                member.is_named = False
                self._table.set_leaving(address, is_leaving=True)
                self._end_if_gone(member)

    async def _follow(self, address: str, member: _Member) -> None:
        def on_report() -> None:
            member.is_watched = True
            self._table.set_leaving(address, is_leaving=not member.is_named)

        def on_broken() -> None:
            member.is_watched = False
            self._table.drop(address)
            self._end_if_gone(member)

        channel = self._open_channel(address, member.target.endpoint.server_name)
        self._client.add(address, channel)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watch_load(address, channel, self._table))
                group.create_task(
                    watch_worker(
                        address, member.target.pool, channel, self._table, on_report=on_report, on_broken=on_broken
                    )
                )
        finally:
            self._table.forget(address)
            # The name may come back while the last calls end: that is another member, with a channel of its own.
            del self._members[address]
            last_calls = self._client.remove(address)
            await last_calls
            await channel.close()

    @staticmethod
    def _end_if_gone(member: _Member) -> None:
        if not member.is_named and not member.is_watched and member.task is not None:
            member.task.cancel()
