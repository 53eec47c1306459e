# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""dragoman.registry.v1.RegistryService: requests in, domain calls, replies out.

Owns paging, who sees what, and the shape of streams; the rules are the domain's. The tenant of every call is the
caller's, and another tenant's objects are looked up nowhere, so they are NOT_FOUND like anything that does not exist.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.auth import PLATFORM, Caller, current_caller
from dragoman_common.errors import (
    DataLossError,
    DragomanError,
    InvalidArgumentError,
    OverloadedError,
    PermissionDeniedError,
    UnavailableError,
)
from dragoman_common.names import check_name
from dragoman_registry import convert
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.alias import AliasNotFoundError, Move, StoredEvent, at_time, check_move
from dragoman_registry.catalog import Catalog
from dragoman_registry.download import Downloads
from dragoman_registry.evidence_book import EvidenceBook
from dragoman_registry.evidence_servicer import EvidenceServicer, check_place
from dragoman_registry.garbage import Collector
from dragoman_registry.garbage_servicer import GarbageServicer
from dragoman_registry.lineage_servicer import LineageServicer
from dragoman_registry.missed_events import check_seen, missed
from dragoman_registry.model_version import PublishRequest, StoredVersion, VersionWithdrawnError, check_request
from dragoman_registry.paging import fill_page, number_after, page_size
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.policy_servicer import PolicyServicer
from dragoman_registry.promotion import Promotion
from dragoman_registry.publish import Publisher
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.upload import Chunk
from dragoman_registry.watch import AliasWatch
from dragoman_registry.withdrawal import Withdrawal, Withdrawals

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

logger = logging.getLogger(__name__)

DRAIN_S = 5.0
DRAIN_BYTES = 64 << 20


class RegistryServicer(EvidenceServicer, PolicyServicer, LineageServicer, GarbageServicer):
    """Answers the registry's RPCs."""

    def __init__(
        self,
        *,
        settings: RegistrySettings,
        catalog: Catalog,
        publisher: Publisher,
        promotion: Promotion,
        downloads: Downloads,
        evidence: EvidenceBook,
        policies: PolicyBook,
        withdrawals: Withdrawals,
        collector: Collector,
        watch: AliasWatch,
    ) -> None:
        """Wire the parts."""
        self._settings = settings
        self._catalog = catalog
        self._publisher = publisher
        self._promotion = promotion
        self._downloads = downloads
        self._evidence = evidence
        self._policies = policies
        self._withdrawals = withdrawals
        self._collector = collector
        self._watch = watch
        self._num_uploads = 0

    async def PublishVersion(  # noqa: N802 - the name of the RPC
        self, request_iterator: AsyncIterator[pb.PublishVersionRequest], _context: Context
    ) -> pb.PublishVersionResponse:
        try:
            return await self._publish(request_iterator)
        except DragomanError:
            await _drain(request_iterator)
            raise

    async def _publish(self, requests: AsyncIterator[pb.PublishVersionRequest]) -> pb.PublishVersionResponse:
        caller, tenant = caller_and_tenant()
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgumentError("the first message of an upload must be its header")
        request = check_request(
            _publish_request(first.header, caller, tenant),
            max_file_bytes=self._settings.max_file_bytes,
            max_version_bytes=self._settings.max_version_bytes,
        )
        if self._num_uploads >= self._settings.max_concurrent_uploads:
            raise OverloadedError(f"{self._num_uploads} uploads are running, which is the limit; try again later")
        self._num_uploads += 1
        try:
            version, is_new = await self._publisher.publish(request, _chunks(requests))
        finally:
            self._num_uploads -= 1
        tombstone = None if is_new else await self._catalog.checked_tombstone(version.manifest)
        return pb.PublishVersionResponse(version=convert.version_to_pb(version, tombstone), created=is_new)

    async def GetVersion(self, request: pb.GetVersionRequest, _context: Context) -> pb.GetVersionResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_name(request.model, field="model")
        selector = request.WhichOneof("selector")
        if selector is None:
            raise InvalidArgumentError("set number or alias: which version is wanted?")
        if selector == "number":
            version = await self._version(tenant, request.model, request.number)
        else:
            chain = await self._chain(tenant, request.model, request.alias)
            event = at_time(chain, None, what=f"{request.model}@{request.alias}").record
            version = await self._version(tenant, request.model, event.stable_version)
            if version.manifest.root_sha256 != event.stable_root_sha256:
                raise DataLossError(
                    f"{tenant}/{request.model}/versions/{event.stable_version}: is not the content that "
                    f"{request.alias} points to"
                )
        tombstone = await self._catalog.checked_tombstone(version.manifest)
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

    async def SetAlias(self, request: pb.SetAliasRequest, _context: Context) -> pb.SetAliasResponse:  # noqa: N802
        caller, tenant = caller_and_tenant()
        move = Move(
            tenant=tenant,
            model=request.model,
            alias=request.alias,
            version=request.version,
            reason=request.reason,
            expected_sequence=request.expected_sequence if request.HasField("expected_sequence") else None,
            request_id=request.request_id or secrets.token_hex(16),
            moved_by=who(caller),
        )
        event = await self._promotion.move(check_move(move))
        return pb.SetAliasResponse(event=convert.event_to_pb(event))

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

    async def GetAlias(self, request: pb.GetAliasRequest, _context: Context) -> pb.GetAliasResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        time = convert.time_from_pb(request.at_time, field="at_time") if request.HasField("at_time") else None
        chain = await self._chain(tenant, request.model, request.alias)
        event = at_time(chain, time, what=f"{request.model}@{request.alias}")
        return pb.GetAliasResponse(event=convert.event_to_pb(event))

    async def ListAliasEvents(  # noqa: N802 - the name of the RPC
        self, request: pb.ListAliasEventsRequest, _context: Context
    ) -> pb.ListAliasEventsResponse:
        _, tenant = caller_and_tenant()
        size = page_size(request.page_size)
        after = number_after(request.page_token) or 0
        chain = await self._chain(tenant, request.model, request.alias)
        if not chain:
            raise AliasNotFoundError(f"{request.model}@{request.alias} does not exist")
        page, has_more = fill_page(chain[after:], size, convert.event_to_pb)
        return pb.ListAliasEventsResponse(events=page, next_page_token=str(page[-1].sequence) if has_more else "")

    async def WatchAliases(  # noqa: N802 - the name of the RPC
        self, request: pb.WatchAliasesRequest, _context: Context
    ) -> AsyncIterator[pb.WatchAliasesResponse]:
        caller = current_caller()
        is_for_all = request.all_tenants and caller.identity in PLATFORM
        tenant = "" if is_for_all else check_name(caller.tenant, field="tenant")

        seen = check_seen([((item.tenant, item.model, item.alias), item.sequence) for item in request.seen])

        def wants(event: StoredEvent) -> bool:
            return is_for_all or event.record.tenant == tenant

        heartbeat = Duration()
        heartbeat.FromNanoseconds(int(self._settings.heartbeat_s * 1e9))
        with self._watch.follow(wants) as follower:
            # No await between following and this list: an event is in one of the two, never in neither.
            snapshot = [event for event in self._catalog.newest_events() if wants(event)]
            async for event in missed(self._catalog, snapshot, seen):
                yield pb.WatchAliasesResponse(event=convert.event_to_pb(event), heartbeat_period=heartbeat)
            yield pb.WatchAliasesResponse(is_snapshot_complete=True, heartbeat_period=heartbeat)
            while True:
                new = await follower.next_event(self._settings.heartbeat_s)
                yield pb.WatchAliasesResponse(
                    event=convert.event_to_pb(new) if new else None,
                    is_snapshot_complete=True,
                    heartbeat_period=heartbeat,
                )

    async def _version(self, tenant: str, model: str, number: int) -> StoredVersion:
        if number < 1:
            raise InvalidArgumentError("number must be at least 1")
        return await self._catalog.checked_version(tenant, model, number)

    async def _usable(self, tenant: str, model: str, number: int) -> StoredVersion:
        version = await self._version(tenant, model, number)
        if (tombstone := await self._catalog.checked_tombstone(version.manifest)) is not None:
            raise VersionWithdrawnError(tombstone.record)
        return version

    def _listed(self, version: StoredVersion) -> pb.ModelVersion:
        return convert.version_to_pb(version, self._catalog.known_tombstone(version.manifest))

    async def _chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        check_name(model, field="model")
        check_name(alias, field="alias")
        return await self._catalog.checked_chain(tenant, model, alias)


async def scan_forever(catalog: Catalog, period_s: float) -> None:
    """Compare the catalogue with the store every period, until cancelled. A store that is away is waited for."""
    while True:
        await asyncio.sleep(period_s)
        try:
            await catalog.scan()
        except UnavailableError:
            logger.warning("scan: the store does not answer; the lists stay as they are", exc_info=True)


def _publish_request(header: pb.PublishHeader, caller: Caller, tenant: str) -> PublishRequest:
    lineage = convert.lineage_from_pb(header.lineage)
    if caller.job_id:
        if header.model != caller.job_model:
            raise PermissionDeniedError(
                f"the job's token is for model {caller.job_model or 'none'}, not {header.model}"
            )
        if lineage.job_id not in ("", caller.job_id):
            raise PermissionDeniedError(f"lineage.job_id must be {caller.job_id}, the job that the token is for")
        lineage = replace(lineage, job_id=caller.job_id)
    return PublishRequest(
        tenant=tenant,
        model=header.model,
        publish_id=header.publish_id or secrets.token_hex(16),
        number=header.number,
        files=convert.files_from_pb(header.files),
        lineage=lineage,
        publisher=who(caller),
    )


async def _drain(requests: AsyncIterator[pb.PublishVersionRequest]) -> None:
    """Read on for a while before an upload is refused.

    grpc.aio's client reports a call that ends while it is sending as INTERNAL, without the server's reason; one that
    has sent all gets the reason. Bounded, so that nobody holds the server by sending on.
    """
    num_bytes = 0
    with suppress(TimeoutError, DragomanError):
        async with asyncio.timeout(DRAIN_S):
            async for request in requests:
                num_bytes += len(request.chunk.data)
                if num_bytes > DRAIN_BYTES:
                    return


async def _chunks(requests: AsyncIterator[pb.PublishVersionRequest]) -> AsyncIterator[Chunk]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgumentError("after the header an upload holds chunks only")
        yield convert.chunk_from_pb(request.chunk)
