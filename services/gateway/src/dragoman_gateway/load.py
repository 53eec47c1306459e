# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How busy one worker is: its last report, and what this gateway has sent and seen ended since. Pure bookkeeping.

    report (ORCA: in a call's trailer, or out of band) -> LoadEstimate <- calls of this gateway that begin and end
    LoadEstimate -> pending tokens now, over what the worker takes -> the choice between two workers

A report is as old as the last one, so what happened since is counted on top. A worker that reports no ORCA is known by
the calls that WatchLoaded tells of.
"""

from dataclasses import dataclass

FRESH_S = 3.0
"""Older than this, a report decides nothing but which of two workers is tried first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What a worker says of itself. `capacity_tokens` is None where the report does not tell it."""

    pending_tokens: float
    capacity_tokens: float | None = None
    waiting_calls: float = 0.0
    running_calls: float = 0.0
    queue_time_s: float = 0.0


class LoadEstimate:
    """One worker. Times are of a monotonic clock."""

    def __init__(self) -> None:
        self.num_in_flight = 0
        self._report: LoadReport | None = None
        self._reported_at_s = 0.0
        self._calls_watched = 0
        self._capacity_tokens: float | None = None
        self._own_tokens = 0
        self._tokens_since = 0

    def report(self, report: LoadReport, now_s: float, *, ended_tokens: int = 0) -> None:
        """Take in a report.

        Args:
            report: the worker's.
            now_s: now.
            ended_tokens: of the call whose end brought it: the worker counts it no more, and here it ends next.
        """
        self._report, self._reported_at_s = report, now_s
        self._tokens_since = ended_tokens
        if report.capacity_tokens:
            # It is read off a load; an idle worker's report does not tell it.
            self._capacity_tokens = report.capacity_tokens

    def watched(self, num_calls: int) -> None:
        """Take in how many calls WatchLoaded says there are."""
        self._calls_watched = num_calls

    def begin(self, num_tokens: int) -> None:
        """Count a call that is sent now."""
        self.num_in_flight += 1
        self._own_tokens += num_tokens
        self._tokens_since += num_tokens

    def end(self, num_tokens: int) -> None:
        """Count a call that has ended: it stands in the report, or was sent since."""
        self.num_in_flight -= 1
        self._own_tokens -= num_tokens
        self._tokens_since -= num_tokens

    def fresh_report(self, now_s: float) -> LoadReport | None:
        """The last report, unless it is stale or there was none."""
        if self._report is None or now_s - self._reported_at_s > FRESH_S:
            return None
        return self._report

    @property
    def num_calls(self) -> float:
        """Calls waiting or running, as last reported, and those of this gateway."""
        if self._report is None:
            return self._calls_watched + self.num_in_flight
        return max(self._report.waiting_calls + self._report.running_calls, self.num_in_flight)

    @property
    def pending_tokens(self) -> float | None:
        """Tokens not answered yet, never less than this gateway's own; None where the worker reports none."""
        if self._report is None:
            return None
        return max(self._report.pending_tokens + self._tokens_since, self._own_tokens)

    @property
    def capacity_tokens(self) -> float | None:
        """What the worker takes at most, where it has told."""
        return self._capacity_tokens

    def forget_report(self) -> None:
        """The worker reports no load any more: it is known by its calls again."""
        self._report = self._capacity_tokens = None
        self._tokens_since = 0


def is_less(one: LoadEstimate, other: LoadEstimate) -> bool | None:
    """Whether the first worker is less loaded than the second; None where they are equal.

    Workers that both tell what they take are compared by the part of it that is pending, else by tokens, else by calls.
    """
    ours, theirs = one.pending_tokens, other.pending_tokens
    if ours is None or theirs is None:
        ours, theirs = one.num_calls, other.num_calls
    elif one.capacity_tokens and other.capacity_tokens:
        ours, theirs = ours / one.capacity_tokens, theirs / other.capacity_tokens
    return None if ours == theirs else ours < theirs
