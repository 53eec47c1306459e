# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What there is, in memory: lists of models and versions, and the newest event of every alias.

Owns a copy of the store's verified records, filled by a scan at start, told of each write of this process, woken by the
news of others (wake), and repaired by a scan every while.

    lists            memory
    one version      one read, which must be the bytes that verified or verify now
    one alias        the newest known event and the one after it, read; the chain before them from memory
    moves, withdrawals, what a scan finds changed    the whole chain, read

A record that does not verify is left out of the lists, logged, and answered with DATA_LOSS where it is asked for by
name, until it verifies again; nothing else is affected. What was here once and is gone from the store is DATA_LOSS too,
never "not found". What has no place in the layout is not read, and named in the audit log (unknown_objects).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from dragoman_common.errors import DataLossError
from dragoman_models.record import VersionManifest
from dragoman_registry import layout
from dragoman_registry.alias import Chain, StoredEvent, accepting
from dragoman_registry.bounded import map_bounded
from dragoman_registry.model_version import ModelVersionNotFoundError, StoredTombstone, StoredVersion
from dragoman_registry.ports import ObjectStore, ObjectTag, is_key
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.unknown_objects import UnknownObjects
from dragoman_registry.watch import AliasWatch

logger = logging.getLogger(__name__)

# The first scan has the process to itself; later ones must not be felt by the calls beside them.
FIRST_SCAN_MODELS = 8
SCAN_MODELS = 1
SCAN_PAUSE_S = 0.005
SCAN_RECORDS = 4


@dataclass(kw_only=True, slots=True)
class ModelEntry:
    """One model's verified versions and tombstones by number, and the newest verified event of each alias.

    Attributes:
        tags: The store's tag of each record when it last verified, by key; what has it still is not read again.
        damaged: The aliases whose chain did not verify when it was last read.
    """

    versions: dict[int, StoredVersion] = field(default_factory=dict)
    aliases: dict[str, StoredEvent] = field(default_factory=dict)
    tombstones: dict[int, StoredTombstone] = field(default_factory=dict)
    tags: dict[str, ObjectTag] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)


class Catalog:
    """The lists of every tenant. A tenant only ever reads its own."""

    def __init__(self, *, store: ObjectStore, reader: RecordReader, watch: AliasWatch) -> None:
        """Start empty; scan fills it."""
        self._store = store
        self._reader = reader
        self._watch = watch
        self._tenants: dict[str, dict[str, ModelEntry]] = {}
        self._is_filled = False
        self._unknown = UnknownObjects()

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

    def known_sequence(self, tenant: str, model: str, alias: str) -> int:
        """Return the sequence of an alias's newest event, as far as it was read; 0 for no such alias."""
        entry = self._tenants.get(tenant, {}).get(model)
        event = entry.aliases.get(alias) if entry else None
        return event.record.sequence if event else 0

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

    async def checked_version_and_tombstone(
        self, tenant: str, model: str, number: int
    ) -> tuple[StoredVersion, StoredTombstone | None]:
        """Read and verify both, at the same time where the version is known; damage is logged.

        Raises:
            ModelVersionNotFoundError: there is no such version.
            DataLossError: one of the two does not verify.
        """
        entry = self._tenants.get(tenant, {}).get(model)
        known = entry.versions.get(number) if entry else None
        if known is not None:
            version, tombstone = await asyncio.gather(
                self.checked_version(tenant, model, number), self.checked_tombstone(known.manifest)
            )
            if version.manifest.root_sha256 == known.manifest.root_sha256:
                return version, tombstone
        version = await self.checked_version(tenant, model, number)
        return version, await self.checked_tombstone(version.manifest)

    async def checked_chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        """Read the whole chain of an alias from the store and verify it; damage is logged.

        Raises:
            DataLossError: it does not verify, or it is shorter than it was: a rollback that no event records.
        """
        return await self._checked(self._reader.chain, tenant, model, alias)

    async def followed_chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        """Return the chain of an alias as it is now, also by another registry's hand, with two reads; damage is logged.

        Raises:
            DataLossError: the newest event is gone, or it or what follows does not verify. Damage to earlier events is
                told once a scan or a move has found it.
        """
        entry = self._tenants.get(tenant, {}).get(model)
        read = self._reader.chain if entry and alias in entry.damaged else self._reader.followed_chain
        return await self._checked(read, tenant, model, alias)

    async def _checked(
        self, read: Callable[[str, str, str], Awaitable[list[StoredEvent]]], tenant: str, model: str, alias: str
    ) -> list[StoredEvent]:
        # Before reading: what is written meanwhile may be missing from what was read.
        entry = self._tenants.get(tenant, {}).get(model)
        known = entry.aliases.get(alias) if entry else None
        with _damage_logged():
            try:
                chain = await read(tenant, model, alias)
                start = known.record.sequence if known else 0
                if known is not None and (accepted := accepting(chain, known)) is not None:
                    # What is known was lost, and an operator decided: the alias goes on from there.
                    self._entry(tenant, model).aliases.pop(alias, None)
                    known, start = None, accepted.record.sequence - 1
                _refuse_shorter(chain, known)
            except DataLossError:
                self._entry(tenant, model).damaged.add(alias)
                raise
        if entry is not None and read == self._reader.chain:
            entry.damaged.discard(alias)
        for event in chain[start:]:
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

    def forget(self) -> None:
        """Let the next scan verify every record again: the keys that count have changed."""
        for models in self._tenants.values():
            for entry in models.values():
                entry.tags.clear()

    async def scan(self) -> None:
        """Compare with the store, take in what is new or changed, and log what does not verify.

        Raises:
            UnavailableError: the store does not answer.
        """
        width = SCAN_MODELS if self._is_filled else FIRST_SCAN_MODELS
        for tenant in await self._store.names_below(layout.TENANTS):

            async def scan_model(model: str, tenant: str = tenant) -> None:
                await self._scan_model(tenant, model)
                if self._is_filled:
                    await asyncio.sleep(SCAN_PAUSE_S)

            await map_bounded(scan_model, await self._store.names_below(layout.models(tenant)), width=width)
        self._is_filled = True

    async def _scan_model(self, tenant: str, model: str) -> None:
        entry = self._entry(tenant, model)
        # Before listing: what is written meanwhile may be missing from the list.
        versions, aliases = dict(entry.versions), dict(entry.aliases)
        listed = await self._store.tags_below(layout.model(tenant, model))
        self._unknown.look(tenant, model, listed)
        tags = {key: tag for key, tag in listed.items() if is_key(key)}

        async def look_at_version(number: int) -> None:
            key = layout.version(tenant, model, number)
            if key not in tags:
                with suppress(DataLossError), _damage_logged():
                    raise DataLossError(f"{tenant}/{model}/versions/{number}: is gone from the store")
            elif tags[key] != entry.tags.get(key):
                with suppress(DataLossError, ModelVersionNotFoundError):
                    await self.checked_version(tenant, model, number)
                    entry.tags[key] = tags[key]

        numbers = _numbers_below(tags, layout.versions(tenant, model))
        await map_bounded(look_at_version, sorted(numbers | set(versions)), width=SCAN_RECORDS)
        for number in _numbers_below(tags, layout.tombstones(tenant, model)):
            version = entry.versions.get(number)
            if version is not None:
                with suppress(DataLossError):
                    await self.checked_tombstone(version.manifest)
        prefix = f"{layout.aliases(tenant, model)}/"
        found = {key.removeprefix(prefix).split("/")[0] for key in tags if key.startswith(prefix)}
        for alias in sorted(found | set(aliases)):
            with suppress(DataLossError):
                await self._scan_alias(tenant, model, alias, tags, entry)

    async def _scan_alias(
        self, tenant: str, model: str, alias: str, tags: dict[str, ObjectTag], entry: ModelEntry
    ) -> None:
        prefix = f"{layout.alias(tenant, model, alias)}/"
        listed = {key: tag for key, tag in tags.items() if key.startswith(prefix)}
        known = {key: tag for key, tag in entry.tags.items() if key.startswith(prefix)}
        if listed == known and alias not in entry.damaged:
            return
        is_extended = known and known.items() <= listed.items() and _is_counted(listed, prefix)
        read = self.followed_chain if is_extended else self.checked_chain
        chain = await read(tenant, model, alias)
        # An event that was written since the listing gets its tag by the next one.
        entry.tags |= {key: listed[key] for key in (f"{prefix}{n}" for n in range(1, len(chain) + 1)) if key in listed}

    def _entry(self, tenant: str, model: str) -> ModelEntry:
        return self._tenants.setdefault(tenant, {}).setdefault(model, ModelEntry())


def _refuse_shorter(chain: Chain, known: StoredEvent | None) -> None:
    if known is not None and len(chain) < known.record.sequence:
        record = known.record
        raise DataLossError(
            f"{record.tenant}/{record.model}/aliases/{record.alias}: event {record.sequence} is gone from the store"
        )


def _numbers_below(tags: Collection[str], prefix: str) -> set[int]:
    names = (key.removeprefix(f"{prefix}/") for key in tags if key.startswith(f"{prefix}/"))
    return {int(name) for name in names if name.isdecimal() and str(int(name)) == name}


def _is_counted(keys: Collection[str], prefix: str) -> bool:
    """Tell whether the keys are those of the events 1 to as many as there are."""
    return all(f"{prefix}{number}" in keys for number in range(1, len(keys) + 1))


@contextmanager
def _damage_logged() -> Iterator[None]:
    try:
        yield
    except DataLossError as error:
        # The message names the object; somebody wrote to the store, or it lost something.
        logger.error("a record does not verify", extra={"reason": error.message})  # noqa: TRY400 - no defect of ours
        raise
