# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A tenant's intents as a collector reads them; one that was read is not read again, because it does not change."""

from datetime import datetime

from dragoman_registry import layout
from dragoman_registry.garbage_look import Candidate
from dragoman_registry.ports import MAX_OBJECT_BYTES, ObjectNotFoundError, ObjectStore
from dragoman_registry.publish_intent import Intent, read_intent


class ReadIntents:
    """What begun publishes bring; nothing is known before the first refresh."""

    def __init__(self, store: ObjectStore, tenant: str, expired_before: datetime) -> None:
        self._store = store
        self._tenant = tenant
        self._expired_before = expired_before
        self._read: set[str] = set()
        self._held: set[str] = set()
        self.expired: dict[str, Intent] = {}

    @property
    def expired_blobs(self) -> frozenset[str]:
        """What the publishes meant to bring that ended long ago, one way or the other."""
        return frozenset(sha256 for intent in self.expired.values() for sha256 in intent.blobs)

    def holds(self, candidate: Candidate) -> bool:
        """Tell whether a begun publish brings the blob, or the content that the claims are of."""
        return candidate.content in self._held

    async def refresh(self) -> None:
        """Read the intents that came since.

        Raises:
            DataLossError: one of them is none.
        """
        models = await self._store.names_below(layout.models(self._tenant))
        data = await self._store.names_below(layout.data(self._tenant))
        for place in [
            *(layout.intents(self._tenant, model) for model in models),
            *(layout.data_intents(self._tenant, name) for name in data),
        ]:
            for name in await self._store.names_below(place):
                if (key := f"{place}/{name}") not in self._read:
                    await self._add(key)

    async def _add(self, key: str) -> None:
        try:
            intent = read_intent(await self._store.read(key, length=MAX_OBJECT_BYTES), what=key)
        except ObjectNotFoundError:
            return
        self._read.add(key)
        if intent.time < self._expired_before:
            self.expired[key] = intent
        else:
            self._held |= {intent.root_sha256, *intent.blobs}
