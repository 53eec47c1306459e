# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The version source in memory: passes contracts.py, counts its reads, and can be made to fail."""

import asyncio
import hashlib

from dragoman_common.errors import DataLossError, DragomanError
from dragoman_models.file_digest import FileDigest, root_sha256
from dragoman_tokenizer.version import VerifiedVersion, VersionName, VersionNotFoundError, WithdrawnVersionError


class MemoryVersionSource:
    """Versions put in by `publish`; what was signed is remembered, so that changed bytes show."""

    def __init__(self) -> None:
        self._manifests: dict[tuple[str, str, int], VerifiedVersion] = {}
        self._files: dict[tuple[str, str, int], dict[str, bytes]] = {}
        self._forged: set[tuple[str, str, int]] = set()
        self._withdrawn: set[tuple[str, str, int]] = set()
        self.failures: list[DragomanError] = []
        """Raised by the next calls, first one first."""
        self.num_manifests = 0
        self.num_reads = 0
        self.gate: asyncio.Event | None = None
        """When set, every read waits for it."""
        self.is_waiting = asyncio.Event()
        """Set once a read waits at the gate."""

    def publish(self, tenant: str, model: str, number: int, files: dict[str, bytes]) -> VerifiedVersion:
        """Store a version and sign its file list."""
        digests = {
            path: FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in files.items()
        }
        manifest = VerifiedVersion(root_sha256(list(digests.values())), digests)
        key = (tenant, model, number)
        self._manifests[key] = manifest
        self._files[key] = dict(files)
        return manifest

    def tamper(self, tenant: str, model: str, number: int, path: str, data: bytes) -> None:
        """Change stored bytes behind the signature's back."""
        self._files[tenant, model, number][path] = data

    def forge(self, tenant: str, model: str, number: int) -> None:
        """Make the record one that no trusted key signed."""
        self._forged.add((tenant, model, number))

    def withdraw(self, tenant: str, model: str, number: int, *, is_forged: bool = False) -> None:
        """Take a version out of use; a forged tombstone does not."""
        if not is_forged:
            self._withdrawn.add((tenant, model, number))

    async def manifest(self, name: VersionName) -> VerifiedVersion:
        """See VersionSource."""
        self.num_manifests += 1
        self._fail()
        key = (name.tenant, name.model, name.number)
        if key in self._forged:
            raise DataLossError(f"{name}: the record is not signed by a trusted key")
        if key not in self._manifests:
            raise VersionNotFoundError(f"there is no {name}")
        if key in self._withdrawn:
            raise WithdrawnVersionError(name, "a test said so")
        return self._manifests[key]

    async def read(self, name: VersionName, path: str, max_bytes: int) -> bytes:
        """See VersionSource."""
        self.num_reads += 1
        if self.gate is not None:
            self.is_waiting.set()
            await self.gate.wait()
        self._fail()
        try:
            return self._files[name.tenant, name.model, name.number][path][: max_bytes + 1]
        except KeyError:
            raise VersionNotFoundError(f"{name} has no file {path}") from None

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
