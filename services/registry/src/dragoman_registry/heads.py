# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The heads of all chains: held against what the store shows of a chain, and written after each event.

    read (store, copy, memory) -> the chain is read -> hold: lost? old? -> write anew
    event is written -> advance

Owns the reading and writing of heads; what a head means is chain_head's. A head in the store is replaced only where it
is older than the chain that the writer has verified, by compare and swap, so of racing writers the newer one stays.
"""

import asyncio
import logging

from dragoman_common.audit import Audit
from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_models.head import HeadRecord, sign_head, verify_head
from dragoman_models.signing import RetiredKeyError, SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.chain_head import ALIASES, POLICIES, EventsLostError, Link, Links, Place, head_of, is_old
from dragoman_registry.head_copies import HeadCopies
from dragoman_registry.ports import (
    MAX_OBJECT_BYTES,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectStore,
)
from dragoman_registry.signed_object import named_signer

logger = logging.getLogger(__name__)
audit = Audit("registry")

WRITE_ATTEMPTS = 5


class Heads:
    """Knows the newest head of each chain: by the store's word, by the copy's, and by what this process has seen."""

    def __init__(
        self, *, store: ObjectStore, keys: VerifyingKeys, key: SigningKey, copies: HeadCopies | None = None
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._keys = keys
        self._key = key
        self._copies = copies
        self._seen: dict[Place, HeadRecord] = {}
        self._told: dict[Place, str] = {}
        self._verified: dict[Place, tuple[bytes, HeadRecord]] = {}
        # What held when it was last looked at: the same chain against the same heads need not be digested again.
        self._held: dict[Place, tuple[Link, int, list[HeadRecord]]] = {}

    async def read(self, place: Place) -> list[HeadRecord]:
        """Return what is known of a chain's end. Asked before the chain is read: an event comes before its head."""
        stored = self._known(place, await self._stored(place))
        copy = self._copies.get(place) if self._copies else None
        return [head for head in (stored, copy, self._seen.get(place)) if head is not None]

    async def hold(self, place: Place, links: Links, heads: list[HeadRecord], *, is_final: bool = True) -> None:
        """Hold a chain against its heads, and write those anew that are old.

        Args:
            place: The chain's.
            links: The chain as the store holds it, verified.
            heads: As read returned them.
            is_final: What is lost is written to the audit log, once; false where the caller looks again first.

        Raises:
            EventsLostError: a head names what is not there.
        """
        held = self._held.get(place)
        if held is not None and links and held[0] is links[-1] and held[1:] == (len(links), heads):
            return
        try:
            for head in heads:
                is_old(place, links, head)
        except EventsLostError as error:
            self._held.pop(place, None)
            if is_final and self._told.get(place) != error.message:
                self._told[place] = error.message
                audit.lost(str(place), error.message)
            raise
        self._told.pop(place, None)
        if not links:
            return
        newest = head_of(place, links[-1])
        stored = self._verified.get(place)
        copy = self._copies.get(place) if self._copies else newest
        if (stored and stored[1]) != newest or copy != newest:
            await self.advance(place, links)
        elif _is_ahead(place, links, self._seen.get(place)):
            self._seen[place] = newest
        elif all(head == newest for head in heads):
            self._held[place] = (links[-1], len(links), heads)

    async def advance(self, place: Place, links: Links) -> None:
        """Write the head of a chain that is whole, in the store and in the copy.

        A store that does not take it is logged: the event stands, and whoever reads the chain next writes its head.
        """
        newest = head_of(place, links[-1])
        if _is_ahead(place, links, self._seen.get(place)):
            self._seen[place] = newest
        try:
            envelope = await asyncio.to_thread(sign_head, newest, self._key)
            await self._write(place, links, newest, envelope)
        except (UnavailableError, RetiredKeyError) as error:
            logger.warning("a head was not written", extra={"chain": str(place), "reason": error.message})
            return
        if self._copies and _is_ahead(place, links, self._copies.get(place)):
            await self._copies.put(newest, envelope)

    async def lost(self, place: Place, links: Links) -> HeadRecord | None:
        """Return the newest head that names what a chain does not hold, None where nothing is lost."""
        found: list[HeadRecord] = []
        for head in await self.read(place):
            try:
                is_old(place, links, head)
            except EventsLostError:
                found.append(head)
        return max(found, key=lambda head: head.sequence, default=None)

    async def places(self, tenant: str, model: str) -> list[Place]:
        """Return the chains of a model that have a head in the store or a copy."""
        found = (
            {place for place in self._copies.places() if (place.tenant, place.model) == (tenant, model)}
            if (self._copies)
            else set()
        )
        for alias in await self._store.names_below(layout.head(tenant, model, ALIASES)):
            found.add(Place(tenant, model, f"{ALIASES}/{alias}"))
        if POLICIES in await self._store.names_below(layout.heads(tenant, model)):
            found.add(Place(tenant, model, POLICIES))
        return sorted(found, key=str)

    async def sign_again(self, place: Place) -> bool:
        """Sign the stored head under the present key, if another key that counts signed it."""
        data = await self._stored(place)
        known = self._known(place, data)
        if data is None or known is None or named_signer(data) == self._key.key_id:
            return False
        try:
            await self._store.replace(place.key, await asyncio.to_thread(sign_head, known, self._key), expected=data)
        except ObjectChangedError:
            # Whoever moved on has signed with a key of today.
            return False
        return True

    def forget(self) -> None:
        """Verify every head again at its next read: the keys that count have changed."""
        self._verified.clear()
        self._held.clear()

    async def _write(self, place: Place, links: Links, newest: HeadRecord, envelope: bytes) -> None:
        for _ in range(WRITE_ATTEMPTS):
            data = await self._stored(place)
            there = self._known(place, data)
            try:
                if data is None:
                    await self._store.create(place.key, envelope)
                elif _is_ahead(place, links, there):
                    await self._store.replace(place.key, envelope, expected=data)
                else:
                    return
            except (ObjectExistsError, ObjectChangedError):
                continue
            self._verified[place] = (envelope, newest)
            return
        logger.info("a head is contended; whoever reads the chain next writes it", extra={"chain": str(place)})

    async def _stored(self, place: Place) -> bytes | None:
        try:
            return await self._store.read(place.key, length=MAX_OBJECT_BYTES)
        except ObjectNotFoundError:
            return None

    def _known(self, place: Place, data: bytes | None) -> HeadRecord | None:
        if data is None:
            self._verified.pop(place, None)
            return None
        known = self._verified.get(place)
        if known is None or known[0] != data:
            self._verified.pop(place, None)
            try:
                record = verify_head(data, self._keys, tenant=place.tenant, model=place.model, chain=place.chain)
            except DataLossError as error:
                # Whoever can damage it can delete it as well: it says as much as a missing one, and is written anew.
                audit.refused(str(place), f"its head does not verify: {error.message}")
                return None
            known = self._verified[place] = (data, record)
        return known[1]


def _is_ahead(place: Place, links: Links, head: HeadRecord | None) -> bool:
    """Tell whether a chain goes further than a head, so that its own may take that one's place."""
    try:
        return head is None or is_old(place, links, head)
    except EventsLostError:
        # Not lost: whoever wrote that head has moved on since this chain was read.
        return False
