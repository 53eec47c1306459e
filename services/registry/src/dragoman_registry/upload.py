# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The chunks of an upload, file by file.

Owns the order that chunks must keep: the files one after another, each from its first byte to its last without a gap.
It keeps no bytes; the store's digest check decides whether a file counts.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.file_digest import FileDigest


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a file and where it belongs."""

    path: str
    offset_bytes: int
    data: bytes


class Upload:
    """Splits one stream of chunks into the contents of the announced files."""

    def __init__(self, files: Sequence[FileDigest], chunks: AsyncIterator[Chunk]) -> None:
        self._waiting = {file.path: file for file in files}
        self._chunks = chunks
        self._next: Chunk | None = None

    async def next_file(self) -> FileDigest | None:
        """Return the file whose content comes next, None when all have come.

        Raises:
            InvalidArgumentError: a chunk of a file that was not announced or has ended, or the end before all came.
        """
        await self._peek()
        if self._next is not None:
            if self._next.path not in self._waiting:
                raise InvalidArgumentError(
                    f"chunk.path {self._next.path[:80]!r} was not announced, or its content has ended already"
                )
            return self._waiting.pop(self._next.path)
        if not self._waiting:
            return None
        path, file = self._waiting.popitem()
        if file.size_bytes:
            raise InvalidArgumentError(f"the upload ended before the content of {path} came")
        return file

    async def content(self, file: FileDigest) -> AsyncIterator[bytes]:
        """Yield the bytes of a file that next_file returned.

        Raises:
            InvalidArgumentError: a gap, a step back, or more bytes than announced.
        """
        received = 0
        while await self._peek() is not None and self._next is not None and self._next.path == file.path:
            chunk, self._next = self._next, None
            if chunk.offset_bytes != received:
                raise InvalidArgumentError(
                    f"chunk.offset_bytes of {file.path} is {chunk.offset_bytes}, the next byte is {received}"
                )
            received += len(chunk.data)
            if received > file.size_bytes:
                raise InvalidArgumentError(f"{file.path} is longer than the announced {file.size_bytes} bytes")
            yield chunk.data

    async def _peek(self) -> Chunk | None:
        if self._next is None:
            self._next = await anext(self._chunks, None)
        return self._next
