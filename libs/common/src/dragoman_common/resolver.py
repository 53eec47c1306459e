# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names to addresses by the system's resolver, asked again every second, off the event loop.

    Endpoint -> getaddrinfo on a thread -> the addresses of one family -> take(addresses) at each change

A name service that does not answer changes nothing: the last known addresses hold. One that answers that the name has
no address is believed.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

from dragoman_common.endpoint import Endpoint

PERIOD_S = 1.0
TIMEOUT_S = 5.0
"""A question that takes longer counts as not answered; its answer is taken when it comes."""
_MAX_THREADS = 32
_MAX_ADDRESSES = 1_000
"""Of one name. A pool is far from it, and each costs a connection."""
_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

LookUp = Callable[..., list[Any]]
_logger = logging.getLogger(__name__)


class Resolver:
    """See name_service.NameService. At most one look-up per name is under way, however slow the name service is."""

    def __init__(
        self, look_up: LookUp = socket.getaddrinfo, *, period_s: float = PERIOD_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Ask nothing yet.

        Args:
            look_up: socket.getaddrinfo, or what stands in for it.
            period_s: From an answer to the next question.
            timeout_s: See TIMEOUT_S.
        """
        self._look_up = look_up
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="resolve")

    async def follow(
        self, endpoint: Endpoint, take: Callable[[tuple[str, ...]], None], *, on_asked: Callable[[], None] | None = None
    ) -> None:
        """See name_service.NameService."""
        known: tuple[str, ...] | None = None
        was_answered = True
        async with aclosing(self._answers(endpoint)) as answers:
            async for found in answers:
                if (found is not None) is not was_answered:
                    was_answered = found is not None
                    _logger.warning(
                        "name service answers again" if was_answered else "name not resolved, the last addresses hold",
                        extra={"host": endpoint.host},
                    )
                if found is not None and found != known:
                    known = found
                    take(found)
                if on_asked is not None:
                    on_asked()

    def close(self) -> None:
        """Begin no more look-ups; one that is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answers(self, endpoint: Endpoint) -> AsyncGenerator[tuple[str, ...] | None, None]:
        """Every answer, and None for each one that is late."""
        if endpoint.is_fixed:
            yield (endpoint.at(endpoint.host),)
            await asyncio.Event().wait()
        while True:
            question = asyncio.ensure_future(self._addresses(endpoint))
            try:
                while not (await asyncio.wait({question}, timeout=self._timeout_s))[0]:
                    yield None
                yield question.result()
            finally:
                question.cancel()
            await asyncio.sleep(self._period_s)

    async def _addresses(self, endpoint: Endpoint) -> tuple[str, ...] | None:
        """The addresses now, sorted; None where the name service did not say."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._ask, endpoint)
        except socket.gaierror as error:
            return () if error.errno in _NO_ADDRESS else None
        except OSError:
            return None
        # A process that listens on both families is one process: IPv4 where there is any.
        families = {entry[0] for entry in found}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        hosts = {entry[4][0] for entry in found if entry[0] == family}
        return tuple(sorted(endpoint.at(host) for host in hosts)[:_MAX_ADDRESSES])

    def _ask(self, endpoint: Endpoint) -> list[Any]:
        return self._look_up(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
