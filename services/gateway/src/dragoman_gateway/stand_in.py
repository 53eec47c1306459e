# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which version answers for an alias while its newest target cannot: a bad promotion takes no traffic away.

    alias moved -> the target before it, if it was ready, stands in until the new one is
    the newest target failed, and nothing stands in (this gateway is new) -> the chain is read backwards

Reading backwards is for a target that every worker refused, and never for one that is only loading: after a roll-back
the older entries of a chain are the versions that were taken away from. What was withdrawn never stands in.
"""

import asyncio
import logging

from dragoman_common.clock import Clock
from dragoman_common.errors import DragomanError
from dragoman_gateway.aliases import AliasTarget
from dragoman_gateway.ports import AliasHistory
from dragoman_gateway.version import VersionKey
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_gateway.workers import WorkerTable

_MAX_STEPS_BACK = 8
"""Events read backwards, at most: more bad promotions in a row are for a person to look at."""
_RECALL_PAUSE_S = 5.0
"""Between readings of one alias's chain that failed: every prediction of it would ask otherwise."""

_Name = tuple[str, str, str]
_logger = logging.getLogger(__name__)


class StandIns:
    """One stand-in, one recalled history and one reading of it, per alias at most. Only verified aliases come here."""

    def __init__(self, workers: WorkerTable, history: AliasHistory, clock: Clock, withdrawals: Withdrawals) -> None:
        self._withdrawals = withdrawals
        self._workers = workers
        self._history = history
        self._clock = clock
        self._reading: dict[_Name, asyncio.Lock] = {}
        self._not_before_s: dict[_Name, float] = {}
        self._standing_in: dict[_Name, VersionKey] = {}
        self._recalled: dict[_Name, list[VersionKey]] = {}

    def moved(self, replaced: AliasTarget, target: AliasTarget) -> None:
        """Take note of a move; the replaced target stands in if it was ready."""
        self._recalled.pop(target.name, None)
        self._not_before_s.pop(target.name, None)
        if self._workers.is_ready(replaced.stable):
            self._standing_in[target.name] = replaced.stable

    def answering(self, target: AliasTarget) -> VersionKey:
        """The version that answers for an alias now."""
        if self._workers.is_ready(target.stable):
            self._standing_in.pop(target.name, None)
            return target.stable
        candidates = [self._standing_in[target.name]] if target.name in self._standing_in else []
        if self._has_failed(target):
            candidates += self._recalled.get(target.name, [])
        # LOADING is a stand-in whose process is started again: it answers before the newest target does.
        for state in ("READY", "LOADING"):
            for key in candidates:
                if key not in self._withdrawals and self._workers.states(key)[:1] == [state]:
                    return key
        return target.stable

    async def recall(self, target: AliasTarget) -> None:
        """Read the chain backwards where that is what it takes to answer; once for each move of an alias.

        Calls that need it at the same time share one reading, and a failed one is not repeated for some seconds.
        """
        if not self._needs_history(target):
            return
        async with self._reading.setdefault(target.name, asyncio.Lock()):
            if not self._needs_history(target):
                return
            try:
                earlier = await self._history.earlier(target, _MAX_STEPS_BACK)
            except DragomanError as error:
                self._not_before_s[target.name] = self._clock.monotonic_s() + _RECALL_PAUSE_S
                _logger.warning("alias history not read", extra={"model": target.stable.model, "reason": error.message})
                return
            self._recalled[target.name] = [event.stable for event in earlier]

    def _needs_history(self, target: AliasTarget) -> bool:
        return (
            self._has_failed(target)
            and target.name not in self._recalled
            and self._clock.monotonic_s() >= self._not_before_s.get(target.name, 0.0)
            and self.answering(target) == target.stable
        )

    def _has_failed(self, target: AliasTarget) -> bool:
        return self._workers.states(target.stable) == ["FAILED"]
