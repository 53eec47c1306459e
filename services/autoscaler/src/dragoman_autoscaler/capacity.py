# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How many tokens a second one worker does while it holds as much as it should: learned from workers that do.

Owns one number for each pair of targets. By Little's law the workers that a load needs, each holding its target, are
that load over this number. It falls in no cliff where a queue does: a queue is short at 80 % of a worker's capacity and
endless at 101 %, so a rule that knows queues alone takes away one worker too many, and has to bring it back.

A worker that stands still teaches nothing, and one that got a burst a moment ago neither: only one that has been full
for FULL_FOR_S.
"""

from dataclasses import dataclass

FULL_FOR_S = 3.0
FORGETTING = 0.01
"""Weight of a full worker's report that is below what was learned: a slower model is believed within some minutes, a
worker that stumbles for some seconds is not."""


@dataclass(slots=True)
class LearnedCapacity:
    """See the module's docstring; 0 until something was learned."""

    tokens_per_s: float = 0.0

    def learn(self, tokens_per_s: float) -> None:
        """Take the report of a worker that has been full for long enough."""
        if tokens_per_s >= self.tokens_per_s:
            self.tokens_per_s = tokens_per_s
        elif tokens_per_s > 0:
            self.tokens_per_s += FORGETTING * (tokens_per_s - self.tokens_per_s)


class FullWorkers:
    """Since when each worker has held its target or more."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def has_been_full(self, address: str, now_s: float, *, is_full: bool) -> bool:
        """Take a report, and tell whether the worker has been full for FULL_FOR_S."""
        if not is_full:
            self._since_s.pop(address, None)
            return False
        return now_s - self._since_s.setdefault(address, now_s) >= FULL_FOR_S

    def forget(self, address: str) -> None:
        """The worker is gone, or was not heard."""
        self._since_s.pop(address, None)
