# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model's files, read once each and believed only when their digests are right.

Owns the last check before a byte is parsed, inside the model process: what is hashed here is the very memory that is
parsed. Nothing is opened through a link. Where the digests come from is the front's business (placement.py).

A file is held to its BLAKE3 where the manifest has one, else to its SHA-256: both were signed, and the first costs a
fifth of the time (docs/decisions/0018).
"""

import os
import stat
from pathlib import Path

from blake3 import blake3

from dragoman_common.errors import DataLossError
from dragoman_models.file_digest import check_path, is_digest
from dragoman_models.verify_files import digest_to_check
from dragoman_worker.ports import ModelFiles

CHUNK_BYTES = 1 << 20


def read_package(files: ModelFiles, *, keep: frozenset[str]) -> dict[str, bytes]:
    """Check every file of a folder and return the content of those in keep.

    Args:
        files: The folder, and exactly the files that it may hold.
        keep: Paths whose bytes are wanted; the others are hashed and let go.

    Raises:
        DataLossError: a file that is not listed, is missing, is a link or no plain file, or has another digest.
        InvalidArgumentError: a listed path may not name a file of a version.
    """
    listed = set(files.sha256_by_path)
    if files.blake3_by_path and set(files.blake3_by_path) != listed:
        raise DataLossError("BLAKE3 digests are listed of other files than SHA-256 digests")
    for path, digest in (*files.sha256_by_path.items(), *files.blake3_by_path.items()):
        check_path(path)
        if not is_digest(digest):
            raise DataLossError(f"{path}: its listed digest is not one of 64 lower-case hexadecimal digits")
    found = _names(files.folder)
    if unlisted := sorted(found - listed):
        raise DataLossError(f"{unlisted[0][:200]!r} is not listed in the version's manifest")
    if missing := sorted((listed | keep) - found):
        raise DataLossError(f"{missing[0]!r} is missing")
    kept: dict[str, bytes] = {}
    for path in files.sha256_by_path:
        content = _read(files, path, is_kept=path in keep)
        if path in keep:
            kept[path] = content
    return kept


def read_checked(files: ModelFiles, path: str) -> bytes:
    """Return one file's content, checked; the others are not looked at.

    Raises:
        DataLossError: it is not listed, is missing, is a link or no plain file, or has another digest.
    """
    if path not in files.sha256_by_path:
        raise DataLossError(f"{path!r} is not listed in the version's manifest")
    return _read(files, check_path(path), is_kept=True)


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


def _read(files: ModelFiles, path: str, *, is_kept: bool) -> bytes:
    name, digest, expected = digest_to_check(
        files.sha256_by_path[path], files.blake3_by_path.get(path, ""), num_threads=blake3.AUTO
    )
    try:
        descriptor = os.open(files.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise DataLossError(f"{path}: cannot be opened ({error.strerror})") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataLossError(f"{path}: is not a plain file")
        # Once and whole: pieces that are joined would be there twice, and a load of 1 GiB would take 2.
        content = file.readall() if is_kept else b""
        digest.update(content)
        while not is_kept and (chunk := file.read(CHUNK_BYTES)):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise DataLossError(f"{path}: its {name} is not the one that was signed")
    return content
