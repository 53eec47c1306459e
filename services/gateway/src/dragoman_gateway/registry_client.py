# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry says, believed only after its signature holds: versions on demand, alias events as they come.

    GetVersion -> envelope -> verify_manifest -> ServedVersion (kept); tombstone -> verify_tombstone -> Withdrawals
    a version in use -> GetVersion again, in the background -> does it still verify? tombstone?
    ListAliasEvents -> verify_alias_event -> the events before one, or after an accepted loss

The watch of the aliases is alias_watch's.

The plain fields of a reply are for display; what is read from them is only which record to expect in the envelope.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc as pb_grpc
from dragoman_common.audit import Audit
from dragoman_common.auth import calling_as
from dragoman_common.errors import DataLossError, NotFoundError
from dragoman_common.recheck import Rechecks
from dragoman_common.status import translated
from dragoman_gateway.aliases import AliasTarget
from dragoman_gateway.clients import calling
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.version import ModelNotFoundError, ServedVersion, VersionKey
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_models.accepted_loss import newest_after_loss
from dragoman_models.record import AliasRecord
from dragoman_models.tombstone import verify_tombstone
from dragoman_models.verify import VerifyingKeys, payload_sha256, verify_alias_event, verify_manifest

_MAX_VERSIONS = 10_000
"""Versions kept, about 1 kB each: they never change, so only memory bounds them."""

_PAGE_SIZE = 1_000
_logger = logging.getLogger(__name__)
_audit = Audit("gateway")


class RegistryCatalogue:
    """See ports.VersionCatalogue. What is withdrawn is noticed within 30 s of use (dragoman_common.recheck)."""

    def __init__(self, channel: grpc.aio.Channel, keys: VerifyingKeys, withdrawals: Withdrawals) -> None:
        self._withdrawals = withdrawals
        self._rechecks: Rechecks[tuple[str, str, int]] = Rechecks(self._recheck, max_keys=_MAX_VERSIONS)
        self._stub = pb_grpc.RegistryServiceStub(channel)
        self._keys = keys
        self._known: OrderedDict[tuple[str, str, int], ServedVersion] = OrderedDict()
        # What is in use and does not verify any more, and why.
        self._spoiled: dict[tuple[str, str, int], str] = {}

    async def get(
        self, tenant: str, model: str, number: int, *, root_sha256: str | None = None, is_new_use: bool = False
    ) -> ServedVersion:
        name = (tenant, model, number)
        version = self._known.get(name)
        if version is not None:
            if version.key not in self._withdrawals:
                await self._rechecks.before_use(name)
            if is_new_use and name in self._spoiled:
                raise DataLossError(self._spoiled[name])
        else:
            version = await self._fetch(tenant, model, number)
            self._rechecks.note(name)
            self._known[name] = version
            if len(self._known) > _MAX_VERSIONS:
                self._spoiled.pop(self._known.popitem(last=False)[0], None)
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

    def keys_are_newer(self) -> None:
        """Verify every version again before its next use. One that does not hold stays in use; see get."""
        self._rechecks.expire()

    async def _recheck(self, name: tuple[str, str, int]) -> None:
        tenant, model, number = name
        try:
            response = await self._ask(tenant, model, number)
            verify_manifest(response.version.manifest.envelope, self._keys, tenant=tenant, model=model, number=number)
        except (DataLossError, NotFoundError, ContractBrokenError) as error:
            # Only a tombstone that verifies takes a version out of use, and not whoever spoils what is stored.
            reason = f"{error}; it stays in use until its alias moves"
            if self._spoiled.get(name) != reason:
                _audit.refused(f"{tenant}/{model}/versions/{number}", reason)
            self._spoiled[name] = reason
            return
        self._spoiled.pop(name, None)
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
            self._refuse_tombstone(key, error.message)
            return
        if record.root_sha256 != key.root_sha256:
            self._refuse_tombstone(key, "it speaks of other content")
            return
        self._withdrawals.add(key, record.reason)
        _logger.warning("version withdrawn", extra=where | {"by": record.withdrawn_by, "reason": record.reason})

    def _refuse_tombstone(self, key: VersionKey, reason: str) -> None:
        name = f"{key.tenant}/{key.model}/tombstones/{key.number}"
        _audit.refused(name, f"{reason}; the version stays in use")

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


async def fetch_key_list(channel: grpc.aio.Channel) -> bytes:
    """Return the registry's chain of key lists, unverified.

    Raises:
        NotFoundError, UnimplementedError: it has none.
        DragomanError: it is away.
    """
    stub = pb_grpc.RegistryServiceStub(channel)
    with translated(), calling_as(""):
        response: pb.GetKeyListResponse = await stub.GetKeyList(pb.GetKeyListRequest())
    return response.key_chain


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

    async def after_loss(self, target: AliasTarget, *, last: int | None = None) -> tuple[AliasTarget, bytes] | None:
        """The newest event, and as signed, of a chain that holds an acceptance of the loss of this one.

        Args:
            target: what was seen.
            last: go no further than this sequence.

        Raises:
            DataLossError: what comes after the acceptance does not hold.
            DragomanError: the registry is away.
        """
        tenant, model, alias = target.name
        events = self._events_since_loss(target)
        try:
            found = await newest_after_loss(
                events, self._keys, tenant=tenant, model=model, alias=alias, lost=target.as_lost, last=last
            )
        except NotFoundError:
            return None
        return found and (target_of(found[0]), found[1])

    async def _events_since_loss(self, target: AliasTarget) -> AsyncIterator[bytes]:
        tenant, model, alias = target.name
        request = pb.ListAliasEventsRequest(model=model, alias=alias, page_size=_PAGE_SIZE)
        is_past = False
        while True:
            with translated(), calling_as(tenant):
                page = await self._stub.ListAliasEvents(request)
            for event in page.events:
                # What is said beside the envelope only tells where to begin to verify.
                says = event.accepted_loss
                is_past = is_past or (says.sequence, says.sha256) == (target.sequence, target.payload_sha256)
                if is_past:
                    yield event.record.envelope
            if not page.events or page.next_page_token in ("", request.page_token):
                return
            request.page_token = page.next_page_token

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
        accepted_loss=record.accepted_loss,
    )
