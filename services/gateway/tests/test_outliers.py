# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who is ejected, for how long, and who never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_gateway.outliers import (
    BASE_EJECTION_S,
    FAILURES_IN_A_ROW,
    MAX_EJECTION_S,
    MIN_WINDOW_CALLS,
    WINDOW_S,
    OutlierDetector,
)

TWO = ("bad", "good")


def fail(detector, address, now_s, times=FAILURES_IN_A_ROW):
    return [detector.ended(address, now_s, is_failure=True) for _ in range(times)]


@pytest.fixture
def detector():
    return OutlierDetector()


def test_failures_in_a_row_eject_and_the_ejection_ends(detector):
    assert fail(detector, "bad", 0.0) == [False] * (FAILURES_IN_A_ROW - 1) + [True]
    assert detector.passed_over(TWO, 0.0) == {"bad"}
    assert detector.passed_over(TWO, BASE_EJECTION_S - 0.01) == {"bad"}
    assert detector.passed_over(TWO, BASE_EJECTION_S) == frozenset()


def test_one_success_breaks_the_row(detector):
    fail(detector, "bad", 0.0, FAILURES_IN_A_ROW - 1)
    detector.ended("bad", 0.0, is_failure=False)
    fail(detector, "bad", 0.0, FAILURES_IN_A_ROW - 1)
    assert detector.passed_over(TWO, 0.0) == frozenset()


def test_too_few_successes_eject_without_a_row(detector):
    for step in range(MIN_WINDOW_CALLS * 2):
        # Two of three fail: never more than two in a row.
        detector.ended("bad", 0.0, is_failure=step % 3 != 0)
        detector.ended("good", 0.0, is_failure=step % 3 == 0)
    assert detector.passed_over(TWO, 0.0) == {"bad"}


def test_old_failures_do_not_count(detector):
    for step in range(3 * MIN_WINDOW_CALLS):
        # One window's calls are too few to judge by.
        now_s = (step // (MIN_WINDOW_CALLS - 1)) * (WINDOW_S + 1)
        detector.ended("bad", now_s, is_failure=step % 3 != 0)
    assert detector.passed_over(TWO, 3 * (WINDOW_S + 1)) == frozenset()


def test_each_ejection_is_longer_up_to_a_bound_and_good_windows_shorten_it(detector):
    now_s, lengths = 0.0, []
    for _ in range(20):
        fail(detector, "bad", now_s)
        until_s = now_s
        while detector.passed_over(TWO, until_s):
            until_s += 1.0
        lengths.append(until_s - now_s)
        now_s = until_s
    assert lengths[:3] == [BASE_EJECTION_S, 2 * BASE_EJECTION_S, 3 * BASE_EJECTION_S]
    assert lengths[-1] == MAX_EJECTION_S
    for _ in range(25):
        now_s += WINDOW_S
        detector.ended("bad", now_s, is_failure=False)
    fail(detector, "bad", now_s)
    assert detector.passed_over(TWO, now_s + BASE_EJECTION_S) == frozenset()


def test_a_calls_end_during_an_ejection_does_not_lengthen_it(detector):
    fail(detector, "bad", 0.0)
    fail(detector, "bad", 4.0, 50)
    assert detector.passed_over(TWO, BASE_EJECTION_S) == frozenset()


@given(holders=st.integers(1, 9), failed=st.integers(0, 9))
def test_at_most_half_are_passed_over_and_never_the_last(holders, failed):
    detector = OutlierDetector()
    names = [f"w{place}" for place in range(holders)]
    for place, name in enumerate(names[:failed]):
        fail(detector, name, place / 100)
    passed_over = detector.passed_over(names, 0.5)
    assert len(passed_over) == min(failed, holders // 2)
    assert len(passed_over) < holders
    # The last ejected: what all have failed at before is no sign any more.
    assert passed_over == set(names[:failed][len(names[:failed]) - len(passed_over) :])


def test_a_worker_that_has_gone_is_forgotten(detector):
    fail(detector, "bad", 0.0)
    detector.forget("bad")
    assert detector.passed_over(TWO, 0.0) == frozenset()
