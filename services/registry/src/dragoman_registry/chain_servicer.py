# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPCs about what holds chains together: the key list, and the repair of a chain that has lost its end."""

from typing import TYPE_CHECKING, Any

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import NotFoundError
from dragoman_models.verify import VerifyingKeys
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.chain_repair import ChainRepairs, Repair, check_repair
from dragoman_registry.convert import event_to_pb
from dragoman_registry.policy_servicer import policy_to_pb

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any


class ChainServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers RepairChain and GetKeyList."""

    _repairs: ChainRepairs
    _keys: VerifyingKeys

    async def RepairChain(self, request: pb.RepairChainRequest, _context: Context) -> pb.RepairChainResponse:  # noqa: N802
        caller, tenant = caller_and_tenant()
        repair = check_repair(
            Repair(
                tenant=tenant,
                model=request.model,
                alias=request.alias,
                reason=request.reason,
                events=tuple(item.envelope for item in request.events),
                repaired_by=who(caller),
            )
        )
        if repair.alias:
            return pb.RepairChainResponse(event=event_to_pb(await self._repairs.repair_alias(repair)))
        return pb.RepairChainResponse(policy=policy_to_pb(await self._repairs.repair_policy(repair)))

    async def GetKeyList(self, _request: pb.GetKeyListRequest, _context: Context) -> pb.GetKeyListResponse:  # noqa: N802
        if self._keys.chain is None:
            raise NotFoundError(
                "this registry believes plain public keys, which have no list: begin one with `dragoman keylist create`"
            )
        return pb.GetKeyListResponse(key_chain=self._keys.chain, sequence=self._keys.sequence)
