# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Facts that are kept in memory and may be taken back: asked again now and then, at a cost that few calls feel.

    younger than refresh_s -> used as it is
    older                  -> used as it is, and asked again in the background, once however many use it
    older than max_age_s   -> asked again first; the call waits, for at most attempt_s

So a fact that is used all the time costs one question per `refresh_s` and no call waits; one that lay idle costs its
next user one question. Where the question finds nobody, what is known holds, and nobody waits again for `refresh_s`.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from typing import Generic, TypeVar

from dragoman_common.errors import DragomanError

K = TypeVar("K", bound=Hashable)

REFRESH_S = 15.0
MAX_AGE_S = 30.0
ATTEMPT_S = 2.0
MAX_KEYS = 10_000

_logger = logging.getLogger(__name__)


class Rechecks(Generic[K]):
    """When each fact was asked for last. Use it from one event loop.

    Args:
        ask: asks again about one fact and keeps the answer; called with an empty context, at most once at a time per
            fact. It raises DragomanError where there was no answer.
        refresh_s: from this age on the next use asks again, without waiting.
        max_age_s: from this age on the next use waits for the answer: no use relies on anything older.
        attempt_s: how long one question may take.
        max_keys: facts whose age is known; those asked for the longest time ago are forgotten, and so count as old.
    """

    def __init__(
        self,
        ask: Callable[[K], Awaitable[None]],
        *,
        refresh_s: float = REFRESH_S,
        max_age_s: float = MAX_AGE_S,
        attempt_s: float = ATTEMPT_S,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._ask = ask
        self._refresh_s = refresh_s
        self._max_age_s = max_age_s
        self._attempt_s = attempt_s
        self._max_keys = max_keys
        self._asked_s: OrderedDict[K, float] = OrderedDict()
        self._under_way: dict[K, asyncio.Task[None]] = {}
        self._failed_s = float("-inf")

    def note(self, key: K) -> None:
        """Say that a fact has just been asked for."""
        self._asked_s[key] = asyncio.get_running_loop().time()
        self._asked_s.move_to_end(key)
        if len(self._asked_s) > self._max_keys:
            self._asked_s.popitem(last=False)

    def expire(self) -> None:
        """Take everything for old, because what it was judged by has changed: each next use asks first."""
        self._asked_s.clear()
        self._failed_s = float("-inf")

    async def before_use(self, key: K) -> None:
        """Ask again where it is time to; never fails because nobody answers."""
        now_s = asyncio.get_running_loop().time()
        age_s = now_s - self._asked_s.get(key, float("-inf"))
        if age_s < self._refresh_s:
            return
        question = self._under_way.get(key)
        if question is None:
            # Nobody's deadline or identity: the answer is for all who use the fact.
            question = asyncio.get_running_loop().create_task(self._question(key), context=Context())
            question.add_done_callback(_report)
            self._under_way[key] = question
        if age_s >= self._max_age_s and now_s - self._failed_s >= self._refresh_s:
            # Shielded: a user that goes away does not take the answer from the others.
            await asyncio.shield(question)

    async def close(self) -> None:
        """Stop the questions under way."""
        questions = list(self._under_way.values())
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)

    async def _question(self, key: K) -> None:
        try:
            async with asyncio.timeout(self._attempt_s):
                await self._ask(key)
        except (DragomanError, TimeoutError) as error:
            self._failed_s = asyncio.get_running_loop().time()
            reason = str(error) or f"no answer within {self._attempt_s:g} s"
            _logger.warning("not asked again; what is known holds", extra={"what": str(key), "reason": reason})
        finally:
            self.note(key)
            del self._under_way[key]


def _report(question: asyncio.Task[None]) -> None:
    # A defect of `ask` that nobody waited for must not vanish, nor be reported as never retrieved.
    if not question.cancelled() and (error := question.exception()) is not None:
        _logger.error("asking again failed by a defect", exc_info=error)
