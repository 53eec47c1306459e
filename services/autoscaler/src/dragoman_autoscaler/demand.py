# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Demand that no worker can tell of: calls that the gateways hold because no worker is ready for them.

Owns the newest report of each gateway process until its lifetime ends. A gateway that is gone is forgotten by then, and
who sends many names cannot fill the memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError, OverloadedError

MAX_LIFETIME_S = 60.0
MAX_REPORTERS = 1_000
MAX_POOLS_PER_REPORT = 1_000
MAX_NAME_CHARS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What gateways hold for one pool.

    Attributes:
        calls: Without a worker.
        tokens: Of those calls.
        oldest_wait_s: Of the call that has waited longest.
    """

    calls: int = 0
    tokens: int = 0
    oldest_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Report:
    held_by_pool: Mapping[str, Held]
    ends_s: float


class DemandBook:
    """The gateways' reports."""

    def __init__(self) -> None:
        self._reports: dict[str, _Report] = {}

    def take(self, reporter: str, held_by_pool: Mapping[str, Held], lifetime_s: float, now_s: float) -> None:
        """Keep a report in place of the reporter's last one.

        Args:
            reporter: One gateway process.
            held_by_pool: All that it holds.
            lifetime_s: How long that counts; at most MAX_LIFETIME_S are given.
            now_s: The time.

        Raises:
            InvalidArgumentError: a field is outside its limits.
            OverloadedError: more reporters than are kept.
        """
        if not 0 < len(reporter) <= MAX_NAME_CHARS:
            raise InvalidArgumentError(f"reporter: must have 1 to {MAX_NAME_CHARS} characters")
        if len(held_by_pool) > MAX_POOLS_PER_REPORT:
            raise InvalidArgumentError(f"pools: {len(held_by_pool)}, at most {MAX_POOLS_PER_REPORT}")
        if not lifetime_s > 0:
            raise InvalidArgumentError("lifetime: must be over 0")
        for pool, held in held_by_pool.items():
            if held.calls < 0 or held.tokens < 0 or held.oldest_wait_s < 0:
                raise InvalidArgumentError(f"pools: {pool[:64]!r} has a negative number")
        self._forget_ended(now_s)
        if reporter not in self._reports and len(self._reports) >= MAX_REPORTERS:
            raise OverloadedError(
                f"reporter: {MAX_REPORTERS} others are being kept; try again when one has ended", retry_after_s=10.0
            )
        self._reports[reporter] = _Report(held_by_pool, now_s + min(lifetime_s, MAX_LIFETIME_S))

    def held(self, pool: str, now_s: float) -> Held:
        """Return what all gateways hold for a pool."""
        self._forget_ended(now_s)
        found = [report.held_by_pool[pool] for report in self._reports.values() if pool in report.held_by_pool]
        return Held(
            calls=sum(each.calls for each in found),
            tokens=sum(each.tokens for each in found),
            oldest_wait_s=max((each.oldest_wait_s for each in found), default=0.0),
        )

    @property
    def num_reporters(self) -> int:
        """How many reports are kept."""
        return len(self._reports)

    def _forget_ended(self, now_s: float) -> None:
        for reporter in [name for name, report in self._reports.items() if report.ends_s <= now_s]:
            del self._reports[reporter]
