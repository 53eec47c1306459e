# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls for the same tokenizer that come at once are made one call.

    first call -> sent at once, alone;  those that come meanwhile -> wait -> one call for all of them -> each its rows

Greedy: nobody waits while nothing is under way. Only calls for one version, and so for one tenant, are joined: the
tenant rides in the call's metadata. A caller that leaves takes no other along; a row that is refused fails its own call
only. Bounded in rows and bytes by what one call may hold.
"""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from dragoman_common.errors import InvalidArgumentError
from dragoman_gateway.outcome import check_encoded
from dragoman_gateway.ports import EncodedRows, Tokenizer
from dragoman_gateway.version import VersionKey

OnBehalf = Callable[[str, float | None], AbstractContextManager[None]]
"""Around a call made for a tenant, which has so many seconds; None for as long as any call may take."""


MAX_IN_FLIGHT = 2
"""Of one version. One would join more calls; the second keeps one long call from holding up all others."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Waiting:
    """One caller. `group` is the call that its rows are in, once there is one."""

    texts: Sequence[str]
    num_bytes: int
    ends_at_s: float | None
    answer: asyncio.Future[EncodedRows]
    group: "_Group | None" = None


@dataclass(kw_only=True, slots=True, eq=False)
class _Group:
    waiting: list[_Waiting]
    task: asyncio.Task[None] | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class _Lane:
    """One version: what is under way, and who waits for it to end."""

    num_in_flight: int = 0
    waiting: list[_Waiting] = field(default_factory=list)


class CoalescingTokenizer:
    """See ports.Tokenizer, over another one."""

    def __init__(
        self,
        inner: Tokenizer,
        *,
        on_behalf: OnBehalf,
        remaining_s: Callable[[], float | None],
        max_rows: int,
        max_bytes: int,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """Join calls up to `max_rows` and `max_bytes`, and have at most `max_in_flight` of one version under way."""
        self._inner = inner
        self._on_behalf = on_behalf
        self._remaining_s = remaining_s
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._max_in_flight = max_in_flight
        self._lanes: dict[VersionKey, _Lane] = {}

    async def encode(self, key: VersionKey, texts: Sequence[str]) -> EncodedRows:
        lane = self._lanes.setdefault(key, _Lane())
        if lane.num_in_flight < self._max_in_flight:
            lane.num_in_flight += 1
            try:
                return await self._inner.encode(key, texts)
            finally:
                self._ended(key, lane)
        left_s = self._remaining_s()
        loop = asyncio.get_running_loop()
        mine = _Waiting(
            texts=texts,
            num_bytes=sum(len(text.encode()) for text in texts),
            ends_at_s=None if left_s is None else loop.time() + left_s,
            answer=loop.create_future(),
        )
        lane.waiting.append(mine)
        try:
            return await mine.answer
        finally:
            if not mine.answer.done() or mine.answer.cancelled():
                self._left(lane, mine)

    def _ended(self, key: VersionKey, lane: _Lane) -> None:
        """A call of the lane has ended: those that wait are next."""
        lane.num_in_flight -= 1
        if lane.waiting:
            group = _Group(waiting=self._taken(lane))
            for one in group.waiting:
                one.group = group
            lane.num_in_flight += 1
            # A context of its own: what is sent is for the tenant, and not within the first caller's deadline.
            group.task = asyncio.create_task(self._send(key, lane, group), context=contextvars.Context())
        elif not lane.num_in_flight:
            del self._lanes[key]

    def _taken(self, lane: _Lane) -> list[_Waiting]:
        """The longest row of callers, in the order of their coming, that one call may hold; the first in any case."""
        num_rows = num_bytes = count = 0
        for one in lane.waiting:
            num_rows += len(one.texts)
            num_bytes += one.num_bytes
            if count and (num_rows > self._max_rows or num_bytes > self._max_bytes):
                break
            count += 1
        taken, lane.waiting = lane.waiting[:count], lane.waiting[count:]
        return taken

    @staticmethod
    def _left(lane: _Lane, mine: _Waiting) -> None:
        """A caller does not wait any more; the last one of a call takes it along."""
        if mine.group is None:
            lane.waiting.remove(mine)
        elif all(one.answer.done() for one in mine.group.waiting) and mine.group.task is not None:
            mine.group.task.cancel()

    async def _send(self, key: VersionKey, lane: _Lane, group: _Group) -> None:
        try:
            await self._answer(key, group.waiting)
        finally:
            self._ended(key, lane)

    async def _answer(self, key: VersionKey, waiting: Sequence[_Waiting]) -> None:
        """Send the callers' rows as one call, and give each its part of what comes back, whatever that is."""
        texts = [text for one in waiting for text in one.texts]
        try:
            with self._on_behalf(key.tenant, self._left_s(waiting)):
                encoded = await self._inner.encode(key, texts)
            check_encoded(encoded, len(texts))
        except InvalidArgumentError as error:
            if len(waiting) == 1:
                _fail(waiting, error)
            else:
                # Whose row it is, and which limit, is for each caller's own call to say.
                await asyncio.gather(*(self._answer(key, [one]) for one in waiting if not one.answer.done()))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is every caller's answer
            _fail(waiting, error)
        else:
            for one, part in zip(waiting, _parts(encoded, [len(one.texts) for one in waiting]), strict=True):
                if not one.answer.done():
                    one.answer.set_result(part)

    @staticmethod
    def _left_s(waiting: Sequence[_Waiting]) -> float | None:
        """As long as the most patient of the callers waits."""
        ends_at_s = [one.ends_at_s for one in waiting if one.ends_at_s is not None]
        if len(ends_at_s) < len(waiting):
            return None
        return max(0.0, max(ends_at_s) - asyncio.get_running_loop().time())


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.answer.done():
            one.answer.set_exception(error)


def _parts(encoded: EncodedRows, sizes: Sequence[int]) -> list[EncodedRows]:
    """Split rows into consecutive parts of so many rows each."""
    parts, row, token = [], 0, 0
    for size in sizes:
        lengths = encoded.lengths[row : row + size]
        num_tokens = int(np.sum(lengths, dtype=np.int64))
        parts.append(
            EncodedRows(
                token_ids=encoded.token_ids[token : token + num_tokens],
                lengths=lengths,
                truncated=encoded.truncated[row : row + size],
                num_unknown=encoded.num_unknown[row : row + size],
            )
        )
        row, token = row + size, token + num_tokens
    return parts
