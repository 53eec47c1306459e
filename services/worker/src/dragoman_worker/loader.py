# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a verified manifest to a folder of its files.

Owns what is fetched, from where, how often it is tried, and how long a load waits for another worker of the node. Not
the disk (cache.py), not the signature (starter.py).

    manifest -> in the cache? -> no: room, then fetched by one worker of the node and hashed as it arrives -> links
                              -> yes, at the node's first load: the registry's copy is hashed, and not kept

What arrives is hashed here; what was here is hashed by the model process, whose own memory it then parses
(package_reader.py), and here only when that process did not come up or has ended.
"""

import asyncio
import errno
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from dragoman_common.errors import DeadlineExceededError, UnavailableError
from dragoman_models.file_digest import FileDigest
from dragoman_models.record import VersionManifest
from dragoman_models.verify_files import StreamCheck
from dragoman_worker.cache import Cache, Load
from dragoman_worker.incoming import Incoming
from dragoman_worker.ports import FileUrlError, ModelFiles, Registry

logger = logging.getLogger(__name__)

MAX_RESUMES = 3
MAX_URLS = 2
"""So many URLs in a row that bring not one byte, and the file comes through the registry."""

MIN_URL_BYTES = 1 << 20
"""Smaller files come through the registry: asking for a URL and connecting would cost more than they do."""

MIN_FETCH_S = 120.0
MIN_BYTES_PER_S = 1 << 20
"""Both: how long one file may take in all, waiting for another worker of the node included."""

POLL_S = 0.05
"""How often a load looks whether another has brought what both want."""

MAX_RECHECK_BYTES = 256 << 20
"""Files up to this size are read from the registry at a version's first load on a node, cached or not: damage to the
store is then found and reported while a whole copy exists, not when the last cache has gone. Larger ones are taken from
the cache."""


class _Sink(Protocol):
    """Takes the bytes of one file, in their order. Blocking."""

    @property
    def num_bytes(self) -> int: ...

    def append(self, chunk: bytes | memoryview) -> None: ...


class _Checked:
    """Hashes a file's bytes and keeps none of them."""

    def __init__(self, check: StreamCheck) -> None:
        self._check = check
        self.num_bytes = 0

    def append(self, chunk: bytes | memoryview) -> None:
        self._check.add(chunk)
        self.num_bytes += len(chunk)

    def finish(self) -> None:
        self._check.finish()


class Loader:
    """Brings versions to the disk and keeps them there while they are in use."""

    def __init__(self, registry: Registry, cache: Cache) -> None:
        self._registry = registry
        self._cache = cache

    async def prepare(self, manifest: VersionManifest, *, is_suspect: bool = False) -> ModelFiles:
        """Return the version's files. What was fetched is checked; what was here, only if is_suspect.

        Until release, nothing of them is removed to make room.

        Args:
            manifest: Verified.
            is_suspect: Hash what the cache holds, too, and fetch again what is wrong there.

        Raises:
            DataLossError: the registry sends other bytes than were signed.
            UnavailableError: the registry is away, or the disk does not take the files.
            DeadlineExceededError: a file took too long, here or on its way to another worker of the node.
            FailedPreconditionError: they are larger than the cache may be.
        """
        try:
            return await self._prepare(manifest, is_suspect=is_suspect)
        except OSError as error:
            raise UnavailableError(_disk_text(error)) from error

    async def release(self, manifest: VersionManifest) -> None:
        """The version is not loaded any more. Never fails: what stays behind goes with this process."""
        try:
            await asyncio.to_thread(self._cache.unlink, _folder_name(manifest))
        except (OSError, UnavailableError) as error:
            logger.warning("version's files not given back", extra={"version": _what(manifest), "error": str(error)})

    async def _prepare(self, manifest: VersionManifest, *, is_suspect: bool) -> ModelFiles:
        name = _folder_name(manifest)
        load = await self._begin(name, manifest)
        try:
            distinct = {file.sha256: file for file in manifest.files}
            here = [file for sha256, file in distinct.items() if sha256 not in load.missing]
            if is_suspect:
                # Hashing leaves the interpreter's lock, so files are hashed side by side.
                await asyncio.gather(*(asyncio.to_thread(load.check, file) for file in here))
            await asyncio.to_thread(load.reserve)
            for file in manifest.files:
                if file.sha256 in load.missing:
                    await self._bring(load, manifest, file)
                if file.size_bytes <= MAX_RECHECK_BYTES and not await asyncio.to_thread(load.is_checked, file):
                    await self._check_in_store(load, manifest, file)
            folder = await asyncio.to_thread(load.finish)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(load.abandon))
            raise
        return ModelFiles(
            folder=folder,
            sha256_by_path={file.path: file.sha256 for file in manifest.files},
            blake3_by_path=manifest.blake3_by_path,
            architecture=manifest.architecture,
        )

    async def _begin(self, name: str, manifest: VersionManifest) -> Load:
        beginning = asyncio.ensure_future(asyncio.to_thread(self._cache.begin, name, manifest.files))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # The thread goes on; what it comes to is given back when it is done.
            beginning.add_done_callback(_give_up)
            raise

    async def _bring(self, load: Load, manifest: VersionManifest, file: FileDigest) -> None:
        """Write a file, or wait until another load, of this worker or another on the node, has written it."""
        check = _check(manifest, file)
        async with _time_limit(manifest, file):
            while (incoming := await asyncio.to_thread(load.take, file, check)) is None:
                if file.sha256 not in load.missing:
                    return
                await asyncio.sleep(POLL_S)
            await self._write(load, manifest, file, incoming)

    async def _write(self, load: Load, manifest: VersionManifest, file: FileDigest, incoming: Incoming) -> None:
        try:
            await self._fetch(manifest, file, incoming)
            await asyncio.to_thread(load.keep, file, incoming)
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.discard))

    async def _check_in_store(self, load: Load, manifest: VersionManifest, file: FileDigest) -> None:
        checked = _Checked(_check(manifest, file))
        async with _time_limit(manifest, file):
            await self._fetch(manifest, file, checked)
        checked.finish()
        await asyncio.to_thread(load.mark_checked, file)

    async def _fetch(self, manifest: VersionManifest, file: FileDigest, sink: _Sink) -> None:
        """By the store's URL where there is one, else through the registry; whatever breaks, from where it broke."""
        if file.size_bytes >= MIN_URL_BYTES:
            await self._fetch_by_url(manifest, file, sink)
        for attempt in range(MAX_RESUMES + 1):
            if sink.num_bytes == file.size_bytes and file.size_bytes:
                return
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

    async def _fetch_by_url(self, manifest: VersionManifest, file: FileDigest, sink: _Sink) -> None:
        """As far as URLs lead. One that expires on the way is followed by the next; progress is what bounds them."""
        num_useless = 0
        while sink.num_bytes < file.size_bytes and num_useless < MAX_URLS:
            before = sink.num_bytes
            try:
                is_offered = await self._registry.pull(
                    manifest.tenant,
                    manifest.model,
                    manifest.number,
                    file.path,
                    first_byte=before,
                    size_bytes=file.size_bytes,
                    append=sink.append,
                )
            except (FileUrlError, UnavailableError):
                num_useless = 0 if sink.num_bytes > before else num_useless + 1
            else:
                if not is_offered:
                    return


def _check(manifest: VersionManifest, file: FileDigest) -> StreamCheck:
    return StreamCheck(file, what=_what(manifest), blake3_hex=manifest.blake3_by_path.get(file.path, ""))


def _give_up(beginning: asyncio.Future[Load]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, beginning.result().abandon)


@asynccontextmanager
async def _time_limit(manifest: VersionManifest, file: FileDigest) -> AsyncIterator[None]:
    limit_s = MIN_FETCH_S + file.size_bytes / MIN_BYTES_PER_S
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        raise DeadlineExceededError(
            f"{_what(manifest)}/{file.path}: not fetched within {limit_s:.0f} s, by this worker or another of the node"
        ) from None


def _disk_text(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "the disk that holds the worker's cache (CACHE_FOLDER) is full: make room on it, or lower MAX_CACHE_BYTES "
            "below its size; the load is tried again by itself"
        )
    return f"the worker's cache (CACHE_FOLDER) cannot take the model's files: {error.strerror}"


def _what(manifest: VersionManifest) -> str:
    return f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"


def _folder_name(manifest: VersionManifest) -> str:
    """A name that no tenant chooses."""
    what = f"{manifest.tenant}/{manifest.model}/{manifest.number}/{manifest.root_sha256}"
    return hashlib.sha256(what.encode()).hexdigest()
