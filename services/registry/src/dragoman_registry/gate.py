# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gate: may an alias point to this version, given what was measured on the same test rows?

Pure: evaluations in, a verdict with its measurements out. The registry calls it before every move.

Without a version in production, the candidate must beat the majority class by an exact one-sided binomial test. With
one, it must not be worse: not by an exact one-sided McNemar test on the paired rows, and not by more than 1.0 point of
accuracy, whatever the test says. Both must hold on every test set of the version in production.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dragoman_common.errors import FailedPreconditionError
from dragoman_models.evaluation import DatasetEvaluation
from dragoman_models.record import VersionManifest

ALPHA = 0.05
MAX_ACCURACY_DROP = 0.010
_NEGLIGIBLE = 1e-18


class GateRefusedError(FailedPreconditionError):
    """The move is not supported by evidence; the message holds the measurements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A version and what it measured about itself; empty when it carries no evaluation."""

    manifest: VersionManifest
    evaluations: Sequence[DatasetEvaluation]

    @property
    def tests(self) -> Mapping[str, DatasetEvaluation]:
        """The evaluations on test splits, by data set."""
        return {item.name: item for item in self.evaluations if item.split == "test"}


def judge(candidate: Contender, production: Contender | None) -> str:
    """Compare a candidate with the version in production.

    Args:
        candidate: Where the alias should point.
        production: Where it points now, None for nowhere.

    Returns:
        What was measured, as text for the alias event.

    Raises:
        GateRefusedError: the candidate lacks evidence, is not compatible, or is not good enough.
    """
    require_evaluation(candidate)
    if production is None:
        return "; ".join(_beats_majority(candidate, test) for test in candidate.tests.values())
    _check_compatible(candidate.manifest, production.manifest)
    measured = [_not_worse(candidate, production, name) for name in production.tests]
    if not measured:
        return "; ".join(_beats_majority(candidate, test) for test in candidate.tests.values())
    return "; ".join(measured)


def require_evaluation(candidate: Contender) -> str:
    """Return what a version measured about itself; for aliases on which a version is only tried out.

    Raises:
        GateRefusedError: it has no evaluation on a test split.
    """
    if not candidate.tests:
        raise GateRefusedError(
            f"gate: version {candidate.manifest.number} has no evaluation on a test split; "
            "publish it with evaluation.json"
        )
    return "; ".join(f"{test.name}: {_share(test)}" for test in candidate.tests.values())


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


def _check_compatible(candidate: VersionManifest, production: VersionManifest) -> None:
    which = f"gate: version {candidate.number} cannot replace version {production.number}"
    if candidate.task != production.task:
        raise GateRefusedError(f"{which}: its task is {candidate.task}, not {production.task}")
    if set(candidate.labels) != set(production.labels):
        gone = sorted(set(production.labels) - set(candidate.labels))
        new = sorted(set(candidate.labels) - set(production.labels))
        raise GateRefusedError(f"{which}: its labels differ (without {_listed(gone)}; added {_listed(new)})")
    if candidate.labels != production.labels:
        raise GateRefusedError(f"{which}: it has the same labels in another order, so clients would misread its scores")
    if candidate.input_limits.max_text_bytes < production.input_limits.max_text_bytes:
        raise GateRefusedError(
            f"{which}: it takes texts of at most {candidate.input_limits.max_text_bytes} bytes, clients may send "
            f"{production.input_limits.max_text_bytes}"
        )


def _not_worse(candidate: Contender, production: Contender, name: str) -> str:
    before, after = production.tests[name], candidate.tests.get(name)
    which = f"gate: version {candidate.manifest.number} against version {production.manifest.number} on {name}"
    if after is None:
        raise GateRefusedError(f"{which}: the candidate was not evaluated on this test set")
    if (before.digest, before.num_rows) != (after.digest, after.num_rows):
        raise GateRefusedError(
            f"{which}: they were evaluated on different test rows "
            f"(digests {before.digest[:12]} and {after.digest[:12]})"
        )
    only_before = sum(a and not b for a, b in zip(before.correct, after.correct, strict=True))
    only_after = sum(b and not a for a, b in zip(before.correct, after.correct, strict=True))
    p_worse = mcnemar_tail(only_before, only_after)
    measured = (
        f"{name}: {_share(after)} against {_share(before)}, right only in production {only_before}, "
        f"only in candidate {only_after}, p(worse) = {p_worse:.3g}"
    )
    if p_worse < ALPHA:
        raise GateRefusedError(f"{which}: significantly worse (exact McNemar, alpha {ALPHA}); {measured}")
    # Whole rows, so that rounding of two accuracies never decides.
    if sum(before.correct) - sum(after.correct) > MAX_ACCURACY_DROP * before.num_rows:
        raise GateRefusedError(f"{which}: accuracy falls by more than {100 * MAX_ACCURACY_DROP:.1f} points; {measured}")
    return measured


def _beats_majority(candidate: Contender, test: DatasetEvaluation) -> str:
    majority = max(sum(row) for row in test.confusion) / test.num_rows
    p_chance = binomial_tail(sum(test.correct), test.num_rows, majority)
    measured = f"{test.name}: {_share(test)}, majority class {majority:.4f}, p(chance) = {p_chance:.3g}"
    if p_chance >= ALPHA:
        raise GateRefusedError(
            f"gate: version {candidate.manifest.number} does not beat the majority class "
            f"(exact binomial, alpha {ALPHA}); {measured}"
        )
    return measured


def _share(test: DatasetEvaluation) -> str:
    return f"accuracy {sum(test.correct) / test.num_rows:.4f} of {test.num_rows} rows"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (" ..." if len(names) > 5 else "") if names else "none"
