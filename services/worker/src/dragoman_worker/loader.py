# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a verified manifest to a folder of verified files.

Owns what is fetched, how often it is tried, and which content is in use. Not the disk (cache.py), not the signature
(placement.py); the model process hashes once more what it parses (package_reader.py).

    manifest -> intact in the cache? -> no: room reserved, downloaded, hashed while it streams  -> folder of links
                                     -> yes, at the first load: the registry's copy is hashed, and not kept

Loads run at the same time: what one is about to write is reserved until it is there, so together they keep the bound.
"""

import asyncio
import hashlib
from typing import Protocol
from weakref import WeakValueDictionary

from dragoman_common.errors import UnavailableError
from dragoman_models.file_digest import FileDigest
from dragoman_models.record import VersionManifest
from dragoman_models.verify_files import StreamCheck
from dragoman_worker.cache import Cache
from dragoman_worker.ports import ModelFiles, Registry

MAX_RESUMES = 3

MAX_RECHECK_BYTES = 256 << 20
"""Files up to this size are read from the registry at a version's first load, cached or not: damage to the store is
then found and reported while a whole copy exists, not when the last cache has gone. Larger ones are taken from the
cache where they are intact there."""


class _Sink(Protocol):
    """Takes the bytes of one file."""

    @property
    def num_bytes(self) -> int: ...

    def append(self, chunk: bytes) -> None: ...


class _Checked:
    """Hashes a file's bytes and keeps none of them."""

    def __init__(self, file: FileDigest, *, what: str) -> None:
        self._check = StreamCheck(file, what=what)
        self.num_bytes = 0

    def append(self, chunk: bytes) -> None:
        self._check.add(chunk)
        self.num_bytes += len(chunk)

    def finish(self) -> None:
        self._check.finish()


class Loader:
    """Brings versions to the disk and keeps them there while they are in use."""

    def __init__(self, registry: Registry, cache: Cache) -> None:
        self._registry = registry
        self._cache = cache
        self._in_use: dict[str, frozenset[str]] = {}
        # By load: what it has yet to write. One of two loads at a time looks for room, or both would find the same.
        self._reserved: dict[object, dict[str, int]] = {}
        self._making_room = asyncio.Lock()
        # By content: it arrives once at a time, so it takes its room once.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._checked_in_store: set[str] = set()

    async def prepare(self, manifest: VersionManifest) -> ModelFiles:
        """Return the version's files, every byte checked now, wherever it comes from.

        Until release, nothing of them is removed to make room.

        Raises:
            DataLossError: the registry sends other bytes than were signed.
            UnavailableError: the registry is away, or the disk does not take the files.
            FailedPreconditionError: they are larger than the cache may be.
        """
        name = _folder_name(manifest)
        self._in_use[name] = frozenset(file.sha256 for file in manifest.files)
        load = object()
        try:
            missing = [file for file in manifest.files if not await asyncio.to_thread(self._cache.is_intact, file)]
            await self._reserve(load, {file.sha256: file.size_bytes for file in missing})
            pending = self._reserved[load]
            for file in manifest.files:
                if file.sha256 in pending:
                    is_checked = await self._download(manifest, file)
                    del pending[file.sha256]
                else:
                    is_checked = name in self._checked_in_store or file.size_bytes > MAX_RECHECK_BYTES
                if not is_checked:
                    await self._check_in_store(manifest, file)
            folder = await asyncio.to_thread(self._cache.link, name, manifest.files)
        except OSError as error:
            raise UnavailableError(f"the worker's cache cannot take the model's files: {error.strerror}") from error
        finally:
            self._reserved.pop(load, None)
        self._checked_in_store.add(name)
        return ModelFiles(
            folder=folder,
            sha256_by_path={file.path: file.sha256 for file in manifest.files},
            architecture=manifest.architecture,
        )

    async def release(self, manifest: VersionManifest) -> None:
        """The version is not loaded any more."""
        name = _folder_name(manifest)
        self._in_use.pop(name, None)
        self._checked_in_store.discard(name)
        await asyncio.to_thread(self._cache.unlink, name)

    async def _reserve(self, load: object, size_by_sha256: dict[str, int]) -> None:
        async with self._making_room:
            if size_by_sha256:
                in_use = frozenset[str]().union(*self._in_use.values())
                arriving = dict(size_by_sha256)
                for reserved in self._reserved.values():
                    arriving |= reserved
                await asyncio.to_thread(self._cache.make_room, arriving, in_use=in_use)
            self._reserved[load] = dict(size_by_sha256)

    async def _download(self, manifest: VersionManifest, file: FileDigest) -> bool:
        """Bring a file to the cache; False where another load brought the same content meanwhile."""
        turn = self._turns.setdefault(file.sha256, asyncio.Lock())
        async with turn:
            if await asyncio.to_thread(self._cache.is_intact, file):
                return False
            incoming = await asyncio.to_thread(self._cache.begin, file, what=_what(manifest))
            try:
                await self._stream(manifest, file, incoming)
                await asyncio.to_thread(incoming.keep)
            finally:
                await asyncio.to_thread(incoming.discard)
        return True

    async def _check_in_store(self, manifest: VersionManifest, file: FileDigest) -> None:
        checked = _Checked(file, what=_what(manifest))
        await self._stream(manifest, file, checked)
        checked.finish()

    async def _stream(self, manifest: VersionManifest, file: FileDigest, sink: _Sink) -> None:
        for attempt in range(MAX_RESUMES + 1):
            try:
                async for chunk in self._registry.download(
                    manifest.tenant, manifest.model, manifest.number, file.path, sink.num_bytes
                ):
                    await asyncio.to_thread(sink.append, chunk)
            except UnavailableError:
                if attempt == MAX_RESUMES:
                    raise
            else:
                break


def _what(manifest: VersionManifest) -> str:
    return f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"


def _folder_name(manifest: VersionManifest) -> str:
    """A name that no tenant chooses."""
    what = f"{manifest.tenant}/{manifest.model}/{manifest.number}/{manifest.root_sha256}"
    return hashlib.sha256(what.encode()).hexdigest()
