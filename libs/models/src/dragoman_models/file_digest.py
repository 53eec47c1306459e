# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The list of files that is one model version, and the digest over it.

Owns which file names exist at all, their order, and the root digest. It reads no file (verify does).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError

MAX_FILES = 1000
MAX_PATH_CHARS = 255
MAX_FILE_BYTES = 1 << 50

# No segment starts with a dot or a dash: neither "..", nor ".git", nor something that a command takes for an option.
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
# Of SHA-256 and of BLAKE3 alike.
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDigest:
    """One file of a version: its relative path with forward slashes, its size, and SHA-256 in lower-case hex."""

    path: str
    size_bytes: int
    sha256: str


def check_path(path: str, *, what: str = "path") -> str:
    """Return the path if it may name a file of a version.

    Raises:
        InvalidArgumentError: not 1 to 255 characters of plain segments joined by '/'.
    """
    if not 0 < len(path) <= MAX_PATH_CHARS or not all(_SEGMENT.fullmatch(part) for part in path.split("/")):
        raise InvalidArgumentError(
            f"{what} {path[:80]!r} must be a relative path of at most {MAX_PATH_CHARS} characters whose segments hold "
            "letters, digits, '_', '.', '-' and start with a letter, digit or '_'"
        )
    if ".." in path:
        raise InvalidArgumentError(f"{what} {path[:80]!r} must not hold '..'")
    return path


def is_digest(text: str) -> bool:
    """Tell whether the text is 64 lower-case hexadecimal digits: SHA-256 or BLAKE3."""
    return _DIGEST.fullmatch(text) is not None


def check_files(files: Iterable[FileDigest], *, what: str = "files") -> tuple[FileDigest, ...]:
    """Return the files in path order.

    Raises:
        InvalidArgumentError: none or too many files, a bad path, size or digest, a path listed twice (also when only
            the case of letters differs), or a file that is another file's folder.
    """
    listed = sorted(files, key=_order)
    if not 0 < len(listed) <= MAX_FILES:
        raise InvalidArgumentError(f"{what}: {len(listed)} files, from 1 to {MAX_FILES} are allowed")
    seen: set[str] = set()
    for file in listed:
        check_path(file.path, what=f"{what}: path")
        if not 0 <= file.size_bytes <= MAX_FILE_BYTES:
            raise InvalidArgumentError(f"{what}: size_bytes of {file.path} must be from 0 to {MAX_FILE_BYTES}")
        if not is_digest(file.sha256):
            raise InvalidArgumentError(f"{what}: sha256 of {file.path} must be 64 lower-case hexadecimal digits")
        folded = file.path.lower()
        if folded in seen:
            raise InvalidArgumentError(f"{what}: {file.path} is listed twice (the case of letters does not count)")
        seen.add(folded)
    for file in listed:
        parts = file.path.lower().split("/")
        if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
            raise InvalidArgumentError(f"{what}: {file.path} lies below a path that is a file")
    return tuple(listed)


def root_sha256(files: Sequence[FileDigest]) -> str:
    """Return the digest of a version: SHA-256 over the raw file digests in path order.

    Source: OpenSSF model-signing 1.x, the subject digest of serialization method "files"; deviation: none (its path
    order compares segment by segment, as ours does).
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=_order):
        digest.update(bytes.fromhex(file.sha256))
    return digest.hexdigest()


def _order(file: FileDigest) -> list[str]:
    return file.path.split("/")
