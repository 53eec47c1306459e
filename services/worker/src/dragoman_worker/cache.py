# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files on the worker's disk by content: found again only when their bytes are still right, and bounded.

Owns ``sha256/<hex>`` (content, least recently used goes first), ``incoming/`` (being written) and ``versions/`` (a
folder of hard links for each loaded version, with exactly its files). Blocking; callers run it in a thread. One cache
folder belongs to one worker process. Not where bytes come from: that is loader.py.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_models.file_digest import FileDigest, check_path
from dragoman_models.verify_files import StreamCheck

CHUNK_BYTES = 1 << 20


class Incoming:
    """A file that is being written, hashed as it grows. It is in the cache only after keep."""

    def __init__(self, path: Path, target: Path, file: FileDigest, *, what: str) -> None:
        self._path = path
        self._target = target
        self._check = StreamCheck(file, what=what)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self.num_bytes = 0

    def append(self, chunk: bytes) -> None:
        """Write the next bytes.

        Raises:
            DataLossError: more bytes than the manifest says.
            OSError: the disk is full, for example.
        """
        self._check.add(chunk)
        self._file.write(chunk)
        self.num_bytes += len(chunk)

    def keep(self) -> None:
        """Put the finished file in the cache.

        Raises:
            DataLossError: its size or digest is not what the manifest says; the file is gone.
        """
        self._check.finish()
        self._file.close()
        self._path.replace(self._target)

    def discard(self) -> None:
        """Remove what is left of it; nothing to do after keep."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Cache:
    """See the module's docstring."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Take the folder over; what an earlier process left unfinished is removed."""
        self._folder = folder
        self._blobs = folder / "sha256"
        self._incoming = folder / "incoming"
        self._versions = folder / "versions"
        self._max_bytes = max_bytes
        for derived in (self._incoming, self._versions):
            shutil.rmtree(derived, ignore_errors=True)
        self._make_folders()

    def is_intact(self, file: FileDigest) -> bool:
        """Tell whether the content is here and every byte of it is right; what is wrong is removed."""
        blob = self._blobs / file.sha256
        try:
            digest = hashlib.sha256()
            with blob.open("rb", buffering=0) as opened:
                while chunk := opened.read(CHUNK_BYTES):
                    digest.update(chunk)
        except FileNotFoundError:
            return False
        if digest.hexdigest() != file.sha256:
            blob.unlink(missing_ok=True)
            return False
        os.utime(blob)
        return True

    def begin(self, file: FileDigest, *, what: str) -> Incoming:
        """Start to write a file."""
        self._make_folders()
        return Incoming(self._incoming / secrets.token_hex(16), self._blobs / file.sha256, file, what=what)

    def make_room(self, arriving: Mapping[str, int], *, in_use: Collection[str]) -> None:
        """Remove the least recently used content until what arrives fits.

        Args:
            arriving: Sizes by digest of what is about to be written; what is here by now takes no room.
            in_use: Digests that stay.

        Raises:
            FailedPreconditionError: they do not fit beside what is in use.
        """
        self._make_folders()
        entries = [(blob.stat(), blob) for blob in self._blobs.iterdir()]
        here = {blob.name for _, blob in entries}
        num_bytes = sum(size for sha256, size in arriving.items() if sha256 not in here)
        total = sum(status.st_size for status, _ in entries)
        for status, blob in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
            if total + num_bytes <= self._max_bytes:
                return
            if blob.name not in in_use:
                blob.unlink(missing_ok=True)
                total -= status.st_size
        if total + num_bytes > self._max_bytes:
            raise FailedPreconditionError(
                f"the worker's cache is limited to {self._max_bytes} bytes; {total} are in use and {num_bytes} more "
                "are needed: raise the limit or serve fewer models"
            )

    def link(self, name: str, files: Sequence[FileDigest]) -> Path:
        """Return a new folder with exactly these files; an older one of that name is replaced.

        Raises:
            UnavailableError: a file's content has gone from the cache since it was looked at; it can be fetched again.
        """
        self._make_folders()
        folder = self._versions / name
        fresh = self._versions / f"{name}.{secrets.token_hex(8)}"
        fresh.mkdir(mode=0o700)
        for file in files:
            target = fresh / check_path(file.path)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.link(self._blobs / file.sha256, target)
            except FileNotFoundError as error:
                shutil.rmtree(fresh, ignore_errors=True)
                raise UnavailableError(f"{file.path}: its content has gone from the worker's cache") from error
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
        return folder

    def _make_folders(self) -> None:
        """Before every use, not once: somebody who clears a cache by hand removes its folders too."""
        for each in (self._folder, self._blobs, self._incoming, self._versions):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def unlink(self, name: str) -> None:
        """Remove a version's folder; its content stays until room is needed."""
        shutil.rmtree(self._versions / name, ignore_errors=True)
