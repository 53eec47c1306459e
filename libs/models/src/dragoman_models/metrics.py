# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of merit of a classifier.

Owns their definitions. Every one is a sum divided by a count over all rows, never an average of per-batch figures, so
the way in which rows were batched cannot change it. Shape legend: N rows, C labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusionMetrics:
    """The metrics that follow from counts alone; see DatasetEvaluation for their definitions."""

    accuracy: float
    macro_recall: float
    macro_f1: float
    majority_accuracy: float


def confusion_metrics(confusion_CC: NDArray[np.int64]) -> ConfusionMetrics:
    """Compute the metrics that follow from [true][predicted] counts of at least one row."""
    hits = np.diag(confusion_CC).astype(np.float64)
    support = confusion_CC.sum(axis=1).astype(np.float64)
    answered = confusion_CC.sum(axis=0).astype(np.float64)
    total = support.sum()
    occurs, used = support > 0, (support + answered) > 0
    return ConfusionMetrics(
        accuracy=float(hits.sum() / total),
        macro_recall=float((hits[occurs] / support[occurs]).mean()),
        macro_f1=float((2 * hits[used] / (support + answered)[used]).mean()),
        majority_accuracy=float(support.max() / total),
    )


def expected_calibration_error(confidence_N: NDArray[np.float32], correct_N: NDArray[np.bool_]) -> float:
    """Return the ECE over 15 equal-width bins (lower, upper].

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, section 2; deviation: none.
    """
    confidence = confidence_N.astype(np.float64)
    bins = np.clip(np.ceil(confidence * NUM_CALIBRATION_BINS).astype(np.int64) - 1, 0, NUM_CALIBRATION_BINS - 1)
    gap = np.bincount(bins, weights=confidence - correct_N, minlength=NUM_CALIBRATION_BINS)
    return float(np.abs(gap).sum() / confidence.size)
