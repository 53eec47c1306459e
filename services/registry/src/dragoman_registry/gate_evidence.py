# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which evidence the gate judges: what was retracted counts no more, and what was asked for is named in the event.

Pure. A retraction makes a gate stricter or looser: taking back an approval asks for another one, taking back a bad
measurement lets the version look better. Where the rule asks for the eyes of others, the second is not the publisher's
or the mover's to do: their retractions of measurements then do not count.
"""

from collections.abc import Sequence

from dragoman_models.evidence_document import (
    APPROVAL,
    EVALUATION,
    MEASUREMENT,
    RETRACTION,
    ROBUSTNESS,
    parse_retraction,
)
from dragoman_models.gate_basis import JudgedEvidence
from dragoman_models.gate_rule import BETTER, NONE, NOT_WORSE, GateRule
from dragoman_models.record import VersionManifest
from dragoman_registry.evidence import StoredEvidence

_MEASURED = frozenset({EVALUATION, ROBUSTNESS, MEASUREMENT})


def counting(evidence: Sequence[StoredEvidence], rule: GateRule, *, publisher: str, mover: str) -> list[StoredEvidence]:
    """Return what is not retracted, for a move under a rule.

    Args:
        evidence: All of one version's.
        rule: What the move is held to.
        publisher: Who published the candidate.
        mover: Who moves the alias.
    """
    kinds = {item.digest: item.record.kind for item in evidence}
    interested = {publisher, mover} if rule.num_approvals else set()
    retracted = {
        digest
        for item in evidence
        if item.record.kind == RETRACTION
        for digest in [parse_retraction(item.record.document).digest]
        if not (kinds.get(digest) in _MEASURED and item.record.added_by in interested)
    }
    return [item for item in evidence if item.digest not in retracted and item.record.kind != RETRACTION]


def judged(
    rule: GateRule,
    candidate: tuple[VersionManifest, Sequence[StoredEvidence]],
    production: tuple[VersionManifest, Sequence[StoredEvidence]] | None,
) -> tuple[JudgedEvidence, ...]:
    """Name all evidence that the rule asks for, and all retractions: what a move under it is to be held to again.

    Args:
        rule: What the move is held to.
        candidate: Where the alias should point, and all evidence of it, retracted or not.
        production: Where it points now, None for nowhere.
    """
    asked = {RETRACTION}
    asked |= {EVALUATION} if rule.quality != NONE else set()
    asked |= {ROBUSTNESS} if rule.min_robustness_basis_points else set()
    asked |= {MEASUREMENT} if rule.max_p99_us else set()
    asked |= {APPROVAL} if rule.num_approvals else set()
    found = _named(*candidate, asked)
    if production is not None and rule.quality in {NOT_WORSE, BETTER}:
        found |= _named(*production, {EVALUATION, RETRACTION})
    return tuple(sorted(found, key=lambda item: (item.version, item.digest)))


def _named(manifest: VersionManifest, evidence: Sequence[StoredEvidence], kinds: set[str]) -> set[JudgedEvidence]:
    return {
        JudgedEvidence(version=manifest.number, digest=item.digest) for item in evidence if item.record.kind in kinds
    }
