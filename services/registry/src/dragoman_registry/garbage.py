# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Garbage collection: blobs that no version and no running publish refers to, deleted in two passes.

    mark -> condemn what is unreferenced -> (another call, at least the wait later) -> mark again -> delete

Referenced is what a version lists, unless it was withdrawn longer ago than the rollback window, and what an intent that
has not expired brings. A record that does not verify stops the collection of its tenant: what cannot be read may refer
to anything. How a publish and a collector that pass each other lose nothing: publish_intent.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, FailedPreconditionError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.record_fields import canonical_json, time_field, time_text
from dragoman_registry import layout, publish_intent
from dragoman_registry.catalog import Catalog
from dragoman_registry.ports import ObjectExistsError, ObjectNotFoundError, ObjectStore
from dragoman_registry.publish_intent import Intent, read_intent
from dragoman_registry.settled import create_settled
from dragoman_text.strict_json import parse_object

logger = logging.getLogger(__name__)

CONDEMNED_FORMAT = "dragoman.condemned/1"
BATCH = 50
_MAX_CONDEMNED_BYTES = 1024
_MAX_INTENT_BYTES = 16 << 20


class CollectionRunningError(FailedPreconditionError):
    """One collection of a tenant at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """A blob, or an expired intent, that nothing refers to."""

    key: str
    is_deleted: bool
    condemn_time: datetime


@dataclass(kw_only=True, slots=True)
class Collection:
    """What one call found and did; on a dry run, what it would have done."""

    garbage: list[Garbage] = field(default_factory=list)
    num_condemned: int = 0
    num_deleted: int = 0
    num_kept: int = 0

    def add(self, key: str, *, is_deleted: bool, condemn_time: datetime) -> None:
        """Count an object."""
        self.garbage.append(Garbage(key=key, is_deleted=is_deleted, condemn_time=condemn_time))
        self.num_deleted += is_deleted
        self.num_condemned += not is_deleted


class Collector:
    """Collects one tenant's garbage at a time."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        catalog: Catalog,
        clock: Clock,
        wait_s: float,
        rollback_window_s: float,
        intent_lifetime_s: float,
    ) -> None:
        """Take how long a condemned blob waits, a withdrawn version keeps its files, and an intent protects."""
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._wait = timedelta(seconds=wait_s)
        self._rollback_window = timedelta(seconds=rollback_window_s)
        self._intent_lifetime = timedelta(seconds=intent_lifetime_s)
        self._running: set[str] = set()

    async def collect(self, tenant: str, *, dry_run: bool) -> Collection:
        """Condemn what is garbage now; delete what was condemned at least the wait ago, and still is.

        Raises:
            CollectionRunningError: this registry is collecting this tenant's garbage already.
            DataLossError: a record does not verify; nothing was deleted after it was found.
        """
        if tenant in self._running:
            raise CollectionRunningError("this tenant's garbage is being collected; try again when that has ended")
        self._running.add(tenant)
        try:
            return await self._collect(tenant, dry_run=dry_run)
        finally:
            self._running.discard(tenant)

    async def _collect(self, tenant: str, *, dry_run: bool) -> Collection:
        result = Collection()
        now = self._clock.now()
        blobs = await self._store.names_below(layout.blobs(tenant))
        condemned = {sha256: await self._condemn_time(tenant, sha256) for sha256 in await self._condemned(tenant)}
        # Versions before intents: an intent outlives the commit of its version, so none falls between the two.
        referenced = await self._referenced(tenant)
        intents = _Intents(self._store, tenant, now - self._intent_lifetime)
        await intents.refresh()
        due: list[tuple[str, datetime]] = []
        for sha256 in blobs:
            since = condemned.get(sha256)
            if sha256 in referenced or sha256 in intents.blobs:
                result.num_kept += 1
                if since is not None and not dry_run:
                    await self._store.delete(layout.condemned_blob(tenant, sha256))
            elif since is not None and now - since >= self._wait:
                due.append((sha256, since))
            else:
                since = since or await self._condemn(tenant, sha256, now, dry_run=dry_run)
                result.add(layout.blob(tenant, sha256), is_deleted=False, condemn_time=since)
        if dry_run:
            for sha256, since in due:
                result.add(layout.blob(tenant, sha256), is_deleted=True, condemn_time=since)
            for key, expired in intents.expired.items():
                result.add(key, is_deleted=True, condemn_time=expired.time)
            return result
        await self._delete(tenant, due, intents, result)
        for sha256 in set(condemned) - set(blobs):
            await self._store.delete(layout.condemned_blob(tenant, sha256))
        for key, expired in intents.expired.items():
            await self._store.delete(key)
            result.add(key, is_deleted=True, condemn_time=expired.time)
        logger.info(
            "garbage collected",
            extra={"tenant": tenant, "condemned": result.num_condemned, "deleted": result.num_deleted},
        )
        return result

    async def _delete(
        self, tenant: str, due: Sequence[tuple[str, datetime]], intents: "_Intents", result: Collection
    ) -> None:
        referenced = await self._referenced(tenant) if due else frozenset()
        for batch in _batches(due):
            begin_s = self._clock.monotonic_s()
            await intents.refresh()
            for sha256, since in batch:
                late = self._clock.monotonic_s() - begin_s > publish_intent.DELETE_WINDOW_S
                is_held = late or sha256 in referenced or sha256 in intents.blobs
                # A publisher that spares a blob takes the condemnation away.
                if is_held or await self._condemn_time(tenant, sha256) is None:
                    result.num_kept += 1
                    continue
                key = layout.blob(tenant, sha256)
                await self._store.delete(key)
                await self._store.delete(layout.condemned_blob(tenant, sha256))
                result.add(key, is_deleted=True, condemn_time=since)

    async def _referenced(self, tenant: str) -> frozenset[str]:
        now = self._clock.now()
        found: set[str] = set()
        for model in await self._store.names_below(layout.models(tenant)):
            names = await self._store.names_below(layout.versions(tenant, model))
            numbers = {int(name) for name in names if name.isdecimal()}
            # What was here and is gone is damage, not garbage.
            numbers |= self._catalog.known_numbers(tenant, model)
            for number in sorted(numbers):
                manifest = (await self._catalog.checked_version(tenant, model, number)).manifest
                tombstone = await self._catalog.checked_tombstone(manifest)
                if tombstone is None or now - tombstone.record.withdraw_time < self._rollback_window:
                    found.update(file.sha256 for file in manifest.files)
        return frozenset(found)

    async def _condemned(self, tenant: str) -> list[str]:
        return await self._store.names_below(layout.condemned_blobs(tenant))

    async def _condemn_time(self, tenant: str, sha256: str) -> datetime | None:
        key = layout.condemned_blob(tenant, sha256)
        try:
            data = await self._store.read(key, length=_MAX_CONDEMNED_BYTES)
            top = Fields(parse_object(data, what=key, max_bytes=_MAX_CONDEMNED_BYTES), what=key, required=_CONDEMNED)
            top.text("format", choices=(CONDEMNED_FORMAT,))
            return time_field(top, "time")
        except ObjectNotFoundError:
            # A publisher has spared it.
            return None
        except InvalidArgumentError as error:
            raise DataLossError(error.message) from error

    async def _condemn(self, tenant: str, sha256: str, now: datetime, *, dry_run: bool) -> datetime:
        if not dry_run:
            content = {"format": CONDEMNED_FORMAT, "time": time_text(now)}
            try:
                await create_settled(self._store, layout.condemned_blob(tenant, sha256), canonical_json(content))
            except ObjectExistsError:
                return await self._condemn_time(tenant, sha256) or now
        return now


_CONDEMNED = ("format", "time")


class _Intents:
    """A tenant's intents; one that was read is not read again, because it does not change."""

    def __init__(self, store: ObjectStore, tenant: str, expired_before: datetime) -> None:
        self._store = store
        self._tenant = tenant
        self._expired_before = expired_before
        self._read: dict[str, Intent] = {}
        self.expired: dict[str, Intent] = {}

    @property
    def blobs(self) -> frozenset[str]:
        """What the intents that have not expired bring."""
        return frozenset(
            sha256 for key, intent in self._read.items() if key not in self.expired for sha256 in intent.blobs
        )

    async def refresh(self) -> None:
        """Read the intents that came since."""
        for model in await self._store.names_below(layout.models(self._tenant)):
            for name in await self._store.names_below(layout.intents(self._tenant, model)):
                key = layout.intent(self._tenant, model, name)
                if key in self._read:
                    continue
                try:
                    intent = read_intent(await self._store.read(key, length=_MAX_INTENT_BYTES), what=key)
                except ObjectNotFoundError:
                    continue
                self._read[key] = intent
                if intent.time < self._expired_before:
                    self.expired[key] = intent


def _batches(due: Sequence[tuple[str, datetime]]) -> Iterator[Sequence[tuple[str, datetime]]]:
    for start in range(0, len(due), BATCH):
        yield due[start : start + BATCH]
