# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The object store in memory: the fake for tests, held by the same contract as the real ones."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection
from datetime import datetime

from dragoman_registry.ports import (
    BlobMismatchError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectTag,
)


class MemoryStore:
    """Objects in a dict. Yields to the loop before each step, so that racers interleave as on a real one."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def create(self, key: str, data: bytes) -> None:
        await asyncio.sleep(0)
        if key in self.objects:
            raise ObjectExistsError(f"{key} is taken")
        self.objects[key] = data

    async def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        await asyncio.sleep(0)
        if self.objects.get(key) != expected:
            raise ObjectChangedError(f"{key} holds something else")
        self.objects[key] = data

    async def put_blob(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str) -> None:
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > size_bytes:
                break
        if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != sha256:
            raise BlobMismatchError("the content differs from the stated size and digest")
        self.objects[key] = bytes(data)

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        await asyncio.sleep(0)
        if key not in self.objects:
            raise ObjectNotFoundError(f"{key} is not kept")
        return self.objects[key][offset : None if length is None else offset + length]

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        self.objects.pop(key, None)

    async def abandon_uploads(self, keys: Collection[str], *, begun_before: datetime) -> int:
        del keys, begun_before
        return 0

    async def names_below(self, prefix: str) -> list[str]:
        await asyncio.sleep(0)
        start = f"{prefix}/"
        return sorted({key.removeprefix(start).split("/")[0] for key in self.objects if key.startswith(start)})

    async def tags_below(self, prefix: str) -> dict[str, ObjectTag]:
        await asyncio.sleep(0)
        start = f"{prefix}/"
        return {
            key: ObjectTag(len(data), hashlib.sha256(data).hexdigest())
            for key, data in self.objects.items()
            if key.startswith(start)
        }

    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        del key, lifetime_s
        return None
