# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How loaded this worker is, for whoever chooses between workers or decides how many there are.

Owns the numbers and what they mean. Not their wire form (orca.py), not the engines that they are read from (engine.py).

    engines -> waiting and running calls, pending tokens, queue time
    calls that have ended -> rates over the last whole second

A version that is full refuses its calls while the others are idle. So shares and times are those of the fullest
version, and counts are sums.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

RATE_WINDOW_S = 1.0


class Queue(Protocol):
    """What is read of one loaded version: engine.Engine."""

    @property
    def num_calls(self) -> int:
        """Calls that are not answered."""
        ...

    @property
    def num_running_calls(self) -> int:
        """Those of which a row is in the process."""
        ...

    @property
    def in_flight_tokens(self) -> int:
        """Tokens of the calls that are not answered."""
        ...

    @property
    def call_share(self) -> float:
        """Calls over the most that may be under way."""
        ...

    @property
    def token_share(self) -> float:
        """Tokens over the most that may be under way."""
        ...

    def queue_time_s(self, now_s: float) -> float:
        """How long a call that came now would wait."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLoad:
    """The worker at one moment.

    Attributes:
        waiting_calls: None of their rows runs.
        running_calls: At least one row is in a model process.
        pending_tokens: Of both.
        queue_time_ms: How long a call to the fullest version would wait if it came now.
        call_share: Of the calls that the fullest version may have under way, 0 to 1.
        token_share: Of the tokens that it may have under way, 0 to 1.
        tokens_per_s: Of the calls that were answered with OK.
        calls_per_s: Ended, whatever the answer.
        errors_per_s: Ended by anything but an answer or a fault of the caller's.
    """

    waiting_calls: int = 0
    running_calls: int = 0
    pending_tokens: int = 0
    queue_time_ms: float = 0.0
    call_share: float = 0.0
    token_share: float = 0.0
    tokens_per_s: float = 0.0
    calls_per_s: float = 0.0
    errors_per_s: float = 0.0


class LoadMeter:
    """Reads the engines, and counts the calls that end."""

    def __init__(self, queues: Callable[[], Iterable[Queue]]) -> None:
        """Begin with no calls counted.

        Args:
            queues: Returns the loaded versions.
        """
        self._queues = queues
        self._since_s = 0.0
        self._tokens, self._calls, self._errors = 0, 0, 0
        self._rates = (0.0, 0.0, 0.0)

    def call_ended(self, *, num_tokens: int = 0, is_error: bool = False) -> None:
        """Count a call.

        Args:
            num_tokens: Of a call that was answered; 0 of any other.
            is_error: It failed, and not by a fault of the caller's.
        """
        self._tokens += num_tokens
        self._calls += 1
        self._errors += is_error

    def load(self, now_s: float) -> WorkerLoad:
        """Return what holds now; now_s is on the clock that calls wait by."""
        self._roll(now_s)
        num_calls, num_running, num_tokens = 0, 0, 0
        queue_time_s, call_share, token_share = 0.0, 0.0, 0.0
        for queue in self._queues():
            if not queue.num_calls:
                continue
            num_calls += queue.num_calls
            num_running += queue.num_running_calls
            num_tokens += queue.in_flight_tokens
            queue_time_s = max(queue_time_s, queue.queue_time_s(now_s))
            call_share = max(call_share, queue.call_share)
            token_share = max(token_share, queue.token_share)
        tokens_per_s, calls_per_s, errors_per_s = self._rates
        return WorkerLoad(
            waiting_calls=num_calls - num_running,
            running_calls=num_running,
            pending_tokens=num_tokens,
            queue_time_ms=queue_time_s * 1000,
            call_share=call_share,
            token_share=token_share,
            tokens_per_s=tokens_per_s,
            calls_per_s=calls_per_s,
            errors_per_s=errors_per_s,
        )

    def _roll(self, now_s: float) -> None:
        elapsed_s = now_s - self._since_s
        if elapsed_s < RATE_WINDOW_S:
            return
        self._rates = (self._tokens / elapsed_s, self._calls / elapsed_s, self._errors / elapsed_s)
        self._tokens, self._calls, self._errors = 0, 0, 0
        self._since_s = now_s
