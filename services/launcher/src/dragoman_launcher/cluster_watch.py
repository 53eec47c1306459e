# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps in memory what the cluster has of one kind, by list and watch.

    list -> all objects, version -> watch from there -> ADDED, MODIFIED, DELETED move objects; BOOKMARK: the version
    410 Gone (also as an event) -> list again: what was deleted goes    a broken watch -> on from the version

Whoever waits for a change waits on the shared `Pulse`, and looks again after each beat.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from dragoman_common.errors import UnavailableError
from dragoman_launcher.cluster_api import GoneError, RefusedError
from dragoman_launcher.job_objects import Manifest

FIRST_DELAY_S: Final = 0.05
MAX_DELAY_S: Final = 10.0

logger = logging.getLogger(__name__)


class Listing(Protocol):
    """The part of ClusterApi that a watch needs."""

    async def list(self, kind: str, selector: str) -> Manifest:
        """See ClusterApi."""
        ...

    def watch(self, kind: str, selector: str, version: str) -> AsyncIterator[Manifest]:
        """See ClusterApi."""
        ...


class Pulse:
    """Beats when something has changed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """Set at the next beat. Take it before you look, so that no beat is missed."""
        return self._next

    def beat(self) -> None:
        self._next.set()
        self._next = asyncio.Event()


class ClusterWatch:
    """Follows one kind.

    Args:
        api: the cluster.
        kind: of the objects.
        selector: which of them.
        pulse: beaten after every change.
        on_removed: told the last state of an object that has gone.
        on_seen: told each object, whole, when it is seen first and after each change.
    """

    def __init__(
        self,
        api: Listing,
        kind: str,
        selector: str,
        pulse: Pulse,
        on_removed: Callable[[Manifest], None],
        *,
        on_seen: Callable[[Manifest], None] = lambda _found: None,
    ) -> None:
        self._api = api
        self._kind = kind
        self._selector = selector
        self._pulse = pulse
        self._on_removed = on_removed
        self._on_seen = on_seen
        self._version = ""
        self._delay_s = FIRST_DELAY_S
        self.objects: dict[str, Manifest] = {}
        self.synced = asyncio.Event()
        """Set once the objects are those of the cluster, of some moment after the start."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow()
            except GoneError:
                logger.info("watch too old, listing again", extra={"kind": self._kind})
                self._version = ""
            except KeyError as error:
                logger.warning("watch sent no object", extra={"kind": self._kind, "missing": str(error)})
                self._version = ""
            except (UnavailableError, RefusedError) as error:
                logger.warning("watch broken", extra={"kind": self._kind, "reason": str(error)})
            # Also after an orderly end: a server that ends every watch at once must not be asked in a loop.
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)

    async def _follow(self) -> None:
        if not self._version:
            listing = await self._api.list(self._kind, self._selector)
            items = listing.get("items") or []
            self._replace({item["metadata"]["name"]: _kept(item) for item in items})
            for item in items:
                self._on_seen(item)
            self._version = listing["metadata"]["resourceVersion"]
        async for event in self._api.watch(self._kind, self._selector, self._version):
            self._delay_s = FIRST_DELAY_S
            self._take(event)

    def _replace(self, objects: dict[str, Manifest]) -> None:
        for name, had in self.objects.items():
            found = objects.get(name)
            if found is None or found["metadata"]["uid"] != had["metadata"]["uid"]:
                self._on_removed(had)
        self.objects = objects
        self.synced.set()
        self._pulse.beat()

    def _take(self, event: Manifest) -> None:
        what = _kept(event["object"])
        self._version = what["metadata"]["resourceVersion"]
        if event["type"] in {"ADDED", "MODIFIED"}:
            self.objects[what["metadata"]["name"]] = what
            self._on_seen(event["object"])
        elif event["type"] == "DELETED":
            self.objects.pop(what["metadata"]["name"], None)
            self._on_removed(what)
        else:
            return
        self._pulse.beat()


def _kept(found: Manifest) -> Manifest:
    """What is looked at: a Job carries its record, a pod its whole form, and there may be thousands."""
    metadata = {
        name: value for name, value in found["metadata"].items() if name not in {"annotations", "managedFields"}
    }
    kept = {"metadata": metadata, "status": found.get("status") or {}}
    # A Job that is held in a queue is told by its form alone, until its controller has seen it.
    return kept | {"spec": {"suspend": True}} if (found.get("spec") or {}).get("suspend") else kept
