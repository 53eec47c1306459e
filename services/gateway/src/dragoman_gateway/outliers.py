# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Workers that fail more than the others are passed over for some seconds. Pure bookkeeping.

    ends of attempts -> OutlierDetector -> which holders of a version to pass over now

Ejected is a worker with FAILURES_IN_A_ROW failures, or of whose last calls too few succeeded. Each ejection lasts
longer than the one before, and good behaviour makes them short again. At most half of the holders of a version are
passed over, those that were ejected last, and never the last one: a fault that all of them have is no outlier.

Source: the outlier detection of Envoy and of gRPC's proposal A50; deviation: success is held against a fixed share, not
against the other workers' deviation, which for two or three workers says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FAILURES_IN_A_ROW = 5
WINDOW_S = 10.0
MIN_WINDOW_CALLS = 20
MIN_SUCCESS_RATE = 0.5
BASE_EJECTION_S = 5.0
MAX_EJECTION_S = 60.0


@dataclass(kw_only=True, slots=True)
class _Record:
    failures_in_a_row: int = 0
    num_ejections: int = 0
    ejected_at_s: float = 0.0
    ejected_until_s: float | None = None
    window_began_s: float = 0.0
    num_calls: int = 0
    num_failures: int = 0


class OutlierDetector:
    """Times are of a monotonic clock."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def ended(self, address: str, now_s: float, *, is_failure: bool) -> bool:
        """Count an attempt that ended; whether the worker is ejected by it.

        Failures are those that are the worker's own: away, or a defect. Not a refusal, and not a call that ran out of
        time.
        """
        record = self._records.setdefault(address, _Record(window_began_s=now_s))
        if now_s - record.window_began_s >= WINDOW_S:
            if record.num_calls and not record.num_failures and record.num_ejections:
                # A good window takes one step back; one without calls says nothing.
                record.num_ejections -= 1
            record.window_began_s, record.num_calls, record.num_failures = now_s, 0, 0
        record.num_calls += 1
        record.num_failures += is_failure
        record.failures_in_a_row = record.failures_in_a_row + 1 if is_failure else 0
        if not is_failure or self._is_ejected(record, now_s) or not self._is_outlier(record):
            return False
        record.num_ejections += 1
        record.ejected_at_s = now_s
        record.ejected_until_s = now_s + min(BASE_EJECTION_S * record.num_ejections, MAX_EJECTION_S)
        record.failures_in_a_row = 0
        record.window_began_s, record.num_calls, record.num_failures = now_s, 0, 0
        return True

    def passed_over(self, holders: Sequence[str], now_s: float) -> frozenset[str]:
        """Which of the holders of a version get no call now: at most half of them, the last ejected first."""
        ejected = [
            (record.ejected_at_s, address)
            for address in holders
            if (record := self._records.get(address)) is not None and self._is_ejected(record, now_s)
        ]
        most = len(holders) // 2
        return frozenset(address for _, address in sorted(ejected, reverse=True)[:most])

    def forget(self, address: str) -> None:
        """The worker has gone."""
        self._records.pop(address, None)

    @staticmethod
    def _is_ejected(record: _Record, now_s: float) -> bool:
        return record.ejected_until_s is not None and now_s < record.ejected_until_s

    @staticmethod
    def _is_outlier(record: _Record) -> bool:
        if record.failures_in_a_row >= FAILURES_IN_A_ROW:
            return True
        num_good = record.num_calls - record.num_failures
        return record.num_calls >= MIN_WINDOW_CALLS and num_good < MIN_SUCCESS_RATE * record.num_calls
