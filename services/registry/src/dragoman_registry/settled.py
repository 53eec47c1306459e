# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A create whose reply was lost is settled by reading back: the bytes carry the writer's nonce.

This holds for stores that answer twice, too: a client library that retries on its own finds its own first write.
"""

from dragoman_common.errors import UnavailableError
from dragoman_registry.ports import ObjectExistsError, ObjectNotFoundError, ObjectStore

_PROBE_BYTES = 64


async def create_settled(store: ObjectStore, key: str, data: bytes) -> None:
    """Create an object, and know for certain whether it is ours.

    Args:
        store: Where.
        key: Its key.
        data: Bytes that no other writer has, because a nonce is among them.

    Raises:
        ObjectExistsError: another writer's object is there.
        UnavailableError: the store does not answer, also not about what it holds.
    """
    try:
        await store.create(key, data)
    except (ObjectExistsError, UnavailableError) as error:
        try:
            found = await store.read(key, length=len(data) + 1)
        except ObjectNotFoundError:
            raise error from None
        if found != data:
            raise ObjectExistsError(f"{key} is taken") from error


async def probe(store: ObjectStore, key: str) -> None:
    """Find out whether the store honours create-if-absent, on which every promise of the registry rests.

    Raises:
        UnavailableError: it replaced an object, lost one, or does not answer. The registry must not start.
    """
    first, second = b"first", b"second"
    try:
        await store.create(key, first)
    except ObjectExistsError:
        first = await store.read(key, length=_PROBE_BYTES)
    try:
        await store.create(key, second)
    except ObjectExistsError:
        if await store.read(key, length=_PROBE_BYTES) == first:
            return
    raise UnavailableError("the store does not honour create-if-absent: versions and aliases would not be safe in it")
