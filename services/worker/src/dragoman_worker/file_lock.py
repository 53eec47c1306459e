# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Locks between processes that end with the process that holds them, however it ends.

Owns flock(2) on files of one machine. A lock belongs to an open descriptor: the kernel gives it back when that closes,
so there is no file with a process id in it that could lie. Blocking; callers run it in a thread.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dragoman_common.errors import UnavailableError

_POLL_S = 0.005


def try_lock(path: Path, *, create: bool = False) -> int | None:
    """Return an open descriptor that holds the file's lock; closing it gives the lock back.

    Args:
        path: The file.
        create: Make it if it is not there.

    Returns:
        None where somebody else holds the lock.

    Raises:
        FileNotFoundError: it is not there, and shall not be made.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_same_file(descriptor: int, path: Path) -> bool:
    """Tell whether the path still names the open file: somebody may have removed it, and made another."""
    try:
        named = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


@contextmanager
def held(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the file's lock for the length of the block; the file is made if need be.

    Raises:
        UnavailableError: somebody else held it all that time.
        OSError: the file cannot be made.
    """
    ends_s = time.monotonic() + timeout_s
    while True:
        descriptor = try_lock(path, create=True)
        if descriptor is not None:
            if is_same_file(descriptor, path):
                break
            os.close(descriptor)
        elif time.monotonic() > ends_s:
            raise UnavailableError(
                f"another worker on this machine has held the cache's lock for {timeout_s:.0f} s: is one stopped?"
            )
        else:
            time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)
