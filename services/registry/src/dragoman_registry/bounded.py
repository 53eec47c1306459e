# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Many reads at once, but never more than so many."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def map_bounded(function: Callable[[T], Awaitable[R]], items: Iterable[T], *, width: int) -> list[R]:
    """Call the function for each item, at most width at a time, and return the results in the items' order.

    The first error ends it and is raised; what was under way then is cancelled and has ended on return.
    """
    waiting = enumerate(items)
    found: dict[int, R] = {}

    async def work() -> None:
        for place, item in waiting:
            found[place] = await function(item)

    workers = [asyncio.ensure_future(work()) for _ in range(width)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [found[place] for place in sorted(found)]
