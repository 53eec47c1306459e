# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry over gRPC. Implements ports.Registry.

Owns the calls, their timeouts and the silence after which a watch counts as broken. It believes nothing that it reads:
signatures are placement.py's.
"""

import asyncio
from collections.abc import AsyncIterator

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_common.errors import NotFoundError, UnavailableError
from dragoman_common.status import translated
from dragoman_worker.ports import AliasUpdate

WATCH_TIMEOUT_S = 3600.0
DOWNLOAD_TIMEOUT_S = 600.0
FIRST_MESSAGE_TIMEOUT_S = 30.0
MISSED_HEARTBEATS = 3
EVENTS_PER_PAGE = 1_000


class RegistryClient:
    """See ports.Registry."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def watch_aliases(self) -> AsyncIterator[AliasUpdate]:
        """See ports.Registry. A stream that is silent for three heartbeats is broken."""
        silence_s = FIRST_MESSAGE_TIMEOUT_S
        with calling_as(""):
            call = self._stub.WatchAliases(pb.WatchAliasesRequest(all_tenants=True), timeout=WATCH_TIMEOUT_S)
        replies = aiter(call)
        try:
            while True:
                try:
                    with translated():
                        async with asyncio.timeout(silence_s):
                            reply = await anext(replies)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise UnavailableError(f"the registry was silent for {silence_s:.0f} s") from None
                if reply.HasField("heartbeat_period"):
                    silence_s = max(1.0, MISSED_HEARTBEATS * reply.heartbeat_period.ToTimedelta().total_seconds())
                yield _update_from_pb(reply)
        finally:
            call.cancel()

    async def alias_envelope(self, tenant: str, model: str, alias: str, sequence: int) -> bytes:
        """See ports.Registry."""
        request = pb.ListAliasEventsRequest(model=model, alias=alias, page_size=EVENTS_PER_PAGE)
        last = 0
        while True:
            with translated(), calling_as(tenant):
                page = await self._stub.ListAliasEvents(request)
            for event in page.events:
                if event.sequence == sequence:
                    return event.record.envelope
            # Oldest first: what is wanted comes before what is higher, and a page that goes nowhere is the last.
            if not page.events or not page.next_page_token or not last < page.events[-1].sequence < sequence:
                raise NotFoundError(f"the registry has no event {sequence} of {model}@{alias}")
            last = page.events[-1].sequence
            request.page_token = page.next_page_token

    async def manifest_envelope(self, tenant: str, model: str, number: int) -> bytes:
        """See ports.Registry."""
        with translated(), calling_as(tenant):
            reply = await self._stub.GetVersion(pb.GetVersionRequest(model=model, number=number))
        return reply.version.manifest.envelope

    async def download(
        self, tenant: str, model: str, number: int, path: str, offset_bytes: int
    ) -> AsyncIterator[bytes]:
        """See ports.Registry."""
        request = pb.DownloadFileRequest(model=model, number=number, path=path, offset_bytes=offset_bytes)
        # Only around the call's start: between two yields the block's tenant would be the consumer's.
        with calling_as(tenant):
            call = self._stub.DownloadFile(request, timeout=DOWNLOAD_TIMEOUT_S)
        try:
            with translated():
                async for reply in call:
                    yield reply.data
        finally:
            call.cancel()


def _update_from_pb(reply: pb.WatchAliasesResponse) -> AliasUpdate:
    event = reply.event
    return AliasUpdate(
        tenant=event.tenant,
        model=event.model,
        alias=event.alias,
        stable_version=event.stable_version,
        envelope=event.record.envelope,
        is_snapshot_complete=reply.is_snapshot_complete,
    )
