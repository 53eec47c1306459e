# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gate: may an alias point to this version, by the rule that the model's policy has for it?

Pure: a rule, two contenders and a mover in; a verdict with its measurements out. Every part of the rule must hold, and
evidence that is not there does not hold.

    size -> compatibility -> quality (gate) -> robustness -> latency -> approvals -> summary
"""

from collections.abc import Iterator, Sequence

from dragoman_models.evidence_document import (
    APPROVAL,
    MEASUREMENT,
    ROBUSTNESS,
    parse_approval,
    parse_measurement,
    parse_robustness,
)
from dragoman_models.gate_rule import FULL_SHARE_BASIS_POINTS, GateRule
from dragoman_models.record import VersionManifest
from dragoman_registry.gate import Contender, GateRefusedError, judge_quality


def judge(rule: GateRule, candidate: Contender, production: Contender | None, *, mover: str) -> str:
    """Hold a move against a rule.

    Args:
        rule: The alias's.
        candidate: Where the alias should point.
        production: Where it points now, None for nowhere.
        mover: Who moves it: identity and subject.

    Returns:
        What was measured, as text for the alias event.

    Raises:
        GateRefusedError: a part of the rule does not hold; the message says which, and by how much.
    """
    return "; ".join(part for part in _parts(rule, candidate, production, mover) if part)


def _parts(rule: GateRule, candidate: Contender, production: Contender | None, mover: str) -> Iterator[str]:
    if rule.max_size_bytes:
        yield _size(rule, candidate.manifest)
    if production is not None and not rule.may_be_incompatible:
        check_compatible(candidate.manifest, production.manifest)
    yield judge_quality(candidate, production, rule.quality)
    if rule.min_robustness_basis_points:
        yield _robustness(rule, candidate)
    if rule.max_p99_us:
        yield _latency(rule, candidate)
    if rule.num_approvals:
        yield _approvals(rule, candidate, mover)


def check_compatible(candidate: VersionManifest, production: VersionManifest) -> None:
    """Refuse a candidate that clients of the version in production could not use.

    Raises:
        GateRefusedError: another task, other labels or their order, or texts that would become too long.
    """
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


def _size(rule: GateRule, manifest: VersionManifest) -> str:
    size_bytes = sum(file.size_bytes for file in manifest.files)
    measured = f"size {size_bytes} of at most {rule.max_size_bytes} bytes"
    if size_bytes > rule.max_size_bytes:
        raise GateRefusedError(f"gate: version {manifest.number} is too large for {rule.alias}: {measured}")
    return measured


def _robustness(rule: GateRule, candidate: Contender) -> str:
    suites = [suite for document in _documents(candidate, ROBUSTNESS) for suite in parse_robustness(document)]
    number = candidate.manifest.number
    if not suites:
        raise GateRefusedError(f"gate: version {number} has no evidence of robustness, which {rule.alias} asks for")
    worst = min(suites, key=lambda suite: suite.num_correct / suite.num_rows)
    measured = (
        f"robustness {worst.num_correct / worst.num_rows:.4f} on {worst.name}, "
        f"at least {rule.min_robustness_basis_points / FULL_SHARE_BASIS_POINTS:.4f}"
    )
    # In whole numbers, so that rounding never decides.
    if worst.num_correct * FULL_SHARE_BASIS_POINTS < rule.min_robustness_basis_points * worst.num_rows:
        raise GateRefusedError(f"gate: version {number} is not robust enough for {rule.alias}: {measured}")
    return measured


def _latency(rule: GateRule, candidate: Contender) -> str:
    measurements = [parse_measurement(document) for document in _documents(candidate, MEASUREMENT)]
    number = candidate.manifest.number
    if not measurements:
        raise GateRefusedError(f"gate: version {number} has no measured latency, which {rule.alias} asks for")
    worst = max(measurements, key=lambda item: item.p99_us)
    measured = f"p99 {worst.p99_us} us on {worst.hardware}, at most {rule.max_p99_us} us"
    if worst.p99_us > rule.max_p99_us:
        raise GateRefusedError(f"gate: version {number} is too slow for {rule.alias}: {measured}")
    return measured


def _approvals(rule: GateRule, candidate: Contender, mover: str) -> str:
    publisher = candidate.manifest.publisher
    approvers = sorted(
        {
            item.record.added_by
            for item in candidate.evidence
            if item.record.kind == APPROVAL
            and item.record.added_by not in {publisher, mover}
            and parse_approval(item.record.document).alias in {"", rule.alias}
        }
    )
    measured = f"approved by {_listed(approvers)}; {rule.num_approvals} asked for"
    if len(approvers) < rule.num_approvals:
        raise GateRefusedError(
            f"gate: version {candidate.manifest.number} lacks approvals for {rule.alias}: {measured}, "
            f"other than the publisher {publisher!r} and the mover {mover!r}"
        )
    return measured


def _documents(candidate: Contender, kind: str) -> list[str]:
    return [item.record.document for item in candidate.evidence if item.record.kind == kind]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (" ..." if len(names) > 5 else "") if names else "none"
