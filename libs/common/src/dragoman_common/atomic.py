# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, also after a crash: temporary file, fsync, one atomic step, fsync of the folder."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` at `path`, replacing what is there. Readers see the old bytes or the new ones."""
    with _written_beside(path, data, mode) as temporary:
        temporary.replace(path)


def create_exclusive(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Create `path` with `data`, if and only if nothing is there.

    Raises:
        FileExistsError: the path exists, whole or not ours; it is left as it is.
    """
    with _written_beside(path, data, mode) as temporary:
        # link(2) refuses an existing name in one step, where a check and a rename leave a gap between two writers.
        os.link(temporary, path)


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable: a file's own fsync does not cover the entry that points to it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _written_beside(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
