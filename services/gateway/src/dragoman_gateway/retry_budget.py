# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How many second attempts there may be: a tenth of the calls, and a burst for the moment in which a worker dies.

Every call is saved up, every retry spends ten; an empty bucket lets nobody try again. So a platform that fails as a
whole gets at most a tenth more load from it, however long that lasts.

Source: retry throttling of gRPC's proposal A6; deviation: a retry is what spends, not a failure, and calls fill the
bucket, not successes, so that the share is one of calls.
"""

CALLS_PER_RETRY = 10
MIN_BURST = 100
"""Retries."""


class RetryBudget:
    """Full at first."""

    def __init__(self, *, burst: int = MIN_BURST) -> None:
        """Take how many retries may be saved up: one worker's calls in flight all fail together."""
        self._max_calls = max(burst, 1) * CALLS_PER_RETRY
        self._calls = self._max_calls

    def count_call(self) -> None:
        """A call, not an attempt."""
        self._calls = min(self._max_calls, self._calls + 1)

    def take(self, *, is_refusal: bool = False) -> bool:
        """Whether there may be one more attempt; after a refusal only from the upper half of what is saved.

        Workers that are full refuse many calls, and those must not spend what the calls of a dying worker need.
        """
        floor = self._max_calls // 2 if is_refusal else 0
        if self._calls - CALLS_PER_RETRY < floor:
            return False
        self._calls -= CALLS_PER_RETRY
        return True
