# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPCs about aliases: moves, histories and the watch."""

import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.auth import PLATFORM, current_caller
from dragoman_common.names import check_name
from dragoman_registry import convert
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.alias import AliasNotFoundError, Move, StoredEvent, at_time, check_move
from dragoman_registry.catalog import Catalog
from dragoman_registry.missed_events import Ahead, check_seen, missed
from dragoman_registry.paging import fill_page, number_after, page_size
from dragoman_registry.promotion import Promotion
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.watch import AliasWatch

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any


class AliasServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers SetAlias, GetAlias, ListAliasEvents and WatchAliases."""

    _settings: RegistrySettings
    _catalog: Catalog
    _promotion: Promotion
    _watch: AliasWatch

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

        named = check_seen([((item.tenant, item.model, item.alias), item.sequence) for item in request.seen])
        # Of another tenant's aliases nobody learns whether they are here.
        seen = {place: sequence for place, sequence in named.items() if is_for_all or place[0] == tenant}
        digests = {(item.tenant, item.model, item.alias): item.sha256 for item in request.seen}

        def wants(event: StoredEvent) -> bool:
            return is_for_all or event.record.tenant == tenant

        heartbeat = Duration()
        heartbeat.FromNanoseconds(int(self._settings.heartbeat_s * 1e9))
        with self._watch.follow(wants) as follower:
            # No await between following and this list: an event is in one of the two, never in neither.
            snapshot = [event for event in self._catalog.newest_events() if wants(event)]
            async for item in missed(self._catalog, snapshot, seen, digests):
                if isinstance(item, Ahead):
                    yield pb.WatchAliasesResponse(ahead=ahead_to_pb(item), heartbeat_period=heartbeat)
                else:
                    yield pb.WatchAliasesResponse(event=convert.event_to_pb(item), heartbeat_period=heartbeat)
            yield pb.WatchAliasesResponse(is_snapshot_complete=True, heartbeat_period=heartbeat)
            while True:
                new = await follower.next_event(self._settings.heartbeat_s)
                yield pb.WatchAliasesResponse(
                    event=convert.event_to_pb(new) if new else None,
                    is_snapshot_complete=True,
                    heartbeat_period=heartbeat,
                )

    async def _chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        check_name(model, field="model")
        check_name(alias, field="alias")
        return await self._catalog.followed_chain(tenant, model, alias)


def ahead_to_pb(ahead: Ahead) -> pb.AheadAlias:
    tenant, model, alias = ahead.place
    return pb.AheadAlias(
        tenant=tenant,
        model=model,
        alias=alias,
        seen_sequence=ahead.seen_sequence,
        held_sequence=ahead.held_sequence,
    )
