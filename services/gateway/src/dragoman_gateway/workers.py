# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which workers hold which version ready, and how busy each is. Pure bookkeeping; worker_watch.py feeds it.

    WatchLoaded of each worker -> WorkerTable.update -> choose(version) -> the less loaded of two picked at random

The reported load is as old as the last report, so calls sent since then by this gateway are counted on top.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from dragoman_gateway.targets import DEFAULT_POOL
from dragoman_gateway.version import VersionKey

_STATES = ("READY", "LOADING", "DRAINING", "FAILED")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReport:
    """All that one worker holds, by state name (READY, LOADING, DRAINING, FAILED), and its queue."""

    states: Mapping[VersionKey, str]
    num_waiting: int = 0
    num_running: int = 0


@dataclass(kw_only=True, slots=True)
class _Worker:
    report: WorkerReport
    pool: str
    num_in_flight: int = 0
    is_leaving: bool = False

    @property
    def load(self) -> int:
        return self.report.num_waiting + self.report.num_running + self.num_in_flight


class WorkerTable:
    """The newest report of each worker address."""

    def __init__(self, choice: random.Random) -> None:
        self._workers: dict[str, _Worker] = {}
        self._choice = choice
        self._changed = asyncio.Event()

    def update(self, address: str, report: WorkerReport, *, pool: str = DEFAULT_POOL) -> None:
        worker = self._workers.get(address)
        if worker is None:
            self._workers[address] = _Worker(report=report, pool=pool)
        else:
            worker.report = report
        self.announce()

    def drop(self, address: str) -> None:
        """Forget a worker that fell silent: nothing is routed to it until it reports again."""
        if self._workers.pop(address, None) is not None:
            self.announce()

    def set_leaving(self, address: str, *, is_leaving: bool) -> None:
        """A worker whose name has gone is passed over for new calls while another can take them."""
        worker = self._workers.get(address)
        if worker is not None:
            worker.is_leaving = is_leaving

    def has_workers(self, pool: str) -> bool:
        """Whether any worker of the pool reports, whatever it holds."""
        return any(worker.pool == pool for worker in self._workers.values())

    def next_change(self) -> asyncio.Event:
        """An event that is set at the next update or drop, for callers that wait for a version to become ready."""
        return self._changed

    def is_ready(self, key: VersionKey) -> bool:
        return any(True for _ in self._holders(key))

    def states(self, key: VersionKey) -> list[str]:
        """The states in which workers hold the version, the nearest to an answer first."""
        found = {worker.report.states[key] for worker in self._workers.values() if key in worker.report.states}
        return [state for state in _STATES if state in found]

    def versions(self, tenant: str) -> list[VersionKey]:
        """Every version of the tenant that any worker holds, by model and number."""
        keys = {key for worker in self._workers.values() for key in worker.report.states if key.tenant == tenant}
        return sorted(keys, key=lambda key: (key.model, key.number, key.root_sha256))

    def choose(self, key: VersionKey, *, avoid: str | None = None) -> str | None:
        """The address to send the next call to, or None when no worker is ready for the version.

        Two workers are picked at random and the less loaded one wins, which keeps gateways that act on equally old
        reports from all rushing to one worker. `avoid` is passed over where another is ready.

        Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.
        """
        candidates = list(self._holders(key))
        candidates = [address for address in candidates if not self._workers[address].is_leaving] or candidates
        candidates = [address for address in candidates if address != avoid] or candidates
        if not candidates:
            return None
        if len(candidates) > 2:
            candidates = self._choice.sample(candidates, 2)
        loads = [self._workers[address].load for address in candidates]
        if len(candidates) == 2 and loads[0] == loads[1]:
            return self._choice.choice(candidates)
        return candidates[loads.index(min(loads))]

    @contextmanager
    def in_flight(self, address: str) -> Iterator[None]:
        """Count a call towards its worker's load for as long as it lasts."""
        worker = self._workers.get(address)
        if worker is None:
            yield
            return
        worker.num_in_flight += 1
        try:
            yield
        finally:
            worker.num_in_flight -= 1

    def _holders(self, key: VersionKey) -> Iterator[str]:
        return (address for address, worker in self._workers.items() if worker.report.states.get(key) == "READY")

    def announce(self) -> None:
        """Wake the calls that wait: what they wait for may have changed."""
        self._changed.set()
        self._changed = asyncio.Event()
