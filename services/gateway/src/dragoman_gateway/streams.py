# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Following a stream of the platform for as long as the process lives: silence and errors lead to a new watch.

open -> message, message, ... -> broken, silent or ended -> pause with jitter -> open
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from dragoman_common.auth import calling_as
from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_common.status import translated

M = TypeVar("M")

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 2.0
WATCH_LIFE_S = 3_600.0
"""Watches end by their own deadline after an hour, and begin again."""
DEFAULT_SILENCE_S = 15.0
_HEARTBEATS_MISSED = 3

_logger = logging.getLogger(__name__)


async def messages_of(call: Any) -> AsyncIterator[Any]:
    """The messages of a server stream whose messages tell their `heartbeat_period`.

    Raises:
        UnavailableError: nothing came for three heartbeat periods.
        DragomanError: the call failed.
    """
    silence_s = DEFAULT_SILENCE_S
    stream = aiter(call)
    while True:
        try:
            with translated():
                async with asyncio.timeout(silence_s):
                    message = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            call.cancel()
            raise UnavailableError(f"silent for {silence_s:g} s") from None
        heartbeat_s = message.heartbeat_period.ToTimedelta().total_seconds()
        if heartbeat_s > 0:
            silence_s = heartbeat_s * _HEARTBEATS_MISSED
        yield message


async def follow(
    name: str,
    open_call: Callable[[], Any],
    take: Callable[[Any], Awaitable[None]],
    on_broken: Callable[[], None],
) -> None:
    """Watch until cancelled.

    Args:
        name: for the log.
        open_call: begins a watch.
        take: gets each message, in order.
        on_broken: told when a watch ends, however it ends.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        reason = "ended"
        try:
            # No user stands behind a watch: it is the gateway's own.
            with calling_as(""):
                async for message in messages_of(open_call()):
                    await take(message)
                    pause_s = FIRST_PAUSE_S
        except DragomanError as error:
            reason = error.message
        on_broken()
        _logger.info("watch broken", extra={"watch": name, "reason": reason, "again_in_s": pause_s})
        # Jitter keeps gateways from reconnecting in step.
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
        pause_s = min(pause_s * 2, MAX_PAUSE_S)
