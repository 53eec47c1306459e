# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The bytes of a version's files against its verified manifest.

Owns the comparison of a folder or a stream with the list of files. It trusts the manifest that it is given, so that
must come from verify.verify_manifest. Every refusal is a DataLossError that names version and path.

    folder or stream -> exactly the listed files -> sizes -> SHA-256, or BLAKE3 where a reader has it
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from blake3 import blake3

from dragoman_common.errors import DataLossError
from dragoman_models.file_digest import MAX_FILES, FileDigest, check_path
from dragoman_models.record import VersionManifest

READ_BYTES = 1 << 20


def verify_files(folder: Path, manifest: VersionManifest) -> None:
    """Check that a folder holds exactly the manifest's files, byte for byte.

    Folders, files and links are looked at without following any link.

    Raises:
        DataLossError: a file that is not listed (whatever its name), one that is missing, one that is a link or no
            plain file, or one whose size or digest differs.
    """
    what = f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"
    listed = {file.path: file for file in manifest.files}
    found = set(_plain_files(folder, what))
    if unlisted := sorted(found - set(listed)):
        raise DataLossError(f"{what}: {unlisted[0][:200]!r} is not listed in the manifest")
    if missing := sorted(set(listed) - found):
        raise DataLossError(f"{what}: {missing[0]!r} is missing")
    for file in manifest.files:
        verify_chunks(_read(folder, file.path, what), file, what=what)


def verify_chunks(chunks: Iterable[bytes], file: FileDigest, *, what: str) -> None:
    """Read a stream to its end and check it against the listed size and digest.

    Raises:
        DataLossError: longer, shorter or other bytes. Reading stops at the first byte too many.
    """
    check = StreamCheck(file, what=what)
    for chunk in chunks:
        check.add(chunk)
    check.finish()


def digest_to_check(
    sha256_hex: str, blake3_hex: str = "", *, num_threads: int = 1
) -> tuple[str, "hashlib._Hash | blake3", str]:
    """Return the name of the digest that a file is held to, an empty hash of its kind, and what it must become.

    Args:
        sha256_hex: As the manifest lists it.
        blake3_hex: The manifest's second digest; where there is one it is chosen, being faster (docs/decisions/0018).
        num_threads: For BLAKE3; they start only for an update that is large enough to share. blake3.AUTO: the cores.
    """
    if blake3_hex:
        return "BLAKE3", blake3(max_threads=num_threads), blake3_hex
    return "SHA-256", hashlib.sha256(), sha256_hex


class StreamCheck:
    """A file checked while it streams by, each byte read once."""

    def __init__(self, file: FileDigest, *, what: str, blake3_hex: str = "") -> None:
        """Expect the listed file.

        Args:
            file: As the manifest lists it.
            what: Names its version in messages.
            blake3_hex: See digest_to_check.
        """
        self._file = file
        self._what = f"{what}/{file.path}"
        self._name, self._digest, self._expected = digest_to_check(file.sha256, blake3_hex)
        self._size_bytes = 0

    def add(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            DataLossError: the stream is longer than the listed size.
        """
        self._size_bytes += len(chunk)
        if self._size_bytes > self._file.size_bytes:
            raise DataLossError(f"{self._what}: longer than the {self._file.size_bytes} bytes of the manifest")
        self._digest.update(chunk)

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            DataLossError: shorter than listed, or another digest. Nothing of the file may be used.
        """
        if self._size_bytes != self._file.size_bytes:
            raise DataLossError(f"{self._what}: {self._size_bytes} bytes, the manifest says {self._file.size_bytes}")
        if self._digest.hexdigest() != self._expected:
            raise DataLossError(f"{self._what}: the content's {self._name} differs from the manifest's")


def _plain_files(folder: Path, what: str) -> Iterator[str]:
    """Yield every file's path; a folder without listed files below it is only a name, so it is not refused."""
    pending = [""]
    count = 0
    while pending:
        prefix = pending.pop()
        try:
            entries = os.scandir(folder / prefix)
        except OSError as error:
            raise DataLossError(f"{what}: the folder cannot be read ({error.strerror})") from error
        with entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                mode = entry.stat(follow_symlinks=False).st_mode
                count += 1
                if count > 4 * MAX_FILES:
                    raise DataLossError(f"{what}: the folder holds more than {4 * MAX_FILES} names")
                if stat.S_ISDIR(mode):
                    pending.append(f"{path}/")
                elif stat.S_ISREG(mode):
                    yield path
                else:
                    raise DataLossError(f"{what}: {path[:200]!r} is a link or no plain file")


def _read(folder: Path, path: str, what: str) -> Iterator[bytes]:
    check_path(path)
    try:
        descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise DataLossError(f"{what}/{path}: cannot be opened ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk
