# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What every VersionSource must do, as tests: memory.py and registry_client.py hold it."""

from collections.abc import Awaitable
from typing import Protocol

from dragoman_common.errors import DataLossError, DragomanError
from dragoman_tokenizer.ports import VersionSource
from dragoman_tokenizer.version import VersionName, VersionNotFoundError, WithdrawnVersionError

FILES = {"model.json": b"{}", "tokenizer.json": b"t" * 200_000, "card.md": b""}
NAME = VersionName("acme", "r8", 3)


class Store(Protocol):
    """A source, and the ways in which a test changes what lies behind it."""

    source: VersionSource

    def publish(self, tenant: str, model: str, number: int, files: dict[str, bytes]) -> object:
        """Add a version."""

    def tamper(self, tenant: str, model: str, number: int, path: str, data: bytes) -> None:
        """Change a file's bytes, its digest unchanged."""

    def forge(self, tenant: str, model: str, number: int) -> None:
        """Replace the record by one that no trusted key signed."""

    def withdraw(self, tenant: str, model: str, number: int, *, is_forged: bool = False) -> None:
        """Add a tombstone; a forged one is signed by nobody that is trusted."""


class VersionSourceContract:
    """Subclass it with an async fixture `store` (a Store) that holds FILES as NAME."""

    async def test_manifest_lists_every_file_with_its_size(self, store: Store) -> None:
        manifest = await store.source.manifest(NAME)
        assert {path: file.size_bytes for path, file in manifest.files.items()} == {
            path: len(data) for path, data in FILES.items()
        }
        assert len(manifest.root_sha256) == 64

    async def test_files_come_back_as_they_were_put_in(self, store: Store) -> None:
        for path, data in FILES.items():
            assert await store.source.read(NAME, path, len(data)) == data

    async def test_file_that_grew_is_not_read_to_its_end(self, store: Store) -> None:
        store.tamper("acme", "r8", 3, "model.json", b"x" * 3_000_000)
        data = await store.source.read(NAME, "model.json", 2)
        assert 2 < len(data) < 3_000_000

    async def test_absent_version_and_file_are_not_found(self, store: Store) -> None:
        await _raises(VersionNotFoundError, store.source.manifest(VersionName("acme", "r8", 4)))
        await _raises(VersionNotFoundError, store.source.manifest(VersionName("acme", "r9", 3)))
        await _raises(VersionNotFoundError, store.source.read(NAME, "weights.safetensors", 1))

    async def test_version_of_another_tenant_is_not_found(self, store: Store) -> None:
        await _raises(VersionNotFoundError, store.source.manifest(VersionName("globex", "r8", 3)))
        await _raises(VersionNotFoundError, store.source.read(VersionName("globex", "r8", 3), "model.json", 2))

    async def test_record_without_a_trusted_signature_is_data_loss(self, store: Store) -> None:
        store.forge("acme", "r8", 3)
        await _raises(DataLossError, store.source.manifest(NAME))

    async def test_withdrawn_version_says_so(self, store: Store) -> None:
        store.withdraw("acme", "r8", 3)
        await _raises(WithdrawnVersionError, store.source.manifest(NAME))

    async def test_forged_tombstone_takes_no_version_down(self, store: Store) -> None:
        before = await store.source.manifest(NAME)
        store.withdraw("acme", "r8", 3, is_forged=True)
        assert await store.source.manifest(NAME) == before


async def _raises(kind: type[DragomanError], call: Awaitable[object]) -> None:
    try:
        await call
    except kind as error:
        assert error.message
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
