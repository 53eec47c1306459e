# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One pool as far as this process knows it: its workers' reports, and what it may say when none answers.

Owns the knowledge and its age. Not what follows for the number of workers (rule.py), nor how reports come
(follower.py). Time is an argument; nothing here waits.

    addresses of the name -> workers -> reports -> smoothed sums -> PoolState
    no report for stale_after_s  -> blind: the last state, and the number of workers that there were
    the name has no address, for empty_after_s -> empty
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from dragoman_autoscaler.capacity import Capacity, FullWorkers, LearnedCapacity
from dragoman_autoscaler.ports import WorkerLoad
from dragoman_autoscaler.targets import Targets

MAX_TARGETS = 16
"""Pairs of targets for which a capacity is learned: each trigger has one."""


class Sight(Enum):
    """What is known of a pool."""

    KNOWN = "known"
    BLIND = "blind"
    EMPTY = "empty"


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLimits:
    """How a pool is known.

    Attributes:
        stale_after_s: A worker's report counts for so long.
        smoothing_s: Time constant of the sums; longer is calmer and later.
        empty_after_s: A name that has lost all its addresses is believed after so long: workers that all restart at
            once are no reason to give them up.
        cool_down_s: A pool stays active for so long after the last demand.
    """

    stale_after_s: float = 3.0
    smoothing_s: float = 5.0
    empty_after_s: float = 60.0
    cool_down_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolState:
    """What the rule decides by.

    Attributes:
        sight: Where BLIND, the numbers are the last ones that were known.
        num_workers: That were heard; where BLIND, as many as the name had addresses when it last had any, at least 1.
        pending_tokens: Of all workers.
        queue_time_ms: Sum over the workers: the mean is this over num_workers.
        tokens_per_s: That all workers do.
        arriving_tokens_per_s: That come: what they do, and what more is pending than was before.
    """

    sight: Sight
    num_workers: int
    pending_tokens: float = 0.0
    queue_time_ms: float = 0.0
    tokens_per_s: float = 0.0
    arriving_tokens_per_s: float = 0.0


@dataclass(slots=True)
class _Worker:
    load: WorkerLoad | None = None
    heard_s: float = -math.inf


class Pool:
    """One pool. Not for several threads."""

    def __init__(self, name: str, limits: PoolLimits, now_s: float) -> None:
        """Begin blind.

        Args:
            name: The pool's.
            limits: See PoolLimits.
            now_s: The time.
        """
        self.name = name
        self._limits = limits
        self._workers: dict[str, _Worker] = {}
        self._is_resolved = False
        self._lost_all_s = -math.inf
        self._num_named = 1
        self._smoothed = PoolState(sight=Sight.KNOWN, num_workers=0)
        self._has_smoothed = False
        self._first_heard_s = math.inf
        self._smoothed_s = now_s
        self._demand_s = -math.inf
        self._most_seen = 0.0
        self._full: dict[Targets, tuple[FullWorkers, LearnedCapacity]] = {}

    def resolved(self, addresses: Collection[str], now_s: float) -> None:
        """Take the addresses that the pool's name has now."""
        was_let_go = not addresses and not self.is_active(now_s)
        for address in self._workers.keys() - set(addresses):
            del self._workers[address]
            for full, _ in self._full.values():
                full.forget(address)
            if not self._workers:
                # A pool that was told to have no worker has none: to doubt it would bring one back.
                self._lost_all_s = -math.inf if was_let_go else now_s
        for address in addresses:
            self._workers.setdefault(address, _Worker())
        self._num_named = len(addresses) or self._num_named
        if not self._is_resolved and addresses:
            # Another process may have seen demand a moment before this one began.
            self._demand_s = now_s
        self._is_resolved = True

    def reported(self, address: str, load: WorkerLoad, now_s: float) -> None:
        """Take a worker's report."""
        worker = self._workers.get(address)
        if worker is None:
            return
        self._smooth(now_s)
        worker.load, worker.heard_s = load, now_s
        if load.pending_tokens > 0 or load.calls_per_s > 0:
            self._demand_s = now_s
        for targets, (full, capacity) in self._full.items():
            is_full = load.pending_tokens >= targets.pending_tokens or load.queue_time_ms >= targets.queue_time_ms
            mean = full.take(address, load.tokens_per_s, now_s, is_full=is_full)
            if mean is not None:
                capacity.learn(mean)
        self._first_heard_s = min(self._first_heard_s, now_s)
        if not self._has_smoothed and self._is_whole(now_s):
            self._smoothed, self._has_smoothed = self._sum(now_s), True

    def demanded(self, now_s: float) -> None:
        """A gateway holds calls for this pool."""
        self._demand_s = now_s

    def capacity(self, targets: Targets) -> Capacity:
        """Return what one worker can do; at its target, that is learned from the first time on that it is asked for."""
        if targets not in self._full:
            if len(self._full) >= MAX_TARGETS:
                del self._full[next(iter(self._full))]
            self._full[targets] = (FullWorkers(), LearnedCapacity())
        learned = self._full[targets][1].tokens_per_s
        return Capacity(learned, is_learned=True) if learned else Capacity(self._most_seen)

    def state(self, now_s: float) -> PoolState:
        """Return what is known now, or was last."""
        sight = self._sight(now_s)
        if sight is Sight.KNOWN:
            self._smooth(now_s)
            return self._smoothed
        if sight is Sight.EMPTY:
            return PoolState(sight=sight, num_workers=0)
        return replace(self._smoothed, sight=sight, num_workers=self._num_named)

    def is_active(self, now_s: float) -> bool:
        """Tell whether the pool should have any worker: there is or was demand, or nobody can know."""
        if self._sight(now_s) is Sight.BLIND:
            return True
        return now_s - self._demand_s < self._limits.cool_down_s

    def _is_whole(self, now_s: float) -> bool:
        """All workers were heard, or were waited for: a new process does not take the first to speak for the pool."""
        is_waited_for = now_s - self._first_heard_s >= self._limits.stale_after_s
        return is_waited_for or all(worker.load for worker in self._workers.values())

    def _sight(self, now_s: float) -> Sight:
        if self._has_smoothed and any(self._is_fresh(worker, now_s) for worker in self._workers.values()):
            return Sight.KNOWN
        if self._is_resolved and not self._workers and now_s - self._lost_all_s >= self._limits.empty_after_s:
            return Sight.EMPTY
        return Sight.BLIND

    def _is_fresh(self, worker: _Worker, now_s: float) -> bool:
        return now_s - worker.heard_s < self._limits.stale_after_s

    def _sum(self, now_s: float) -> PoolState:
        """The reports that count, added up. A worker that was heard once and is silent now counts as the others do."""
        fresh = [each.load for each in self._workers.values() if each.load and self._is_fresh(each, now_s)]
        num_heard = sum(each.load is not None for each in self._workers.values())
        share = num_heard / len(fresh) if fresh else 1.0
        return PoolState(
            sight=Sight.KNOWN,
            num_workers=num_heard,
            pending_tokens=share * sum(load.pending_tokens for load in fresh),
            queue_time_ms=share * sum(load.queue_time_ms for load in fresh),
            tokens_per_s=(tokens_per_s := share * sum(load.tokens_per_s for load in fresh)),
            arriving_tokens_per_s=tokens_per_s,
        )

    def _smooth(self, now_s: float) -> None:
        """Bring the smoothed sums up to now: what was reported last has held since then."""
        if not self._has_smoothed or self._sight(now_s) is not Sight.KNOWN:
            self._smoothed_s = now_s
            return
        now = self._sum(now_s)
        weight = -math.expm1(-max(0.0, now_s - self._smoothed_s) / self._limits.smoothing_s)
        was = self._smoothed
        self._smoothed_s = now_s
        pending_tokens = was.pending_tokens + weight * (now.pending_tokens - was.pending_tokens)
        tokens_per_s = was.tokens_per_s + weight * (now.tokens_per_s - was.tokens_per_s)
        # The slope of an exponential mean is its distance from what is averaged, over its time constant.
        growth = (now.pending_tokens - pending_tokens) / self._limits.smoothing_s
        self._smoothed = replace(
            now,
            pending_tokens=pending_tokens,
            queue_time_ms=was.queue_time_ms + weight * (now.queue_time_ms - was.queue_time_ms),
            tokens_per_s=tokens_per_s,
            arriving_tokens_per_s=max(0.0, tokens_per_s + growth),
        )
        self._most_seen = max(self._most_seen, tokens_per_s / now.num_workers)
