# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where every alias points, believed only after the signature, the place and the chain hold.

Owns the newest verified event of each alias, what was refused, and the way back along a chain. Not what is done about
it (placement.py).

    update -> signature, place, not older than what was seen, continues it -> record of the alias | refused
    update that contradicts what was seen -> does the chain hold an acceptance of its loss? -> the newest event after it
    record -> the event before it, by the digest that the record names
    newer keys -> verified again -> what does not hold is not seen any more, until it comes signed anew
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from dragoman_common.audit import Audit
from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, NotFoundError
from dragoman_models.accepted_loss import newest_after_loss
from dragoman_models.record import AliasRecord
from dragoman_models.verify import VerifyingKeys, accepts_loss_of, payload_sha256, verify_alias_event
from dragoman_worker.alias_memory import MAX_ALIASES
from dragoman_worker.held_version import HeldVersion, State, VersionRef, failure_text
from dragoman_worker.ports import AliasKey, AliasUpdate, Registry, SeenEvent

audit = Audit("worker")

MAX_REFUSED = 64
MAX_SHOWN_CHARS = 128
"""Both: what was refused carries names that nobody signed, so whoever sends it chooses how many and how long."""


class AliasBook:
    """The aliases of every tenant."""

    def __init__(self, registry: Registry, keys: VerifyingKeys, clock: Clock) -> None:
        """Begin empty.

        Args:
            registry: Asked for events that are not the newest.
            keys: Whose signatures count.
            clock: For the times that are reported.
        """
        self._registry = registry
        self._keys = keys
        self._clock = clock
        self._records: dict[AliasKey, AliasRecord] = {}
        self._envelopes: dict[AliasKey, bytes] = {}
        self._doubted: dict[AliasKey, str] = {}
        self._refused: OrderedDict[AliasKey, HeldVersion] = OrderedDict()

    @property
    def records(self) -> Mapping[AliasKey, AliasRecord]:
        """The newest verified event of each alias."""
        return self._records

    def seen(self) -> dict[AliasKey, SeenEvent]:
        """The newest verified event of each alias; of more than MAX_ALIASES, some are left out."""
        return {key: _seen(record) for key, record in islice(self._records.items(), MAX_ALIASES)}

    def restore(self, remembered: Iterable[tuple[AliasRecord, bytes]]) -> None:
        """Take over what was verified before this process began; what it has seen itself is newer."""
        for record, envelope in remembered:
            key = (record.tenant, record.model, record.alias)
            if key not in self._records:
                self._records[key], self._envelopes[key] = record, envelope

    def envelope(self, key: AliasKey) -> bytes:
        """Return the newest verified event of an alias as it was signed."""
        return self._envelopes[key]

    def find_unverified(self) -> dict[AliasKey, str]:
        """Verify every event again, and return why some do not hold. Changes nothing; may run in a thread."""
        found: dict[AliasKey, str] = {}
        for key, envelope in list(self._envelopes.items()):
            tenant, model, alias = key
            try:
                verify_alias_event(envelope, self._keys, tenant=tenant, model=model, alias=alias)
            except DataLossError as error:
                found[key] = failure_text(error)
        return found

    def doubt(self, unverified: Mapping[AliasKey, str]) -> None:
        """Forget events that do not hold any more: a stolen key must not decide what comes after them.

        The registry may have signed them again; say settle_doubts when it has had its say.
        """
        for key, reason in unverified.items():
            if self._records.pop(key, None) is not None:
                del self._envelopes[key]
                self._doubted[key] = reason

    def settle_doubts(self) -> None:
        """The registry has sent all that it has: what is still in doubt gets its audit record."""
        for key, reason in self._doubted.items():
            audit.refused(_name(key), f"{reason}; the versions that serve it go on until it moves")
        self._doubted.clear()

    def refused(self) -> Iterator[HeldVersion]:
        """What the newest refused events claimed to point to; the oldest refusals are forgotten."""
        yield from self._refused.values()

    async def take(self, update: AliasUpdate) -> AliasKey | None:
        """Believe an event, or refuse it and leave its alias where it is.

        Returns:
            The alias that has moved; None where nothing did.

        Raises:
            DragomanError: the event contradicts what was seen, and the registry went away before it said why.
        """
        key = (update.tenant, update.model, update.alias)
        try:
            record, envelope = await self._verified(key, update.envelope)
        except DataLossError as error:
            self._refuse(update, error)
            return None
        return self._believe(key, record, envelope)

    async def pass_loss(self, key: AliasKey) -> AliasKey | None:
        """Go on from a signed acceptance of the loss of what was seen, where the registry has one.

        Returns:
            The alias that has moved; None where there is no such acceptance, and what was seen holds.

        Raises:
            DataLossError: the chain after it does not hold.
            DragomanError: the registry is away.
        """
        seen = self._records.get(key)
        later = None if seen is None else await self._after_loss(key, seen)
        return None if later is None else self._believe(key, *later)

    async def before(self, record: AliasRecord) -> AliasRecord | None:
        """Return the event that an event has followed; None before the first.

        Raises:
            DataLossError: the registry has another event there than the one whose digest the record names.
            DragomanError: the registry is away.
        """
        if record.sequence == 1:
            return None
        tenant, model, alias = record.tenant, record.model, record.alias
        # By place in the chain, not by time: two events may share a time.
        envelope = await self._registry.alias_envelope(tenant, model, alias, record.sequence - 1)
        before = verify_alias_event(
            envelope, self._keys, tenant=tenant, model=model, alias=alias, sequence=record.sequence - 1
        )
        if payload_sha256(before) != record.previous_sha256:
            raise DataLossError(
                f"{tenant}/{model}/aliases/{alias}: event {record.sequence} names another predecessor than is kept"
            )
        return before

    async def _verified(self, key: AliasKey, envelope: bytes) -> tuple[AliasRecord, bytes]:
        """The event, if a trusted key signed it for this alias and it does not contradict what was seen."""
        tenant, model, alias = key
        record = verify_alias_event(envelope, self._keys, tenant=tenant, model=model, alias=alias)
        seen = self._records.get(key)
        wrong = "" if seen is None or seen == record or accepts_loss_of(record, seen) else _contradiction(record, seen)
        if seen is None or not wrong:
            return record, envelope
        # The acceptance may have come, and more after it, while nobody listened.
        later = await self._after_loss(key, seen, last=record.sequence)
        if later is None:
            raise DataLossError(f"{_name(key)}: event {record.sequence} {wrong}")
        return later

    async def _after_loss(
        self, key: AliasKey, seen: AliasRecord, *, last: int | None = None
    ) -> tuple[AliasRecord, bytes] | None:
        tenant, model, alias = key
        lost = _seen(seen)
        events = self._registry.events_since_loss(tenant, model, alias, lost)
        try:
            return await newest_after_loss(
                events, self._keys, tenant=tenant, model=model, alias=alias, lost=lost, last=last
            )
        except NotFoundError:
            return None

    def _believe(self, key: AliasKey, record: AliasRecord, envelope: bytes) -> AliasKey | None:
        self._refused.pop(_shown(key), None)
        self._doubted.pop(key, None)
        has_moved = self._records.get(key) != record
        self._records[key], self._envelopes[key] = record, envelope
        return key if has_moved else None

    def _refuse(self, update: AliasUpdate, error: DataLossError) -> None:
        audit.refused(_name((update.tenant, update.model, update.alias)), failure_text(error))
        key = tenant, model, _ = _shown((update.tenant, update.model, update.alias))
        ref = VersionRef(tenant=tenant, model=model, number=update.stable_version, root_sha256="")
        refused = self._refused[key] = HeldVersion(ref, self._clock.now())
        refused.move(State.FAILED, self._clock.now(), failure_text(error)[:1024])
        self._refused.move_to_end(key)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)


def _seen(record: AliasRecord) -> SeenEvent:
    return SeenEvent(sequence=record.sequence, sha256=payload_sha256(record))


def _name(key: AliasKey) -> str:
    tenant, model, alias = key
    return f"{tenant}/{model}/aliases/{alias}"


def _contradiction(record: AliasRecord, seen: AliasRecord) -> str:
    """What is wrong with an event that comes after another, empty where nothing is."""
    if record.sequence <= seen.sequence:
        return f"came after event {seen.sequence} was seen"
    # After a broken watch events may be missing between the two; the signature and the rising number must do then.
    if record.sequence == seen.sequence + 1 and record.previous_sha256 != payload_sha256(seen):
        return "does not continue the event seen before it"
    return ""


def refs_of(record: AliasRecord) -> frozenset[VersionRef]:
    """The versions that an event points to: the stable one and, if there is one, the candidate."""
    candidate = record.candidate
    if candidate is None:
        return frozenset({stable_of(record)})
    on_trial = VersionRef(
        tenant=record.tenant, model=record.model, number=candidate.version, root_sha256=candidate.root_sha256
    )
    return frozenset({stable_of(record), on_trial})


def stable_of(record: AliasRecord) -> VersionRef:
    """The version that answers."""
    return VersionRef(
        tenant=record.tenant,
        model=record.model,
        number=record.stable_version,
        root_sha256=record.stable_root_sha256,
    )


def _shown(key: AliasKey) -> AliasKey:
    tenant, model, alias = (name[:MAX_SHOWN_CHARS] for name in key)
    return tenant, model, alias
