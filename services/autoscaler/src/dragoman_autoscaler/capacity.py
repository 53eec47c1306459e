# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How many tokens a second one worker does while it holds as much as it should: learned from workers that do.

Owns one number for each pair of targets. By Little's law the workers that a load needs, each holding its target, are
that load over this number. It falls off no cliff where a queue does: a queue is short at 80 % of what a worker can do
and endless at 101 %, so a rule that knows queues alone takes away one worker too many, and has to bring back several.

Until it was learned, by a process that has just started for one, a worker counts as able to do the most that they have
been seen doing each: as the load falls workers go in proportion, and none goes that is not seen to be spare.

A worker that stands still teaches nothing, and one that got a burst a moment ago neither: it is the mean of FULL_FOR_S
in which a worker was full that counts, for batches end by leaps.
"""

from dataclasses import dataclass

FULL_FOR_S = 3.0
MAX_GAP_S = 3.0
"""Two reports that are further apart say nothing of the time between them."""
STALLED = 0.1
"""A mean below this part of what was learned is a worker that stands still: it fills its queue, and every other one's
place would be doubted for it."""
LEARNING = 0.1
"""Weight of a new mean against what was learned: a slower model is believed within a minute."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of one worker.

    Attributes:
        tokens_per_s: That it does; 0 where none has done anything.
        is_learned: While it holds its target. Else it is the least that it can do.
    """

    tokens_per_s: float = 0.0
    is_learned: bool = False


@dataclass(slots=True)
class LearnedCapacity:
    """See the module's docstring; 0 until something was learned."""

    tokens_per_s: float = 0.0
    _num_learned: int = 0

    def learn(self, tokens_per_s: float) -> None:
        """Take the mean of a worker that was full."""
        if tokens_per_s > STALLED * self.tokens_per_s:
            self._num_learned += 1
            weight = max(1 / self._num_learned, LEARNING)
            self.tokens_per_s += weight * (tokens_per_s - self.tokens_per_s)


@dataclass(slots=True)
class _Full:
    last_s: float
    seconds: float = 0.0
    tokens: float = 0.0


class FullWorkers:
    """What each worker has done since it was full, and was not looked at."""

    def __init__(self) -> None:
        self._full: dict[str, _Full] = {}

    def take(self, address: str, tokens_per_s: float, now_s: float, *, is_full: bool) -> float | None:
        """Take a report; returns the worker's mean once it has been full for FULL_FOR_S, and then begins anew."""
        if not is_full:
            self._full.pop(address, None)
            return None
        full = self._full.get(address)
        if full is None or now_s - full.last_s > MAX_GAP_S:
            self._full[address] = _Full(now_s)
            return None
        full.tokens += tokens_per_s * (now_s - full.last_s)
        full.seconds += now_s - full.last_s
        full.last_s = now_s
        if full.seconds < FULL_FOR_S:
            return None
        self._full[address] = _Full(now_s)
        return full.tokens / full.seconds

    def forget(self, address: str) -> None:
        """The worker is gone."""
        self._full.pop(address, None)
