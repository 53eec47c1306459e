# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Measures from counters: known answers, and nothing where nothing was counted."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.errors import InvalidArgumentError
from dragoman_monitor.contracts import MINUTE_US, RULES, START_US, label, prediction
from dragoman_monitor.counts import CONFUSION, CountingRules, counted, label_counts, prediction_counts
from dragoman_monitor.labels import Labels
from dragoman_monitor.measures import Measures
from dragoman_monitor.window import window_start_us


def confusion(**cells):
    return Counter({(CONFUSION, *cell.split("_")): count for cell, count in cells.items()})


def measured(counts):
    return Measures(counts, Labels.of(counts))


def test_accuracy_and_macro_recall_of_a_known_matrix():
    measures = measured(confusion(a_a=8, a_b=2, b_b=1, b_a=3, c_a=6))
    assert measures.num_labelled == 20
    assert measures.num_correct == 9
    assert measures.accuracy == 9 / 20
    assert measures.macro_recall == (8 / 10 + 1 / 4 + 0) / 3


def test_nothing_counted_has_no_shares():
    measures = measured(Counter())
    assert measures.num_predictions == measures.num_labelled == 0
    shares = (measures.accuracy, measures.macro_recall, measures.coverage, measures.covered_accuracy)
    assert (*shares, measures.unknown_token_share) == (None,) * 5


def test_coverage_is_a_share_of_answered_rows_at_the_threshold_or_above():
    rows = [
        prediction("1", score=0.9),
        prediction("2", score=0.8999),
        prediction("3", score=1.0, label="acq"),
        prediction("4", code="UNAVAILABLE", score=0.99),
    ]
    total = Counter()
    for row, true in zip(rows, ("earn", "earn", "earn", "earn"), strict=True):
        total.update(prediction_counts(row, RULES))
        total.update(label_counts(counted(row, RULES), true))
    measures = measured(total)
    assert measures.coverage == 2 / 3
    assert measures.covered_accuracy == 1 / 2
    assert measures.errors_by_code == {"UNAVAILABLE": 1}
    assert measures.predictions_by_label == {"earn": 2, "acq": 1}
    assert measures.num_labelled == 3


def test_the_threshold_is_compared_as_the_scores_are_stored():
    # float32(0.9) is 0.89999998, below the double 0.9.
    assert CountingRules(coverage_threshold=0.9).covers(0.8999999761581421)
    assert not CountingRules(coverage_threshold=0.9).covers(0.89999)


def test_unknown_tokens_are_a_share_of_all_tokens():
    total = Counter()
    total.update(prediction_counts(prediction("1", num_tokens=30, num_unknown_tokens=3), RULES))
    total.update(prediction_counts(prediction("2", num_tokens=10, num_unknown_tokens=1, is_truncated=True), RULES))
    assert measured(total).unknown_token_share == 4 / 40
    assert measured(total).num_truncated == 1


@given(st.integers(1, 253_402_300_799_999_999), st.integers(1, 86_400))
def test_a_time_lies_in_its_window(time_us, length_s):
    start_us = window_start_us(time_us, length_s)
    assert start_us <= time_us < start_us + length_s * 1_000_000
    assert start_us % (length_s * 1_000_000) == 0


def test_a_window_begins_with_its_first_microsecond():
    assert window_start_us(START_US, 60) == START_US
    assert window_start_us(START_US - 1, 60) == START_US - MINUTE_US


@pytest.mark.parametrize(
    "changes",
    [
        {"score": float("nan")},
        {"score": float("inf")},
        {"score": 1.1},
        {"score": -0.1},
        {"latency_ms": float("nan")},
        {"latency_ms": -1.0},
        {"latency_ms": float("inf")},
        {"version": 0},
        {"arm": "blue"},
        {"code": "ok"},
        {"code": ""},
        {"label": ""},
        {"label": "x" * 513},
        {"label": "a\0b"},
        {"model": ""},
        {"model": "é" * 129},
        {"tenant": ""},
        {"row": -1},
        {"accept_time_us": 0},
        {"accept_time_us": 10**18},
        {"num_tokens": 1, "num_unknown_tokens": 2},
        {"num_unknown_tokens": -1},
    ],
)
def test_a_prediction_outside_its_limits_is_refused_by_field(changes):
    with pytest.raises(InvalidArgumentError, match=next(name for name in reversed(changes)).removesuffix("_us")):
        prediction(**changes)


@pytest.mark.parametrize("changes", [{"text": ""}, {"text": "x" * 513}, {"after_us": -START_US}, {"request_id": ""}])
def test_a_label_outside_its_limits_is_refused(changes):
    with pytest.raises(InvalidArgumentError):
        label(**changes)
