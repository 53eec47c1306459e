# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Withdrawing a version: it stays in the history, and is never pointed to or handed out again.

    verified version -> no alias points to it -> sign -> create tombstones/<n> -> no alias points to it

A mover and a withdrawer may pass each other: each looks, then writes. So each looks again after its write, and at least
one of them sees the other, and moves the alias back to where it was (promotion).
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from dragoman_common.clock import Clock
from dragoman_common.errors import AbortedError, FailedPreconditionError, InvalidArgumentError
from dragoman_models.record import VersionManifest
from dragoman_models.record_fields import MAX_REASON_CHARS
from dragoman_models.signing import SigningKey
from dragoman_models.tombstone import TombstoneRecord, sign_tombstone
from dragoman_registry import layout
from dragoman_registry.alias import AliasMovedFirstError, Chain
from dragoman_registry.catalog import Catalog
from dragoman_registry.model_version import StoredTombstone
from dragoman_registry.ports import ObjectExistsError, ObjectStore
from dragoman_registry.settled import create_settled

logger = logging.getLogger(__name__)

MAX_SEND_BACKS = 5


class VersionInUseError(FailedPreconditionError):
    """An alias points to the version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """A wish to take a version out of use."""

    tenant: str
    model: str
    version: int
    reason: str
    withdrawn_by: str


class Withdrawals:
    """Writes tombstones; there is no way back from one."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        catalog: Catalog,
        key: SigningKey,
        clock: Clock,
        take_back: Callable[[Chain], Awaitable[None]],
    ) -> None:
        """Wire the parts; nothing is read or written. `take_back` undoes an alias's newest move."""
        self._take_back = take_back
        self._store = store
        self._catalog = catalog
        self._key = key
        self._clock = clock

    async def withdraw(self, wish: Withdrawal) -> StoredTombstone:
        """Take a version out of use; one that is out already keeps its first tombstone.

        Raises:
            InvalidArgumentError: the reason is empty, too long, or not printable.
            ModelVersionNotFoundError: no such version.
            VersionInUseError: an alias points to it; the message names it.
        """
        if not 0 < len(wish.reason) <= MAX_REASON_CHARS or not wish.reason.isprintable():
            raise InvalidArgumentError(f"reason must be 1 to {MAX_REASON_CHARS} printable characters")
        manifest = (await self._catalog.checked_version(wish.tenant, wish.model, wish.version)).manifest
        if (earlier := await self._catalog.checked_tombstone(manifest)) is not None:
            return earlier
        for alias in await self._pointing(manifest):
            raise VersionInUseError(f"{wish.model}@{alias} points to version {wish.version}: move it first")
        record = TombstoneRecord(
            tenant=wish.tenant,
            model=wish.model,
            version=wish.version,
            root_sha256=manifest.root_sha256,
            reason=wish.reason,
            withdrawn_by=wish.withdrawn_by,
            withdraw_time=self._clock.now(),
            nonce=secrets.token_hex(16),
        )
        envelope = await asyncio.to_thread(sign_tombstone, record, self._key)
        try:
            await create_settled(self._store, layout.tombstone(wish.tenant, wish.model, wish.version), envelope)
        except ObjectExistsError:
            earlier = await self._catalog.checked_tombstone(manifest)
            if earlier is None:
                raise
            return earlier
        tombstone = StoredTombstone(record=record, envelope=envelope)
        self._catalog.learn_tombstone(tombstone)
        logger.info(
            "version withdrawn",
            extra={"tenant": wish.tenant, "model": wish.model, "version": wish.version, "by": wish.withdrawn_by},
        )
        await self._send_back(manifest)
        return tombstone

    async def _send_back(self, manifest: VersionManifest) -> None:
        """Undo the moves that came to the version while it was being withdrawn."""
        for _ in range(MAX_SEND_BACKS):
            pointing = await self._pointing(manifest)
            for alias, chain in pointing.items():
                if len(chain) == 1:
                    raise VersionInUseError(
                        f"version {manifest.number} is withdrawn; {manifest.model}@{alias} came to it meanwhile, with "
                        "nowhere to go back to: move it to another version"
                    )
                with suppress(AliasMovedFirstError):
                    await self._take_back(chain)
            if not pointing:
                return
        raise AbortedError(
            f"version {manifest.number} is withdrawn, and aliases keep moving to it: look at the history"
        )

    async def _pointing(self, manifest: VersionManifest) -> dict[str, Chain]:
        """The aliases that point to a version, with their chains."""
        found: dict[str, Chain] = {}
        for alias in await self._store.names_below(layout.aliases(manifest.tenant, manifest.model)):
            chain = await self._catalog.checked_chain(manifest.tenant, manifest.model, alias)
            now = chain[-1].record if chain else None
            if now and manifest.number in {now.stable_version, now.candidate.version if now.candidate else 0}:
                found[alias] = chain
        return found
