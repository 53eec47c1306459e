# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's gRPC face over a MemoryRegistry: what a worker calls, and no more."""

from google.protobuf.duration_pb2 import Duration

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.auth import current_caller
from dragoman_common.errors import UnimplementedError
from dragoman_models.gate_basis import LostEvent

POLICY = {
    f"/dragoman.registry.v1.RegistryService/{method}": frozenset({"worker"})
    for method in pb.DESCRIPTOR.services_by_name["RegistryService"].methods_by_name
}


class RegistryStub(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(self, registry) -> None:
        self.registry = registry
        self.url = None

    async def WatchAliases(self, request, _context):
        assert request.all_tenants
        seen = {
            (one.tenant, one.model, one.alias): LostEvent(sequence=one.sequence, sha256=one.sha256)
            for one in request.seen
        }
        async for update in self.registry.watch_aliases(seen):
            if update.held_sequence is not None:
                ahead = pb.AheadAlias(
                    tenant=update.tenant, model=update.model, alias=update.alias, held_sequence=update.held_sequence
                )
                yield pb.WatchAliasesResponse(ahead=ahead)
                continue
            event = pb.AliasEvent(
                tenant=update.tenant,
                model=update.model,
                alias=update.alias,
                stable_version=update.stable_version,
                record=signed_pb2.SignedRecord(envelope=update.envelope),
            )
            yield pb.WatchAliasesResponse(
                event=event if update.envelope else None,
                is_snapshot_complete=update.is_snapshot_complete,
                heartbeat_period=Duration(seconds=60),
            )

    async def ListAliasEvents(self, request, _context):
        """Pages of two, whatever size is asked for: so that there is more than one."""
        after = int(request.page_token or 0)
        chain = self.registry.alias_history[current_caller().tenant, request.model, request.alias]
        key = (current_caller().tenant, request.model, request.alias)
        events = [
            pb.AliasEvent(
                sequence=sequence,
                record=signed_pb2.SignedRecord(envelope=envelope),
                accepted_loss=loss and pb.LostEvent(sequence=loss.sequence, sha256=loss.sha256),
            )
            for sequence, envelope in sorted(chain.items())
            if sequence > after
            for loss in [self.registry.accepted.get((key, sequence))]
        ]
        return pb.ListAliasEventsResponse(events=events[:2], next_page_token=str(after + 2) if events[2:] else "")

    async def GetKeyList(self, _request, _context):
        return pb.GetKeyListResponse(key_chain=await self.registry.key_list())

    async def GetVersion(self, request, _context):
        envelopes = await self.registry.version(current_caller().tenant, request.model, request.number)
        version = pb.ModelVersion(manifest=signed_pb2.SignedRecord(envelope=envelopes.manifest))
        if envelopes.tombstone is not None:
            version.tombstone.record.envelope = envelopes.tombstone
        return pb.GetVersionResponse(version=version)

    async def GetFileUrl(self, _request, _context):
        if self.url is None:
            raise UnimplementedError("this store has no URLs; use DownloadFile")
        return pb.GetFileUrlResponse(url=self.url)

    async def DownloadFile(self, request, _context):
        async for chunk in self.registry.download(
            current_caller().tenant, request.model, request.number, request.path, request.offset_bytes
        ):
            yield pb.DownloadFileResponse(data=chunk)
