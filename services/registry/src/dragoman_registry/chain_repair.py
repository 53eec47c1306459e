# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What an operator decides when the store has lost the newest events of a chain: put them back, or accept the loss.

    copies -> each continues the chain, the last is the one that the head names -> create -> head
    none   -> an event in the first lost one's place, that points where the chain still points, names the newest lost
              event, and says why -> head

Nothing else in the registry decides this: until then the chain is DATA_LOSS, and nothing moves there.
"""

import asyncio
import base64
import itertools
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, FailedPreconditionError, InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_models.gate_basis import LostEvent
from dragoman_models.head import HeadRecord
from dragoman_models.policy_record import policy_sha256, sign_policy, verify_policy
from dragoman_models.record_fields import MAX_REASON_CHARS
from dragoman_models.signing import SigningKey, sign_alias_record
from dragoman_models.verify import MAX_ENVELOPE_BYTES, VerifyingKeys, payload_sha256
from dragoman_registry import layout
from dragoman_registry.alias import AliasMovedFirstError, StoredEvent, extend_chain
from dragoman_registry.catalog import Catalog
from dragoman_registry.chain_head import Link, Place, alias_place, digest_of, policy_place
from dragoman_registry.gate_policy import PolicyChangedFirstError, StoredPolicy
from dragoman_registry.headed_reader import HeadedReader
from dragoman_registry.heads import Heads
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.ports import ObjectExistsError, ObjectStore
from dragoman_registry.settled import create_settled
from dragoman_text.strict_json import parse_object

audit = logging.getLogger("dragoman_registry.audit")


class NothingLostError(FailedPreconditionError):
    """The chain is whole as far as anyone here knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """An operator's decision about a chain that has lost its newest events.

    Attributes:
        alias: Empty for the model's gate policy.
        events: The lost events as they were signed, in order, and any that are still there before them; none accepts
            the loss.
    """

    tenant: str
    model: str
    alias: str
    reason: str
    events: tuple[bytes, ...]
    repaired_by: str


def check_repair(repair: Repair) -> Repair:
    """Return the repair if its fields are allowed.

    Raises:
        InvalidArgumentError: a name or reason that is not.
    """
    check_name(repair.model, field="model")
    if repair.alias:
        check_name(repair.alias, field="alias")
    if not 0 < len(repair.reason) <= MAX_REASON_CHARS or not repair.reason.isprintable():
        raise InvalidArgumentError(f"reason must be 1 to {MAX_REASON_CHARS} printable characters")
    return repair


class ChainRepairs:
    """Puts lost events back, or writes down that they are lost."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        reader: HeadedReader,
        catalog: Catalog,
        policies: PolicyBook,
        heads: Heads,
        keys: VerifyingKeys,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._reader = reader
        self._catalog = catalog
        self._policies = policies
        self._heads = heads
        self._keys = keys
        self._key = key
        self._clock = clock

    async def repair_alias(self, repair: Repair) -> StoredEvent:
        """Carry out a decision about an alias.

        Args:
            repair: As check_repair returned it.

        Returns:
            The alias's newest event.

        Raises:
            NothingLostError: there is nothing to decide, or nothing is left that the alias could point to.
            InvalidArgumentError: the events are not those that are missing.
            AliasMovedFirstError: somebody else wrote there.
            DataLossError: what is left of the chain does not verify.
        """
        tenant, model, alias = repair.tenant, repair.model, repair.alias
        place = alias_place(tenant, model, alias)
        chain = await self._reader.kept_chain(tenant, model, alias)
        lost = await self._lost(place, [event.record for event in chain])
        found = list(chain)
        try:
            for envelope in _not_held(repair.events, found):
                found.append(extend_chain(found, envelope, self._keys, tenant=tenant, model=model, alias=alias))
        except DataLossError as error:
            raise InvalidArgumentError(f"events: {error.message}") from error
        if repair.events:
            _check_ends(found[-1].record, lost)
        else:
            found.append(await self._accepting_event(chain, lost, repair))
        for event in found[len(chain) :]:
            key = layout.alias_event(tenant, model, alias, event.record.sequence)
            try:
                await create_settled(self._store, key, event.envelope)
            except ObjectExistsError:
                raise AliasMovedFirstError(f"{key} was written meanwhile: look at the alias again") from None
        await self._heads.advance(place, [event.record for event in found])
        _log(place, lost, repair)
        return (await self._catalog.checked_chain(tenant, model, alias))[-1]

    async def repair_policy(self, repair: Repair) -> StoredPolicy:
        """Carry out a decision about a model's gate policy. Returns the newest event; raises as repair_alias."""
        tenant, model = repair.tenant, repair.model
        place = policy_place(tenant, model)
        chain = await self._policies.kept_chain(tenant, model)
        lost = await self._lost(place, [policy.record for policy in chain])
        found = list(chain)
        try:
            for envelope in _not_held(repair.events, found):
                previous = found[-1].record if found else None
                record = verify_policy(envelope, self._keys, tenant=tenant, model=model, previous=previous)
                found.append(StoredPolicy(record=record, envelope=envelope))
        except DataLossError as error:
            raise InvalidArgumentError(f"events: {error.message}") from error
        if repair.events:
            _check_ends(found[-1].record, lost)
        else:
            found.append(await self._accepting_policy(chain, lost, repair))
        for policy in found[len(chain) :]:
            key = layout.policy_record(tenant, model, policy.record.sequence)
            try:
                await create_settled(self._store, key, policy.envelope)
            except ObjectExistsError:
                raise PolicyChangedFirstError(f"{key} was written meanwhile: look at the policy again") from None
        await self._heads.advance(place, [policy.record for policy in found])
        _log(place, lost, repair)
        return await self._policies.at(tenant, model, 0)

    async def _lost(self, place: Place, links: Sequence[Link]) -> HeadRecord:
        lost = await self._heads.lost(place, links)
        if lost is None:
            raise NothingLostError(f"{place} is whole: no head is known that names more than its {len(links)} events")
        if lost.sequence <= len(links):
            raise NothingLostError(f"{place}: event {lost.sequence} is not lost but another one: restore the store")
        return lost

    async def _accepting_event(self, chain: Sequence[StoredEvent], lost: HeadRecord, repair: Repair) -> StoredEvent:
        if not chain:
            raise NothingLostError(f"{repair.model}@{repair.alias}: no event is left to go on from; put them back")
        last = chain[-1].record
        record = replace(
            last,
            sequence=last.sequence + 1,
            moved_by=repair.repaired_by,
            move_time=self._after(lost),
            request_id=secrets.token_hex(16),
            nonce=secrets.token_hex(16),
            reason=repair.reason,
            gate_summary="",
            previous_sha256=payload_sha256(last),
            gate=None,
            accepted_loss=LostEvent(sequence=lost.sequence, sha256=lost.sha256),
        )
        return StoredEvent(record=record, envelope=await asyncio.to_thread(sign_alias_record, record, self._key))

    async def _accepting_policy(self, chain: Sequence[StoredPolicy], lost: HeadRecord, repair: Repair) -> StoredPolicy:
        if not chain:
            raise NothingLostError(f"the gate policy of {repair.model}: no event is left to go on from; put them back")
        last = chain[-1].record
        record = replace(
            last,
            sequence=last.sequence + 1,
            set_by=repair.repaired_by,
            set_time=self._after(lost),
            request_id=secrets.token_hex(16),
            nonce=secrets.token_hex(16),
            reason=repair.reason,
            previous_sha256=policy_sha256(last),
            accepted_loss=LostEvent(sequence=lost.sequence, sha256=lost.sha256),
        )
        return StoredPolicy(record=record, envelope=await asyncio.to_thread(sign_policy, record, self._key))

    def _after(self, lost: HeadRecord) -> datetime:
        # Later than all that is lost, whatever the clock says: chain_head tells old heads from new ones by it.
        return max(self._clock.now(), lost.head_time + timedelta(microseconds=1))


def _not_held(envelopes: Sequence[bytes], chain: Sequence[StoredEvent | StoredPolicy]) -> Sequence[bytes]:
    """Leave out the copies at the beginning of events that are still there, by whichever key signed them."""
    held = {item.record.to_payload() for item in chain}
    return list(itertools.dropwhile(lambda envelope: _payload(envelope) in held, envelopes))


def _payload(envelope: bytes) -> bytes:
    try:
        payload = parse_object(envelope, what="events", max_bytes=MAX_ENVELOPE_BYTES).get("payload")
        return base64.b64decode(payload, validate=True) if isinstance(payload, str) else b""
    except (InvalidArgumentError, ValueError):
        # The verification that follows says what is wrong with it.
        return b""


def _check_ends(link: Link, lost: HeadRecord) -> None:
    if (link.sequence, digest_of(link)) != (lost.sequence, lost.sha256):
        raise InvalidArgumentError(
            f"events: they end with event {link.sequence}, the newest lost one is event {lost.sequence} ({lost.sha256})"
        )


def _log(place: Place, lost: HeadRecord, repair: Repair) -> None:
    audit.warning(
        "a chain was repaired",
        extra={
            "chain": str(place),
            "newest_lost": lost.sequence,
            "put_back": len(repair.events),
            "by": repair.repaired_by,
            "reason": repair.reason,
        },
    )
