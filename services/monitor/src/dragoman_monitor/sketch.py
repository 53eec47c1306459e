# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Quantiles from counts alone: a sketch whose whole state is integers, so that merging is adding, in any order.

Owns the buckets and the quantile's definition; the counts live with all others (counts.py).

    value -> bucket i, where gamma^(i-1) < value <= gamma^i -> a count per bucket -> quantile = a bucket's estimate

Source: Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
VLDB 2019, section 2. Deviation: no buckets are collapsed, because values are bounded (see MAX_VALUE).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MIN_VALUE: Final = 1e-3
"""Smaller values count as this one: a microsecond, where the unit is ms."""
MAX_VALUE: Final = 1e9
"""The largest value taken; with 1 % relative error that bounds a sketch to 1,383 buckets."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """The shape of a sketch.

    Args:
        relative_error: every quantile q is answered with a value v such that ``|v - exact| <= relative_error * exact``;
            half the error doubles the buckets.
    """

    relative_error: float

    def __post_init__(self) -> None:
        if not 0 < self.relative_error < 1:
            raise ValueError("relative_error must lie between 0 and 1")

    @property
    def gamma(self) -> float:
        """The ratio of a bucket's bounds."""
        return (1 + self.relative_error) / (1 - self.relative_error)

    def bucket(self, value: float) -> int:
        """The index of the bucket for a value of 0 .. MAX_VALUE."""
        return math.ceil(math.log(max(value, MIN_VALUE)) / math.log(self.gamma))

    def estimate(self, bucket: int) -> float:
        """The value that stands for a bucket: equally far, relatively, from both its bounds."""
        return 2 * self.gamma**bucket / (self.gamma + 1)

    def quantile(self, counts: Mapping[int, int], per_mille: int) -> float:
        """The smallest value that at least ``per_mille`` of 1,000 values do not exceed (the nearest rank).

        Args:
            counts: bucket -> how many values; empty answers 0.
            per_mille: 500 is the median, 1000 the maximum. An integer, because 0.99 has no exact binary form.
        """
        num_values = sum(counts.values())
        rank = max(1, -(-num_values * per_mille // 1000))
        seen = 0
        for bucket in sorted(counts):
            seen += counts[bucket]
            if seen >= rank:
                return self.estimate(bucket)
        return 0.0
