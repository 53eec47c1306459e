# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Refuses at once what cannot be answered in time: waiting would cost its caller the deadline, and others the place.

    queue times of all holders (fresh reports) and this gateway's own last calls -> expected time -> over the deadline?

Both have to agree. A worker reports the queue of its fullest version, which may be another one; and what this gateway
saw is as old as its last call. A report that is missing or stale refuses nothing, nor does a version that this gateway
has not asked for lately: such a call goes through and shows how long it takes.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from statistics import median

from dragoman_common.errors import OverloadedError
from dragoman_gateway.version import VersionKey

WINDOW_S = 5.0
MIN_CALLS = 5
_MAX_CALLS = 64
_MAX_VERSIONS = 1_000
_MIN_RETRY_S, _MAX_RETRY_S = 0.1, 10.0


class ServiceTimes:
    """How long the last calls of each version took at a worker, queue included. Times are of a monotonic clock."""

    def __init__(self) -> None:
        self._ended: OrderedDict[VersionKey, deque[tuple[float, float]]] = OrderedDict()

    def ended(self, key: VersionKey, now_s: float, took_s: float) -> None:
        """Count an attempt that was answered, or given up because its time had passed: it took at least that."""
        ended = self._ended.setdefault(key, deque(maxlen=_MAX_CALLS))
        ended.append((now_s, took_s))
        self._ended.move_to_end(key)
        if len(self._ended) > _MAX_VERSIONS:
            self._ended.popitem(last=False)

    def recent_s(self, key: VersionKey, now_s: float) -> Sequence[float]:
        """The times of the last seconds; empty where there are too few to go by."""
        times = [took_s for ended_at_s, took_s in self._ended.get(key, ()) if now_s - ended_at_s <= WINDOW_S]
        return times if len(times) >= MIN_CALLS else ()


def check_time(
    key: VersionKey, *, left_s: float | None, queue_times_s: Sequence[float | None], recent_s: Sequence[float]
) -> None:
    """Let a call pass whose time covers what is expected.

    Args:
        key: the version that is asked for.
        left_s: the time that the call has left; None where it has no deadline.
        queue_times_s: of every worker that could take it; None for one without a fresh report.
        recent_s: what its last calls took; empty where that is not known.

    Raises:
        OverloadedError: it does not; with the time after which the queue may be shorter.
    """
    known_s = [queue_time_s for queue_time_s in queue_times_s if queue_time_s is not None]
    if left_s is None or not recent_s or not known_s or len(known_s) < len(queue_times_s):
        return
    # Waiting and then what the fastest took, which hardly waited; but no more than the last calls really took.
    expected_s = min(min(known_s) + min(recent_s), median(recent_s))
    if expected_s > left_s:
        raise OverloadedError(
            f"calls to {key.model} take about {expected_s:.1f} s now, and this one has {left_s:.1f} s left; "
            "give it more time, or retry after the delay",
            retry_after_s=min(max(expected_s - left_s, _MIN_RETRY_S), _MAX_RETRY_S),
        )
