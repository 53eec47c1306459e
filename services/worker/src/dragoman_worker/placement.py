# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which versions this worker runs: what the registry's aliases point to, once it is proven.

Owns the desired set, the order new before old, and retries. Not what is believed of an alias (alias_book.py), not which
earlier version stands in (stand_in.py), not one attempt to load (starter.py), nor how a version runs (engine.py).

    watch -> alias book -> wanted versions -> loaded and warm beside the old version -> READY -> the old one lingers,
    drains, and its process ends

A version that fails to load changes nothing for the one that serves: an alias lets go of its old versions only when all
its new ones are READY. The failure is reported with its reason, and tried again. Where no old version is held, because
this worker has just started, an earlier one stands in.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dragoman_common.audit import Audit
from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, DragomanError
from dragoman_worker.alias_book import refs_of
from dragoman_worker.alias_follower import AliasFollower
from dragoman_worker.backoff import Backoff
from dragoman_worker.engine import Engine
from dragoman_worker.held_version import HeldVersion, State, VersionRef, failure_text
from dragoman_worker.ports import AliasKey, ModelFailedError, RunnerEndedError
from dragoman_worker.stand_in import StandIns, is_lasting
from dragoman_worker.starter import VersionStarter, VersionWithdrawnError

logger = logging.getLogger(__name__)
audit = Audit("worker")

VersionKey: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementLimits:
    """How placement waits.

    Attributes:
        linger_ms: How long a version that is DRAINING still takes calls: gateways hear of it a moment later.
        first_retry_ms: Pause before the second retry of a load; the first is at once.
        max_retry_ms: Longest pause between two.
    """

    linger_ms: float
    first_retry_ms: float
    max_retry_ms: float


class Placement:
    """Follows the registry. follow runs in the background; the rest answers from memory."""

    def __init__(
        self, *, follower: AliasFollower, starter: VersionStarter, clock: Clock, limits: PlacementLimits
    ) -> None:
        """Prepare; nothing runs before follow.

        Args:
            follower: Where every alias points, as far as it is believed.
            starter: Starts versions.
            clock: For the times that are reported.
            limits: See PlacementLimits.
        """
        self._follower = follower
        self._book = follower.book
        self._starter = starter
        self._clock = clock
        self._limits = limits
        self._stand_ins = StandIns(follower.book)
        self._serving: dict[AliasKey, frozenset[VersionRef]] = {}
        self._held: dict[VersionKey, HeldVersion] = {}
        self._changed = asyncio.Event()
        self._checks: set[asyncio.Task[None]] = set()
        self._has_snapshot = False
        self._is_closed = False

    def changed(self) -> asyncio.Event:
        """Return an event that is set at the next change. Take it before reading the state that it is about."""
        return self._changed

    def find(self, tenant: str, model: str, number: int) -> HeldVersion | None:
        """Return a version of this tenant, if it is held."""
        return self._held.get((tenant, model, number))

    def held(self, tenant: str | None = None) -> Iterator[HeldVersion]:
        """Every version that is held or was refused, of one tenant or of all."""
        refused = (one for one in self._book.refused() if _key(one) not in self._held)
        for one in (*self._held.values(), *refused):
            if tenant is None or one.ref.tenant == tenant:
                yield one

    def engines(self) -> Iterator[Engine]:
        """What answers calls, of every version that has come up."""
        for one in self._held.values():
            if one.engine is not None:
                yield one.engine

    @property
    def is_settled(self) -> bool:
        """The aliases are known and each of their versions is READY or has FAILED once."""
        return self._has_snapshot and all(one.state is not State.LOADING for one in self._held.values())

    async def wait_settled(self) -> None:
        """Wait for is_settled."""
        while not self.is_settled:
            await self.changed().wait()

    async def follow(self) -> None:
        """Follow the registry until cancelled, through every break of the stream."""
        await self._follower.follow(self._updated, self._backoff())

    def keys_are_newer(self) -> None:
        """Verify again what was verified by the keys of before. What serves goes on; what does not hold is audited."""
        self._follower.keys_are_newer()
        for held in self._held.values():
            if held.engine is not None:
                check = asyncio.create_task(self._check(held), name=f"check {held.ref.name}")
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)

    async def close(self) -> None:
        """End every process and start no other. Calls should have drained before."""
        self._is_closed = True
        tasks = [*self._checks, *(one.task for one in self._held.values() if one.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.engine.close() for one in self._held.values() if one.engine is not None))
        self._held.clear()

    def _updated(self, moved: AliasKey | None, is_snapshot_complete: bool) -> None:
        if moved is not None:
            self._stand_ins.drop(moved)
        self._has_snapshot = self._has_snapshot or is_snapshot_complete
        # Not before: what is remembered of an alias may be older than what the snapshot has yet to say.
        if self._has_snapshot:
            self._reconcile()

    def _reconcile(self) -> None:
        """Start what is wanted, retire what nothing needs; called after every change."""
        if self._is_closed:
            return
        wanted = {key: refs_of(record) for key, record in self._book.records.items()}
        for key, refs in wanted.items():
            if all(self._is_ready(ref) for ref in refs):
                self._serving[key] = refs
                self._stand_ins.drop(key)
        for key, ref in list(self._stand_ins.refs()):
            if self._is_ready(ref):
                self._serving[key] = frozenset({ref})
                self._stand_ins.drop(key)
        to_run = frozenset(ref for _, ref in self._stand_ins.refs()).union(*wanted.values())
        needed = to_run.union(*self._serving.values())
        for held in list(self._held.values()):
            if held.ref not in needed:
                self._retire(held)
        for ref in sorted(to_run):
            self._start(ref)
        self._changed.set()
        self._changed = asyncio.Event()

    def _is_ready(self, ref: VersionRef) -> bool:
        held = self.find(ref.tenant, ref.model, ref.number)
        return held is not None and held.ref == ref and held.is_loaded

    def _start(self, ref: VersionRef) -> None:
        key = (ref.tenant, ref.model, ref.number)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = HeldVersion(ref, self._clock.now())
            held.task = asyncio.create_task(self._load(held), name=f"load {ref.name}")
        elif held.state is State.DRAINING and held.task is None and held.ref == ref and not held.is_in_doubt:
            # Wanted again while it lingers.
            held.move(State.READY, self._clock.now())

    def _retire(self, held: HeldVersion) -> None:
        """Let a version go: one that served keeps taking calls for a while, one that did not ends at once."""
        if held.is_loaded:
            held.move(State.DRAINING, self._clock.now())
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.linger_ms / 1000, self._stop_lingering, held, held.state_time)
        elif held.state is not State.DRAINING:
            held.move(State.DRAINING, self._clock.now())
            held.task = asyncio.create_task(self._unload(held, held.task), name=f"unload {held.ref.name}")

    def _stop_lingering(self, held: HeldVersion, since: datetime) -> None:
        # Unless it was wanted again in between; then a newer timer may be running.
        if held.state is State.DRAINING and held.state_time == since and held.task is None:
            held.task = asyncio.create_task(self._unload(held, None), name=f"unload {held.ref.name}")

    async def _unload(self, held: HeldVersion, loading: asyncio.Task[None] | None) -> None:
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        if held.engine is not None:
            await held.engine.drain()
            await held.engine.close()
        await self._starter.release(held)
        logger.info("version unloaded", extra={"version": held.ref.name})
        del self._held[_key(held)]
        # It may have been wanted again meanwhile.
        self._reconcile()

    async def _load(self, held: HeldVersion) -> None:
        backoff = self._backoff()
        num_failures = 0
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                await self._starter.start(held, self._reconcile)
            except (DragomanError, ModelFailedError, RunnerEndedError) as error:
                num_failures += 1
                await self._failed(held, error, num_failures)
            except Exception:
                # A defect of ours in one version must not leave it LOADING for ever, and this worker never ready.
                logger.exception("version not loaded by a defect", extra={"version": held.ref.name})
                num_failures += 1
                await self._failed(held, ModelFailedError("a defect of the worker; its log has it"), num_failures)
            else:
                break
        logger.info("version ready", extra={"version": held.ref.name})
        held.task = None
        held.move(State.READY, self._clock.now())
        self._reconcile()

    async def _check(self, held: HeldVersion) -> None:
        try:
            await self._starter.check(held)
        except DragomanError as error:
            held.is_in_doubt = True
            audit.refused(
                held.ref.name,
                f"{failure_text(error)}; it goes on serving until its alias moves, and is not loaded anew",
            )
        else:
            held.is_in_doubt = False

    async def _failed(self, held: HeldVersion, error: Exception, num_failures: int) -> None:
        logger.error("version not loaded", extra={"version": held.ref.name, "error": failure_text(error)})
        if isinstance(error, DataLossError | VersionWithdrawnError) and held.reason != failure_text(error):
            # Once for each reason, not for each attempt.
            audit.refused(held.ref.name, failure_text(error))
        if is_lasting(error, num_failures):
            for key in list(self._book.records):
                if key not in self._serving:
                    await self._stand_ins.failed(key, held.ref)
        # Only now: while the way back is read, this worker is not settled.
        held.move(State.FAILED, self._clock.now(), failure_text(error))
        self._reconcile()

    def _backoff(self) -> Backoff:
        return Backoff(first_s=self._limits.first_retry_ms / 1000, max_s=self._limits.max_retry_ms / 1000)


def _key(held: HeldVersion) -> VersionKey:
    return (held.ref.tenant, held.ref.model, held.ref.number)
