# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How much the cache of a node holds, for all its workers together, and what goes to make room.

Owns the sum and the order of removal: least recently used first, never what a worker that lives has linked. Callers
hold the folder's lock. A content counts once, however many workers use it or want it.
"""

import os
from collections.abc import Iterator

from dragoman_common.errors import FailedPreconditionError
from dragoman_worker.node_folder import NodeFolder, statuses


def wanted_name(load: str, sha256: str, size_bytes: int) -> str:
    """Return the name of a file in ``wanted/``. It stays empty: the name says all."""
    return f"{load}.{sha256}.{size_bytes}"


def make_room(node: NodeFolder, *, max_bytes: int) -> None:
    """Remove unused content until what is here and what is wanted keep the bound.

    Raises:
        FailedPreconditionError: they do not, with all that may go gone.
    """
    here = statuses(node.blobs)
    # By inode: content that was replaced because it was damaged may still be linked, and takes its place on the disk.
    size_by_inode = {status.st_ino: status.st_size for status in (*here.values(), *node.linked())}
    total = sum(size_by_inode.values())
    wanted: dict[str, int] = {}
    for name in node.wanted_by_all():
        _, sha256, num = name.split(".")
        if sha256 not in here:
            wanted[sha256] = int(num)
    for sha256, status in statuses(node.incoming).items():
        wanted.setdefault(sha256, status.st_size)
    num_bytes = sum(wanted.values())
    for sha256, size in _unused(here):
        if total + num_bytes <= max_bytes:
            return
        (node.blobs / sha256).unlink()
        total -= size
    if total + num_bytes > max_bytes:
        raise FailedPreconditionError(
            f"the worker's cache is limited to {max_bytes} bytes; {total} are in use and {num_bytes} more "
            "are needed, by all workers of this cache folder: raise the limit or serve fewer models"
        )


def evict_one(node: NodeFolder) -> bool:
    """Remove the least recently used content that nobody uses; False where there is none."""
    for sha256, _ in _unused(statuses(node.blobs)):
        (node.blobs / sha256).unlink()
        return True
    return False


def _unused(here: dict[str, os.stat_result]) -> Iterator[tuple[str, int]]:
    """Digest and size of what no worker has linked, the longest unused first."""
    for name, status in sorted(here.items(), key=lambda entry: entry[1].st_mtime_ns):
        if status.st_nlink == 1:
            yield name, status.st_size
