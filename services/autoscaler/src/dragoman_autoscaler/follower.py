# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps one pool's knowledge new: its name is followed, and each address has a stream of its own.

Owns the tasks. Not what is made of the reports (pool.py), nor the wire (worker_client.py, dragoman_common.resolver).
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from dragoman_autoscaler.places import PoolPlace
from dragoman_autoscaler.pool import Pool
from dragoman_autoscaler.ports import LoadSource
from dragoman_common.clock import Clock
from dragoman_common.errors import DragomanError
from dragoman_common.name_service import NameService

logger = logging.getLogger(__name__)

RETRY_S = 1.0


class PoolFollower:
    """Runs until cancelled."""

    def __init__(
        self,
        place: PoolPlace,
        pool: Pool,
        *,
        names: NameService,
        source: LoadSource,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        """Begin with no addresses.

        Args:
            place: Where the pool is.
            pool: What is kept new.
            names: Where the pool's name is followed.
            source: The workers' reports.
            clock: The time by which reports age.
            on_change: Called after each report and each change of addresses.
        """
        self._place = place
        self._pool = pool
        self._names = names
        self._source = source
        self._clock = clock
        self._on_change = on_change
        self._streams: dict[str, asyncio.Task[None]] = {}
        self.has_asked = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            # A name service that is away holds up no start: a blind pool stays as large as it is.
            await self._names.follow(self._place.endpoint, self._take, on_asked=self.has_asked.set)
        finally:
            streams = list(self._streams.values())
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)

    def _take(self, addresses: tuple[str, ...]) -> None:
        """Take the addresses of the pool's name: at first, and when they have changed."""
        self._pool.resolved(addresses, self._clock.monotonic_s())
        logger.info("pool's addresses changed", extra=self._named() | {"num_workers": len(addresses)})
        for address in self._streams.keys() - set(addresses):
            self._streams.pop(address).cancel()
        for address in set(addresses) - self._streams.keys():
            name = f"load of {address}"
            self._streams[address] = asyncio.create_task(self._follow(address), name=name)
        self._on_change()

    async def _follow(self, address: str) -> None:
        """Read one worker's reports, through every break, until the name loses the address."""
        is_heard = True
        while True:
            try:
                async with aclosing(self._source.loads(address, server_name=self._place.endpoint.server_name)) as loads:
                    async for load in loads:
                        is_heard = True
                        self._pool.reported(address, load, self._clock.monotonic_s())
                        self._on_change()
            except DragomanError as error:
                if is_heard:
                    logger.warning("worker does not tell its load", extra=self._named(error) | {"worker": address})
                is_heard = False
            await asyncio.sleep(RETRY_S)

    def _named(self, error: DragomanError | None = None) -> dict[str, str]:
        named = {"pool": self._place.pool, "host": self._place.endpoint.host}
        return named if error is None else named | {"error": error.message}
