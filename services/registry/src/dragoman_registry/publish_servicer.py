# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPC that publishes: an upload in, Publisher's version out."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.auth import Caller
from dragoman_common.errors import DragomanError, InvalidArgumentError, OverloadedError, PermissionDeniedError
from dragoman_registry import convert
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.catalog import Catalog
from dragoman_registry.model_version import PublishRequest, check_request
from dragoman_registry.publish import Publisher
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.upload import Chunk

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

DRAIN_S = 5.0
DRAIN_BYTES = 64 << 20


class PublishServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers PublishVersion."""

    _settings: RegistrySettings
    _catalog: Catalog
    _publisher: Publisher
    _num_uploads = 0

    async def PublishVersion(  # noqa: N802 - the name of the RPC
        self, request_iterator: AsyncIterator[pb.PublishVersionRequest], _context: Context
    ) -> pb.PublishVersionResponse:
        try:
            return await self._publish(request_iterator)
        except DragomanError:
            await drain(request_iterator)
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


async def drain(requests: AsyncIterator[Any]) -> None:
    """Read on for a while before an upload is refused.

    grpc.aio's client reports a call that ends while it is sending as INTERNAL, without the server's reason; one that
    has sent all gets the reason. Bounded, so that nobody holds the server by sending on.
    """
    num_bytes = 0
    with suppress(TimeoutError, DragomanError):
        async with asyncio.timeout(DRAIN_S):
            async for request in requests:
                num_bytes += request.ByteSize()
                if num_bytes > DRAIN_BYTES:
                    return


async def _chunks(requests: AsyncIterator[pb.PublishVersionRequest]) -> AsyncIterator[Chunk]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgumentError("after the header an upload holds chunks only")
        yield convert.chunk_from_pb(request.chunk)
