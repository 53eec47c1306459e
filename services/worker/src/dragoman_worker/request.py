# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One call's rows on their way through the worker, and where its scores are put together.

Owns: what a call asks (tenant, deadline, token ids per row), its answer row by row, and its future. Not when a row
runs: that is batcher.py. Shape legend: N rows of a call, T tokens of a row, C labels.

    ids_T per row -> ScoreRequest -> answer(row, scores_C) N times -> future resolves to scores_NC
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

TokenIds: TypeAlias = NDArray[np.int32]
Scores: TypeAlias = NDArray[np.float32]


class Answer(Protocol):
    """Where a call waits: the part of asyncio.Future (and of concurrent.futures.Future) that is used here."""

    def done(self) -> bool:
        """Whether it has an answer, or nobody waits for one any more."""
        ...

    def set_result(self, result: Scores, /) -> None:
        """Answer; once only."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Fail; once only."""
        ...


@dataclass(slots=True, eq=False)
class ScoreRequest:
    """One call. Identity is the object: two calls with equal rows are two calls.

    Attributes:
        rows: N arrays of 1..T token ids.
        deadline_s: On the clock that the batcher is given; the caller is gone after it.
        answer: Resolved once, with scores_NC or an error. A caller that left has it cancelled.
        waiting_rows: Those in a batcher, which keeps this set.
        is_dropped: Nothing of it is to be queued any more.
    """

    tenant: str
    rows: Sequence[TokenIds]
    deadline_s: float
    answer: Answer
    waiting_rows: set["Row"] = field(default_factory=set, repr=False)
    is_dropped: bool = False
    _scores: Scores | None = field(default=None, repr=False)
    _num_answered: int = field(default=0, repr=False)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows, without padding."""
        return sum(row.size for row in self.rows)

    def answer_row(self, index: int, scores_C: Scores) -> None:
        """Put one row's scores in place; the last one resolves the call. Nothing happens when the caller has gone."""
        if self.answer.done():
            return
        if self._scores is None:
            self._scores = np.empty((len(self.rows), scores_C.size), dtype=np.float32)
        # Copied: the row is a view of its batch's buffer, which holds other callers' scores.
        self._scores[index] = scores_C
        self._num_answered += 1
        if self._num_answered == len(self.rows):
            self.answer.set_result(self._scores)

    def fail(self, error: BaseException) -> None:
        """Resolve the call with an error, unless it is resolved already."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class Row:
    """One row of a call: what is batched.

    Attributes:
        waiting_since_s: When it was first queued.
        is_alone: Runs in a batch of its own, because a batch that held it failed or its process died.
    """

    request: ScoreRequest
    index: int
    waiting_since_s: float
    is_alone: bool = False

    @property
    def is_waiting(self) -> bool:
        """Is in a batcher."""
        return self in self.request.waiting_rows

    @property
    def ids(self) -> TokenIds:
        """The row's token ids."""
        return self.request.rows[self.index]

    @property
    def num_tokens(self) -> int:
        """T."""
        return int(self.request.rows[self.index].size)


@dataclass(slots=True, eq=False)
class Batch:
    """Rows that run together, in this order.

    Attributes:
        num_calls: That the rows belong to. Counted once: it is read at the end of every call.
    """

    rows: tuple[Row, ...]
    num_calls: int = field(init=False)

    def __post_init__(self) -> None:
        """Count the calls."""
        self.num_calls = len({row.request for row in self.rows})

    @property
    def num_padded_tokens(self) -> int:
        """What the device computes when every row is padded to the longest."""
        return len(self.rows) * max(row.num_tokens for row in self.rows)
