# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Gate rules and bases to messages and back. Pure."""

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.gate_basis import GateBasis
from dragoman_models.gate_rule import BETTER, EVALUATED, NONE, NOT_WORSE, GateRule

_QUALITY = {
    pb.QUALITY_RULE_NONE: NONE,
    pb.QUALITY_RULE_EVALUATED: EVALUATED,
    pb.QUALITY_RULE_NOT_WORSE: NOT_WORSE,
    pb.QUALITY_RULE_BETTER: BETTER,
}
_QUALITY_TO_PB = {name: value for value, name in _QUALITY.items()}


def rule_from_pb(message: pb.GateRule) -> GateRule:
    return GateRule(
        alias=message.alias,
        # What is not set, or not known here, is refused by check_rules.
        quality=_QUALITY.get(message.quality, "unset"),
        min_robustness_basis_points=message.min_robustness_basis_points,
        max_size_bytes=message.max_size_bytes,
        max_p99_us=message.max_p99_us,
        may_be_incompatible=message.may_be_incompatible,
        num_approvals=message.num_approvals,
    )


def rule_to_pb(rule: GateRule) -> pb.GateRule:
    return pb.GateRule(
        alias=rule.alias,
        quality=_QUALITY_TO_PB[rule.quality],
        min_robustness_basis_points=rule.min_robustness_basis_points,
        max_size_bytes=rule.max_size_bytes,
        max_p99_us=rule.max_p99_us,
        may_be_incompatible=rule.may_be_incompatible,
        num_approvals=rule.num_approvals,
    )


def basis_to_pb(basis: GateBasis) -> pb.GateBasis:
    return pb.GateBasis(
        policy_sequence=basis.policy_sequence,
        policy_sha256=basis.policy_sha256,
        rule=rule_to_pb(basis.rule),
        evidence=[pb.JudgedEvidence(version=item.version, digest=item.digest) for item in basis.evidence],
        returned_sequence=basis.returned_sequence,
    )
