# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The watch on the registry's aliases, kept up through every break, and what it says when the registry knows less.

Owns the stream, its retries and the comparison with what was seen. Not what is believed (alias_book.py), nor what is
done about it (placement.py).

    remembered events -> watch, naming the newest seen of each alias -> book -> remembered -> placement
    the registry has less of an alias than was seen -> its loss was accepted? goes on : audit record; the seen one stays
    newer keys -> what was seen is verified again -> watch anew
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeAlias

from dragoman_common.audit import Audit
from dragoman_common.errors import DataLossError, DragomanError
from dragoman_worker.alias_book import AliasBook
from dragoman_worker.alias_memory import AliasMemory
from dragoman_worker.backoff import Backoff
from dragoman_worker.followed_models import FollowedModels
from dragoman_worker.ports import AliasKey, Registry

logger = logging.getLogger(__name__)
audit = Audit("worker")

ALL_MODELS = FollowedModels()

OnUpdate: TypeAlias = Callable[[AliasKey | None, bool], None]
"""Called after each message: the alias that moved, and whether the snapshot is complete."""


class AliasFollower:
    """Fills an alias book. One follow at a time."""

    def __init__(
        self, registry: Registry, book: AliasBook, memory: AliasMemory, models: FollowedModels = ALL_MODELS
    ) -> None:
        """Begin with nothing; follow reads the memory first.

        Args:
            registry: What is followed.
            book: What is believed of it.
            memory: What this node's workers have seen before, those of other pools too.
            models: Whose aliases count; of the others nothing is verified, remembered or loaded.
        """
        self._models = models
        self._registry = registry
        self._memory = memory
        self._watching: asyncio.Timeout | None = None
        self._are_keys_newer = False
        self.book = book

    async def follow(self, on_update: OnUpdate, backoff: Backoff) -> None:
        """Follow the registry until cancelled."""
        recalled = await asyncio.to_thread(self._memory.recall)
        self.book.restore(each for each in recalled if self._models.has(each[0].tenant, each[0].model))
        while True:
            await asyncio.sleep(backoff.next_s())
            while self._are_keys_newer:
                self._are_keys_newer = False
                self.book.doubt(await asyncio.to_thread(self.book.find_unverified))
            try:
                async with asyncio.timeout(None) as self._watching:
                    await self._watch(on_update, backoff)
            except TimeoutError:
                # See keys_are_newer.
                continue
            except DragomanError as error:
                logger.warning("the watch on aliases broke, watching again", extra={"error": error.message})
            finally:
                self._watching = None

    def keys_are_newer(self) -> None:
        """Verify what was seen again, and watch anew: what was refused before may hold now."""
        self._are_keys_newer = True
        if self._watching is not None and not self._watching.expired():
            self._watching.reschedule(asyncio.get_running_loop().time())

    async def _watch(self, on_update: OnUpdate, backoff: Backoff) -> None:
        async with aclosing(self._registry.watch_aliases(self.book.seen())) as updates:
            async for update in updates:
                backoff.reset()
                key = (update.tenant, update.model, update.alias)
                before = self.book.records.get(key)
                moved = None
                if update.held_sequence is not None:
                    moved = await self._less_is_held(key, update.held_sequence)
                elif update.envelope and self._models.has(update.tenant, update.model):
                    moved = await self.book.take(update)
                if moved is not None:
                    is_past_loss = before is not None and self.book.records[key].sequence <= before.sequence
                    await self._remember(moved, is_past_loss=is_past_loss)
                if update.is_snapshot_complete:
                    self.book.settle_doubts()
                on_update(moved, update.is_snapshot_complete)

    async def _remember(self, key: AliasKey, *, is_past_loss: bool) -> None:
        record, envelope = self.book.records[key], self.book.envelope(key)
        try:
            await asyncio.to_thread(self._memory.remember, record, envelope, is_past_loss=is_past_loss)
        except OSError as error:
            # It serves without; only a worker that starts next knows less.
            logger.warning("alias event not remembered", extra={"alias": "/".join(key), "error": str(error.strerror)})

    async def _less_is_held(self, key: AliasKey, held_sequence: int) -> AliasKey | None:
        """Newer events than the registry has were seen and verified.

        Where the loss was accepted, the alias goes on from there. Else they are kept to, and somebody should look.
        """
        seen = self.book.records.get(key)
        if seen is None:
            return None
        why = ""
        try:
            moved = await self.book.pass_loss(key)
        except DataLossError as error:
            moved, why = None, f" ({error.message})"
        if moved is None:
            held = f"the registry's newest is {held_sequence}"
            if held_sequence >= seen.sequence:
                held = "the registry has another one in its place"
            tenant, model, alias = key
            audit.lost(
                f"{tenant}/{model}/aliases/{alias}",
                f"event {seen.sequence} was seen and verified, {held}; this worker keeps to what it has seen{why}",
            )
        return moved
