# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a report says, from counters alone. Ratios of integers: equal counters give equal measures, bit for bit.

Counts (of one window, or of many added up), Labels (of the whole report) -> Measures
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dragoman_monitor.counts import (
    CODE,
    CONFUSION,
    COVERED,
    COVERED_CORRECT,
    COVERED_LABELLED,
    LABEL,
    LATENCY,
    TOKENS,
    TRUNCATED,
    UNKNOWN_TOKENS,
    Counts,
)
from dragoman_monitor.labels import Labels
from dragoman_monitor.prediction import OK


@dataclass(frozen=True, slots=True)
class Measures:
    """A view of counters. Shares are None while nothing was counted that they could be a share of."""

    counts: Counts
    labels: Labels

    def by_key(self, name: str) -> Counter[str]:
        """The counters of one name by their first key, without those that are 0."""
        found: Counter[str] = Counter()
        for (counter, first, _), count in self.counts.items():
            if counter == name and count:
                found[first] += count
        return found

    def number(self, name: str) -> int:
        """A counter that has no keys."""
        return self.counts[name, "", ""]

    @property
    def num_predictions(self) -> int:
        return self.by_key(CODE).total()

    @property
    def num_answered(self) -> int:
        return self.counts[CODE, OK, ""]

    @property
    def errors_by_code(self) -> Mapping[str, int]:
        return {code: count for code, count in self.by_key(CODE).items() if code != OK}

    @property
    def predictions_by_label(self) -> Mapping[str, int]:
        return self.by_key(LABEL)

    @property
    def latency_buckets(self) -> Mapping[int, int]:
        return {int(bucket): count for bucket, count in self.by_key(LATENCY).items()}

    @property
    def confusion(self) -> Mapping[tuple[str, str], int]:
        """(true label, predicted label) -> count."""
        return {
            (true, predicted): count
            for (counter, true, predicted), count in self.counts.items()
            if counter == CONFUSION and count
        }

    @property
    def num_labelled(self) -> int:
        return sum(self.confusion.values())

    @property
    def num_correct(self) -> int:
        return sum(count for (true, predicted), count in self.confusion.items() if true == predicted)

    @property
    def accuracy(self) -> float | None:
        return _share(self.num_correct, self.num_labelled)

    @property
    def num_by_true_label(self) -> Mapping[str, int]:
        """Labelled rows by their true label."""
        totals: Counter[str] = Counter()
        for (true, _), count in self.confusion.items():
            totals[true] += count
        return totals

    @property
    def macro_recall(self) -> float | None:
        """The mean, over the true labels seen, of the share that was found.

        True labels beyond the bound (labels.py) are one label together, of which nothing was found.
        """
        standing = self.labels.standing()
        totals = self.num_by_true_label
        seen = [label for label in totals if label in standing]
        return self._mean_recall(seen, num_labels=len(seen) + (len(seen) < len(totals)))

    @property
    def answered_macro_recall(self) -> float | None:
        """As `macro_recall`, over the true labels that the version also answers."""
        answered = frozenset(self.labels.answered)
        seen = [label for label in self.num_by_true_label if label in answered]
        return self._mean_recall(seen, num_labels=len(seen))

    def _mean_recall(self, labels: Sequence[str], *, num_labels: int) -> float | None:
        # Labels are taken in sorted order: floating point sums depend on the order.
        totals = self.num_by_true_label
        recalls = (self.counts[CONFUSION, label, label] / totals[label] for label in sorted(labels))
        return sum(recalls) / num_labels if num_labels else None

    @property
    def coverage(self) -> float | None:
        return _share(self.number(COVERED), self.num_answered)

    @property
    def covered_accuracy(self) -> float | None:
        return _share(self.number(COVERED_CORRECT), self.number(COVERED_LABELLED))

    @property
    def num_truncated(self) -> int:
        return self.number(TRUNCATED)

    @property
    def unknown_token_share(self) -> float | None:
        """Unknown token ids / token ids: long rows weigh more than short ones."""
        return _share(self.number(UNKNOWN_TOKENS), self.number(TOKENS))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
