# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Records out of the store, and alias chains only if they end where their heads say."""

import asyncio

from dragoman_models.verify import VerifyingKeys
from dragoman_registry.alias import StoredEvent
from dragoman_registry.chain_head import EventsLostError, alias_place
from dragoman_registry.heads import Heads
from dragoman_registry.ports import ObjectStore
from dragoman_registry.record_reader import RecordReader


class HeadedReader(RecordReader):
    """Reads what RecordReader reads; a chain whose newest event is gone is DATA_LOSS, seen before or not."""

    def __init__(self, store: ObjectStore, keys: VerifyingKeys, heads: Heads) -> None:
        super().__init__(store, keys)
        self._heads = heads

    async def chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        place = alias_place(tenant, model, alias)
        heads = await self._heads.read(place)
        chain = await super().chain(tenant, model, alias)
        await self._heads.hold(place, [event.record for event in chain], heads)
        return chain

    async def followed_chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        place = alias_place(tenant, model, alias)
        heads, chain = await asyncio.gather(self._heads.read(place), super().followed_chain(tenant, model, alias))
        try:
            await self._heads.hold(place, [event.record for event in chain], heads, is_final=False)
        except EventsLostError:
            # Read at once, the head may be newer than the chain; now the head comes first.
            return await self.chain(tenant, model, alias)
        return chain

    async def kept_chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        """Return the chain as the store holds it, whatever its head says: for who repairs it.

        Raises:
            DataLossError: what is there does not verify.
        """
        return await super().chain(tenant, model, alias)
