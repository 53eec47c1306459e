# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The exact tests that the gate decides by. Pure arithmetic."""

import math

_NEGLIGIBLE = 1e-18


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return P(X >= successes) for X ~ Binomial(trials, probability), to about 1e-10 relative."""
    if successes <= 0:
        return 1.0
    if successes > trials or probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    log_p, log_q = math.log(probability), math.log1p(-probability)
    log_factorial = math.lgamma(trials + 1)
    terms: list[float] = []
    largest = -math.inf
    for count in range(successes, trials + 1):
        log_term = (
            log_factorial
            - math.lgamma(count + 1)
            - math.lgamma(trials - count + 1)
            + count * log_p
            + (trials - count) * log_q
        )
        largest = max(largest, log_term)
        # Past the mode the terms fall faster than geometrically, so the rest cannot matter.
        if log_term < largest + math.log(_NEGLIGIBLE):
            break
        terms.append(log_term)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(term - largest) for term in terms))


def mcnemar_tail(only_production: int, only_candidate: int) -> float:
    """Return the p-value of "the candidate is worse" from the rows that exactly one of the two got right.

    Source: McNemar 1947 in its exact form: under no difference, each discordant row is a fair coin.
    """
    return binomial_tail(only_production, only_production + only_candidate, 0.5)
