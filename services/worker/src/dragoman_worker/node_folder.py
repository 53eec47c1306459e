# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The cache folder of a node and who lives in it: what each worker process uses, and what dead ones have left.

Owns the layout, one lock over all changes of it, and the lease by which a worker is known to live. Not which content is
wanted or removed (cache.py, cache_room.py). Blocking; callers run it in a thread.

    lock                                  held by whoever changes what is below
    sha256/<hex>                          content, whole; its further links are its uses
    incoming/<hex>                        content on its way, locked by the worker that writes it
    workers/<id>/lease                    locked as long as the worker lives
    workers/<id>/wanted/<load>.<hex>.<n>  room for n bytes that a load of the worker has yet to write
    workers/<id>/checked/<name>.<hex>     a file that the worker has read from its version's own place in the registry
    workers/<id>/versions/<name>/...      links to the content that the worker uses

A worker that dies gives its locks back to the kernel. Whoever comes next finds them free, and removes what it had.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dragoman_worker import file_lock

LOCK_TIMEOUT_S = 30.0


class NodeFolder:
    """One worker's place in the cache folder. Several workers may have one in the same folder."""

    def __init__(self, folder: Path) -> None:
        """Take no place yet: that is done, and done again after somebody has cleared the folder, by locked."""
        self.folder = folder
        self.blobs = folder / "sha256"
        self.incoming = folder / "incoming"
        self._workers = folder / "workers"
        own = self._workers / secrets.token_hex(16)
        self._own = own
        self.wanted = own / "wanted"
        self.checked = own / "checked"
        self.versions = own / "versions"
        self._lease = own / "lease"
        self._lease_fd: int | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who changes the folder, for the length of the block; what dead workers left is gone then.

        Raises:
            UnavailableError: another worker has held the lock for LOCK_TIMEOUT_S.
            OSError: the disk does not take the folders.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock.held(self.folder / "lock", timeout_s=LOCK_TIMEOUT_S):
            for each in (self.blobs, self.incoming, self.wanted, self.checked, self.versions):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._lease_fd is None or not file_lock.is_same_file(self._lease_fd, self._lease):
                self._give_lease_back()
                self._lease_fd = file_lock.try_lock(self._lease, create=True)
            self._sweep()
            yield

    def close(self) -> None:
        """Leave: everything of this worker may be removed by the next. Death does the same."""
        self._give_lease_back()

    def checked_by_any(self, mark: str) -> bool:
        """Tell whether a worker that lives has left this mark."""
        return any((worker / "checked" / mark).exists() for worker in self._live())

    def wanted_by_all(self) -> Iterator[str]:
        """The names of all room taken."""
        for worker in self._live():
            yield from _names(worker / "wanted")

    def linked(self) -> Iterator[os.stat_result]:
        """Every file of every version that is in use."""
        for worker in self._live():
            for parent, _, files in os.walk(worker / "versions"):
                for name in files:
                    with suppress(FileNotFoundError):
                        yield (Path(parent) / name).lstat()

    def _live(self) -> Iterator[Path]:
        """After a sweep, who is here lives."""
        for name in _names(self._workers):
            yield self._workers / name

    def _sweep(self) -> None:
        for name in _names(self._workers):
            worker = self._workers / name
            if worker == self._own:
                continue
            try:
                descriptor = file_lock.try_lock(worker / "lease")
            except FileNotFoundError:
                # A lease is made and locked before anyone else gets the folder's lock.
                shutil.rmtree(worker)
                continue
            if descriptor is not None:
                shutil.rmtree(worker)
                os.close(descriptor)
        for name in _names(self.incoming):
            # One that another load gives up goes without the folder's lock.
            with suppress(FileNotFoundError):
                descriptor = file_lock.try_lock(self.incoming / name)
                if descriptor is not None:
                    (self.incoming / name).unlink(missing_ok=True)
                    os.close(descriptor)

    def _give_lease_back(self) -> None:
        if self._lease_fd is not None:
            os.close(self._lease_fd)
            self._lease_fd = None


def statuses(folder: Path) -> dict[str, os.stat_result]:
    """What is in a folder, by name; what goes while it is looked at is not there."""
    found = {}
    for name in _names(folder):
        with suppress(FileNotFoundError):
            found[name] = (folder / name).lstat()
    return found


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
