# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry over gRPC. Implements ports.Registry.

Owns the calls, their timeouts and the silence after which a watch counts as broken. It believes nothing that it reads:
signatures are placement.py's.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_common.errors import NotFoundError, UnavailableError, UnimplementedError
from dragoman_common.status import translated
from dragoman_worker.file_url import FileUrlReader
from dragoman_worker.ports import AliasKey, AliasUpdate, SeenEvent, VersionEnvelopes

WATCH_TIMEOUT_S = 3600.0
DOWNLOAD_TIMEOUT_S = 3600.0
FIRST_MESSAGE_TIMEOUT_S = 30.0
MISSED_HEARTBEATS = 3
EVENTS_PER_PAGE = 1_000


class RegistryClient:
    """See ports.Registry."""

    def __init__(self, channel: grpc.aio.Channel, url_reader: FileUrlReader) -> None:
        self._url_reader = url_reader
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def watch_aliases(self, seen: Mapping[AliasKey, SeenEvent]) -> AsyncGenerator[AliasUpdate, None]:
        """See ports.Registry. A stream that is silent for three heartbeats is broken."""
        silence_s = FIRST_MESSAGE_TIMEOUT_S
        known = (
            pb.SeenAlias(tenant=tenant, model=model, alias=alias, sequence=event.sequence, sha256=event.sha256)
            for (tenant, model, alias), event in seen.items()
        )
        request = pb.WatchAliasesRequest(all_tenants=True, seen=known)
        with calling_as(""):
            call = self._stub.WatchAliases(request, timeout=WATCH_TIMEOUT_S)
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

    async def events_since_loss(self, tenant: str, model: str, alias: str, lost: SeenEvent) -> AsyncIterator[bytes]:
        """See ports.Registry."""
        request = pb.ListAliasEventsRequest(model=model, alias=alias, page_size=EVENTS_PER_PAGE)
        is_past = False
        while True:
            with translated(), calling_as(tenant):
                page = await self._stub.ListAliasEvents(request)
            for event in page.events:
                # What is said beside the envelope only tells where to begin to verify.
                says = event.accepted_loss
                is_past = is_past or (says.sequence, says.sha256) == (lost.sequence, lost.sha256)
                if is_past:
                    yield event.record.envelope
            if not page.events or page.next_page_token in ("", request.page_token):
                return
            request.page_token = page.next_page_token

    async def key_list(self) -> bytes:
        """See ports.Registry."""
        with translated(), calling_as(""):
            return (await self._stub.GetKeyList(pb.GetKeyListRequest())).key_chain

    async def version(self, tenant: str, model: str, number: int) -> VersionEnvelopes:
        """See ports.Registry."""
        with translated(), calling_as(tenant):
            version = (await self._stub.GetVersion(pb.GetVersionRequest(model=model, number=number))).version
        tombstone = version.tombstone.record.envelope if version.HasField("tombstone") else None
        return VersionEnvelopes(manifest=version.manifest.envelope, tombstone=tombstone)

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

    async def pull(
        self,
        tenant: str,
        model: str,
        number: int,
        path: str,
        *,
        first_byte: int,
        size_bytes: int,
        append: Callable[[memoryview], None],
    ) -> bool:
        """See ports.Registry."""
        request = pb.GetFileUrlRequest(model=model, number=number, path=path)
        try:
            with translated(), calling_as(tenant):
                reply = await self._stub.GetFileUrl(request)
        except UnimplementedError:
            return False
        stopped = threading.Event()
        reading = asyncio.ensure_future(
            asyncio.to_thread(
                self._url_reader.read,
                reply.url,
                first_byte=first_byte,
                size_bytes=size_bytes,
                append=append,
                is_stopped=stopped.is_set,
            )
        )
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            # What append writes to is closed after this, so the thread must have ended.
            stopped.set()
            await asyncio.gather(reading, return_exceptions=True)
            raise
        return True


def _update_from_pb(reply: pb.WatchAliasesResponse) -> AliasUpdate:
    if reply.HasField("ahead"):
        ahead = reply.ahead
        return AliasUpdate(tenant=ahead.tenant, model=ahead.model, alias=ahead.alias, held_sequence=ahead.held_sequence)
    event = reply.event
    return AliasUpdate(
        tenant=event.tenant,
        model=event.model,
        alias=event.alias,
        stable_version=event.stable_version,
        envelope=event.record.envelope,
        is_snapshot_complete=reply.is_snapshot_complete,
    )
