# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which rows run together, and when. Pure bookkeeping: no asyncio, no device, time is an argument.

Owns the waiting rows of one loaded version and the choice of the next batch. Not admission (admission.py), not what
happens to a batch (engine.py).

    add -> lane of the tenant -> length bucket -> next_batch: leader -> fill its bucket by deficit round robin -> Batch

Order. Tenants take turns to lead a batch, so that no flood of one keeps another waiting for more than one batch per
tenant. The leader's most urgent row (earliest deadline) decides the length bucket, so that short rows are not padded to
long ones; the rest of the batch is taken from that bucket by deficit round robin over the tenants, earliest deadline
first within each. When. An idle device gets whatever waits, at once. While it is busy, a full batch leaves at once, and
a partial one when a row has waited max_wait_ms.

Source: M. Shreedhar, G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin", SIGCOMM 1995; deviations: the
leader's first row is taken on credit, and a tenant whose turn ends for lack of fitting rows keeps at most one quantum.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dragoman_worker.lane import ALONE, MAX_SLACK, Lane, bucket_of
from dragoman_worker.request import Batch, Row, ScoreRequest

QUANTUM_TOKENS = 64
"""What a tenant's turn adds: small, so that turns change several times within a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """The shape of a batch.

    Attributes:
        max_batch_size: Rows.
        max_batch_tokens: Rows times the longest row: padding is paid for, so it counts.
        max_wait_ms: How long a row may wait for company while the device is busy.
        min_remaining_ms: A row whose caller has less time left than this is not worth running.
    """

    max_batch_size: int
    max_batch_tokens: int
    max_wait_ms: float
    min_remaining_ms: float

    def capacity(self, bucket: int) -> int:
        """Rows of a bucket that always fit together; at least one."""
        if bucket == ALONE:
            return 1
        return max(1, min(self.max_batch_size, self.max_batch_tokens // bucket))


class Batcher:
    """Waiting rows of one version."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._lanes: dict[str, Lane] = {}
        self._ring: deque[Lane] = deque()
        self._leaders: deque[Lane] = deque()
        self._arrivals: deque[Row] = deque()
        self._num_by_bucket: dict[int, int] = {}
        self.num_rows = 0

    def add(self, request: ScoreRequest, now_s: float, *, is_alone: Callable[[Row], bool] = lambda _: False) -> None:
        """Queue all rows of a call; no row may be longer than max_batch_tokens."""
        rows = [Row(request, index, now_s) for index in range(len(request.rows))]
        for row in rows:
            row.is_alone = is_alone(row)
        self.restore(rows)

    def restore(self, rows: Iterable[Row]) -> None:
        """Queue rows again that were taken and not answered; those of dropped calls are left out."""
        for row in rows:
            if row.request.is_dropped:
                continue
            lane = self._lanes.get(row.request.tenant)
            if lane is None:
                lane = self._lanes[row.request.tenant] = Lane(row.request.tenant)
                self._ring.append(lane)
                self._leaders.append(lane)
            bucket = bucket_of(row)
            lane.push(row, bucket)
            self._num_by_bucket[bucket] = self._num_by_bucket.get(bucket, 0) + 1
            self._arrivals.append(row)
            self.num_rows += 1
            row.request.waiting_rows.add(row)
        if len(self._arrivals) > 2 * self.num_rows + MAX_SLACK:
            self._arrivals = deque(row for row in self._arrivals if row.is_waiting)

    def cancel(self, request: ScoreRequest) -> None:
        """Drop what still waits of a call. Its neighbours keep their places; rows that run already are not touched."""
        if request.is_dropped:
            return
        request.is_dropped = True
        if not request.waiting_rows:
            return
        lane = self._lanes[request.tenant]
        for row in request.waiting_rows:
            self._count_down(bucket_of(row))
        num_forgotten = len(request.waiting_rows)
        request.waiting_rows.clear()
        lane.forget(num_forgotten)
        self._retire(lane)

    def next_batch(self, now_s: float, *, is_idle: bool) -> tuple[Batch | None, list[ScoreRequest]]:
        """Take the next batch, if one should leave now.

        Args:
            now_s: The time.
            is_idle: Nothing runs on the device.

        Returns:
            The batch or None, and the calls that were dropped because too little of their time is left.
        """
        expired = self._expire(now_s)
        if not self.num_rows:
            return None, expired
        if is_idle or self._is_due(now_s):
            buckets = None
        else:
            buckets = {bucket for bucket, num in self._num_by_bucket.items() if num >= self._limits.capacity(bucket)}
            if not buckets:
                return None, expired
        return Batch(tuple(self._take(buckets))), expired

    def next_due_s(self) -> float | None:
        """When a partial batch may leave although the device is busy; None when nothing waits."""
        oldest = self._oldest()
        return None if oldest is None else oldest.waiting_since_s + self._limits.max_wait_ms / 1000

    def longest_wait_s(self, now_s: float) -> float:
        """How long the oldest row has waited; 0 when nothing waits."""
        oldest = self._oldest()
        return 0.0 if oldest is None else max(0.0, now_s - oldest.waiting_since_s)

    def waiting(self) -> Iterator[Row]:
        """Every waiting row, in no particular order."""
        for lane in self._lanes.values():
            yield from lane.rows()

    def take_all(self) -> list[Row]:
        """Take every waiting row out, oldest first, to be restored when it is known how they are to run."""
        rows = sorted(self.waiting(), key=lambda row: row.waiting_since_s)
        for row in rows:
            row.request.waiting_rows.clear()
        self._lanes.clear()
        self._ring.clear()
        self._leaders.clear()
        self._arrivals.clear()
        self._num_by_bucket.clear()
        self.num_rows = 0
        return rows

    def _take(self, buckets: set[int] | None) -> list[Row]:
        leader, bucket = self._next_leader(buckets)
        first = self._pop(leader, bucket)
        leader.deficit_tokens -= first.num_tokens
        rows = [first]
        longest = first.num_tokens
        max_rows = 1 if bucket == ALONE else self._limits.max_batch_size
        num_passed = 0
        while num_passed < len(self._ring):
            lane = self._ring[0]
            row = lane.peek(bucket)
            if row is None:
                lane.end_turn(QUANTUM_TOKENS)
                self._ring.rotate(-1)
                num_passed += 1
                continue
            num_passed = 0
            longest_then = max(longest, row.num_tokens)
            if len(rows) >= max_rows or (len(rows) + 1) * longest_then > self._limits.max_batch_tokens:
                break
            lane.begin_turn(QUANTUM_TOKENS)
            if row.num_tokens > lane.deficit_tokens:
                lane.has_turn = False
                self._ring.rotate(-1)
                continue
            lane.deficit_tokens -= row.num_tokens
            longest = longest_then
            rows.append(self._pop(lane, bucket))
        return rows

    def _next_leader(self, buckets: set[int] | None) -> tuple[Lane, int]:
        """The tenant whose turn it is to lead, moved to the end of the line, and the bucket of its most urgent row."""
        for position, lane in enumerate(self._leaders):
            bucket = lane.most_urgent_bucket(buckets)
            if bucket is not None:
                del self._leaders[position]
                self._leaders.append(lane)
                return lane, bucket
        raise AssertionError("next_batch asks only when a row waits in one of the buckets")

    def _pop(self, lane: Lane, bucket: int) -> Row:
        row = lane.pop(bucket)
        self._count_down(bucket)
        self._retire(lane)
        row.request.waiting_rows.discard(row)
        return row

    def _expire(self, now_s: float) -> list[ScoreRequest]:
        limit_s = now_s + self._limits.min_remaining_ms / 1000
        expired = []
        for lane in list(self._lanes.values()):
            while (row := lane.due_before(limit_s)) is not None:
                expired.append(row.request)
                self.cancel(row.request)
        return expired

    def _is_due(self, now_s: float) -> bool:
        due_s = self.next_due_s()
        return due_s is not None and now_s >= due_s

    def _oldest(self) -> Row | None:
        while self._arrivals and not self._arrivals[0].is_waiting:
            self._arrivals.popleft()
        return self._arrivals[0] if self._arrivals else None

    def _count_down(self, bucket: int) -> None:
        self.num_rows -= 1
        self._num_by_bucket[bucket] -= 1
        if not self._num_by_bucket[bucket]:
            del self._num_by_bucket[bucket]

    def _retire(self, lane: Lane) -> None:
        """Forget a tenant with nothing waiting: an idle one earns no credit, and takes no memory."""
        if not lane.num_rows:
            del self._lanes[lane.tenant]
            self._ring.remove(lane)
            self._leaders.remove(lane)
