# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Sends encoded rows to a worker, and to another when that one is away or full: the one place where calls are retried.

    EncodedRows -> Router.hold (a ready worker, the less loaded of two) -> Scorer.score -> scores
                        ^---- at most MAX_ATTEMPTS, each elsewhere where possible, within budget and deadline

Scoring twice harms nobody, so an attempt that found its worker away (UNAVAILABLE) is safe to repeat; one that a worker
refused as overloaded is repeated only where another is less loaded, or, where an autoscaler can bring more workers,
after the delay that the refusal names. Nothing else is: a defect, a refused input and a passed deadline are answers.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

from dragoman_common.clock import Clock
from dragoman_common.errors import DeadlineExceededError, DragomanError, OverloadedError, UnavailableError
from dragoman_gateway.admission import ServiceTimes, check_time
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.ports import Budget, CallLostError, EncodedRows, Scorer, Scores
from dragoman_gateway.retry_budget import RetryBudget
from dragoman_gateway.route import Router
from dragoman_gateway.routing_counts import RoutingCounts
from dragoman_gateway.version import ServedVersion, VersionKey
from dragoman_gateway.workers import WorkerTable

MAX_ATTEMPTS = 3
MAX_LOST = 2
"""Attempts that a worker's process may have ended over: an input that ends processes is not carried to all workers."""
_logger = logging.getLogger(__name__)
FIRST_PAUSE_S = 0.05
"""Before the second attempt: long enough for a worker to report that its model process is gone. Doubled for a third."""


class Dispatcher:
    """The attempts of calls. `retries` and `service_times` are shared by all of them."""

    def __init__(
        self,
        router: Router,
        workers: WorkerTable,
        scorer: Scorer,
        budget: Budget,
        *,
        clock: Clock,
        retries: RetryBudget,
        service_times: ServiceTimes,
        choice: random.Random,
        counts: RoutingCounts,
    ) -> None:
        self._router = router
        self._workers = workers
        self._scorer = scorer
        self._budget = budget
        self._clock = clock
        self._retries = retries
        self._service_times = service_times
        self._choice = choice
        self._counts = counts

    def check_time(self, key: VersionKey) -> None:
        """Let a call pass whose time covers what a call to the version takes now; see admission.py.

        Raises:
            OverloadedError: it does not.
        """
        try:
            check_time(
                key,
                left_s=self._budget.remaining_s(),
                queue_times_s=self._workers.queue_times_s(key),
                recent_s=self._service_times.recent_s(key, self._clock.monotonic_s()),
            )
        except OverloadedError:
            self._counts.num_late += 1
            raise

    async def dispatch(self, version: ServedVersion, rows: EncodedRows) -> Scores:
        """Scores [N, C] from a worker that holds the version.

        Raises:
            VersionNotPlacedError: no worker will load the version, or all let it go meanwhile.
            UnavailableError: the attempts found their workers away, or none became ready.
            OverloadedError: a worker refused, no other is less loaded, and none can be waited for.
        """
        self._retries.count_call()
        full_since_s: float | None = None
        while True:
            try:
                return await self._attempts(version, rows)
            except OverloadedError as refusal:
                full_since_s = full_since_s or self._clock.monotonic_s()
                await self._router.wait_for_room(
                    version.key,
                    refusal,
                    num_tokens=len(rows.token_ids),
                    left_s=self._budget.remaining_s(),
                    since_s=full_since_s,
                )
                self._counts.num_waited_full += 1

    async def _attempts(self, version: ServedVersion, rows: EncodedRows) -> Scores:
        tried: set[str] = set()
        pause_s, num_lost = FIRST_PAUSE_S, 0
        for num_left in reversed(range(MAX_ATTEMPTS)):
            address = await self._router.hold(version.key, num_tokens=len(rows.token_ids), tried=tried)
            try:
                return await self._attempt(address, version, rows)
            except (UnavailableError, OverloadedError) as error:
                tried.add(address)
                num_lost += isinstance(error, CallLostError)
                # Jitter keeps the calls that lost one worker from coming to the next all at once.
                wait_s = pause_s * self._choice.uniform(0.5, 1.5)
                is_last = num_left == 0 or num_lost == MAX_LOST
                if is_last or not self._may_retry(version.key, error, address, tried, wait_s):
                    raise
            await asyncio.sleep(wait_s)
            pause_s *= 2
        raise AssertionError("unreachable")

    def _may_retry(self, key: VersionKey, error: DragomanError, address: str, tried: set[str], wait_s: float) -> bool:
        left_s = self._budget.remaining_s()
        if left_s is not None and left_s <= wait_s:
            return False
        is_refusal = isinstance(error, OverloadedError)
        if is_refusal and not self._workers.has_less_loaded(key, than=address, tried=tried):
            return False
        if not self._retries.take(is_refusal=is_refusal):
            self._counts.num_denied += 1
            return False
        self._counts.num_retried_full += is_refusal
        self._counts.num_retried_away += not is_refusal
        return True

    async def _attempt(self, address: str, version: ServedVersion, rows: EncodedRows) -> Scores:
        began_s = self._clock.monotonic_s()
        with self._judged(address, version.key, began_s):
            try:
                async with asyncio.timeout(None) as given_up:
                    now = asyncio.get_running_loop().time
                    with self._workers.in_flight(address, len(rows.token_ids), lambda: given_up.reschedule(now())):
                        return await self._scorer.score(address, version.key, rows)
            except TimeoutError as error:
                raise UnavailableError("the worker has fallen silent; send the call again") from error

    @contextmanager
    def _judged(self, address: str, key: VersionKey, began_s: float) -> Iterator[None]:
        """Around an attempt: whose fault its end was, and how long it took."""
        try:
            yield
        except (UnavailableError, ContractBrokenError):
            if self._workers.ended(address, is_failure=True):
                self._counts.num_ejections += 1
                _logger.warning("worker ejected", extra={"worker": address})
            raise
        except (DeadlineExceededError, asyncio.CancelledError):
            # It took at least that long, by nobody's fault that is known.
            self._ended(key, began_s)
            raise
        self._ended(key, began_s)
        self._workers.ended(address, is_failure=False)

    def _ended(self, key: VersionKey, began_s: float) -> None:
        now_s = self._clock.monotonic_s()
        self._service_times.ended(key, now_s, now_s - began_s)
