# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a verified manifest to a folder of verified files.

Owns what is fetched, how often it is tried, and which content is in use. Not the disk (cache.py), not the signature
(placement.py); the model process hashes once more what it parses (package_reader.py).

    manifest -> cached and intact? -> else room, download hashed while it streams -> folder of links -> ModelFiles
"""

import asyncio
import hashlib

from dragoman_common.errors import UnavailableError
from dragoman_models.file_digest import FileDigest
from dragoman_models.record import VersionManifest
from dragoman_worker.cache import Cache
from dragoman_worker.ports import ModelFiles, Registry

MAX_RESUMES = 3

MAX_RECHECK_BYTES = 256 << 20
"""Files up to this size are read from the registry at a version's first load, cached or not: damage to the store is
then found and reported while a whole copy exists, not when the last cache has gone. Larger ones are taken from the
cache where they are intact there."""


class Loader:
    """Brings versions to the disk and keeps them there while they are in use."""

    def __init__(self, registry: Registry, cache: Cache) -> None:
        self._registry = registry
        self._cache = cache
        self._in_use: dict[str, frozenset[str]] = {}
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
        try:
            missing = [file for file in manifest.files if not await asyncio.to_thread(self._cache.is_intact, file)]
            if missing:
                in_use = frozenset[str]().union(*self._in_use.values())
                num_bytes = sum({file.sha256: file.size_bytes for file in missing}.values())
                await asyncio.to_thread(self._cache.make_room, num_bytes, in_use=in_use)
            if name not in self._checked_in_store:
                missing = [file for file in manifest.files if file in missing or file.size_bytes <= MAX_RECHECK_BYTES]
            for file in missing:
                await self._download(manifest, file)
            folder = await asyncio.to_thread(self._cache.link, name, manifest.files)
        except OSError as error:
            raise UnavailableError(f"the worker's cache cannot take the model's files: {error.strerror}") from error
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

    async def _download(self, manifest: VersionManifest, file: FileDigest) -> None:
        what = f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"
        incoming = await asyncio.to_thread(self._cache.begin, file, what=what)
        try:
            for attempt in range(MAX_RESUMES + 1):
                try:
                    async for chunk in self._registry.download(
                        manifest.tenant, manifest.model, manifest.number, file.path, incoming.num_bytes
                    ):
                        await asyncio.to_thread(incoming.append, chunk)
                except UnavailableError:
                    if attempt == MAX_RESUMES:
                        raise
                else:
                    break
            await asyncio.to_thread(incoming.keep)
        finally:
            await asyncio.to_thread(incoming.discard)


def _folder_name(manifest: VersionManifest) -> str:
    """A name that no tenant chooses."""
    what = f"{manifest.tenant}/{manifest.model}/{manifest.number}/{manifest.root_sha256}"
    return hashlib.sha256(what.encode()).hexdigest()
