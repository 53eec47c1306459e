# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The object store in an S3 bucket: MinIO, or any store that honours If-None-Match.

    object --> PUT, If-None-Match: *
    blob   --> part, part, ... each hashed and sent -> size and digest right -> complete
                                                    -> wrong, broken, cancelled -> abandon

Under a blob's key nothing is to be seen before complete, and complete is sent only for the right content. While two
parts travel the next one fills: an upload holds at most three parts, whatever its size.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from datetime import datetime

from minio.datatypes import Part

from dragoman_common.errors import UnavailableError
from dragoman_registry.ports import BlobMismatchError, ObjectTag, check_key, is_segment
from dragoman_registry.s3_client import S3Client, StoreConflictError
from dragoman_registry.s3_settings import Bucket, S3Settings

# The smallest that S3 takes; larger ones only cost memory.
PART_BYTES = 5 << 20
MAX_PARTS = 10_000
MAX_TRAVELLING = 2
CREATE_ATTEMPTS = 5
CONFLICT_WAIT_S = 0.05


class S3Store:
    """Objects in one bucket."""

    def __init__(self, bucket: Bucket, settings: S3Settings) -> None:
        """Prepare; the first call is the first request.

        Raises:
            InvalidArgumentError: a setting does not hold.
        """
        self._client = S3Client(bucket, settings)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._client.close()

    async def create(self, key: str, data: bytes) -> None:
        check_key(key)
        for attempt in range(1, CREATE_ATTEMPTS + 1):
            try:
                return await self._client.call(self._client.put, key, data, True)
            except StoreConflictError:
                # S3 answers so while another conditional write is under way: it may yet fail, so nothing is decided.
                if attempt == CREATE_ATTEMPTS:
                    raise
                await asyncio.sleep(CONFLICT_WAIT_S * attempt)
        raise AssertionError

    async def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        check_key(key)
        await self._client.call(self._client.replace, key, data, expected)

    async def put_blob(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str) -> None:
        check_key(key)
        part_bytes = min(size_bytes, max(PART_BYTES, -(-size_bytes // MAX_PARTS)))
        upload = _BlobUpload(self._client, key)
        try:
            buffer, filled, received = bytearray(part_bytes), 0, 0
            async for chunk in chunks:
                received += len(chunk)
                if received > size_bytes:
                    raise BlobMismatchError(f"more than the stated {size_bytes} bytes")
                rest = memoryview(chunk)
                while rest:
                    if filled == part_bytes:
                        # Only now, when more is there: a blob of one part goes in one request.
                        buffer, filled = await upload.send(buffer), 0
                    taken = rest[: part_bytes - filled]
                    buffer[filled : filled + len(taken)] = taken
                    filled, rest = filled + len(taken), rest[len(taken) :]
            if received != size_bytes:
                raise BlobMismatchError(f"{received} bytes instead of the stated {size_bytes}")
            await upload.finish(memoryview(buffer)[:filled], sha256)
        finally:
            # Shielded: a caller who goes away must not leave the parts behind.
            await asyncio.shield(asyncio.ensure_future(upload.abandon()))

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        # No range asks for nothing: one byte is read and cut off.
        data = await self._client.call(self._client.read, key, offset, None if length is None else max(length, 1))
        return data if length is None else data[:length]

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._client.call(self._client.remove, key)

    async def abandon_uploads(self, keys: Collection[str], *, begun_before: datetime) -> int:
        # MinIO lists those that began since its own start, and of one exact key all; other stores list all.
        found: set[tuple[str, str]] = set()
        for prefix in ("", *keys):
            for key, upload, begin_time in await self._client.call(self._client.unfinished, prefix):
                if begin_time < begun_before and all(map(is_segment, key.split("/"))):
                    found.add((key, upload))
        freed = [await self._client.call(self._client.abandon, key, upload) for key, upload in sorted(found)]
        return sum(freed)

    async def names_below(self, prefix: str) -> list[str]:
        check_key(prefix)
        names = await self._client.call(self._client.names, prefix)
        # Anyone with the bucket can write names that are none of ours; they are no reason to stop listing the others.
        return sorted({name for name in names if is_segment(name)})

    async def tags_below(self, prefix: str) -> dict[str, ObjectTag]:
        check_key(prefix)
        return await self._client.call(self._client.tags, prefix)

    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        check_key(key)
        return await self._client.call(self._client.presign, key, lifetime_s)


class _BlobUpload:
    """One blob on its way: hashed part by part, in order, a few parts travelling at a time."""

    def __init__(self, client: S3Client, key: str) -> None:
        self._client, self._key = client, key
        self._digest = hashlib.sha256()
        self._begun: asyncio.Future[str] | None = None
        self._travelling: deque[tuple[asyncio.Future[Part], bytearray]] = deque()
        self._parts: list[Part] = []
        self._is_complete = False

    async def send(self, buffer: bytearray) -> bytearray:
        """Let a full part travel, and return a buffer for the next one."""
        await self._put(buffer, memoryview(buffer))
        if len(self._travelling) < MAX_TRAVELLING:
            return bytearray(len(buffer))
        # The same buffers to the end: growing new ones would leave the heap in pieces, part after part.
        return await self._arrived()

    async def finish(self, rest: memoryview, sha256: str) -> None:
        """Send what is left, and let the blob appear if it is the right one.

        Raises:
            BlobMismatchError: the digest differs. Nothing appears.
        """
        if self._begun is None:
            await self._client.call(self._digest.update, rest)
            self._check(sha256)
            await self._client.call(self._client.put, self._key, rest, False)
            return
        await self._put(bytearray(), rest)
        while self._travelling:
            await self._arrived()
        self._check(sha256)
        await self._client.call(self._client.complete, self._key, await self._begun, self._parts)
        self._is_complete = True

    async def abandon(self) -> None:
        """Free what an upload that did not end well has sent; after finish there is nothing to do."""
        if self._begun is None or self._is_complete:
            return
        # A part that is still travelling would arrive behind the abort and stay.
        await asyncio.gather(self._begun, *(part for part, _ in self._travelling), return_exceptions=True)
        if self._begun.exception() is None:
            with suppress(UnavailableError):
                await self._client.call(self._client.abandon, self._key, self._begun.result())

    async def _put(self, buffer: bytearray, data: memoryview) -> None:
        await self._client.call(self._digest.update, data)
        if self._begun is None:
            self._begun = asyncio.ensure_future(self._client.call(self._client.begin, self._key))
        number = len(self._parts) + len(self._travelling) + 1
        self._travelling.append((asyncio.ensure_future(self._travel(self._begun, number, data)), buffer))

    async def _travel(self, begun: asyncio.Future[str], number: int, data: memoryview) -> Part:
        return await self._client.call(self._client.put_part, self._key, await asyncio.shield(begun), number, data)

    async def _arrived(self) -> bytearray:
        """Wait for the oldest part that travels, and return its buffer."""
        part, buffer = self._travelling[0]
        # Shielded: whoever is cancelled while waiting must still know when the part has arrived.
        self._parts.append(await asyncio.shield(part))
        self._travelling.popleft()
        return buffer

    def _check(self, sha256: str) -> None:
        if self._digest.hexdigest() != sha256:
            raise BlobMismatchError("the content's SHA-256 is not the stated one")
