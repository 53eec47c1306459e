# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Followers of alias events: each gets what is new, and none can hold the others up.

Owns one bounded queue per follower. A follower that does not keep up is cut off with an error, watches again, and gets
a snapshot; memory never grows with its slowness.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dragoman_common.errors import UnavailableError
from dragoman_registry.alias import StoredEvent

MAX_QUEUED_EVENTS = 1024


class FollowerTooSlowError(UnavailableError):
    """The follower fell too far behind. It may watch again, and begins with a snapshot."""


class Follower:
    """One stream's queue. Created by AliasWatch.follow."""

    def __init__(self, wants: Callable[[StoredEvent], bool], max_queued: int) -> None:
        """Take the filter that decides which events this follower may see."""
        self._wants = wants
        self._max_queued = max_queued
        self._queue: asyncio.Queue[StoredEvent | None] = asyncio.Queue()

    def offer(self, event: StoredEvent) -> None:
        """Queue an event; on overflow drop everything queued and leave only the mark that ends the stream."""
        if not self._wants(event):
            return
        if self._queue.qsize() < self._max_queued:
            self._queue.put_nowait(event)
            return
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        self._wants = lambda _event: False

    async def next_event(self, timeout_s: float) -> StoredEvent | None:
        """Return the next event, or None when none came in time.

        Raises:
            FollowerTooSlowError: the queue ran over.
        """
        try:
            async with asyncio.timeout(timeout_s):
                event = await self._queue.get()
        except TimeoutError:
            return None
        if event is None:
            raise FollowerTooSlowError(f"more than {self._max_queued} events were waiting; watch again")
        return event


class AliasWatch:
    """Hands every event to every follower that wants it, in the order in which it is told."""

    def __init__(self, max_queued: int = MAX_QUEUED_EVENTS) -> None:
        """Bound each follower's queue."""
        self._max_queued = max_queued
        self._followers: set[Follower] = set()

    def publish(self, event: StoredEvent) -> None:
        """Tell the followers; never waits."""
        for follower in self._followers:
            follower.offer(event)

    @contextmanager
    def follow(self, wants: Callable[[StoredEvent], bool]) -> Iterator[Follower]:
        """Be a follower for the length of the block."""
        follower = Follower(wants, self._max_queued)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
