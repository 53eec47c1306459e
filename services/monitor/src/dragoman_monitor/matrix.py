# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A confusion matrix of bounded size: labels that do not stand on their own become one row, or one column.

Measures + Shown -> Matrix: cells that add up to all labelled rows, and how much was merged
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dragoman_monitor.labels import Shown
from dragoman_monitor.measures import Measures

OTHER = None
"""What stands for the merged labels: no text, because any text can be a label."""

Cell = tuple[str | None, str | None]
"""True and predicted label; None is the merged ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What a report shows of labels."""

    cells: Mapping[Cell, int]
    predictions_by_label: Mapping[str, int]
    num_unanswered_labels: int
    num_unanswered: int
    num_merged_true_labels: int
    num_merged_true: int
    num_merged_predicted_labels: int
    num_merged_predicted: int

    @classmethod
    def of(cls, measures: Measures, shown: Shown) -> "Matrix":
        """Merge what is not shown."""
        cells: Counter[Cell] = Counter()
        for (true, predicted), count in measures.confusion.items():
            cells[true if true in shown.true else OTHER, predicted if predicted in shown.answered else OTHER] += count
        by_true, by_label = measures.num_by_true_label, measures.predictions_by_label
        answered = frozenset(measures.labels.answered)
        unanswered = [count for label, count in by_true.items() if label not in answered]
        merged_true = [count for label, count in by_true.items() if label not in shown.true]
        merged_predicted = [count for label, count in by_label.items() if label not in shown.answered]
        return cls(
            cells=cells,
            predictions_by_label={label: count for label, count in by_label.items() if label in shown.answered},
            num_unanswered_labels=len(unanswered),
            num_unanswered=sum(unanswered),
            num_merged_true_labels=len(merged_true),
            num_merged_true=sum(merged_true),
            num_merged_predicted_labels=len(merged_predicted),
            num_merged_predicted=sum(merged_predicted),
        )

    def sorted_cells(self) -> list[tuple[Cell, int]]:
        """The cells by name, the merged ones behind all others."""
        return sorted(self.cells.items(), key=lambda item: [(label is OTHER, label or "") for label in item[0]])
