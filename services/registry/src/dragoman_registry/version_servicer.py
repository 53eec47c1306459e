# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPCs about versions: lists, files and withdrawal; what the catalogue and the store hold out."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_registry import convert
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.alias import at_time
from dragoman_registry.catalog import Catalog
from dragoman_registry.download import Downloads
from dragoman_registry.evidence_servicer import check_place
from dragoman_registry.model_version import StoredTombstone, StoredVersion, VersionWithdrawnError
from dragoman_registry.paging import fill_page, number_after, page_size
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.withdrawal import Withdrawal, Withdrawals

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any


class VersionServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers GetVersion, ListVersions, ListModels, DownloadFile, GetFileUrl and WithdrawVersion."""

    _settings: RegistrySettings
    _catalog: Catalog
    _downloads: Downloads
    _withdrawals: Withdrawals

    async def GetVersion(self, request: pb.GetVersionRequest, _context: Context) -> pb.GetVersionResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        selector = request.WhichOneof("selector")
        if selector is None:
            raise InvalidArgumentError("set number or alias: which version is wanted?")
        if selector == "number":
            version, tombstone = await self._version(tenant, request.model, request.number)
        else:
            check_name(request.alias, field="alias")
            chain = await self._catalog.followed_chain(tenant, request.model, request.alias)
            event = at_time(chain, None, what=f"{request.model}@{request.alias}").record
            version, tombstone = await self._version(tenant, request.model, event.stable_version)
            if version.manifest.root_sha256 != event.stable_root_sha256:
                raise DataLossError(
                    f"{tenant}/{request.model}/versions/{event.stable_version}: is not the content that "
                    f"{request.alias} points to"
                )
        return pb.GetVersionResponse(version=convert.version_to_pb(version, tombstone))

    async def ListVersions(self, request: pb.ListVersionsRequest, _context: Context) -> pb.ListVersionsResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        size = page_size(request.page_size)
        before = number_after(request.page_token)
        versions = [
            version
            for version in self._catalog.versions(tenant, request.model)
            if before is None or version.manifest.number < before
        ]
        page, has_more = fill_page(versions, size, self._listed)
        return pb.ListVersionsResponse(versions=page, next_page_token=str(page[-1].number) if has_more else "")

    async def ListModels(self, request: pb.ListModelsRequest, _context: Context) -> pb.ListModelsResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        size = page_size(request.page_size)
        if request.page_token:
            check_name(request.page_token, field="page_token")
        models = [item for item in self._catalog.models(tenant).items() if item[0] > request.page_token]
        page, has_more = fill_page(models, size, lambda item: convert.summary_to_pb(*item))
        return pb.ListModelsResponse(models=page, next_page_token=page[-1].model if has_more else "")

    async def DownloadFile(  # noqa: N802 - the name of the RPC
        self, request: pb.DownloadFileRequest, _context: Context
    ) -> AsyncIterator[pb.DownloadFileResponse]:
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        version = await self._usable(tenant, request.model, request.number)
        async for data in self._downloads.stream(version.manifest, request.path, offset_bytes=request.offset_bytes):
            yield pb.DownloadFileResponse(data=data)

    async def GetFileUrl(self, request: pb.GetFileUrlRequest, _context: Context) -> pb.GetFileUrlResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        version = await self._usable(tenant, request.model, request.number)
        lifetime_s = self._settings.file_url_lifetime_s
        # Before signing, so that the URL never ends sooner than it says.
        expire_time = datetime.now(UTC) + timedelta(seconds=lifetime_s)
        url = await self._downloads.url(version.manifest, request.path, lifetime_s=lifetime_s)
        return pb.GetFileUrlResponse(url=url, expire_time=convert.time_to_pb(expire_time))

    async def WithdrawVersion(  # noqa: N802 - the name of the RPC
        self, request: pb.WithdrawVersionRequest, _context: Context
    ) -> pb.WithdrawVersionResponse:
        caller, tenant = caller_and_tenant()
        check_place(request.model, request.version)
        wish = Withdrawal(
            tenant=tenant,
            model=request.model,
            version=request.version,
            reason=request.reason,
            withdrawn_by=who(caller),
        )
        return pb.WithdrawVersionResponse(tombstone=convert.tombstone_to_pb(await self._withdrawals.withdraw(wish)))

    async def _version(self, tenant: str, model: str, number: int) -> tuple[StoredVersion, StoredTombstone | None]:
        if number < 1:
            raise InvalidArgumentError("number must be at least 1")
        return await self._catalog.checked_version_and_tombstone(tenant, model, number)

    async def _usable(self, tenant: str, model: str, number: int) -> StoredVersion:
        version, tombstone = await self._version(tenant, model, number)
        if tombstone is not None:
            raise VersionWithdrawnError(tombstone.record)
        return version

    def _listed(self, version: StoredVersion) -> pb.ModelVersion:
        return convert.version_to_pb(version, self._catalog.known_tombstone(version.manifest))
