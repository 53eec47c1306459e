# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which of several launchers acts by itself: the one that holds a Lease of the cluster.

    free, given back, or not renewed for its life -> taken, with the version that was seen (one of many wins)
    held -> renewed every third of its life; not for two thirds -> left, before another may take it
    another's -> looked at every eighth of its life
    stop -> left, given back: the next one need not wait

Whether a Lease has run out is counted by the watcher's own clock, from when it last saw it change: clocks that differ
do no harm. A holder that hangs and wakes up late may act beside the next one for a moment, which costs limits their
sharpness: what a launcher does to jobs is create-only or numbered.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol

from dragoman_common.clock import Clock
from dragoman_common.errors import UnavailableError
from dragoman_launcher.cluster_api import RefusedError
from dragoman_launcher.job_objects import MANAGED, Manifest

LEASE: Final = "dragoman-launcher"
LIFE_S: Final = 15.0
"""How long a holder that has died is waited for."""

logger = logging.getLogger(__name__)


class Leases(Protocol):
    """The part of ClusterApi that is needed here."""

    async def get(self, kind: str, name: str) -> Manifest | None:
        """See ClusterApi."""
        ...

    async def create(self, manifest: Manifest) -> bool:
        """See ClusterApi."""
        ...

    async def replace(self, manifest: Manifest) -> Manifest | None:
        """See ClusterApi."""
        ...


class Leadership:
    """Takes part in who leads.

    Args:
        api: the cluster.
        holder: who we are; no other process has this name.
        clock: ours.
        lead: run while the Lease is ours, and cancelled when it is not: it returns soon then.
        life_s: of the Lease, in seconds.
    """

    def __init__(
        self,
        api: Leases,
        *,
        holder: str,
        clock: Clock,
        lead: Callable[[], Coroutine[Any, Any, None]],
        life_s: float = LIFE_S,
    ) -> None:
        self._api = api
        self._holder = holder
        self._clock = clock
        self._lead = lead
        self._life_s = life_s
        self._leading: asyncio.Task[None] | None = None
        self._sure_until_s = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def is_leading(self) -> bool:
        return self._leading is not None

    async def run(self) -> None:
        """Take part until `stop`, or until cancelled; raises what `lead` raises."""
        try:
            while not self._stopping.is_set():
                await self._turn()
                await self._pause(self._life_s / (3 if self.is_leading else 8))
                if self._leading is not None and self._leading.done():
                    self._leading.result()
        finally:
            was_leading = self.is_leading
            await self._leave()
            if was_leading:
                with suppress(UnavailableError, RefusedError, TimeoutError):
                    async with asyncio.timeout(self._life_s / 3):
                        await self._give_back()
            self._stopped.set()

    async def stop(self) -> None:
        """Lead no more, and give the Lease back. Call it while `run` runs."""
        self._stopping.set()
        await self._stopped.wait()

    async def _pause(self, pause_s: float) -> None:
        """Until the next turn, or the end: of ours, or of what leads."""
        stopping = asyncio.create_task(self._stopping.wait())
        waiting: set[asyncio.Task[Any]] = {stopping} if self._leading is None else {stopping, self._leading}
        try:
            await asyncio.wait(waiting, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _turn(self) -> None:
        began_s = self._clock.monotonic_s()
        is_ours: bool | None = None
        try:
            async with asyncio.timeout(self._life_s / 3):
                is_ours = await self._held()
        except (UnavailableError, RefusedError, TimeoutError) as error:
            logger.warning("lease not asked for", extra={"reason": str(error), "leads": self.is_leading})
        if is_ours:
            # Others count from when they saw the change, which was later.
            self._sure_until_s = began_s + self._life_s * 2 / 3
            if self._leading is None:
                logger.info("leads", extra={"holder": self._holder})
                self._leading = asyncio.create_task(self._lead())
        elif is_ours is False or self._clock.monotonic_s() >= self._sure_until_s:
            await self._leave()

    async def _leave(self) -> None:
        if self._leading is None:
            return
        logger.info("leads no more", extra={"holder": self._holder})
        leading, self._leading = self._leading, None
        leading.cancel()
        await asyncio.wait([leading])

    async def _held(self) -> bool:
        """Take or renew it; False when it is somebody else's."""
        found = await self._api.get("Lease", LEASE)
        if found is None:
            return await self._api.create(self._lease(None))
        spec, version = found.get("spec") or {}, str(found["metadata"]["resourceVersion"])
        holder = spec.get("holderIdentity")
        if holder and holder != self._holder:
            if self._seen[0] != version:
                self._seen = (version, self._clock.monotonic_s())
            if self._clock.monotonic_s() - self._seen[1] < float(spec.get("leaseDurationSeconds") or self._life_s):
                return False
        return await self._api.replace(self._lease(found)) is not None

    def _lease(self, found: Manifest | None, *, is_free: bool = False) -> Manifest:
        before: Manifest = (found or {}).get("spec") or {}
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_ours = before.get("holderIdentity") == self._holder
        spec = {
            "holderIdentity": "" if is_free else self._holder,
            "leaseDurationSeconds": max(1, round(self._life_s)),
            "acquireTime": before.get("acquireTime", now) if is_ours else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if is_ours or found is None else 1),
        }
        metadata: Manifest = {"name": LEASE, "labels": MANAGED}
        if found is not None:
            metadata = found["metadata"]
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    async def _give_back(self) -> None:
        found = await self._api.get("Lease", LEASE)
        if found is not None and (found.get("spec") or {}).get("holderIdentity") == self._holder:
            await self._api.replace(self._lease(found, is_free=True))
