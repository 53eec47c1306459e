# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry looks after on its own: the lists, the ends of its chains, and the keys that count.

    every period: the keys' file, has it grown? -> verify everything anew      the store -> the lists -> lost ends

Owns the loop and the order of its steps; each step is its own module's.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dragoman_common.errors import DataLossError, InvalidArgumentError, UnavailableError
from dragoman_models.key_list import MAX_CHAIN_BYTES
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.catalog import Catalog
from dragoman_registry.chain_head import ALIASES
from dragoman_registry.heads import Heads
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.ports import ObjectStore

logger = logging.getLogger(__name__)


class Verifying(Protocol):
    """Anything that remembers what verified."""

    def forget(self) -> None:
        """Verify every record again at its next read."""
        ...


class KeyFile:
    """The file of key lists, read again when it has changed."""

    def __init__(
        self, path: Path | None, *, trusted: VerifyingKeys, key: SigningKey, memories: Sequence[Verifying]
    ) -> None:
        """Take the keys that were read from the file at the start.

        Args:
            path: None where the signing key alone counts: then nothing is read.
            trusted: Changed in place, for all who share it.
            key: Retired when a list revokes it.
            memories: Told to verify anew.
        """
        self._path = path if trusted.chain is not None else None
        self._trusted = trusted
        self._key = key
        self._memories = memories
        self._read = trusted.chain

    async def read_again(self) -> bool:
        """Go on to a newer list, if the file holds one. A file that does not hold is logged, and changes nothing.

        Returns:
            Whether the keys that count have changed.
        """
        if self._path is None:
            return False
        try:
            data = await asyncio.to_thread(_read, self._path)
            # What was looked at before and did not hold is not told again and again.
            if data == self._read:
                return False
            self._read = data
            if not self._trusted.follow(data, what=f"verifying keys {self._path.name}"):
                return False
        except (OSError, InvalidArgumentError) as error:
            logger.error("the key list was not read again", extra={"reason": str(error)})  # noqa: TRY400 - no defect of ours
            return False
        for memory in self._memories:
            memory.forget()
        if self._key.key_id not in self._trusted.counting_ids:
            self._key.retire()
            logger.critical("the signing key is revoked: nothing is signed any more", extra={"key": self._key.key_id})
        logger.info("a newer key list counts", extra={"sequence": self._trusted.sequence})
        return True


class Upkeep:
    """One round after the other, until cancelled."""

    def __init__(
        self, *, store: ObjectStore, catalog: Catalog, policies: PolicyBook, heads: Heads, key_file: KeyFile
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._catalog = catalog
        self._policies = policies
        self._heads = heads
        self._key_file = key_file

    async def begin(self) -> None:
        """Fill the lists and look for lost ends, before the first call.

        Raises:
            UnavailableError: the store does not answer.
        """
        await self._catalog.scan()
        await self.find_lost()

    async def find_lost(self) -> None:
        """Hold every chain that has a head against it; what is lost is logged by name and refused from then on.

        Raises:
            UnavailableError: the store does not answer.
        """
        known = {
            (event.record.tenant, event.record.model, event.record.alias) for event in self._catalog.newest_events()
        }
        for tenant in await self._store.names_below(layout.TENANTS):
            for model in await self._store.names_below(layout.models(tenant)):
                for place in await self._heads.places(tenant, model):
                    alias = place.chain.removeprefix(f"{ALIASES}/")
                    with suppress(DataLossError):
                        if alias == place.chain:
                            await self._policies.chain(tenant, model)
                        elif (tenant, model, alias) not in known:
                            # The scan has held the others already; of this one not an event is left.
                            await self._catalog.checked_chain(tenant, model, alias)

    async def run(self, period_s: float) -> None:
        """Compare with the store every period, until cancelled. A store that is away is waited for."""
        while True:
            await asyncio.sleep(period_s)
            await self._key_file.read_again()
            try:
                await self._catalog.scan()
            except UnavailableError:
                logger.warning("scan: the store does not answer; the lists stay as they are", exc_info=True)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_CHAIN_BYTES + 1)
