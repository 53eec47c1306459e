# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Garbage collection: what nothing refers to, deleted in two passes.

    look -> condemn what is unreferenced -> (another call, at least the wait later) -> look again -> delete

    blob     nobody lists it: no version, unless it was withdrawn longer ago than the rollback window; no data set; no
             begun publish
    claims   of a content that no version of the model holds, when all their numbers went to other content
    at once  intents that have expired; second signatures by a revoked key where another signature counts

A record that does not verify stops the collection of its tenant: what cannot be read may refer to anything. How a
publish and a collector that pass each other lose nothing: publish_intent. A call handles at most MAX_HANDLED objects
of a kind, and any number of registries may collect at once.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dragoman_common.clock import Clock
from dragoman_common.errors import FailedPreconditionError
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout, publish_intent
from dragoman_registry.catalog import Catalog
from dragoman_registry.data_book import DataBook
from dragoman_registry.garbage_look import Candidate, Look, Reason
from dragoman_registry.garbage_marks import Marks
from dragoman_registry.garbage_signatures import revoked_signatures
from dragoman_registry.ports import ObjectStore
from dragoman_registry.publish_intents import ReadIntents

logger = logging.getLogger(__name__)

BATCH = 50
MAX_HANDLED = 10_000


class CollectionRunningError(FailedPreconditionError):
    """One collection of a tenant at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """An object that nothing refers to, and why."""

    key: str
    reason: Reason
    size_bytes: int
    is_deleted: bool
    condemn_time: datetime


@dataclass(kw_only=True, slots=True)
class Collection:
    """What one call found and did; on a dry run, what it would have done."""

    garbage: list[Garbage] = field(default_factory=list)
    num_condemned: int = 0
    num_deleted: int = 0
    num_kept: int = 0
    num_left: int = 0
    condemned_bytes: int = 0
    deleted_bytes: int = 0
    num_abandoned_uploads: int = 0

    def add(self, item: Garbage) -> None:
        """Count an object."""
        self.garbage.append(item)
        if item.is_deleted:
            self.num_deleted += 1
            self.deleted_bytes += item.size_bytes
        else:
            self.num_condemned += 1
            self.condemned_bytes += item.size_bytes

    def add_all(self, candidate: Candidate, *, is_deleted: bool, condemn_time: datetime) -> None:
        """Count the objects of a candidate."""
        for key, size_bytes in candidate.objects:
            self.add(
                Garbage(
                    key=key,
                    reason=candidate.reason,
                    size_bytes=size_bytes,
                    is_deleted=is_deleted,
                    condemn_time=condemn_time,
                )
            )


class Collector:
    """Collects one tenant's garbage at a time."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        catalog: Catalog,
        data: DataBook,
        keys: VerifyingKeys,
        clock: Clock,
        wait_s: float,
        rollback_window_s: float,
        intent_lifetime_s: float,
    ) -> None:
        """Take how long a condemned object waits, a withdrawn version keeps its files, and an intent protects."""
        self._store = store
        self._catalog = catalog
        self._data = data
        self._keys = keys
        self._clock = clock
        self._wait = timedelta(seconds=wait_s)
        self._rollback_window = timedelta(seconds=rollback_window_s)
        self._intent_lifetime = timedelta(seconds=intent_lifetime_s)
        self._running: set[str] = set()

    async def tenants(self) -> list[str]:
        """Return whose garbage there may be."""
        return await self._store.names_below(layout.TENANTS)

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
        expired_before = now - self._intent_lifetime
        marks = Marks(self._store, tenant)
        condemned = await marks.read()
        intents = ReadIntents(self._store, tenant, expired_before)
        candidates = await self._look(tenant, intents, result)
        due: dict[str, datetime] = {}
        for number, (name, candidate) in enumerate(candidates.items()):
            since = condemned.get(name)
            if number >= MAX_HANDLED:
                result.num_left += len(candidate.objects)
            elif since is not None and now - since >= self._wait:
                due[name] = since
            else:
                if since is None:
                    since = now if dry_run else await marks.condemn(name, now)
                result.add_all(candidate, is_deleted=False, condemn_time=since)
        if dry_run:
            for name, since in due.items():
                result.add_all(candidates[name], is_deleted=True, condemn_time=since)
        else:
            # What is in use again, or went by another collector's hand.
            for name in set(condemned) - set(candidates):
                await marks.spare(name)
            await self._delete(tenant, due, intents, result)
        await self._delete_at_once(tenant, intents, result, now, dry_run=dry_run)
        if not dry_run:
            result.num_abandoned_uploads = await self._store.abandon_uploads(
                sorted(layout.blob(tenant, sha256) for sha256 in intents.expired_blobs), begun_before=expired_before
            )
            _log(tenant, result)
        return result

    async def _look(self, tenant: str, intents: ReadIntents, result: Collection) -> Mapping[str, Candidate]:
        withdrawn_before = self._clock.now() - self._rollback_window
        look = Look(self._store, self._catalog, self._data, tenant, withdrawn_before=withdrawn_before)
        candidates = await look.candidates()
        # Versions before intents: an intent outlives the commit of its version, so none falls between the two.
        await intents.refresh()
        unheld = {name: candidate for name, candidate in candidates.items() if not intents.holds(candidate)}
        result.num_kept = look.num_blobs - sum(item.reason is Reason.UNREFERENCED_BLOB for item in unheld.values())
        return unheld

    async def _delete(self, tenant: str, due: Mapping[str, datetime], intents: ReadIntents, result: Collection) -> None:
        if not due:
            return
        marks = Marks(self._store, tenant)
        candidates = await self._look(tenant, intents, result)
        for batch in _batches(list(due)):
            begin_s = self._clock.monotonic_s()
            await intents.refresh()
            for name in batch:
                candidate = candidates.get(name)
                late = self._clock.monotonic_s() - begin_s > publish_intent.DELETE_WINDOW_S
                # A publisher that spares a blob takes the condemnation away.
                if candidate is None or late or intents.holds(candidate) or await marks.time_of(name) is None:
                    result.num_left += len(candidate.objects) if candidate and late else 0
                    continue
                for key, _ in candidate.objects:
                    await self._store.delete(key)
                await marks.spare(name)
                result.add_all(candidate, is_deleted=True, condemn_time=due[name])

    async def _delete_at_once(
        self, tenant: str, intents: ReadIntents, result: Collection, now: datetime, *, dry_run: bool
    ) -> None:
        found = [
            Garbage(
                key=key,
                reason=Reason.EXPIRED_INTENT,
                size_bytes=intent.size_bytes,
                is_deleted=True,
                condemn_time=intent.time,
            )
            for key, intent in intents.expired.items()
        ]
        for key, size_bytes in await revoked_signatures(self._store, self._keys, tenant):
            found.append(
                Garbage(
                    key=key,
                    reason=Reason.REVOKED_SIGNATURE,
                    size_bytes=size_bytes,
                    is_deleted=True,
                    condemn_time=now,
                )
            )
        result.num_left += max(0, len(found) - MAX_HANDLED)
        for item in found[:MAX_HANDLED]:
            if not dry_run:
                await self._store.delete(item.key)
            result.add(item)


def _batches(due: Sequence[str]) -> list[Sequence[str]]:
    return [due[start : start + BATCH] for start in range(0, len(due), BATCH)]


def _log(tenant: str, result: Collection) -> None:
    logger.info(
        "garbage collected",
        extra={
            "tenant": tenant,
            "condemned": result.num_condemned,
            "condemned_bytes": result.condemned_bytes,
            "deleted": result.num_deleted,
            "deleted_bytes": result.deleted_bytes,
            "kept": result.num_kept,
            "left": result.num_left,
            "abandoned_uploads": result.num_abandoned_uploads,
        },
    )
