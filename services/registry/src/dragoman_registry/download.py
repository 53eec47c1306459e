# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One file of a version or a data set as a stream, checked while it passes.

The last piece is sent only when size and digest were found right, so a damaged file never arrives whole; the reader
checks again against the signed manifest.
"""

import asyncio
from collections.abc import AsyncIterator

from dragoman_common.errors import DataLossError, InvalidArgumentError, NotFoundError, UnimplementedError
from dragoman_models.file_digest import FileDigest
from dragoman_models.record import VersionManifest
from dragoman_models.verify_files import StreamCheck
from dragoman_registry import layout
from dragoman_registry.model_version import file_named
from dragoman_registry.ports import ObjectNotFoundError, ObjectStore

PIECE_BYTES = 1 << 20


class FileNotInVersionError(NotFoundError):
    """The version lists no file of that path."""


class Downloads:
    """Streams blobs out of the store."""

    def __init__(self, store: ObjectStore) -> None:
        """Take the store."""
        self._store = store

    def stream(self, manifest: VersionManifest, path: str, *, offset_bytes: int) -> AsyncIterator[bytes]:
        """Return a file of a version as `checked` does.

        Raises:
            FileNotInVersionError: the manifest does not list the path.
        """
        what = f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"
        file = _listed(manifest, path)
        return self.checked(layout.blob(manifest.tenant, file.sha256), file, what=what, offset_bytes=offset_bytes)

    async def checked(self, key: str, file: FileDigest, *, what: str, offset_bytes: int = 0) -> AsyncIterator[bytes]:
        """Yield a listed file from an offset on, in pieces of at most 1 MiB. What lies before is checked, not sent.

        Args:
            key: Where its content lies.
            file: As a verified list has it.
            what: Whose file it is, for messages.
            offset_bytes: Where to begin.

        Raises:
            InvalidArgumentError: the offset lies outside of the file.
            DataLossError: the store holds other bytes. The last piece was then not sent.
        """
        path = file.path
        if not 0 <= offset_bytes <= file.size_bytes:
            raise InvalidArgumentError(f"offset_bytes must be from 0 to {file.size_bytes}, the size of {path}")
        check = StreamCheck(file, what=what)
        held, position = b"", 0
        while True:
            try:
                # One byte more than listed shows a blob that has grown.
                piece = await self._store.read(
                    key, offset=position, length=min(PIECE_BYTES, file.size_bytes + 1 - position)
                )
            except ObjectNotFoundError:
                raise DataLossError(f"{what}/{path}: the content is missing from the store") from None
            if not piece:
                break
            await asyncio.to_thread(check.add, piece)
            if held:
                yield held
            held = piece[max(0, offset_bytes - position) :]
            position += len(piece)
        check.finish()
        if held:
            yield held

    async def url(self, manifest: VersionManifest, path: str, *, lifetime_s: int) -> str:
        """Return a URL that reads the file from the store for a while; on that way only the reader checks it.

        Raises:
            FileNotInVersionError: the manifest does not list the path.
            UnimplementedError: this store has no such URLs.
        """
        file = _listed(manifest, path)
        url = await self._store.presigned_url(layout.blob(manifest.tenant, file.sha256), lifetime_s=lifetime_s)
        if url is None:
            raise UnimplementedError("this registry's store hands out no URLs; use DownloadFile")
        return url


def _listed(manifest: VersionManifest, path: str) -> FileDigest:
    file = file_named(manifest.files, path)
    if file is None:
        raise FileNotInVersionError(f"version {manifest.number} of model {manifest.model} has no file {path[:80]!r}")
    return file
