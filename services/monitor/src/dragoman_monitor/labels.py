# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which labels stand on their own in a report, so that no feedback can move its size.

The books keep every label; what is merged is decided here, from the counters alone: equal books give equal reports.

    counters of a series -> Labels (answered, other; most frequent first) -> shown(n) -> Shown: which are not merged
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dragoman_monitor.counts import CONFUSION, LABEL, Counts

MAX_OTHER_LABELS: Final = 64
"""True labels that stand on their own though the version never answered them: classes that it does not know."""

MAX_SHOWN_LABELS: Final = 1_024
"""Answers that stand on their own, to begin with; a report that does not fit is made again with half as many."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The labels of a confusion matrix that are not merged."""

    answered: frozenset[str]
    true: frozenset[str]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one series, in the time that a report is about."""

    answered: tuple[str, ...]
    """Those in its answers: the labels that it really has."""
    other: tuple[str, ...]
    """True labels of at least one row that it never answered; not all of them stand on their own."""

    @classmethod
    def of(cls, counts: Counts) -> "Labels":
        """The labels in counters; the most frequent first, equal ones by name."""
        answered: Counter[str] = Counter()
        other: Counter[str] = Counter()
        for (name, first, second), count in counts.items():
            if name == LABEL and count:
                answered[first] += count
            elif name == CONFUSION and count:
                # A label is of an answer, so the answer has been counted, too.
                answered.setdefault(second, 0)
                other[first] += count
        return cls(
            answered=_by_size(answered.items()), other=_by_size(o for o in other.items() if o[0] not in answered)
        )

    def standing(self) -> frozenset[str]:
        """The true labels that a mean over labels takes one by one, whatever fits into a message."""
        return frozenset(self.answered) | frozenset(self.other[:MAX_OTHER_LABELS])

    def shown(self, max_labels: int) -> Shown:
        """The labels that a report shows: at most so many answers, and at most so many true labels beside them."""
        answered = frozenset(self.answered[:max_labels])
        return Shown(answered=answered, true=answered | frozenset(self.other[: min(max_labels, MAX_OTHER_LABELS)]))


def _by_size(counts: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(label for label, _ in sorted(counts, key=lambda item: (-item[1], item[0])))
