# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The watch on the registry's aliases, kept up through every break, and what it says when the registry knows less.

Owns the stream, its retries and the comparison with what was seen. Not what is believed (alias_book.py), nor what is
done about it (placement.py).

    remembered events -> watch, naming the newest seen of each alias -> book -> remembered -> placement
    seen, and not heard of in the snapshot -> is the registry's newest older? -> audit record; the seen one stays
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from dragoman_common.errors import DataLossError, DragomanError, NotFoundError
from dragoman_worker import audit
from dragoman_worker.alias_book import AliasBook
from dragoman_worker.alias_memory import AliasMemory
from dragoman_worker.backoff import Backoff
from dragoman_worker.ports import AliasKey, Registry

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
        seen = self.book.seen()
        unheard = set(seen)
        looking: asyncio.Task[None] | None = None
        try:
            async for update in self._registry.watch_aliases(seen):
                backoff.reset()
                moved = None
                if update.envelope:
                    unheard.discard((update.tenant, update.model, update.alias))
                    moved = self.book.take(update)
                    if moved is not None:
                        await self._remember(moved, update.envelope)
                if update.is_snapshot_complete and looking is None:
                    looking = asyncio.create_task(self._look_for_lost(seen, unheard), name="look for lost events")
                on_update(moved, update.is_snapshot_complete)
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    async def _remember(self, key: AliasKey, envelope: bytes) -> None:
        try:
            await asyncio.to_thread(self._memory.remember, self.book.records[key], envelope)
        except OSError as error:
            # It serves without; only a worker that starts next knows less.
            logger.warning("alias event not remembered", extra={"alias": "/".join(key), "error": str(error.strerror)})

    async def _look_for_lost(self, seen: Mapping[AliasKey, int], unheard: Collection[AliasKey]) -> None:
        """Ask after the aliases that the snapshot left out: they are as we know them, or newer events are gone."""
        for key in unheard:
            tenant, model, alias = key
            try:
                newest = await self._registry.newest_sequence(tenant, model, alias)
            except NotFoundError:
                newest = 0
            except DataLossError as error:
                audit.lost(f"{tenant}/{model}/aliases/{alias}", f"the registry cannot show it: {error.message}")
                continue
            except DragomanError as error:
                # It is away; the next watch asks again.
                logger.warning("aliases not compared with the registry", extra={"error": error.message})
                return
            if newest < seen[key]:
                audit.lost(
                    f"{tenant}/{model}/aliases/{alias}",
                    f"event {seen[key]} was seen and verified, the registry's newest is {newest}; this worker keeps to "
                    "what it has seen",
                )
