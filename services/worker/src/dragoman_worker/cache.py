# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files on a node's disk by content, for all its workers: each content arrives once, is bounded, and stays while used.

Owns the way of one version to a folder of links, step by step. Blocking; callers run it in a thread. The folder and its
locks are node_folder.py's, the bound is cache_room.py's, where bytes come from is loader.py's.

    begin -> links to what is here -> reserve: room for what is missing -> take: we write it | somebody else does
          -> keep: content, and a link to it -> finish: the version's folder, with exactly its files

A link is a use. It is made under the folder's lock, in the same step that finds the content, so nothing that a version
needs can be removed in between.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dragoman_common.errors import UnavailableError
from dragoman_models.file_digest import FileDigest, check_path
from dragoman_models.verify_files import StreamCheck
from dragoman_worker import file_lock
from dragoman_worker.cache_room import evict_one, make_room, wanted_name
from dragoman_worker.incoming import Incoming
from dragoman_worker.node_folder import NodeFolder

CHUNK_BYTES = 1 << 20


class Cache:
    """One worker's way to the node's cache."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Name the folder; it is made when it is used, so a full disk does not keep a worker from starting.

        Args:
            folder: Shared with every worker that names it.
            max_bytes: Bound of all their content together; the smallest of several bounds holds.
        """
        self._node = NodeFolder(folder)
        self._max_bytes = max_bytes

    def begin(self, name: str, files: Sequence[FileDigest]) -> "Load":
        """Start to bring a version here. What of it is here is in use from now on.

        Args:
            name: Of its folder: nothing that a tenant chooses.
            files: All of them.

        Raises:
            UnavailableError: a worker holds the cache's lock and does not move.
            OSError: the disk is full, for example.
        """
        load = Load(self._node, name, files, max_bytes=self._max_bytes)
        with self._node.locked():
            load.link_what_is_here()
        return load

    def unlink(self, name: str) -> None:
        """Remove a version's folder; its content stays until room is needed."""
        with self._node.locked():
            shutil.rmtree(self._node.versions / name, ignore_errors=True)
            for mark in self._node.checked.glob(f"{name}.*"):
                mark.unlink()

    def close(self) -> None:
        """Leave the folder to the other workers."""
        self._node.close()


class Load:
    """A version on its way into a folder of its own. End it with finish or abandon.

    Attributes:
        missing: Its files that are not here, by digest; emptied by keep, and by take where another worker was first.
    """

    def __init__(self, node: NodeFolder, name: str, files: Sequence[FileDigest], *, max_bytes: int) -> None:
        self._node = node
        self._name = name
        self._id = secrets.token_hex(8)
        self._folder = node.versions / f"{name}.{self._id}"
        self._max_bytes = max_bytes
        self._arriving: list[Incoming] = []
        self._is_abandoned = False
        self._paths: dict[str, list[str]] = {}
        for file in files:
            self._paths.setdefault(file.sha256, []).append(check_path(file.path))
        self.missing = {file.sha256: file for file in files}

    def link_what_is_here(self) -> None:
        """Under the folder's lock."""
        self._folder.mkdir(mode=0o700)
        try:
            for sha256 in list(self.missing):
                self._link(sha256)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def check(self, file: FileDigest) -> bool:
        """Read linked content, and say whether every byte is right; what is wrong leaves the cache, and is missing.

        Raises:
            OSError: the disk cannot be read, for example.
        """
        path = self._folder / file.path
        with path.open("rb", buffering=0) as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256:
                return True
            with self._changing():
                blob = self._node.blobs / file.sha256
                # Not if another worker has replaced it already.
                if file_lock.is_same_file(opened.fileno(), blob):
                    blob.unlink()
                for each in self._paths[file.sha256]:
                    (self._folder / each).unlink(missing_ok=True)
                self.missing[file.sha256] = file
        return False

    def reserve(self) -> None:
        """Take room for all that is missing, or for nothing.

        Raises:
            FailedPreconditionError: it does not fit beside what the node's workers use and want.
            UnavailableError, OSError: see Cache.begin.
        """
        if not self.missing:
            return
        with self._changing():
            for file in self.missing.values():
                (self._node.wanted / wanted_name(self._id, file.sha256, file.size_bytes)).touch(mode=0o600)
            try:
                make_room(self._node, max_bytes=self._max_bytes)
            except BaseException:
                self._give_room_back()
                raise

    def take(self, file: FileDigest, check: StreamCheck) -> Incoming | None:
        """Begin to write a missing file, if no other load does. If one has brought it meanwhile, it is linked.

        Args:
            file: As the manifest lists it.
            check: What its bytes must pass, all of them, before it is content.

        Returns:
            None where there is nothing to write: it is not missing any more, or another load writes it; ask again.

        Raises:
            UnavailableError, OSError: see Cache.begin.
        """
        with self._changing():
            if self._link(file.sha256):
                return None
            path = self._node.incoming / file.sha256
            descriptor = file_lock.try_lock(path, create=True)
            if descriptor is None:
                return None
            if not file_lock.is_same_file(descriptor, path):
                # It was just given up by the load that wrote it.
                os.close(descriptor)
                return None
            incoming = Incoming(descriptor, path, check, size_bytes=file.size_bytes)
            self._arriving.append(incoming)
            try:
                self._take_space(incoming)
            except BaseException:
                incoming.discard()
                raise
        return incoming

    def keep(self, file: FileDigest, incoming: Incoming) -> None:
        """Make a file that has arrived content, and link it.

        Raises:
            DataLossError: its bytes are not what the manifest says.
            UnavailableError, OSError: see Cache.begin.
        """
        with self._changing():
            incoming.keep(self._node.blobs / file.sha256)
            # In the same step: whoever has waited for the content finds the mark with it.
            self._mark(file)
            self._link(file.sha256)

    def is_checked(self, file: FileDigest) -> bool:
        """Tell whether a worker of this node has the version, and has read this file from the registry for it."""
        return self._node.checked_by_any(self._mark_name(file))

    def mark_checked(self, file: FileDigest) -> None:
        """Say that the file was read from the registry, and was right."""
        with self._changing():
            self._mark(file)

    def finish(self) -> Path:
        """Return the version's folder, with exactly its files; an older one of that name is replaced."""
        folder = self._node.versions / self._name
        with self._changing():
            self._give_room_back()
            shutil.rmtree(folder, ignore_errors=True)
            self._folder.replace(folder)
        return folder

    def abandon(self) -> None:
        """Give everything back, also what a step that still runs in another thread comes to. What has arrived stays."""
        with self._node.locked():
            self._is_abandoned = True
            for incoming in self._arriving:
                incoming.discard()
            self._give_room_back()
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Under the folder's lock, unless the load was given up: a step that was waiting would leave links for ever."""
        with self._node.locked():
            if self._is_abandoned:
                raise UnavailableError("the load was given up")
            yield

    def _link(self, sha256: str) -> bool:
        blob = self._node.blobs / sha256
        for path in self._paths[sha256]:
            target = self._folder / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.link(blob, target)
            except FileNotFoundError:
                return False
        os.utime(blob)
        self.missing.pop(sha256, None)
        for name in self._wanted(sha256):
            name.unlink()
        return True

    def _take_space(self, incoming: Incoming) -> None:
        while True:
            try:
                incoming.take_space()
            except OSError as error:
                # The disk may be smaller than the cache's bound; then unused content goes for that reason.
                if error.errno != errno.ENOSPC or not evict_one(self._node):
                    raise
            else:
                return

    def _mark(self, file: FileDigest) -> None:
        (self._node.checked / self._mark_name(file)).touch(mode=0o600)

    def _mark_name(self, file: FileDigest) -> str:
        return f"{self._name}.{file.sha256}"

    def _give_room_back(self) -> None:
        for name in self._wanted("*"):
            name.unlink()

    def _wanted(self, sha256: str) -> list[Path]:
        return list(self._node.wanted.glob(f"{self._id}.{sha256}.*"))
