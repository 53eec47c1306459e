# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Each check of the demo fails when its own number is wrong, and no other does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.checks import Measurements, all_checks
from demo.clients import Answers
from demo.picture import save_confusion
from demo.rows import read_test_rows

GOOD = Measurements(
    refused_code="FAILED_PRECONDITION",
    refused_beside_production_code="FAILED_PRECONDITION",
    answered=2189,
    events_logged=2189,
    events_distinct=2189,
    events_counted=2189,
    num_labelled=2189,
    online_accuracy=2133 / 2189,
    test_accuracy=2133 / 2189,
    versions_answering=frozenset({(3, "5f")}),
    expected_version=(3, "5f"),
    max_score_sum_error=1e-7,
)


def failed(measurements: Measurements) -> set[str]:
    return {check.name for check in all_checks(measurements) if not check.is_passed}


def test_good_run_passes_every_check() -> None:
    assert failed(GOOD) == set()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"refused_code": "OK"}, {"shuffled model is refused"}),
        ({"refused_beside_production_code": "OK"}, {"shuffled model is refused beside production"}),
        ({"events_logged": 2188, "events_distinct": 2188, "events_counted": 2188}, {"every answer is logged"}),
        ({"events_distinct": 2188}, {"no answer is logged twice"}),
        ({"events_counted": 2190}, {"every event is counted"}),
        ({"num_labelled": 2188}, {"every answer has its true label"}),
        ({"versions_answering": frozenset({(3, "5f"), (1, "a1")})}, {"only the promoted version answered"}),
        ({"versions_answering": frozenset()}, {"only the promoted version answered"}),
        ({"max_score_sum_error": 1e-3}, {"scores of a row sum to 1"}),
        ({"online_accuracy": 2132 / 2189}, {"online accuracy equals offline accuracy"}),
        ({"online_accuracy": 0.95, "test_accuracy": 0.95}, {"accuracy is enough"}),
        ({"answered": 2188}, {"every row is answered", "every answer is logged", "every answer has its true label"}),
    ],
)
def test_wrong_number_fails_its_check(change: dict[str, Any], names: set[str]) -> None:
    assert failed(replace(GOOD, **change)) == names


def test_rows_are_read_below_the_three_header_rows(tmp_path: Path) -> None:
    (tmp_path / "test.tab").write_text('Category\tText\nd\tstring\nclass\t\n\nearn\trecord "profit"\nacq\tmerger\n')
    assert [(row.label, row.text) for row in read_test_rows(tmp_path)] == [
        ("earn", 'record "profit"'),
        ("acq", "merger"),
    ]


def test_latency_quantiles_are_nearest_ranks() -> None:
    answers = Answers(rows=[{"latency_ms": float(ms)} for ms in range(100, 0, -1)], errors=[], duration_s=2.0)
    assert (answers.latency_ms(0.5), answers.latency_ms(0.99), answers.latency_ms(1.0)) == (50.0, 99.0, 100.0)
    assert answers.requests_per_s == 50.0


def test_picture_is_a_png(tmp_path: Path) -> None:
    cells = [
        {"true_label": "earn", "predicted_label": "earn", "count": 3},
        {"true_label": "acq", "predicted_label": "earn", "count": 1},
    ]
    save_confusion(cells, tmp_path / "confusion.png", title="two labels")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
