# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A file on its way into the cache: hashed as it grows, and content only when every byte was right.

Owns the open file, whose lock tells the node's other workers that somebody brings this content. Where it comes from is
loader.py's, when it may begin is cache.py's.
"""

import errno
import os
import threading
from pathlib import Path

from dragoman_common.errors import UnavailableError
from dragoman_models.verify_files import StreamCheck
from dragoman_worker import file_lock


class Incoming:
    """See the module's docstring."""

    def __init__(self, descriptor: int, path: Path, check: StreamCheck, *, size_bytes: int) -> None:
        """Take over an open, locked, empty file that is to become one of this size."""
        self._path = path
        self._check = check
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._size_bytes = size_bytes
        self.num_bytes = 0
        # A load that is cancelled leaves its thread in append; discard must not close the file under it.
        self._turn = threading.Lock()

    def take_space(self) -> None:
        """Have the disk set the whole size aside now: better a full disk before a long transfer than at its end.

        Raises:
            OSError: the disk is full, for example.
        """
        if self._size_bytes:
            try:
                os.posix_fallocate(self._file.fileno(), 0, self._size_bytes)
            except OSError as error:
                # Not every file system can; the write says it then.
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                    raise

    def append(self, chunk: bytes | memoryview) -> None:
        """Write the next bytes.

        Raises:
            DataLossError: more bytes than the manifest says.
            OSError: the disk is full, for example.
        """
        with self._turn:
            if self._file.closed:
                raise UnavailableError("the load was given up")
            self._check.add(chunk)
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
            self.num_bytes += len(chunk)

    def keep(self, target: Path) -> None:
        """Make the finished file content. The lock is given back.

        Raises:
            DataLossError: its size or digest is not what the manifest says.
            UnavailableError: somebody has cleared the cache meanwhile.
        """
        self._check.finish()
        # A file of this name may be another worker's by now, and half written.
        if not file_lock.is_same_file(self._file.fileno(), self._path):
            raise UnavailableError("the worker's cache was cleared while a file arrived; it is fetched again")
        self._path.replace(target)
        self._file.close()

    def discard(self) -> None:
        """Remove what is left of it; nothing to do after keep."""
        with self._turn:
            if self._file.closed:
                return
            if file_lock.is_same_file(self._file.fileno(), self._path):
                self._path.unlink(missing_ok=True)
            self._file.close()
