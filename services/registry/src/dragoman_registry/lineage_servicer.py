# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPC about lineage: a request in, what the catalogue's manifests say out."""

from typing import TYPE_CHECKING, Any

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_models.file_digest import is_digest
from dragoman_registry.acting import caller_and_tenant
from dragoman_registry.catalog import Catalog
from dragoman_registry.lineage import Entry, family, of_data, of_job

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any


class LineageServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers GetLineage."""

    _catalog: Catalog

    async def GetLineage(self, request: pb.GetLineageRequest, _context: Context) -> pb.GetLineageResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        selector = request.WhichOneof("selector")
        if selector == "version":
            if request.version < 1:
                raise InvalidArgumentError("version must be at least 1")
            # Also what another registry wrote since the last scan.
            await self._catalog.checked_version(tenant, request.model, request.version)
        manifests = {
            version.manifest.number: version.manifest for version in self._catalog.versions(tenant, request.model)
        }
        if selector == "version":
            entries = family(manifests, request.version)
        elif selector == "data_sha256":
            if not is_digest(request.data_sha256):
                raise InvalidArgumentError("data_sha256 must be 64 lower-case hexadecimal digits")
            entries = of_data(manifests.values(), request.data_sha256)
        elif selector == "job_id" and request.job_id:
            entries = of_job(manifests.values(), request.job_id)
        else:
            raise InvalidArgumentError("set version, data_sha256 or job_id: whose lineage is wanted?")
        return pb.GetLineageResponse(entries=[self._entry(entry) for entry in entries])

    def _entry(self, entry: Entry) -> pb.LineageEntry:
        manifest, distance = entry
        return pb.LineageEntry(
            version=manifest.number,
            root_sha256=manifest.root_sha256,
            parent_version=manifest.lineage.parent_version,
            job_id=manifest.lineage.job_id,
            data_sha256=manifest.lineage.data_sha256,
            code_revision=manifest.lineage.code_revision,
            distance=distance,
            is_withdrawn=self._catalog.known_tombstone(manifest) is not None,
        )
