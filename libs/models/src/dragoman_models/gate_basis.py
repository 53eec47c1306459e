# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Why an alias was allowed to move, as its event says it: the policy, the rule, and every piece of evidence judged.

With the versions, the policy chain and the evidence that are named here, anyone holds the move again: no word of the
registry is needed beyond what it signed. Owns the parts of an alias event and their strict parsing; not the gate.
"""

from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.gate_rule import GateRule, check_rules, parse_rule
from dragoman_models.record_fields import MAX_INTEGER, sha256_field

# All evidence that two versions may have.
MAX_JUDGED = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedEvidence:
    """Evidence of the candidate or of the version in production, by EvidenceRecord.digest."""

    version: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GateBasis:
    """What a move was held to.

    Attributes:
        policy_sequence: The gate policy's newest event then, 0 for the defaults.
        policy_sha256: The digest of its payload; empty for the defaults.
        rule: For this alias and this mover, from the policy or the defaults.
        evidence: Of the kinds that the rule asks for, and retractions; by version, then digest.
        returned_sequence: The earlier event that pointed to the same content, which is reason enough; 0 for none.
    """

    policy_sequence: int
    policy_sha256: str
    rule: GateRule
    evidence: tuple[JudgedEvidence, ...]
    returned_sequence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LostEvent:
    """An event that was written and that the store has lost, by its sequence and the digest of its payload."""

    sequence: int
    sha256: str


def parse_gate_basis(value: JsonValue, *, what: str) -> GateBasis | None:
    """Read what an alias event says about its gate.

    Raises:
        InvalidArgumentError: a key unknown, missing or mistyped, or a policy that is named by half.
    """
    if value is None:
        return None
    fields = Fields(value, what=f"{what}: gate", required=tuple(GateBasis.__dataclass_fields__))
    basis = GateBasis(
        policy_sequence=fields.integer("policy_sequence", low=0, high=MAX_INTEGER),
        policy_sha256=sha256_field(fields, "policy_sha256", may_be_empty=True),
        rule=check_rules((parse_rule(fields.raw("rule"), what=f"{what}: gate: rule"),))[0],
        evidence=tuple(_judged(item, what) for item in fields.items("evidence", max_items=MAX_JUDGED)),
        returned_sequence=fields.integer("returned_sequence", low=0, high=MAX_INTEGER),
    )
    if (basis.policy_sequence == 0) != (basis.policy_sha256 == ""):
        raise InvalidArgumentError(f"{what}: gate: a policy has a sequence and a digest")
    if list(basis.evidence) != sorted(set(basis.evidence), key=lambda item: (item.version, item.digest)):
        raise InvalidArgumentError(f"{what}: gate: evidence must be in order, each piece once")
    return basis


def parse_lost_event(value: JsonValue, *, what: str) -> LostEvent | None:
    """Read which event an alias event accepts the loss of.

    Raises:
        InvalidArgumentError: a key unknown, missing or mistyped.
    """
    if value is None:
        return None
    fields = Fields(value, what=f"{what}: accepted_loss", required=tuple(LostEvent.__dataclass_fields__))
    return LostEvent(
        sequence=fields.integer("sequence", low=1, high=MAX_INTEGER), sha256=sha256_field(fields, "sha256")
    )


def _judged(value: JsonValue, what: str) -> JudgedEvidence:
    fields = Fields(value, what=f"{what}: gate: evidence", required=tuple(JudgedEvidence.__dataclass_fields__))
    return JudgedEvidence(
        version=fields.integer("version", low=1, high=MAX_INTEGER), digest=sha256_field(fields, "digest")
    )
