# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model's files, read once each and believed only when their digests are right.

Owns the last check before a byte is parsed, inside the model process: what is hashed here is the very memory that is
parsed. Nothing is opened through a link. Where the digests come from is the front's business (placement.py).
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dragoman_common.errors import DataLossError
from dragoman_models.file_digest import check_path, is_sha256

CHUNK_BYTES = 1 << 20


def read_package(folder: Path, sha256_by_path: Mapping[str, str], *, keep: frozenset[str]) -> dict[str, bytes]:
    """Check every file of a folder and return the content of those in keep.

    Args:
        folder: Holds the files.
        sha256_by_path: Exactly the files that it may hold.
        keep: Paths whose bytes are wanted; the others are hashed and let go.

    Raises:
        DataLossError: a file that is not listed, is missing, is a link or no plain file, or has another digest.
        InvalidArgumentError: a listed path may not name a file of a version.
    """
    for path, digest in sha256_by_path.items():
        check_path(path)
        if not is_sha256(digest):
            raise DataLossError(f"{path}: its listed digest is not SHA-256 in hexadecimal")
    found = _names(folder)
    if unlisted := sorted(found - set(sha256_by_path)):
        raise DataLossError(f"{unlisted[0][:200]!r} is not listed in the version's manifest")
    if missing := sorted((set(sha256_by_path) | keep) - found):
        raise DataLossError(f"{missing[0]!r} is missing")
    kept: dict[str, bytes] = {}
    for path, expected in sha256_by_path.items():
        content = _read(folder, path, expected, is_kept=path in keep)
        if path in keep:
            kept[path] = content
    return kept


def read_checked(folder: Path, path: str, sha256_by_path: Mapping[str, str]) -> bytes:
    """Return one file's content, checked; the others are not looked at.

    Raises:
        DataLossError: it is not listed, is missing, is a link or no plain file, or has another digest.
    """
    if path not in sha256_by_path:
        raise DataLossError(f"{path!r} is not listed in the version's manifest")
    return _read(folder, check_path(path), sha256_by_path[path], is_kept=True)


def _names(folder: Path) -> set[str]:
    names = set()
    try:
        for parent, folders, files in os.walk(folder, onerror=_refuse):
            links = [name for name in folders if (Path(parent) / name).is_symlink()]
            names |= {str((Path(parent) / name).relative_to(folder)) for name in (*files, *links)}
    except OSError as error:
        raise DataLossError(f"the model's folder cannot be read ({error.strerror})") from error
    return names


def _refuse(error: OSError) -> None:
    raise error


def _read(folder: Path, path: str, expected: str, *, is_kept: bool) -> bytes:
    try:
        descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise DataLossError(f"{path}: cannot be opened ({error.strerror})") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataLossError(f"{path}: is not a plain file")
        # Once and whole: pieces that are joined would be there twice, and a load of 1 GiB would take 2.
        content = file.readall() if is_kept else b""
        digest = hashlib.sha256(content)
        while not is_kept and (chunk := file.read(CHUNK_BYTES)):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise DataLossError(f"{path}: its SHA-256 is not the one that was signed")
    return content
