# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The watch on every tenant's aliases, into the router; what is not believed, or is gone, gets an audit record.

WatchAliases, from what was seen on -> verify_alias_event -> does its version hold? -> Router
an event that contradicts what was seen, or less than was seen -> was its loss accepted? -> goes on : audit
newer keys -> what was seen is verified again -> watch anew
"""

import asyncio
import logging
from itertools import islice

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc as pb_grpc
from dragoman_common.audit import Audit
from dragoman_common.auth import calling_as
from dragoman_common.errors import DataLossError, DragomanError
from dragoman_gateway.aliases import AliasName, AliasTarget, ChainBrokenError
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.refused_events import RefusedEvents
from dragoman_gateway.registry_client import RegistryCatalogue, RegistryHistory, target_of
from dragoman_gateway.route import Router
from dragoman_gateway.streams import WATCH_LIFE_S, follow
from dragoman_models.verify import VerifyingKeys, verify_alias_event

_MAX_SEEN = 10_000
"""The registry takes no more; of the aliases beyond it sends the newest event, as to one who has seen nothing."""
_logger = logging.getLogger(__name__)
_audit = Audit("gateway")


class AliasWatch:
    """Follows every tenant's aliases into the router."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        keys: VerifyingKeys,
        catalogue: RegistryCatalogue,
        history: RegistryHistory,
        router: Router,
    ) -> None:
        self._stub = pb_grpc.RegistryServiceStub(channel)
        self._keys = keys
        self._catalogue = catalogue
        self._history = history
        self._router = router
        self._refused = RefusedEvents(self._check, router.apply)
        self._envelopes: dict[AliasName, bytes] = {}
        self._to_tell: dict[AliasName, str] = {}
        self._watching: asyncio.Timeout | None = None
        self._are_keys_newer = False

    async def run(self) -> None:
        """Follow until cancelled. While the registry is away, aliases stay where they were."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._refused.run())
            group.create_task(self._follow())

    def keys_are_newer(self) -> None:
        """Verify what was seen again, and watch anew: what was refused before may hold now."""
        self._are_keys_newer = True
        if self._watching is not None and not self._watching.expired():
            self._watching.reschedule(asyncio.get_running_loop().time())

    async def take(self, message: pb.WatchAliasesResponse) -> None:
        """Believe one message, or refuse it and keep what was."""
        if message.HasField("ahead"):
            await self._less_is_held(message.ahead)
        elif message.HasField("event"):
            event = message.event
            try:
                await self._apply(event)
            except DataLossError as error:
                _audit.refused(f"{event.tenant}/{event.model}/aliases/{event.alias}", error.message)
                self._router.refuse(event.tenant, event.model, event.alias, error.message)
        if message.is_snapshot_complete:
            self._router.is_complete = True
            for name, reason in self._to_tell.items():
                # The registry has sent all that it has: it was not signed again.
                if name in self._router.doubted:
                    _audit.refused(_place(name), f"{reason}; it answers until the alias moves")
            self._to_tell.clear()

    async def _follow(self) -> None:
        while True:
            if self._are_keys_newer:
                self._are_keys_newer = False
                unverified = await asyncio.to_thread(self._find_unverified, dict(self._envelopes))
                self._router.doubt(unverified)
                self._to_tell.update(unverified)
                # Newer ones may have come meanwhile.
                continue
            try:
                async with asyncio.timeout(None) as self._watching:
                    await follow("registry aliases", self._open, self.take, lambda: None)
            except TimeoutError:
                # See keys_are_newer.
                continue

    def _find_unverified(self, envelopes: dict[AliasName, bytes]) -> dict[AliasName, str]:
        found: dict[AliasName, str] = {}
        for name, envelope in envelopes.items():
            tenant, model, alias = name
            try:
                verify_alias_event(envelope, self._keys, tenant=tenant, model=model, alias=alias)
            except DataLossError as error:
                found[name] = error.message
        return found

    def _open(self) -> grpc.aio.UnaryStreamCall[pb.WatchAliasesRequest, pb.WatchAliasesResponse]:
        seen = [
            pb.SeenAlias(
                tenant=tenant, model=model, alias=alias, sequence=target.sequence, sha256=target.payload_sha256
            )
            for (tenant, model, alias), target in islice(sorted(self._router.seen().items()), _MAX_SEEN)
        ]
        return self._stub.WatchAliases(pb.WatchAliasesRequest(all_tenants=True, seen=seen), timeout=WATCH_LIFE_S)

    async def _less_is_held(self, ahead: pb.AheadAlias) -> None:
        """The registry does not hold what was seen: its loss was accepted, or what was seen holds."""
        name = (ahead.tenant, ahead.model, ahead.alias)
        seen = self._router.seen().get(name)
        if seen is None:
            return
        why = ""
        try:
            later = await self._history.after_loss(seen)
            if later is not None:
                await self._believe(*later, is_past_loss=True)
                return
        except DataLossError as error:
            why = f" ({error.message})"
        held = f"the registry's newest is {ahead.held_sequence}"
        if ahead.held_sequence >= seen.sequence:
            held = "the registry has another one in its place"
        _audit.lost(_place(name), f"event {seen.sequence} was seen and verified, {held}; what was seen holds{why}")

    async def _apply(self, event: pb.AliasEvent) -> None:
        envelope = event.record.envelope
        record = verify_alias_event(envelope, self._keys, tenant=event.tenant, model=event.model, alias=event.alias)
        target = target_of(record)
        try:
            await self._believe(target, envelope)
        except ChainBrokenError:
            # The acceptance of a loss may have come, and more after it, while nobody listened.
            seen = self._router.seen().get(target.name)
            later = seen and await self._history.after_loss(seen, last=target.sequence)
            if not later:
                raise
            await self._believe(*later, is_past_loss=True)

    async def _believe(self, target: AliasTarget, envelope: bytes, *, is_past_loss: bool = False) -> None:
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
        self._router.apply(target, is_past_loss=is_past_loss)
        self._envelopes[target.name] = envelope

    async def _check(self, target: AliasTarget) -> None:
        stable = target.stable
        with calling_as(""):
            await self._catalogue.get(
                stable.tenant, stable.model, stable.number, root_sha256=stable.root_sha256, is_new_use=True
            )


def _place(name: AliasName) -> str:
    tenant, model, alias = name
    return f"{tenant}/{model}/aliases/{alias}"
