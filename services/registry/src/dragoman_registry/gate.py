# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gate's question of quality: what was measured on the same test rows, of a candidate and of what is in production?

Pure: evaluations in, a verdict with its measurements out. The other questions are gate_rules'.

Without a version in production, the candidate must beat the majority class by an exact one-sided binomial test. With
one, it must not be worse: not by an exact one-sided McNemar test on the paired rows, and not by more than 1.0 point of
accuracy, whatever the test says. Both must hold on every test set of the version in production.

A version may have been evaluated more than once on the same rows, in its package and in evidence. Then the candidate's
worst and production's best result count, so that nobody passes the gate by adding evaluations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dragoman_common.errors import FailedPreconditionError
from dragoman_models.evaluation import DatasetEvaluation
from dragoman_models.gate_rule import BETTER, EVALUATED, NONE
from dragoman_models.record import VersionManifest
from dragoman_registry.evidence import StoredEvidence
from dragoman_registry.significance import binomial_tail, mcnemar_tail

ALPHA = 0.05
MAX_ACCURACY_DROP = 0.010

# The digest of a test set's rows, and how many they are.
Rows = tuple[str, int]


class GateRefusedError(FailedPreconditionError):
    """The move is not supported by evidence; the message holds the measurements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A version, its evaluations (the package's and those in evidence), and its evidence, as far as they count."""

    manifest: VersionManifest
    evaluations: Sequence[DatasetEvaluation]
    evidence: Sequence[StoredEvidence] = ()

    @property
    def test_sets(self) -> list[str]:
        """Names of the data sets on whose test split it was evaluated, in order, each once."""
        return list(dict.fromkeys(item.name for item in self.evaluations if item.split == "test"))

    def on(self, name: str) -> Mapping[Rows, list[DatasetEvaluation]]:
        """Its evaluations on the test split of a data set, by rows, with the fewest right answers first."""
        found: dict[Rows, list[DatasetEvaluation]] = {}
        for item in sorted(self.evaluations, key=lambda item: sum(item.correct)):
            if (item.name, item.split) == (name, "test"):
                found.setdefault((item.digest, item.num_rows), []).append(item)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    measured: str
    is_better: bool


def judge_quality(candidate: Contender, production: Contender | None, quality: str) -> str:
    """Hold a candidate against a rule of quality.

    Args:
        candidate: Where the alias should point.
        production: Where it points now, None for nowhere.
        quality: One of policy_record.QUALITY_RULES.

    Returns:
        What was measured, as text for the alias event; empty when nothing is asked.

    Raises:
        GateRefusedError: the candidate lacks evidence, or is not good enough.
    """
    if quality == NONE:
        return ""
    evaluated = _require_evaluation(candidate)
    if quality == EVALUATED:
        return evaluated
    if production is None or not production.test_sets:
        return "; ".join(_beats_majority(candidate, name) for name in candidate.test_sets)
    comparisons = [found for name in production.test_sets for found in _not_worse(candidate, production, name)]
    measured = "; ".join(comparison.measured for comparison in comparisons)
    if quality == BETTER and not any(comparison.is_better for comparison in comparisons):
        raise GateRefusedError(
            f"gate: version {candidate.manifest.number} is not significantly better than version "
            f"{production.manifest.number} on any test set (exact McNemar, alpha {ALPHA}); {measured}"
        )
    return measured


def _require_evaluation(candidate: Contender) -> str:
    if not candidate.test_sets:
        raise GateRefusedError(
            f"gate: version {candidate.manifest.number} has no evaluation on a test split; "
            "publish it with evaluation.json, or add one as evidence"
        )
    return "; ".join(
        f"{name}: {_share(items[0])}" for name in candidate.test_sets for items in candidate.on(name).values()
    )


def _not_worse(candidate: Contender, production: Contender, name: str) -> list[_Comparison]:
    before, after = production.on(name), candidate.on(name)
    which = f"gate: version {candidate.manifest.number} against version {production.manifest.number} on {name}"
    if not after:
        raise GateRefusedError(f"{which}: the candidate was not evaluated on this test set")
    shared = [rows for rows in before if rows in after]
    if not shared:
        raise GateRefusedError(
            f"{which}: they were evaluated on different test rows "
            f"(digests {next(iter(before))[0][:12]} and {next(iter(after))[0][:12]})"
        )
    return [_compare(before[rows][-1], after[rows][0], name, which) for rows in shared]


def _compare(before: DatasetEvaluation, after: DatasetEvaluation, name: str, which: str) -> _Comparison:
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
    return _Comparison(measured=measured, is_better=mcnemar_tail(only_after, only_before) < ALPHA)


def _beats_majority(candidate: Contender, name: str) -> str:
    return "; ".join(_beats_majority_on(candidate, items[0]) for items in candidate.on(name).values())


def _beats_majority_on(candidate: Contender, test: DatasetEvaluation) -> str:
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
