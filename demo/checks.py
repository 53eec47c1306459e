# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold for the demo to succeed. Pure: measurements in, verdicts out."""

from dataclasses import dataclass

from demo.rows import NUM_TEST_ROWS

MIN_ACCURACY = 0.960


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurements:
    """Everything that the checks look at."""

    refused_code: str
    """The status of the raw call that tried to promote the shuffled model, with nothing in production."""
    refused_beside_production_code: str
    """The same, with a good model in production."""
    answered: int
    events_logged: int
    events_distinct: int
    events_counted: int
    num_labelled: int
    online_accuracy: float
    test_accuracy: float
    versions_answering: frozenset[tuple[int, str]]
    """(version, digest) pairs seen in the answers."""
    expected_version: tuple[int, str]
    max_score_sum_error: float


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    is_passed: bool
    detail: str


def all_checks(m: Measurements) -> list[Check]:
    """Every check, passed or not."""
    return [
        _equal("shuffled model is refused", m.refused_code, "FAILED_PRECONDITION"),
        _equal("shuffled model is refused beside production", m.refused_beside_production_code, "FAILED_PRECONDITION"),
        _equal("every row is answered", m.answered, NUM_TEST_ROWS),
        _equal("every answer is logged", m.events_logged, m.answered),
        _equal("no answer is logged twice", m.events_distinct, m.events_logged),
        _equal("every event is counted", m.events_counted, m.events_logged),
        _equal("every answer has its true label", m.num_labelled, m.answered),
        _equal("only the promoted version answered", sorted(m.versions_answering), [m.expected_version]),
        Check("scores of a row sum to 1", m.max_score_sum_error < 1e-5, f"off by at most {m.max_score_sum_error:.1e}"),
        Check(
            "online accuracy equals offline accuracy",
            abs(m.online_accuracy - m.test_accuracy) < 1e-9,
            f"{m.online_accuracy:.6f} online, {m.test_accuracy:.6f} offline",
        ),
        Check("accuracy is enough", m.test_accuracy >= MIN_ACCURACY, f"{m.test_accuracy:.4f}, at least {MIN_ACCURACY}"),
    ]


def _equal(name: str, found: object, expected: object) -> Check:
    return Check(name, found == expected, str(found) if found == expected else f"{found}, expected {expected}")
