# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPC that collects garbage: a request in, Collector's account out."""

from typing import TYPE_CHECKING, Any

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_registry.acting import caller_and_tenant
from dragoman_registry.convert import time_to_pb
from dragoman_registry.garbage import Collector

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

MAX_LISTED = 1000


class GarbageServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers CollectGarbage."""

    _collector: Collector

    async def CollectGarbage(  # noqa: N802 - the name of the RPC
        self, request: pb.CollectGarbageRequest, _context: Context
    ) -> pb.CollectGarbageResponse:
        _, tenant = caller_and_tenant()
        result = await self._collector.collect(tenant, dry_run=request.dry_run)
        # What is gone, or would be, first.
        listed = sorted(result.garbage, key=lambda item: (not item.is_deleted, item.key))[:MAX_LISTED]
        return pb.CollectGarbageResponse(
            garbage=[
                pb.Garbage(
                    key=item.key,
                    is_deleted=item.is_deleted,
                    condemn_time=time_to_pb(item.condemn_time),
                    size_bytes=item.size_bytes,
                    reason=pb.GarbageReason.Value(f"GARBAGE_REASON_{item.reason.name}"),
                )
                for item in listed
            ],
            num_condemned=result.num_condemned,
            num_deleted=result.num_deleted,
            num_kept=result.num_kept,
            condemned_bytes=result.condemned_bytes,
            deleted_bytes=result.deleted_bytes,
            num_left=result.num_left,
            num_abandoned_uploads=result.num_abandoned_uploads,
        )
