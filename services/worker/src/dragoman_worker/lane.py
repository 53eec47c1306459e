# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One tenant's waiting rows, by length bucket and deadline, and its credit in the round robin.

Owns the heaps. Not whose turn it is: that is batcher.py. A row stops waiting when its call's waiting_rows loses it; its
heap entry is dropped when it comes to the top, and all such entries at the latest when they outnumber the living.
"""

import heapq
from collections.abc import Iterator

from dragoman_worker.request import Row

ALONE = 0
"""The bucket of rows that run in a batch of their own."""

MIN_BUCKET_TOKENS = 32
"""Below it a batch's fixed cost outweighs its padding."""

MAX_SLACK = 64
"""Entries of rows that no longer wait are swept when there are this many more of them than waiting rows."""


def bucket_of(row: Row) -> int:
    """The bucket's upper bound in tokens: a power of two, so padding less than doubles a row above the smallest."""
    if row.is_alone:
        return ALONE
    return max(MIN_BUCKET_TOKENS, 1 << (row.num_tokens - 1).bit_length())


class Lane:
    """Rows of one tenant. A heap a bucket, ordered by deadline, then arrival."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.deficit_tokens = 0
        self.has_turn = False
        self.num_rows = 0
        self._heaps: dict[int, list[tuple[float, int, Row]]] = {}
        self._num_pushed = 0
        self._num_dead = 0

    def push(self, row: Row, bucket: int) -> None:
        """Add a row."""
        self._num_pushed += 1
        heapq.heappush(self._heaps.setdefault(bucket, []), (row.request.deadline_s, self._num_pushed, row))
        self.num_rows += 1

    def peek(self, bucket: int) -> Row | None:
        """The bucket's waiting row with the earliest deadline."""
        heap = self._heaps.get(bucket)
        while heap and not heap[0][2].is_waiting:
            heapq.heappop(heap)
            self._num_dead -= 1
        if not heap:
            self._heaps.pop(bucket, None)
            return None
        return heap[0][2]

    def pop(self, bucket: int) -> Row:
        """Remove and return what peek has just shown."""
        self.num_rows -= 1
        return heapq.heappop(self._heaps[bucket])[2]

    def forget(self, num_rows: int) -> None:
        """Account for rows that were taken out of their call's waiting_rows."""
        self.num_rows -= num_rows
        self._num_dead += num_rows
        if self._num_dead > self.num_rows + MAX_SLACK:
            for bucket, heap in list(self._heaps.items()):
                living = [entry for entry in heap if entry[2].is_waiting]
                heapq.heapify(living)
                self._heaps[bucket] = living
            self._num_dead = 0

    def most_urgent_bucket(self, buckets: set[int] | None) -> int | None:
        """The bucket, among those given (None: all), of the waiting row with the earliest deadline."""
        candidates = list(self._heaps) if buckets is None else [bucket for bucket in buckets if bucket in self._heaps]
        heads = [(self._heaps[bucket][0][:2], bucket) for bucket in candidates if self.peek(bucket)]
        return min(heads)[1] if heads else None

    def due_before(self, limit_s: float) -> Row | None:
        """A waiting row whose deadline is before the limit, if there is one."""
        for bucket in list(self._heaps):
            row = self.peek(bucket)
            if row is not None and row.request.deadline_s < limit_s:
                return row
        return None

    def rows(self) -> Iterator[Row]:
        """All waiting rows, in no particular order."""
        for heap in self._heaps.values():
            yield from (entry[2] for entry in heap if entry[2].is_waiting)

    def begin_turn(self, quantum_tokens: int) -> None:
        """Add the quantum, once a turn."""
        if not self.has_turn:
            self.has_turn = True
            self.deficit_tokens += quantum_tokens

    def end_turn(self, quantum_tokens: int) -> None:
        """End a turn for lack of rows: what was not used is not saved up beyond one quantum."""
        self.has_turn = False
        self.deficit_tokens = min(self.deficit_tokens, quantum_tokens)
