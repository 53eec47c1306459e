# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The object store in a folder of this machine: the laptop's default.

Owns the step from a key to a file. Every folder on the way is opened by descriptor without following links, so no key
and no planted link leads out of the root. A write goes to a temporary file, is fsynced, and gets its name in one step:

    bytes -> .tmp/<random> -> fsync -> link(2) | rename(2) -> fsync of the folder

link(2) refuses a taken name: objects. rename(2) replaces: blobs, whose name says what they hold.

All file work runs in threads; the event loop never waits for the disk.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_registry.ports import (
    BlobMismatchError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectTag,
    StoreFullError,
    check_key,
    is_segment,
)

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_TEMPORARY = ".tmp"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# No upload lives this long (the server's longest deadline is far below), so what is older was left by a crash.
_STALE_S = 24 * 3600.0
# No key of ours has more segments; each level of a walk holds a descriptor.
_MAX_DEPTH = 12


class FolderStore:
    """Objects as files below one root folder, which is created if it is missing (mode 0700)."""

    def __init__(self, root: Path) -> None:
        """Open the root and remove temporary files that a crash left there more than a day ago.

        Raises:
            UnavailableError: the root cannot be created or opened.
        """
        with _translated("the store's root"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (root / _TEMPORARY).mkdir(mode=0o700, exist_ok=True)
            # The root itself may be reached through links: its place is the operator's word, not a caller's.
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            self._temporary = os.open(_TEMPORARY, _FOLDER_FLAGS, dir_fd=self._root)
            self._remove_older(time.time() - _STALE_S)

    def close(self) -> None:
        """Free the descriptors. Nothing that was kept depends on it."""
        os.close(self._temporary)
        os.close(self._root)

    async def create(self, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._create, key, data)

    async def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        await asyncio.to_thread(self._replace, key, data, expected)

    async def put_blob(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str) -> None:
        spool = await asyncio.to_thread(_Spool, self._temporary)
        try:
            async for chunk in chunks:
                if spool.size_bytes + len(chunk) > size_bytes:
                    raise BlobMismatchError(f"more than the stated {size_bytes} bytes")
                await asyncio.to_thread(spool.write, chunk)
            if spool.size_bytes != size_bytes:
                raise BlobMismatchError(f"{spool.size_bytes} bytes instead of the stated {size_bytes}")
            if spool.sha256() != sha256:
                raise BlobMismatchError("the content's SHA-256 is not the stated one")
            await asyncio.to_thread(self._keep_blob, key, spool)
        finally:
            # Shielded: a caller who goes away must not leave the spooled bytes behind.
            await asyncio.shield(asyncio.to_thread(spool.discard))

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return await asyncio.to_thread(self._read, key, offset, length)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, key)

    async def abandon_uploads(self, keys: Collection[str], *, begun_before: datetime) -> int:
        del keys
        return await asyncio.to_thread(self._remove_older, begun_before.timestamp())

    async def names_below(self, prefix: str) -> list[str]:
        return await asyncio.to_thread(self._names_below, prefix)

    async def tags_below(self, prefix: str) -> dict[str, ObjectTag]:
        return await asyncio.to_thread(self._tags_below, prefix)

    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        del key, lifetime_s
        return None

    def _create(self, key: str, data: bytes) -> None:
        spool = _Spool(self._temporary)
        try:
            spool.write(data)
            spool.sync()
            with _translated(key), self._folder_of(key, create=True) as (folder, name):
                try:
                    # link(2) refuses a taken name in the same step in which it gives it.
                    os.link(spool.name, name, src_dir_fd=self._temporary, dst_dir_fd=folder, follow_symlinks=False)
                except FileExistsError:
                    raise ObjectExistsError(f"{key} is taken") from None
                os.fsync(folder)
        finally:
            spool.discard()

    def _replace(self, key: str, data: bytes, expected: bytes) -> None:
        spool = _Spool(self._temporary)
        try:
            spool.write(data)
            spool.sync()
            with _translated(key), self._only_replacer(), self._folder_of(key) as (folder, name):
                if self._read(key, 0, len(expected) + 1) != expected:
                    raise ObjectChangedError(f"{key} holds something else")
                os.rename(spool.name, name, src_dir_fd=self._temporary, dst_dir_fd=folder)
                os.fsync(folder)
        except (FileNotFoundError, ObjectNotFoundError):
            raise ObjectChangedError(f"{key} is not kept") from None
        finally:
            spool.discard()

    @contextmanager
    def _only_replacer(self) -> Iterator[None]:
        # A descriptor for each: the lock is the open file's, so it also keeps the threads of one process apart.
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._root)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _keep_blob(self, key: str, spool: "_Spool") -> None:
        spool.sync()
        with _translated(key), self._folder_of(key, create=True) as (folder, name):
            os.rename(spool.name, name, src_dir_fd=self._temporary, dst_dir_fd=folder)
            os.fsync(folder)

    def _read(self, key: str, offset: int, length: int | None) -> bytes:
        try:
            with _translated(key), self._folder_of(key) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                with os.fdopen(descriptor, "rb") as file:
                    status = os.fstat(descriptor)
                    if not stat.S_ISREG(status.st_mode):
                        raise DataLossError(f"{key} is not a plain file in the store")
                    file.seek(offset)
                    return file.read(-1 if length is None else length)
        except FileNotFoundError:
            raise ObjectNotFoundError(f"{key} is not kept") from None

    def _delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError), _translated(key), self._folder_of(key) as (folder, name):
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)

    def _names_below(self, prefix: str) -> list[str]:
        try:
            with _translated(prefix), self._open(check_key(prefix)) as folder:
                return sorted(name for name in _names(folder) if is_segment(name))
        except FileNotFoundError:
            return []

    def _tags_below(self, prefix: str) -> dict[str, ObjectTag]:
        found: dict[str, ObjectTag] = {}
        try:
            with _translated(prefix), self._open(check_key(prefix)) as folder:
                _add_tags(folder, prefix, found, _MAX_DEPTH)
        except FileNotFoundError:
            return {}
        return found

    @contextmanager
    def _folder_of(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = check_key(key)
        with self._open(folders, create=create) as folder:
            yield folder, name

    @contextmanager
    def _open(self, segments: list[str], *, create: bool = False) -> Iterator[int]:
        """Walk down from the root, one folder at a time, through no link."""
        current = os.dup(self._root)
        try:
            for segment in segments:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(segment, 0o700, dir_fd=current)
                        os.fsync(current)
                below = os.open(segment, _FOLDER_FLAGS, dir_fd=current)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)

    def _remove_older(self, before_s: float) -> int:
        count = 0
        with _translated("temporary files"):
            for name in _names(self._temporary):
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=self._temporary, follow_symlinks=False).st_mtime < before_s:
                        os.unlink(name, dir_fd=self._temporary)
                        count += 1
        return count


class _Spool:
    """A temporary file that is written once and then named or discarded.

    The lock keeps discard from closing the file under a write that a cancelled caller left running in its thread.
    """

    def __init__(self, folder: int) -> None:
        self.name = secrets.token_hex(16)
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._folder = folder
        self._lock = threading.Lock()
        with _translated("a temporary file"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(self.name, flags, 0o600, dir_fd=folder), "wb")

    def write(self, data: bytes) -> None:
        with self._lock, _translated("a temporary file"):
            if self._file.closed:
                return
            self._file.write(data)
            self._digest.update(data)
            self.size_bytes += len(data)

    def sync(self) -> None:
        with self._lock, _translated("a temporary file"):
            self._file.flush()
            os.fsync(self._file.fileno())

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def discard(self) -> None:
        with self._lock:
            # Closing flushes; on a full disk that fails once more, and the bytes are unwanted anyway.
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=self._folder)


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


# Nothing of ours lies so deep: what is there is told, but not looked at.
_NO_OBJECT = ObjectTag(0, "")


def _add_tags(folder: int, prefix: str, found: dict[str, ObjectTag], depth: int) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            key = f"{prefix}/{entry.name}"
            # What goes while we look was not there.
            with contextlib.suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    # The time of the last change cannot be set back by whoever writes the file.
                    found[key] = ObjectTag(status.st_size, f"{status.st_ino}-{status.st_ctime_ns}")
                elif not depth:
                    found[f"{key}/..."] = _NO_OBJECT
                else:
                    below = os.open(entry.name, _FOLDER_FLAGS, dir_fd=folder)
                    try:
                        _add_tags(below, key, found, depth - 1)
                    finally:
                        os.close(below)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn what the file system says into what the port promises; a missing file passes for the caller to name."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise DataLossError(f"{what}: a link or file stands where the store keeps a folder or object") from error
        if error.errno in _FULL:
            raise StoreFullError(what, os.strerror(error.errno)) from error
        raise UnavailableError(f"{what}: the store does not answer ({os.strerror(error.errno or 0)})") from error
