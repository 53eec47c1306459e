# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which workers hold which version ready, and which of them gets the next call. Pure bookkeeping; fleet.py feeds it.

    WatchLoaded -> update, drop;  ORCA -> update_load, set_silent;  names -> set_leaving;  ends of attempts -> outliers
    choose(version) -> the less loaded of two picked at random

What a worker holds is what WatchLoaded says; how busy it is, its load report says (load.py).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from dragoman_common.clock import Clock, SystemClock
from dragoman_gateway.load import LoadEstimate, LoadReport, is_less
from dragoman_gateway.outliers import OutlierDetector
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
    load: LoadEstimate = field(default_factory=LoadEstimate)
    is_leaving: bool = False
    is_silent: bool = False
    give_up: set[Callable[[], None]] = field(default_factory=set)


class WorkerTable:
    """The newest reports of each worker address."""

    def __init__(self, choice: random.Random, clock: Clock | None = None) -> None:
        self._workers: dict[str, _Worker] = {}
        self._choice = choice
        self._clock = clock or SystemClock()
        self._changed = asyncio.Event()
        self._outliers = OutlierDetector()

    def update(self, address: str, report: WorkerReport, *, pool: str = DEFAULT_POOL) -> None:
        """Take in what a worker holds."""
        worker = self._workers.get(address)
        if worker is None:
            worker = self._workers[address] = _Worker(report=report, pool=pool)
        else:
            worker.report = report
        worker.load.watched(report.num_waiting + report.num_running)
        self.announce()

    def update_load(self, address: str, report: LoadReport | None, *, ended_tokens: int = 0) -> None:
        """Take in a worker's load, or None when it does not tell it any more.

        `ended_tokens` are those of the call whose end brought the report.
        """
        worker = self._workers.get(address)
        if worker is None:
            return
        if report is None:
            worker.load.forget_report()
        else:
            worker.load.report(report, self._clock.monotonic_s(), ended_tokens=ended_tokens)

    def drop(self, address: str) -> None:
        """Forget a worker that fell silent: nothing is routed to it until it reports again."""
        if self._workers.pop(address, None) is not None:
            self.announce()

    def forget(self, address: str) -> None:
        """A worker that is not looked for any more: what it did counts no longer, either."""
        self.drop(address)
        self._outliers.forget(address)

    def set_leaving(self, address: str, *, is_leaving: bool) -> None:
        """A worker whose name has gone is passed over for new calls while another can take them."""
        worker = self._workers.get(address)
        if worker is not None:
            worker.is_leaving = is_leaving

    def set_silent(self, address: str, *, is_silent: bool) -> None:
        """A worker whose load reports have stopped coming is passed over, too, while another can take its calls."""
        worker = self._workers.get(address)
        if worker is not None:
            worker.is_silent = is_silent

    def give_up(self, address: str) -> None:
        """End the calls in flight at a worker that stays silent, so that they are tried elsewhere.

        Nothing happens where no other worker could take them, or where all are silent: then it is rather us who do not
        hear.
        """
        worker = self._workers.get(address)
        if worker is None or all(other.is_silent for other in self._workers.values()):
            return
        for end in tuple(worker.give_up):
            end()

    def has_ready_workers(self, pool: str) -> bool:
        """Whether any worker of the pool is ready for anything: not while its first one is still starting."""
        return any(
            worker.pool == pool and "READY" in worker.report.states.values() for worker in self._workers.values()
        )

    def num_ready(self) -> dict[str, int]:
        """How many workers of each pool are ready for anything."""
        counts = Counter(worker.pool for worker in self._workers.values())
        ready = Counter(worker.pool for worker in self._workers.values() if "READY" in worker.report.states.values())
        return {pool: ready[pool] for pool in counts}

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

    def choose(self, key: VersionKey, *, tried: Collection[str] = ()) -> str | None:
        """The address to send the next call to, or None when no worker is ready for the version.

        Two workers are picked at random and the less loaded one wins, which keeps gateways that act on equally old
        reports from all rushing to one worker. Passed over, where that leaves one: silent workers, those that this call
        has tried, those whose name has gone, and outliers.

        Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.
        """
        candidates = self._candidates(key, tried)
        if not candidates:
            return None
        if len(candidates) > 2:
            candidates = self._choice.sample(candidates, 2)
        if len(candidates) == 1:
            return candidates[0]
        one, other = candidates
        verdict = is_less(self._workers[one].load, self._workers[other].load)
        if verdict is None:
            return self._choice.choice(candidates)
        return one if verdict else other

    def has_less_loaded(self, key: VersionKey, *, than: str, tried: Collection[str]) -> bool:
        """Whether a worker that was not tried is less loaded than `than`, which has refused a call."""
        refuser = self._workers.get(than)
        return any(
            refuser is None or is_less(self._workers[address].load, refuser.load)
            for address in self._candidates(key, tried)
            if address not in tried
        )

    def queue_times_s(self, key: VersionKey) -> list[float | None]:
        """How long a call would wait at each worker that could get it now; None for one without a fresh report."""
        now_s = self._clock.monotonic_s()
        reports = [self._workers[address].load.fresh_report(now_s) for address in self._candidates(key, ())]
        return [None if report is None else report.queue_time_s for report in reports]

    @contextmanager
    def in_flight(self, address: str, num_tokens: int, give_up: Callable[[], None]) -> Iterator[None]:
        """Count a call towards its worker's load for as long as it lasts. `give_up` ends it early."""
        worker = self._workers.get(address)
        if worker is None:
            yield
            return
        worker.load.begin(num_tokens)
        worker.give_up.add(give_up)
        try:
            yield
        finally:
            worker.give_up.discard(give_up)
            worker.load.end(num_tokens)

    def ended(self, address: str, *, is_failure: bool) -> bool:
        """Count an attempt that ended by the worker's doing; whether the worker is ejected for it.

        Of a worker that was dropped nothing is kept: it gets no calls anyway.
        """
        if address not in self._workers:
            return False
        return self._outliers.ended(address, self._clock.monotonic_s(), is_failure=is_failure)

    def announce(self) -> None:
        """Wake the calls that wait: what they wait for may have changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _candidates(self, key: VersionKey, tried: Collection[str]) -> list[str]:
        holders = list(self._holders(key))
        ejected = self._outliers.passed_over(holders, self._clock.monotonic_s())
        for passed_over in (
            lambda address: self._workers[address].is_silent,
            tried.__contains__,
            lambda address: self._workers[address].is_leaving,
            ejected.__contains__,
        ):
            holders = [address for address in holders if not passed_over(address)] or holders
        return holders

    def _holders(self, key: VersionKey) -> Iterator[str]:
        return (address for address, worker in self._workers.items() if worker.report.states.get(key) == "READY")
