# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Alias events that hold, of versions that do not: tried again until the version is repaired or the alias moves on.

    event verified, its version is not what was signed -> add -> pause -> check -> ... -> apply

The registry sends an event once. Without this, an alias whose version was restored in the store would stay where it was
until its next move, or until this process starts anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from dragoman_common.errors import DragomanError
from dragoman_gateway.aliases import AliasTarget
from dragoman_gateway.outcome import ContractBrokenError

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
_MAX_EVENTS = 1_000
"""Aliases at once: more broken versions than this are for a person to look at."""

_logger = logging.getLogger(__name__)


class RefusedEvents:
    """The newest refused event of each alias, at most.

    Args:
        check: returns when the event's version holds, and raises while it does not.
        apply: takes in an event whose version holds; raises where the alias has moved on.
    """

    def __init__(self, check: Callable[[AliasTarget], Awaitable[None]], apply: Callable[[AliasTarget], None]) -> None:
        self._check = check
        self._apply = apply
        self._waiting: dict[tuple[str, str, str], AliasTarget] = {}
        self._added = asyncio.Event()

    def add(self, target: AliasTarget) -> None:
        """Try this event again, instead of an older one of its alias."""
        if target.name not in self._waiting and len(self._waiting) >= _MAX_EVENTS:
            return
        self._waiting[target.name] = target
        self._added.set()

    def supersede(self, target: AliasTarget) -> None:
        """A verified event of the alias has come: what waits for it is old."""
        self._waiting.pop(target.name, None)

    async def run(self) -> None:
        """Try until cancelled; pauses grow to half a minute while nothing new is refused."""
        while True:
            await self._added.wait()
            pause_s = FIRST_PAUSE_S
            while self._waiting:
                self._added.clear()
                if await self._is_added_within(pause_s):
                    # It was looked at just now, so it gets a pause too, and the first one.
                    pause_s = FIRST_PAUSE_S
                    continue
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
                for target in list(self._waiting.values()):
                    await self._try(target)
            self._added.clear()

    async def _is_added_within(self, pause_s: float) -> bool:
        try:
            async with asyncio.timeout(pause_s):
                return await self._added.wait()
        except TimeoutError:
            return False

    async def _try(self, target: AliasTarget) -> None:
        try:
            await self._check(target)
        except (DragomanError, ContractBrokenError):
            return
        # It may have been superseded while it was checked.
        if self._waiting.get(target.name) is not target:
            return
        del self._waiting[target.name]
        try:
            self._apply(target)
        except DragomanError as error:
            _logger.warning(
                "alias event is no longer of use", extra={"model": target.stable.model, "reason": str(error)}
            )
            return
        _logger.info("alias event accepted after all", extra={"model": target.stable.model})
