# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A bounded cache whose misses load once, however many callers wait.

Owns: least-recently-used eviction by weight, one load per key at a time, a time limit on each load. Knows nothing of
tokenizers. Data path: key -> held value | the load under way | a new load -> value -> older values out.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from typing import Generic, TypeVar

from dragoman_common.errors import UnavailableError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TokenizerCache(Generic[K, V]):
    """Holds values up to a total weight. Use it from one event loop.

    A load belongs to no caller: one that leaves does not stop it for the others, and none lends it a deadline or an
    identity. A failed load is forgotten, so the next caller tries again.
    """

    def __init__(self, *, max_weight: int, load_timeout_s: float, max_concurrent_loads: int = 2) -> None:
        self._max_weight = max_weight
        self._load_timeout_s = load_timeout_s
        self._loads = asyncio.Semaphore(max_concurrent_loads)
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._under_way: dict[K, asyncio.Task[V]] = {}
        self._weight = 0

    @property
    def weight(self) -> int:
        """Sum of the weights of what is held."""
        return self._weight

    def __len__(self) -> int:
        """Number of values held."""
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        """Whether a value is held; does not count as use."""
        return key in self._held

    async def get(self, key: K, load: Callable[[], Awaitable[V]], weight: int = 1) -> V:
        """The value of `key`, loaded by `load` where it is not held.

        Args:
            key: names the value; equal keys must mean equal values.
            load: makes the value; called with an empty context, at most once at a time per key.
            weight: what the value will count for; at most `max_weight`.

        Raises:
            UnavailableError: the load took longer than `load_timeout_s`.
            ValueError: weight above `max_weight` (the caller checks sizes, and names the limit).
        """
        if weight > self._max_weight:
            raise ValueError(f"weight {weight} is above the cache's {self._max_weight}")
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(key, load, weight), context=Context())
            task.add_done_callback(_retrieve)
            self._under_way[key] = task
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop the loads under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, key: K, load: Callable[[], Awaitable[V]], weight: int) -> V:
        try:
            async with asyncio.timeout(self._load_timeout_s), self._loads:
                value = await load()
        except TimeoutError:
            raise UnavailableError(
                f"loading took longer than {self._load_timeout_s:g} s: send the call again"
            ) from None
        finally:
            del self._under_way[key]
        self._held[key] = (value, weight)
        self._weight += weight
        while self._weight > self._max_weight:
            _, (_, dropped) = self._held.popitem(last=False)
            self._weight -= dropped
        return value


def _retrieve(task: asyncio.Task[V]) -> None:
    # Marks the failure as seen where every caller has left, so that the loop does not report it as lost.
    if not task.cancelled():
        task.exception()
