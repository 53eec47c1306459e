# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The sketch keeps its stated relative error, whatever the values and however they are merged."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_monitor.sketch import MAX_VALUE, MIN_VALUE, Sketch

VALUES = st.lists(st.floats(MIN_VALUE, MAX_VALUE), min_size=1, max_size=300)
ERRORS = st.sampled_from([0.001, 0.01, 0.05])
ROUNDING = 1e-9
"""Of the logarithm and the power, far below any error that is stated."""


@given(VALUES, ERRORS, st.integers(1, 1000))
def test_every_quantile_is_within_the_stated_error(values, relative_error, per_mille):
    sketch = Sketch(relative_error)
    counts = Counter(sketch.bucket(value) for value in values)
    exact = sorted(values)[-(-len(values) * per_mille // 1000) - 1]
    assert abs(sketch.quantile(counts, per_mille) - exact) <= (relative_error + ROUNDING) * exact


@given(VALUES, VALUES, ERRORS)
def test_merging_is_adding(left, right, relative_error):
    sketch = Sketch(relative_error)

    def counts(values):
        return Counter(map(sketch.bucket, values))

    assert counts(left) + counts(right) == counts(right) + counts(left) == counts(left + right)


def test_nothing_counted_is_zero_and_tiny_values_count_as_the_smallest():
    sketch = Sketch(0.01)
    assert sketch.quantile({}, 500) == 0
    assert sketch.bucket(0.0) == sketch.bucket(MIN_VALUE)


@pytest.mark.parametrize("relative_error", [0, 1, -0.1, float("nan")])
def test_an_impossible_error_is_refused(relative_error):
    with pytest.raises(ValueError, match="relative_error"):
        Sketch(relative_error)
