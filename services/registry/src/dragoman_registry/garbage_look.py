# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One look at a tenant's store: what do its versions and data sets list, and what lies there beside it?"""

import enum
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from dragoman_models.record import VersionManifest
from dragoman_registry import layout
from dragoman_registry.bounded import map_bounded
from dragoman_registry.catalog import Catalog
from dragoman_registry.claim import read_claim
from dragoman_registry.data_book import DataBook
from dragoman_registry.garbage_marks import claims_mark
from dragoman_registry.ports import ObjectNotFoundError, ObjectStore, is_key

READS_AT_ONCE = 8


class Reason(enum.Enum):
    """Why an object is garbage."""

    UNREFERENCED_BLOB = enum.auto()
    EXPIRED_INTENT = enum.auto()
    LOST_CLAIM = enum.auto()
    REVOKED_SIGNATURE = enum.auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Objects that go together, in this order, because no version needs them; a begun publish may.

    Attributes:
        content: The blob's digest, or the root digest of the content that was claimed a number for.
        objects: Keys and sizes in bytes.
    """

    reason: Reason
    content: str
    objects: tuple[tuple[str, int], ...]


class Look:
    """Finds the candidates of one tenant."""

    def __init__(
        self, store: ObjectStore, catalog: Catalog, data: DataBook, tenant: str, *, withdrawn_before: datetime
    ) -> None:
        """Take the time before which a withdrawn version has lost its files."""
        self._store = store
        self._data = data
        self._catalog = catalog
        self._tenant = tenant
        self._withdrawn_before = withdrawn_before
        self.num_blobs = 0

    async def candidates(self) -> dict[str, Candidate]:
        """Return what no version needs, by the name of its mark.

        Raises:
            DataLossError: a version, a tombstone or a claim does not verify.
        """
        listed = await self._store.tags_below(layout.blobs(self._tenant))
        blobs = {key: tag for key, tag in listed.items() if is_key(key)}
        self.num_blobs = len(blobs)
        referenced: set[str] = set()
        found: dict[str, Candidate] = {}
        for model in await self._store.names_below(layout.models(self._tenant)):
            manifests = await self._manifests(model)
            referenced |= await self._listed(model, manifests)
            found |= await self._lost_claims(model, manifests)
        referenced |= await self._data.referenced(self._tenant)
        for key, tag in sorted(blobs.items()):
            sha256 = key.rpartition("/")[2]
            if sha256 not in referenced and key == layout.blob(self._tenant, sha256):
                found[sha256] = Candidate(
                    reason=Reason.UNREFERENCED_BLOB, content=sha256, objects=((key, tag.size_bytes),)
                )
        return found

    async def _manifests(self, model: str) -> dict[int, VersionManifest]:
        names = await self._store.names_below(layout.versions(self._tenant, model))
        # What was here and is gone is damage, not garbage.
        numbers = {int(name) for name in names if name.isdecimal()} | self._catalog.known_numbers(self._tenant, model)

        async def read(number: int) -> VersionManifest:
            return (await self._catalog.checked_version(self._tenant, model, number)).manifest

        found = await map_bounded(read, sorted(numbers), width=READS_AT_ONCE)
        return {manifest.number: manifest for manifest in found}

    async def _listed(self, model: str, manifests: dict[int, VersionManifest]) -> set[str]:
        names = set(await self._store.names_below(layout.tombstones(self._tenant, model)))
        found: set[str] = set()
        for number, manifest in manifests.items():
            tombstone = self._catalog.known_tombstone(manifest)
            if tombstone is None and str(number) in names:
                tombstone = await self._catalog.checked_tombstone(manifest)
            if tombstone is None or tombstone.record.withdraw_time > self._withdrawn_before:
                found.update(file.sha256 for file in manifest.files)
        return found

    async def _lost_claims(self, model: str, manifests: dict[int, VersionManifest]) -> dict[str, Candidate]:
        held = {manifest.root_sha256 for manifest in manifests.values()}
        tags = await self._store.tags_below(layout.claims(self._tenant, model))
        by_root: defaultdict[str, list[str]] = defaultdict(list)
        for key in filter(is_key, tags):
            root_sha256 = key.rpartition("/")[2].partition(".")[0]
            # While a version holds the content, its claims lead every other publisher of it to that version.
            if root_sha256 not in held:
                by_root[root_sha256].append(key)
        return {
            claims_mark(model, root_sha256): Candidate(
                reason=Reason.LOST_CLAIM,
                content=root_sha256,
                objects=tuple((key, tags[key].size_bytes) for key in sorted(keys, key=_attempt, reverse=True)),
            )
            for root_sha256, keys in by_root.items()
            if await self._all_lost(keys, manifests)
        }

    async def _all_lost(self, keys: Collection[str], manifests: dict[int, VersionManifest]) -> bool:
        """Tell whether every number that was claimed went to other content: one that is free may yet be taken."""
        try:
            numbers = [await read_claim(self._store, key) for key in keys]
        except ObjectNotFoundError:
            return False
        return all(number in manifests for number in numbers)


def _attempt(key: str) -> int:
    suffix = key.rpartition("/")[2].partition(".")[2]
    return int(suffix) if suffix.isdecimal() else 1
