# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""All pools and the gateways' demand: what a call of KEDA's is answered from.

Owns who is asked about and when somebody should look again. Answers from memory, always.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from dragoman_autoscaler.demand import DemandBook, Held
from dragoman_autoscaler.pool import Pool, PoolLimits, PoolState
from dragoman_autoscaler.rule import values_by_metric
from dragoman_autoscaler.targets import Targets
from dragoman_common.clock import Clock
from dragoman_common.errors import InvalidArgumentError


class UnknownPoolError(InvalidArgumentError):
    """No such pool is followed here."""


class Pools:
    """The pools of one installation."""

    def __init__(self, names: Iterable[str], limits: PoolLimits, clock: Clock) -> None:
        """Begin blind.

        Args:
            names: Of the pools.
            limits: How each is known.
            clock: The time.
        """
        self._clock = clock
        self._demand = DemandBook()
        self._pools = {name: Pool(name, limits, clock.monotonic_s()) for name in names}
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Pool]:
        """Every pool."""
        return iter(self._pools.values())

    def changed(self) -> asyncio.Event:
        """Return an event that is set when anything has changed. Take it before reading what it is about."""
        return self._changed

    def change(self) -> None:
        """Wake who waits for changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def is_active(self, name: str) -> bool:
        """Tell whether the pool should have any worker.

        Raises:
            UnknownPoolError: there is no such pool.
        """
        now_s = self._clock.monotonic_s()
        pool = self._find(name)
        held = self._demand.held(name, now_s)
        if held.calls or held.tokens:
            # While it is held, not only when it was told: a report may live longer than the cool-down.
            pool.demanded(now_s)
        return pool.is_active(now_s)

    def values(self, name: str, targets: Targets) -> dict[str, float]:
        """Return the pool's metrics.

        Raises:
            UnknownPoolError: there is no such pool.
        """
        now_s = self._clock.monotonic_s()
        pool = self._find(name)
        return values_by_metric(pool.state(now_s), self._demand.held(name, now_s), targets, pool.capacity(targets))

    def state(self, name: str) -> tuple[PoolState, Held]:
        """Return what is known of a pool, and what gateways hold for it.

        Raises:
            UnknownPoolError: there is no such pool.
        """
        now_s = self._clock.monotonic_s()
        return self._find(name).state(now_s), self._demand.held(name, now_s)

    def take_demand(self, reporter: str, held_by_pool: Mapping[str, Held], lifetime_s: float) -> None:
        """Take a gateway's report. Pools that are not followed here are left out.

        Raises:
            InvalidArgumentError: a field is outside its limits.
            OverloadedError: more gateways than are kept.
        """
        now_s = self._clock.monotonic_s()
        self._demand.take(reporter, held_by_pool, lifetime_s, now_s)
        for name in held_by_pool.keys() & self._pools.keys():
            # So that a cool-down begins with a report that nobody asked about, too.
            self.is_active(name)
        self.change()

    def _find(self, name: str) -> Pool:
        if name not in self._pools:
            raise UnknownPoolError(f"pool: no {name[:64]!r} here; there are {', '.join(sorted(self._pools))}")
        return self._pools[name]
