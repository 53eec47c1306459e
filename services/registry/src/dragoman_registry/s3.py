# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The object store in an S3 bucket: MinIO, or any store that honours If-None-Match.

    object --> PUT, If-None-Match: *
    blob   --> part, part, ... each hashed and sent -> size and digest right -> complete
                                                    -> wrong, broken, cancelled -> abandon

Under a blob's key nothing is to be seen before complete, and complete is sent only for the right content. While one
part travels the next one fills: an upload holds at most two parts, whatever its size.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress

from minio.datatypes import Part

from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_registry.ports import BlobMismatchError, check_key, is_segment
from dragoman_registry.s3_client import S3Client, StoreConflictError
from dragoman_registry.s3_settings import Bucket, S3Settings

PART_BYTES = 8 << 20
MAX_PARTS = 10_000
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

    async def put_blob(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str) -> None:
        check_key(key)
        part_bytes = max(PART_BYTES, -(-size_bytes // MAX_PARTS))
        upload = _BlobUpload(self._client, key)
        try:
            buffer = bytearray()
            received = 0
            async for chunk in chunks:
                received += len(chunk)
                if received > size_bytes:
                    raise BlobMismatchError(f"more than the stated {size_bytes} bytes")
                buffer += chunk
                # Only while more is to come: a blob of one part goes in one request.
                if len(buffer) >= part_bytes and received < size_bytes:
                    await upload.send(buffer)
                    buffer = bytearray()
            if received != size_bytes:
                raise BlobMismatchError(f"{received} bytes instead of the stated {size_bytes}")
            await upload.finish(buffer, sha256)
        finally:
            # Shielded: a caller who goes away must not leave the parts behind.
            await asyncio.shield(asyncio.ensure_future(upload.abandon()))

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        # No range asks for nothing: one byte is read and cut off.
        data = await self._client.call(self._client.read, key, offset, None if length is None else max(length, 1))
        return data if length is None else data[:length]

    async def names_below(self, prefix: str) -> list[str]:
        check_key(prefix)
        names = await self._client.call(self._client.names, prefix)
        # Anyone with the bucket can write names that are none of ours; they are no reason to stop listing the others.
        return sorted({name for name in names if is_segment(name)})

    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        check_key(key)
        return await self._client.call(self._client.presign, key, lifetime_s)


class _BlobUpload:
    """One blob on its way: hashed part by part, in order, one part travelling at a time."""

    def __init__(self, client: S3Client, key: str) -> None:
        self._client, self._key = client, key
        self._digest = hashlib.sha256()
        self._upload: str | None = None
        self._parts: list[Part] = []
        self._travelling: asyncio.Future[Part] | None = None

    async def send(self, data: bytearray) -> None:
        """Start the next part when the one before has arrived."""
        await self._arrive()
        self._travelling = asyncio.ensure_future(self._client.call(self._hash_and_put, data))

    async def finish(self, rest: bytearray, sha256: str) -> None:
        """Send what is left, and let the blob appear if it is the right one.

        Raises:
            BlobMismatchError: the digest differs. Nothing appears.
        """
        if self._travelling is None:
            await self._client.call(self._digest.update, rest)
            self._check(sha256)
            await self._client.call(self._client.put, self._key, rest, False)
            return
        await self.send(rest)
        await self._arrive()
        self._check(sha256)
        if self._upload is not None:
            await self._client.call(self._client.complete, self._key, self._upload, self._parts)
            self._upload = None

    async def abandon(self) -> None:
        """Free what an upload that did not end well has sent; after finish there is nothing to do."""
        with suppress(DragomanError):
            # A part that is still travelling would arrive behind the abort and stay.
            await self._arrive()
        if self._upload is not None:
            with suppress(UnavailableError):
                await self._client.call(self._client.abandon, self._key, self._upload)

    async def _arrive(self) -> None:
        if self._travelling is not None:
            # Shielded: whoever is cancelled while waiting must still know when the part has arrived.
            self._parts.append(await asyncio.shield(self._travelling))
            self._travelling = None

    def _hash_and_put(self, data: bytearray) -> Part:
        self._digest.update(data)
        if self._upload is None:
            self._upload = self._client.begin(self._key)
        return self._client.put_part(self._key, self._upload, len(self._parts) + 1, data)

    def _check(self, sha256: str) -> None:
        if self._digest.hexdigest() != sha256:
            raise BlobMismatchError("the content's SHA-256 is not the stated one")
