# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What there is, in memory: lists of models and versions, and the newest event of every alias.

Owns a copy of the store's verified records, filled by a scan at start, told of each write of this process, and repaired
by a scan every while (another registry on the same store may have written). A record that does not verify is left out
of the lists, logged, and answered with DATA_LOSS where it is asked for by name; nothing else is affected. What was
here once and is gone from the store is DATA_LOSS too, never "not found".
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from dragoman_common.errors import DataLossError
from dragoman_models.record import VersionManifest
from dragoman_registry import layout
from dragoman_registry.alias import StoredEvent
from dragoman_registry.model_version import ModelVersionNotFoundError, StoredTombstone, StoredVersion
from dragoman_registry.ports import ObjectStore
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.watch import AliasWatch

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class ModelEntry:
    """One model's verified versions and tombstones by number, and the newest verified event of each alias."""

    versions: dict[int, StoredVersion] = field(default_factory=dict)
    aliases: dict[str, StoredEvent] = field(default_factory=dict)
    tombstones: dict[int, StoredTombstone] = field(default_factory=dict)


class Catalog:
    """The lists of every tenant. A tenant only ever reads its own."""

    def __init__(self, *, store: ObjectStore, reader: RecordReader, watch: AliasWatch) -> None:
        """Start empty; scan fills it."""
        self._store = store
        self._reader = reader
        self._watch = watch
        self._tenants: dict[str, dict[str, ModelEntry]] = {}

    def models(self, tenant: str) -> dict[str, ModelEntry]:
        """Return a tenant's models that have a version, by name."""
        entries = sorted(self._tenants.get(tenant, {}).items())
        return {name: entry for name, entry in entries if entry.versions}

    def versions(self, tenant: str, model: str) -> list[StoredVersion]:
        """Return a model's versions, newest first.

        Raises:
            ModelVersionNotFoundError: the tenant has no such model.
        """
        entry = self._tenants.get(tenant, {}).get(model)
        if entry is None or not entry.versions:
            raise ModelVersionNotFoundError(f"there is no model {model}")
        return [entry.versions[number] for number in sorted(entry.versions, reverse=True)]

    def known_numbers(self, tenant: str, model: str) -> set[int]:
        """Return the numbers of a model's versions, as far as they were read; empty for no such model."""
        entry = self._tenants.get(tenant, {}).get(model)
        return set(entry.versions) if entry else set()

    def newest_events(self) -> Iterator[StoredEvent]:
        """Yield the newest event of every alias of every tenant."""
        for models in self._tenants.values():
            for entry in models.values():
                yield from entry.aliases.values()

    def learn_version(self, version: StoredVersion) -> None:
        """Take note of a verified version."""
        manifest = version.manifest
        self._entry(manifest.tenant, manifest.model).versions[manifest.number] = version

    def learn_event(self, event: StoredEvent) -> None:
        """Take note of a verified event and tell the followers, unless it is known already."""
        record = event.record
        aliases = self._entry(record.tenant, record.model).aliases
        known = aliases.get(record.alias)
        if known is None or record.sequence > known.record.sequence:
            aliases[record.alias] = event
            self._watch.publish(event)

    async def checked_version(self, tenant: str, model: str, number: int) -> StoredVersion:
        """Read a version from the store and verify it; damage is logged.

        Raises:
            ModelVersionNotFoundError: there is none.
            DataLossError: it does not verify, or it was there and is gone.
        """
        with _damage_logged():
            try:
                version = await self._reader.version(tenant, model, number)
            except ModelVersionNotFoundError:
                entry = self._tenants.get(tenant, {}).get(model)
                if entry is not None and number in entry.versions:
                    raise DataLossError(f"{tenant}/{model}/versions/{number}: is gone from the store") from None
                raise
        self.learn_version(version)
        return version

    async def checked_chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        """Read an alias's chain from the store and verify it; damage is logged.

        Raises:
            DataLossError: it does not verify, or it is shorter than it was: a rollback that no event records.
        """
        with _damage_logged():
            chain = await self._reader.chain(tenant, model, alias)
            entry = self._tenants.get(tenant, {}).get(model)
            known = entry.aliases.get(alias) if entry else None
            if known is not None and len(chain) < known.record.sequence:
                raise DataLossError(
                    f"{tenant}/{model}/aliases/{alias}: event {known.record.sequence} is gone from the store"
                )
        for event in chain[known.record.sequence if known else 0 :]:
            self.learn_event(event)
        return chain

    def known_tombstone(self, manifest: VersionManifest) -> StoredTombstone | None:
        """Return the word that a version is withdrawn, as far as it was read; for lists."""
        entry = self._tenants.get(manifest.tenant, {}).get(manifest.model)
        return entry.tombstones.get(manifest.number) if entry else None

    def learn_tombstone(self, tombstone: StoredTombstone) -> None:
        """Take note of a verified tombstone. It is never forgotten, also when the store loses it."""
        record = tombstone.record
        self._entry(record.tenant, record.model).tombstones[record.version] = tombstone

    async def checked_tombstone(self, manifest: VersionManifest) -> StoredTombstone | None:
        """Return the word that a version is withdrawn, if there is one; damage is logged.

        Raises:
            DataLossError: what is kept there does not verify. Who removes or plants a tombstone stops the version only.
        """
        if (known := self.known_tombstone(manifest)) is not None:
            return known
        with _damage_logged():
            found = await self._reader.tombstone(manifest)
        if found is not None:
            self.learn_tombstone(found)
        return found

    async def scan(self) -> None:
        """Compare with the store, take in what is new, and log what does not verify.

        Raises:
            UnavailableError: the store does not answer.
        """
        for tenant in await self._store.names_below(layout.TENANTS):
            for model in await self._store.names_below(layout.models(tenant)):
                await self._scan_model(tenant, model)

    async def _scan_model(self, tenant: str, model: str) -> None:
        known = self._tenants.get(tenant, {}).get(model)
        for name in await self._store.names_below(layout.versions(tenant, model)):
            if name.isdecimal() and (known is None or int(name) not in known.versions):
                with suppress(DataLossError, ModelVersionNotFoundError):
                    await self.checked_version(tenant, model, int(name))
        entry = self._entry(tenant, model)
        for name in await self._store.names_below(layout.tombstones(tenant, model)):
            version = entry.versions.get(int(name)) if name.isdecimal() else None
            if version is not None:
                with suppress(DataLossError):
                    await self.checked_tombstone(version.manifest)
        for alias in await self._store.names_below(layout.aliases(tenant, model)):
            with suppress(DataLossError):
                await self.checked_chain(tenant, model, alias)

    def _entry(self, tenant: str, model: str) -> ModelEntry:
        return self._tenants.setdefault(tenant, {}).setdefault(model, ModelEntry())


@contextmanager
def _damage_logged() -> Iterator[None]:
    try:
        yield
    except DataLossError as error:
        # The message names the object; somebody wrote to the store, or it lost something.
        logger.error("a record does not verify", extra={"reason": error.message})  # noqa: TRY400 - no defect of ours
        raise
