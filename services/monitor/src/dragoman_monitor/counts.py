# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is counted for a prediction and for its label: integers only, so that sums are equal in any order of arrival.

Owns the vocabulary of counters and the rules that fill them. measures.py turns counters into what a report says.

    Prediction -> Counted (its window, its answer, whether it was covered) + counters        Label -> counters
"""

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from dragoman_monitor.prediction import OK, SHADOW, Prediction, RowKey
from dragoman_monitor.sketch import Sketch
from dragoman_monitor.window import WindowKey, window_start_us

# A counter's name and up to two keys. What the keys are stands beside each name.
CounterKey = tuple[str, str, str]
Counts = Counter[CounterKey]

CODE: Final = "code"  # status code
LABEL: Final = "label"  # predicted label; answered rows only
LATENCY: Final = "latency"  # sketch bucket; answered rows only
COVERED: Final = "covered"  # answered with a score of at least the threshold
CONFUSION: Final = "confusion"  # true label, predicted label
COVERED_LABELLED: Final = "covered_labelled"
COVERED_CORRECT: Final = "covered_correct"
TRUNCATED: Final = "truncated"
TOKENS: Final = "tokens"
UNKNOWN_TOKENS: Final = "unknown_tokens"
# Usage: what sampled events stand for is in them.
REQUESTS: Final = "used_requests"
ROWS: Final = "used_rows"
ROW_TOKENS: Final = "used_tokens"
USAGE: Final = (REQUESTS, ROWS, ROW_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingRules:
    """What the counters mean. Counters made under other rules cannot be added to these."""

    window_s: int = 60
    coverage_threshold: float = 0.9
    sketch: Sketch = field(default_factory=lambda: Sketch(0.01))

    def __post_init__(self) -> None:
        if self.window_s < 1:
            raise ValueError("window_s must be at least 1")
        if not 0 <= self.coverage_threshold <= 1:
            raise ValueError("coverage_threshold must lie in 0..1")

    def describe(self) -> str:
        """The rules as one line, kept beside the counters and compared at every start."""
        return (
            f"window_s={self.window_s} coverage_threshold={self.coverage_threshold!r} "
            f"relative_error={self.sketch.relative_error!r}"
        )

    def covers(self, score: float) -> bool:
        """Whether a score reaches the threshold. Scores are float32, so the threshold is rounded as they are."""
        (threshold,) = struct.unpack("f", struct.pack("f", self.coverage_threshold))
        return bool(score >= threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What must be remembered of a prediction, to know it again and to count its label later."""

    key: RowKey
    window: WindowKey
    label: str
    """The answer; empty where the row was refused."""
    is_covered: bool


def counted(prediction: Prediction, rules: CountingRules) -> Counted:
    """Place a prediction in its window."""
    is_answered = prediction.code == OK
    return Counted(
        key=prediction.key,
        window=WindowKey(
            tenant=prediction.key.tenant,
            model=prediction.model,
            version=prediction.version,
            arm=prediction.arm,
            start_us=window_start_us(prediction.accept_time_us, rules.window_s),
        ),
        label=prediction.label if is_answered else "",
        is_covered=is_answered and rules.covers(prediction.score),
    )


def prediction_counts(prediction: Prediction, rules: CountingRules) -> Counts:
    """The counters that one new prediction adds to its window."""
    counts: Counts = Counter({(CODE, prediction.code, ""): 1})
    if prediction.code == OK:
        counts[LABEL, prediction.label, ""] = 1
        counts[LATENCY, str(rules.sketch.bucket(prediction.latency_ms)), ""] = 1
        if rules.covers(prediction.score):
            counts[COVERED, "", ""] = 1
    if prediction.is_truncated:
        counts[TRUNCATED, "", ""] = 1
    if prediction.num_tokens:
        counts[TOKENS, "", ""] = prediction.num_tokens
    if prediction.num_unknown_tokens:
        counts[UNKNOWN_TOKENS, "", ""] = prediction.num_unknown_tokens
    counts.update(_usage_counts(prediction))
    return counts


def _usage_counts(prediction: Prediction) -> Counts:
    counts: Counts = Counter()
    if prediction.arm != SHADOW:
        counts[REQUESTS, "", ""] = prediction.stands_for * (prediction.key.row == 0)
        if prediction.code == OK:
            counts[ROWS, "", ""] = prediction.stands_for
            counts[ROW_TOKENS, "", ""] = prediction.stands_for * prediction.num_tokens
    return +counts


def label_counts(prediction: Counted, true_label: str) -> Counts:
    """The counters that a true label adds to its prediction's window: none, where the row was refused."""
    counts: Counts = Counter()
    if prediction.label:
        counts[CONFUSION, true_label, prediction.label] = 1
        if prediction.is_covered:
            counts[COVERED_LABELLED, "", ""] = 1
            counts[COVERED_CORRECT, "", ""] = int(true_label == prediction.label)
    return +counts
