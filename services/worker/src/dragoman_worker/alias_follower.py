# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The watch on the registry's aliases, kept up through every break, and what it says when the registry knows less.

Owns the stream, its retries and the comparison with what was seen. Not what is believed (alias_book.py), nor what is
done about it (placement.py).

    remembered events -> watch, naming the newest seen of each alias -> book -> remembered -> placement
    the registry has less of an alias than was seen -> audit record; the seen one stays
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

from dragoman_common.errors import DragomanError
from dragoman_worker import audit
from dragoman_worker.alias_book import AliasBook
from dragoman_worker.alias_memory import AliasMemory
from dragoman_worker.backoff import Backoff
from dragoman_worker.ports import AliasKey, AliasUpdate, Registry

logger = logging.getLogger(__name__)

OnUpdate: TypeAlias = Callable[[AliasKey | None, bool], None]
"""Called after each message: the alias that moved, and whether the snapshot is complete."""


class AliasFollower:
    """Fills an alias book. One follow at a time."""

    def __init__(self, registry: Registry, book: AliasBook, memory: AliasMemory) -> None:
        """Begin with nothing; follow reads the memory first.

        Args:
            registry: What is followed.
            book: What is believed of it.
            memory: What this node's workers have seen before.
        """
        self._registry = registry
        self._memory = memory
        self.book = book

    async def follow(self, on_update: OnUpdate, backoff: Backoff) -> None:
        """Follow the registry until cancelled."""
        self.book.restore(await asyncio.to_thread(self._memory.recall))
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                await self._watch(on_update, backoff)
            except DragomanError as error:
                logger.warning("the watch on aliases broke, watching again", extra={"error": error.message})

    async def _watch(self, on_update: OnUpdate, backoff: Backoff) -> None:
        async for update in self._registry.watch_aliases(self.book.seen()):
            backoff.reset()
            moved = None
            if update.held_sequence is not None:
                self._less_is_held(update)
            elif update.envelope and (moved := self.book.take(update)) is not None:
                await self._remember(moved, update.envelope)
            on_update(moved, update.is_snapshot_complete)

    async def _remember(self, key: AliasKey, envelope: bytes) -> None:
        try:
            await asyncio.to_thread(self._memory.remember, self.book.records[key], envelope)
        except OSError as error:
            # It serves without; only a worker that starts next knows less.
            logger.warning("alias event not remembered", extra={"alias": "/".join(key), "error": str(error.strerror)})

    def _less_is_held(self, update: AliasUpdate) -> None:
        """Newer events than the registry has were seen and verified: they are kept to, and somebody should look."""
        seen = self.book.records.get((update.tenant, update.model, update.alias))
        if seen is not None:
            audit.lost(
                f"{update.tenant}/{update.model}/aliases/{update.alias}",
                f"event {seen.sequence} was seen and verified, the registry's newest is {update.held_sequence}; this "
                "worker keeps to what it has seen",
            )
