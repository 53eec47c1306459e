# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPCs about gate policies: requests in, PolicyBook's answers out."""

import secrets
from typing import TYPE_CHECKING, Any

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.names import check_name
from dragoman_models.policy_record import BETTER, EVALUATED, NONE, NOT_WORSE, GateRule
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.convert import time_to_pb
from dragoman_registry.gate_policy import PolicyChange, StoredPolicy, check_change
from dragoman_registry.policy_book import PolicyBook

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

_QUALITY = {
    pb.QUALITY_RULE_NONE: NONE,
    pb.QUALITY_RULE_EVALUATED: EVALUATED,
    pb.QUALITY_RULE_NOT_WORSE: NOT_WORSE,
    pb.QUALITY_RULE_BETTER: BETTER,
}
_QUALITY_TO_PB = {name: value for value, name in _QUALITY.items()}


class PolicyServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers SetGatePolicy and GetGatePolicy."""

    _policies: PolicyBook

    async def SetGatePolicy(self, request: pb.SetGatePolicyRequest, _context: Context) -> pb.SetGatePolicyResponse:  # noqa: N802
        caller, tenant = caller_and_tenant()
        change = PolicyChange(
            tenant=tenant,
            model=request.model,
            rules=tuple(_rule_from_pb(rule) for rule in request.rules),
            reason=request.reason,
            expected_sequence=request.expected_sequence if request.HasField("expected_sequence") else None,
            request_id=request.request_id or secrets.token_hex(16),
            set_by=who(caller),
        )
        return pb.SetGatePolicyResponse(policy=_policy_to_pb(await self._policies.change(check_change(change))))

    async def GetGatePolicy(self, request: pb.GetGatePolicyRequest, _context: Context) -> pb.GetGatePolicyResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        return pb.GetGatePolicyResponse(policy=_policy_to_pb(await self._policies.current(tenant, request.model)))


def _rule_from_pb(message: pb.GateRule) -> GateRule:
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


def _rule_to_pb(rule: GateRule) -> pb.GateRule:
    return pb.GateRule(
        alias=rule.alias,
        quality=_QUALITY_TO_PB[rule.quality],
        min_robustness_basis_points=rule.min_robustness_basis_points,
        max_size_bytes=rule.max_size_bytes,
        max_p99_us=rule.max_p99_us,
        may_be_incompatible=rule.may_be_incompatible,
        num_approvals=rule.num_approvals,
    )


def _policy_to_pb(policy: StoredPolicy) -> pb.GatePolicy:
    record = policy.record
    return pb.GatePolicy(
        tenant=record.tenant,
        model=record.model,
        sequence=record.sequence,
        rules=[_rule_to_pb(rule) for rule in record.rules],
        reason=record.reason,
        set_by=record.set_by,
        set_time=time_to_pb(record.set_time),
        previous_sha256=record.previous_sha256,
        record=signed_pb2.SignedRecord(envelope=policy.envelope),
    )
