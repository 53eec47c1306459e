# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a check found: one line for people, one object for scripts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

OK, WARN, FAIL, SKIPPED = "ok", "warn", "fail", "skipped"
MAX_SKEW_S = 2.0
"""Clocks that differ by more are worth a word."""
BAD_SKEW_S = 60.0
"""Clocks that differ by more break tokens and the order of records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check's result. `advice` says what to do; empty where nothing is to be done."""

    part: str
    check: str
    status: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Makes the findings of one part."""

    part: str

    def ok(self, check: str, message: str) -> Finding:
        return Finding(part=self.part, check=check, status=OK, message=message)

    def warn(self, check: str, message: str, advice: str) -> Finding:
        return Finding(part=self.part, check=check, status=WARN, message=message, advice=advice)

    def fail(self, check: str, message: str, advice: str) -> Finding:
        return Finding(part=self.part, check=check, status=FAIL, message=message, advice=advice)

    def skipped(self, check: str, why: str) -> Finding:
        return Finding(part=self.part, check=check, status=SKIPPED, message=why)

    def clock(self, skew_s: float) -> Finding:
        """Judge how far a clock is ahead of ours, in seconds; behind is negative."""
        how = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's clock"
        advice = "synchronise both clocks (NTP): tokens expire by them, and reports are ordered by them"
        if abs(skew_s) > BAD_SKEW_S:
            return self.fail("clock", how, advice)
        if abs(skew_s) > MAX_SKEW_S:
            return self.warn("clock", how, advice)
        return self.ok("clock", f"within {MAX_SKEW_S:g} s of this machine's clock")


async def in_threads(checks: Iterator[Finding]) -> AsyncIterator[Finding]:
    """Blocking checks, each run in a thread; what one found is kept also when the next one breaks."""
    while (finding := await asyncio.to_thread(next, checks, None)) is not None:
        yield finding
