# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The calls that wait at this gateway: no worker is ready for their version, or all that are have no room for them.

    Router.hold, Router.wait_for_room -> HeldCalls -> demand per pool -> demand_reporter.py -> the autoscaler

Pure bookkeeping. A call is held for as long as its caller waits, at most so many at once.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dragoman_common.clock import Clock
from dragoman_common.errors import OverloadedError

_RETRY_AFTER_S = 2.0
MAX_TENANT_SHARE = 0.8
"""Of the calls that may wait: one tenant's flood does not shut the others out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolDemand:
    """What waits for one pool. `oldest_wait_s` is 0 where nothing does."""

    pool: str
    held_calls: int = 0
    held_tokens: int = 0
    oldest_wait_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    pool: str | None
    num_tokens: int
    since_s: float


class HeldCalls:
    """At most `max_calls` at once, and of one tenant no more than its share.

    Calls that no pool takes are counted for the bound, and are nobody's demand.
    """

    def __init__(self, pools: Sequence[str], clock: Clock, *, max_calls: int) -> None:
        self._pools = tuple(pools)
        self._clock = clock
        self._max_calls = max_calls
        self._max_tenant_calls = max(1, int(max_calls * MAX_TENANT_SHARE))
        self._calls: dict[int, _Held] = {}
        self._num_of_tenant: Counter[str] = Counter()
        self._num_seen = 0
        self._changed = asyncio.Event()

    @contextmanager
    def held(self, tenant: str, pool: str | None, num_tokens: int, *, since_s: float | None = None) -> Iterator[None]:
        """Count a call for as long as it waits; `since_s` is set where it waits again.

        Raises:
            OverloadedError: as many wait as may, in all or of this tenant.
        """
        num_own = self._num_of_tenant[tenant]
        if len(self._calls) >= self._max_calls or num_own >= self._max_tenant_calls:
            raise OverloadedError(
                f"{len(self._calls)} calls wait for a worker, {num_own} of them your tenant's, and no more are held; "
                "retry after the delay",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._num_seen += 1
        number = self._num_seen
        began_s = self._clock.monotonic_s() if since_s is None else since_s
        self._calls[number] = _Held(pool=pool, num_tokens=num_tokens, since_s=began_s)
        self._num_of_tenant[tenant] += 1
        self._announce()
        try:
            yield
        finally:
            del self._calls[number]
            self._num_of_tenant[tenant] -= 1
            if not self._num_of_tenant[tenant]:
                # Or the counter would grow by one entry for every tenant ever seen.
                del self._num_of_tenant[tenant]
            self._announce()

    def __len__(self) -> int:
        return len(self._calls)

    def demand(self) -> list[PoolDemand]:
        """All pools, those without held calls too."""
        now_s = self._clock.monotonic_s()
        calls: dict[str, list[_Held]] = {pool: [] for pool in self._pools}
        for call in self._calls.values():
            if call.pool in calls:
                calls[call.pool].append(call)
        return [
            PoolDemand(
                pool=pool,
                held_calls=len(waiting),
                held_tokens=sum(call.num_tokens for call in waiting),
                oldest_wait_s=max((now_s - call.since_s for call in waiting), default=0.0),
            )
            for pool, waiting in calls.items()
        ]

    def next_change(self) -> asyncio.Event:
        """An event that is set when the next call begins or ends to wait."""
        return self._changed

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
