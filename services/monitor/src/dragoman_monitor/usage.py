# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a tenant used, for billing: sums of the books' counters per model, version and span of time."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_monitor.counts import REQUESTS, ROW_TOKENS, ROWS

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Spans of `span_s` that begin in [start_us, end_us).

    Raises:
        InvalidArgumentError: the ends are not whole spans, in the wrong order, or the spans are no whole windows.
    """

    tenant: str
    start_us: int
    end_us: int
    span_s: int = DAY_S

    def check(self, *, window_s: int, max_spans: int) -> None:
        """See the class."""
        if self.span_s < 1 or self.span_s % window_s:
            raise InvalidArgumentError(f"span_s is {self.span_s}; it must be a multiple of the window, {window_s} s")
        for name, time_us in (("start_time", self.start_us), ("end_time", self.end_us)):
            if time_us % (self.span_s * 1_000_000):
                raise InvalidArgumentError(f"{name} must be a whole number of spans of {self.span_s} s after 1970, UTC")
        num_spans = (self.end_us - self.start_us) // (self.span_s * 1_000_000)
        if num_spans < 1:
            raise InvalidArgumentError("start_time must be before end_time")
        if num_spans > max_spans:
            raise InvalidArgumentError(
                f"{num_spans} spans lie between start_time and end_time, at most {max_spans} may; "
                "ask for less time or longer spans"
            )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Usage:
    """One line of a bill."""

    start_us: int
    model: str
    version: int
    num_requests: int
    num_rows: int
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """One counter of one span, as the books add it up."""

    start_us: int
    model: str
    version: int
    name: str
    count: int


def usage_of(sums: Iterable[UsageSum]) -> list[Usage]:
    """Put the counters of a span side by side, in order."""
    spans: dict[tuple[int, str, int], Counter[str]] = {}
    for item in sums:
        spans.setdefault((item.start_us, item.model, item.version), Counter())[item.name] += item.count
    return sorted(
        Usage(
            start_us=start_us,
            model=model,
            version=version,
            num_requests=counts[REQUESTS],
            num_rows=counts[ROWS],
            num_tokens=counts[ROW_TOKENS],
        )
        for (start_us, model, version), counts in spans.items()
    )
