# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry says, believed only after its signature holds: versions on demand, alias events as they come.

    GetVersion -> envelope -> verify_manifest -> ServedVersion (kept); tombstone -> verify_tombstone -> Withdrawals
    a version in use -> GetVersion again, in the background -> tombstone?
    WatchAliases, from what was seen on -> verify_alias_event -> Router; ListModels -> less than was seen? -> log

The plain fields of a reply are for display; what is read from them is only which record to expect in the envelope.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc as pb_grpc
from dragoman_common.auth import calling_as
from dragoman_common.errors import DataLossError, DragomanError, NotFoundError
from dragoman_common.recheck import Rechecks
from dragoman_gateway.aliases import AliasName, AliasTarget, less_than_seen
from dragoman_gateway.clients import calling
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.refused_events import RefusedEvents
from dragoman_gateway.route import Router
from dragoman_gateway.streams import WATCH_LIFE_S, follow
from dragoman_gateway.version import ModelNotFoundError, ServedVersion, VersionKey
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_models.record import AliasRecord
from dragoman_models.tombstone import verify_tombstone
from dragoman_models.verify import VerifyingKeys, payload_sha256, verify_alias_event, verify_manifest

_MAX_VERSIONS = 10_000
"""Versions kept, about 1 kB each: they never change, so only memory bounds them."""

_PAGE_SIZE = 1_000
_MAX_SEEN = 10_000
"""The registry takes no more; of the aliases beyond it sends the newest event, as to one who has seen nothing."""
_logger = logging.getLogger(__name__)


class RegistryCatalogue:
    """See ports.VersionCatalogue. What is withdrawn is noticed within 30 s of use (dragoman_common.recheck)."""

    def __init__(self, channel: grpc.aio.Channel, keys: VerifyingKeys, withdrawals: Withdrawals) -> None:
        self._withdrawals = withdrawals
        self._rechecks: Rechecks[tuple[str, str, int]] = Rechecks(self._recheck, max_keys=_MAX_VERSIONS)
        self._stub = pb_grpc.RegistryServiceStub(channel)
        self._keys = keys
        self._known: OrderedDict[tuple[str, str, int], ServedVersion] = OrderedDict()

    async def get(self, tenant: str, model: str, number: int, *, root_sha256: str | None = None) -> ServedVersion:
        name = (tenant, model, number)
        version = self._known.get(name)
        if version is not None:
            if version.key not in self._withdrawals:
                await self._rechecks.before_use(name)
        else:
            version = await self._fetch(tenant, model, number)
            self._rechecks.note(name)
            self._known[name] = version
            if len(self._known) > _MAX_VERSIONS:
                self._known.popitem(last=False)
        if name in self._known:
            self._known.move_to_end(name)
        if root_sha256 not in (None, version.key.root_sha256):
            raise DataLossError(
                f"{model} version {number}: the alias event names another root digest than its manifest"
            )
        self._withdrawals.check(version.key)
        return version

    async def close(self) -> None:
        """Stop asking again."""
        await self._rechecks.close()

    async def _recheck(self, name: tuple[str, str, int]) -> None:
        tenant, model, number = name
        try:
            response = await self._ask(tenant, model, number)
        except (DataLossError, NotFoundError, ContractBrokenError) as error:
            # Only a tombstone that verifies takes a version out of use, and not whoever spoils what is stored.
            _logger.error(  # noqa: TRY400 - a refusal needs no traceback
                "a version in use is no longer what was signed; it stays in use",
                extra={"tenant": tenant, "model": model, "version": number, "reason": str(error)},
            )
            return
        version = self._known.get(name)
        if version is not None:
            self._take_tombstone(response.version, version.key)

    async def _ask(self, tenant: str, model: str, number: int) -> pb.GetVersionResponse:
        with calling_as(tenant), calling("registry"):
            response: pb.GetVersionResponse = await self._stub.GetVersion(
                pb.GetVersionRequest(model=model, number=number)
            )
        return response

    def _take_tombstone(self, version: pb.ModelVersion, key: VersionKey) -> None:
        if not version.HasField("tombstone"):
            return
        where = {"tenant": key.tenant, "model": key.model, "version": key.number}
        try:
            record = verify_tombstone(
                version.tombstone.record.envelope, self._keys, tenant=key.tenant, model=key.model, version=key.number
            )
        except DataLossError as error:
            # Whoever can write to the store, and cannot sign, takes no good version down.
            _logger.error("tombstone refused; the version stays in use", extra=where | {"reason": error.message})  # noqa: TRY400 - a refusal needs no traceback
            return
        if record.root_sha256 != key.root_sha256:
            _logger.error("tombstone refused: it speaks of other content", extra=where)
            return
        self._withdrawals.add(key, record.reason)
        _logger.warning("version withdrawn", extra=where | {"by": record.withdrawn_by, "reason": record.reason})

    async def _fetch(self, tenant: str, model: str, number: int) -> ServedVersion:
        try:
            response = await self._ask(tenant, model, number)
        except NotFoundError as error:
            raise ModelNotFoundError(f"no model {model!r} with a version {number}") from error
        manifest = verify_manifest(
            response.version.manifest.envelope, self._keys, tenant=tenant, model=model, number=number
        )
        key = VersionKey(tenant=tenant, model=model, number=number, root_sha256=manifest.root_sha256)
        self._take_tombstone(response.version, key)
        return ServedVersion(
            key=key,
            task=manifest.task,
            architecture=manifest.architecture,
            labels=manifest.labels,
            max_text_bytes=manifest.input_limits.max_text_bytes,
            max_tokens=manifest.input_limits.max_tokens,
        )


class RegistryHistory:
    """See ports.AliasHistory."""

    def __init__(self, channel: grpc.aio.Channel, keys: VerifyingKeys) -> None:
        self._stub = pb_grpc.RegistryServiceStub(channel)
        self._keys = keys

    async def earlier(self, target: AliasTarget, limit: int) -> list[AliasTarget]:
        tenant, model, alias = target.name
        # By place in the chain, not by time: two events may share a time.
        kept = await self._events_before(target, limit)
        found: list[AliasTarget] = []
        at = target
        while len(found) < limit and at.sequence > 1:
            if not kept:
                raise DataLossError(f"{model}@{alias}: the registry has no event {at.sequence - 1}")
            record = verify_alias_event(
                kept.pop().record.envelope,
                self._keys,
                tenant=tenant,
                model=model,
                alias=alias,
                sequence=at.sequence - 1,
            )
            before = target_of(record)
            if before.payload_sha256 != at.previous_sha256:
                raise DataLossError(f"{model}@{alias}: event {at.sequence} names another predecessor than is kept")
            found.append(before)
            at = before
        return found

    async def _events_before(self, target: AliasTarget, limit: int) -> deque[pb.AliasEvent]:
        """The last `limit` events before `target`, oldest first, as the registry says."""
        tenant, model, alias = target.name
        kept: deque[pb.AliasEvent] = deque(maxlen=limit)
        request = pb.ListAliasEventsRequest(model=model, alias=alias, page_size=_PAGE_SIZE)
        with calling_as(tenant), calling("registry"):
            while True:
                page = await self._stub.ListAliasEvents(request)
                kept.extend(event for event in page.events if event.sequence < target.sequence)
                is_past = any(event.sequence >= target.sequence for event in page.events)
                if is_past or not page.events or not page.next_page_token:
                    return kept
                request.page_token = page.next_page_token


class AliasWatch:
    """Follows every tenant's aliases into the router.

    Each watch goes on from what was seen. That shows what was missed, but not what is gone: a registry whose store lost
    an event sends nothing, as if there were nothing new. So after each snapshot its lists are compared with what was
    seen.
    """

    def __init__(
        self, channel: grpc.aio.Channel, keys: VerifyingKeys, catalogue: RegistryCatalogue, router: Router
    ) -> None:
        self._stub = pb_grpc.RegistryServiceStub(channel)
        self._keys = keys
        self._catalogue = catalogue
        self._router = router
        self._refused = RefusedEvents(self._check, router.apply)
        # What the watch that is open was told, until its snapshot is compared with it.
        self._told: dict[AliasName, int] = {}
        self._to_compare: asyncio.Queue[dict[AliasName, int]] = asyncio.Queue(maxsize=1)

    async def run(self) -> None:
        """Follow until cancelled. While the registry is away, aliases stay where they were."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._refused.run())
            group.create_task(self._compare_snapshots())
            group.create_task(follow("registry aliases", self._open, self.take, self._told.clear))

    async def take(self, message: pb.WatchAliasesResponse) -> None:
        """Believe one message, or refuse it and keep what was."""
        if message.HasField("event"):
            event = message.event
            where = {"tenant": event.tenant, "model": event.model, "alias": event.alias}
            try:
                await self._apply(event)
            except DataLossError as error:
                _logger.error("alias event refused", extra=where | {"reason": error.message})  # noqa: TRY400 - a refusal needs no traceback
                self._router.refuse(event.tenant, event.model, event.alias, error.message)
        if message.is_snapshot_complete:
            self._router.is_complete = True
            if self._told and not self._to_compare.full():
                self._to_compare.put_nowait(dict(self._told))
            self._told.clear()

    def _open(self) -> grpc.aio.UnaryStreamCall[pb.WatchAliasesRequest, pb.WatchAliasesResponse]:
        self._told.update(islice(sorted(self._router.seen().items()), _MAX_SEEN))
        seen = [
            pb.SeenAlias(tenant=tenant, model=model, alias=alias, sequence=sequence)
            for (tenant, model, alias), sequence in self._told.items()
        ]
        return self._stub.WatchAliases(pb.WatchAliasesRequest(all_tenants=True, seen=seen), timeout=WATCH_LIFE_S)

    async def _compare_snapshots(self) -> None:
        while True:
            seen = await self._to_compare.get()
            try:
                shown = await self._shown({tenant for tenant, _, _ in seen})
            except (DragomanError, ContractBrokenError) as error:
                _logger.warning("aliases not compared with what was seen", extra={"reason": str(error)})
                continue
            for (tenant, model, alias), sequence, shown_sequence in less_than_seen(seen, shown):
                _logger.error(
                    "the registry shows less of an alias than was seen; what was seen holds",
                    extra={
                        "tenant": tenant,
                        "model": model,
                        "alias": alias,
                        "seen_sequence": sequence,
                        "shown_sequence": shown_sequence,
                    },
                )

    async def _shown(self, tenants: Iterable[str]) -> dict[AliasName, int]:
        """The newest sequence of each alias as the registry says it: enough to notice that it says less."""
        shown: dict[AliasName, int] = {}
        for tenant in sorted(tenants):
            request = pb.ListModelsRequest(page_size=_PAGE_SIZE)
            with calling_as(tenant), calling("registry"):
                while True:
                    page = await self._stub.ListModels(request)
                    for model in page.models:
                        shown |= {(tenant, model.model, event.alias): event.sequence for event in model.aliases}
                    if not page.next_page_token:
                        break
                    request.page_token = page.next_page_token
        return shown

    async def _apply(self, event: pb.AliasEvent) -> None:
        record = verify_alias_event(
            event.record.envelope, self._keys, tenant=event.tenant, model=event.model, alias=event.alias
        )
        target = target_of(record)
        self._refused.supersede(target)
        try:
            # Fetched now: calls need not wait for it, and a version that does not hold never becomes the target.
            await self._check(target)
        except DataLossError:
            self._refused.add(target)
            raise
        except (DragomanError, ContractBrokenError) as error:
            # The event holds; its version is fetched by the first call that needs it.
            _logger.warning("version not fetched yet", extra={"model": target.stable.model, "reason": str(error)})
        self._router.apply(target)

    async def _check(self, target: AliasTarget) -> None:
        stable = target.stable
        with calling_as(""):
            await self._catalogue.get(stable.tenant, stable.model, stable.number, root_sha256=stable.root_sha256)


def target_of(record: AliasRecord) -> AliasTarget:
    """A verified event, as the router needs it."""
    return AliasTarget(
        alias=record.alias,
        sequence=record.sequence,
        stable=VersionKey(
            tenant=record.tenant,
            model=record.model,
            number=record.stable_version,
            root_sha256=record.stable_root_sha256,
        ),
        move_time=record.move_time,
        payload_sha256=payload_sha256(record),
        previous_sha256=record.previous_sha256,
    )
