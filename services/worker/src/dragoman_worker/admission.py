# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who may still come in: bounds on the calls and tokens that are admitted and not answered yet.

Owns the refusal and its retry delay. A full queue refuses at once: waiting longer than the caller's deadline helps
nobody, and the delay tells the caller when to come back. Not the order in which calls run: that is batcher.py.
"""

from collections import Counter
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError, OverloadedError

MIN_RETRY_AFTER_S = 0.05
MAX_RETRY_AFTER_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionLimits:
    """What one loaded version may have waiting or running (at most two batches run, so nearly all of it waits).

    Attributes:
        max_waiting_requests: Calls; more memory and longer waits against fewer refusals at a burst.
        max_waiting_tokens: Tokens of those calls, without padding.
        max_tenant_share: The part of both that one tenant may fill, so that one flood does not shut the others out.
    """

    max_waiting_requests: int
    max_waiting_tokens: int
    max_tenant_share: float


class Admission:
    """Counts what waits. Every admitted call is released exactly once, by the caller of admit."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._requests: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self.num_requests = 0
        self.num_tokens = 0

    def admit(self, tenant: str, num_tokens: int, *, tokens_per_s: float) -> None:
        """Take a place for a call.

        Args:
            tenant: Whose call it is.
            num_tokens: Tokens of all its rows.
            tokens_per_s: What the device did lately; 0 where that is not known. It gives the retry delay.

        Raises:
            InvalidArgumentError: the call alone is larger than what one tenant may have waiting.
            OverloadedError: no place; nothing was taken.
        """
        limits = self._limits
        share = limits.max_tenant_share
        if num_tokens > share * limits.max_waiting_tokens:
            raise InvalidArgumentError(
                f"token_ids: {num_tokens} tokens in one call, at most {int(share * limits.max_waiting_tokens)} "
                "can wait; send fewer rows a call"
            )
        is_full = (
            self.num_requests >= limits.max_waiting_requests or self.num_tokens + num_tokens > limits.max_waiting_tokens
        )
        is_over_share = (
            self._requests[tenant] + 1 > max(1.0, share * limits.max_waiting_requests)
            or self._tokens[tenant] + num_tokens > share * limits.max_waiting_tokens
        )
        if is_full or is_over_share:
            delay_s = self.num_tokens / tokens_per_s if tokens_per_s > 0 else 1.0
            raise OverloadedError(
                f"{'this worker' if is_full else 'your tenant'} has too many calls waiting for the model "
                f"({self.num_requests} calls, {self.num_tokens} tokens); try again later",
                retry_after_s=min(max(delay_s, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S),
            )
        self._requests[tenant] += 1
        self._tokens[tenant] += num_tokens
        self.num_requests += 1
        self.num_tokens += num_tokens

    def release(self, tenant: str, num_tokens: int) -> None:
        """Give back a place that admit took."""
        self.num_requests -= 1
        self.num_tokens -= num_tokens
        self._requests[tenant] -= 1
        self._tokens[tenant] -= num_tokens
        if not self._requests[tenant]:
            # Or the counters would grow by one entry for every tenant ever seen.
            del self._requests[tenant], self._tokens[tenant]
