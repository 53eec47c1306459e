# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPCs about gate policies: requests in, PolicyBook's answers out."""

import secrets
from typing import TYPE_CHECKING, Any

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.basis_convert import rule_from_pb, rule_to_pb
from dragoman_registry.convert import time_to_pb
from dragoman_registry.gate_policy import PolicyChange, StoredPolicy, check_change
from dragoman_registry.policy_book import PolicyBook

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any


class PolicyServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers SetGatePolicy and GetGatePolicy."""

    _policies: PolicyBook

    async def SetGatePolicy(self, request: pb.SetGatePolicyRequest, _context: Context) -> pb.SetGatePolicyResponse:  # noqa: N802
        caller, tenant = caller_and_tenant()
        change = PolicyChange(
            tenant=tenant,
            model=request.model,
            rules=tuple(rule_from_pb(rule) for rule in request.rules),
            reason=request.reason,
            expected_sequence=request.expected_sequence if request.HasField("expected_sequence") else None,
            request_id=request.request_id or secrets.token_hex(16),
            set_by=who(caller),
        )
        return pb.SetGatePolicyResponse(policy=policy_to_pb(await self._policies.change(check_change(change))))

    async def GetGatePolicy(self, request: pb.GetGatePolicyRequest, _context: Context) -> pb.GetGatePolicyResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        if request.sequence < 0:
            raise InvalidArgumentError("sequence must be at least 1, or 0 for the newest")
        policy = await self._policies.at(tenant, request.model, request.sequence)
        return pb.GetGatePolicyResponse(policy=policy_to_pb(policy))


def policy_to_pb(policy: StoredPolicy) -> pb.GatePolicy:
    record, lost = policy.record, policy.record.accepted_loss
    return pb.GatePolicy(
        tenant=record.tenant,
        model=record.model,
        sequence=record.sequence,
        rules=[rule_to_pb(rule) for rule in record.rules],
        reason=record.reason,
        set_by=record.set_by,
        set_time=time_to_pb(record.set_time),
        previous_sha256=record.previous_sha256,
        record=signed_pb2.SignedRecord(envelope=policy.envelope),
        accepted_loss=pb.LostEvent(sequence=lost.sequence, sha256=lost.sha256) if lost else None,
    )
